/**
 * Worker thread: owns a connection that reads, which the one that writes never blocks.
 */
import type { DatabaseSync, StatementSync } from "node:sqlite"
import { parentPort, workerData } from "node:worker_threads"
import { hash } from "../../core/XxHash3.ts"
import { isIntact } from "../../internal/StoredBlock.ts"
import type {
  Failure,
  PollRequest,
  ReadRequest,
  Request,
  Response,
  StoredBytes,
  WorkerOptions
} from "./internal/protocol.ts"
import { failureOf, openReader } from "./internal/schema.ts"

/** A page ends after so many bytes, however few events that is. */
const pageBytes = 8_388_608

class Damaged extends Error {}

const port = parentPort!
const options = workerData as WorkerOptions

class Reader {
  readonly #db: DatabaseSync
  readonly #blocks: StatementSync

  constructor() {
    this.#db = openReader(options)
    this.#blocks = this.#db.prepare(
      "SELECT first, last, data FROM block WHERE shard = ? AND last > ? AND first <= ? ORDER BY last"
    )
  }

  poll({ after, limit, shard, upTo }: PollRequest): ReadonlyArray<StoredBytes> {
    const page: Array<StoredBytes> = []
    let bytes = 0
    let events = 0
    try {
      for (const row of this.#blocks.iterate(shard, after, upTo)) {
        const first = row["first"] as number
        const last = row["last"] as number
        const data = row["data"] as Uint8Array<ArrayBuffer>
        if (!isIntact(data, hash)) {
          throw new Damaged(
            `events ${first} to ${last} of shard ${shard} do not match their checksum; position ${last} lies behind them`
          )
        }
        page.push({ first, bytes: data })
        bytes += data.length
        events += last - Math.max(after, first - 1)
        if (events >= limit || bytes >= pageBytes) break
      }
    } catch (cause) {
      // What was read before the damage is good; the next page begins with it, and fails.
      if (page.length === 0) throw cause
    }
    return page
  }

  close(): void {
    this.#db.close()
  }
}

let reader: Reader | undefined

const handle = (request: ReadRequest): unknown => {
  if (request._tag === "close") return reader?.close()
  reader ??= new Reader()
  switch (request._tag) {
    case "open":
      return undefined
    case "poll":
      return reader.poll(request)
  }
}

const failure = (cause: unknown): Failure =>
  cause instanceof Damaged
    ? { tag: "Fatal", message: `${options.path} is damaged: ${cause.message}` }
    : failureOf(options.path, cause)

port.on("message", ({ body, id }: Request<ReadRequest>) => {
  let response: Response
  try {
    response = { id, value: handle(body) }
  } catch (cause) {
    response = { id, failure: failure(cause) }
  }
  const transfer = body._tag === "poll" && "value" in response
    ? (response.value as ReadonlyArray<StoredBytes>).map(({ bytes }) => bytes.buffer)
    : []
  port.postMessage([response], transfer)
  if (body._tag === "close") port.close()
})
