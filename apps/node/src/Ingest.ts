/**
 * Sends a stream of NDJSON to a node, each event exactly once, however often the sending starts again.
 *
 * The sender validates the lines itself and numbers those that are events. So it knows which line has which number, and where to go on: behind
 * the last number that the node has stored.
 */
import { JsonLines } from "@perigee/bus"
import * as Clock from "effect/Clock"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { type Client, isUnreachable, type Query, Refusal } from "./Client.ts"
import { describe, type Failure, failure } from "./Failure.ts"
import { SourceError } from "./Source.ts"

export interface IngestOptions {
  /** Name under which the events are numbered. */
  readonly producer: string
  readonly channel: string | undefined
  readonly key: string | undefined
  readonly maxEventBytes: number
  /** How long the node may be away before the sending gives up. */
  readonly patience: Duration.Duration
  readonly onProgress: (progress: IngestProgress) => Effect.Effect<void>
  readonly onRejected: (line: JsonLines.RejectedLine) => Effect.Effect<void>
  readonly onWaiting: (cause: Failure) => Effect.Effect<void>
}

export interface IngestProgress {
  /** Events read so far, those of earlier runs included. */
  readonly read: number
  /** Stored before this run began. */
  readonly resumedAt: number
  /** Stored by this run. */
  readonly accepted: number
  readonly duplicates: number
  readonly rejected: number
  /** Bytes of the source, unpacked. */
  readonly bytes: number
  readonly millis: number
}

/** Bytes of one request: large enough that its round trip does not show, small enough that progress does. */
const segmentBytes = 4 * 1024 * 1024
const lf = 10

/** Collects lines into the body of the next request. */
class Segment {
  #bytes = new Uint8Array(segmentBytes + 65_536)
  length = 0
  count = 0

  add(line: Uint8Array): void {
    const needed = this.length + line.length + 1
    if (needed > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(needed, this.#bytes.length * 2))
      larger.set(this.#bytes.subarray(0, this.length))
      this.#bytes = larger
    }
    this.#bytes.set(line, this.length)
    this.#bytes[needed - 1] = lf
    this.length = needed
    this.count++
  }

  /** What was collected; the segment is empty afterwards. The bytes are the caller's. */
  cut(): Uint8Array {
    const cut = this.#bytes.slice(0, this.length)
    this.length = 0
    this.count = 0
    return cut
  }
}

const backoff = Schedule.min([Schedule.exponential("100 millis"), Schedule.spaced("2 seconds")])

/** A node that is away, stopping or out of room may come back; a refusal for another reason stands. */
const mayPass = (error: Failure): boolean => isUnreachable(error) || (error instanceof Refusal && error.status >= 500)

const toFailure = (cause: unknown): Failure =>
  cause instanceof SourceError ? cause.failure : failure("E_INPUT", "input", `The input broke off: ${describe(cause)}.`)

/** Fails with the last refusal when the node stays away for longer than `patience`. */
export const ingest = Effect.fnUntraced(function*(
  client: Client["Service"],
  source: AsyncIterable<Uint8Array>,
  options: IngestOptions
): Effect.fn.Return<IngestProgress, Failure> {
  const started = yield* Clock.currentTimeMillis
  const decoder = new JsonLines.JsonLines({ maxLineBytes: options.maxEventBytes })
  const segment = new Segment()
  const query: Query = { channel: options.channel, key: options.key, producer: options.producer }

  const patiently = <A>(call: Effect.Effect<A, Failure>): Effect.Effect<A, Failure> =>
    call.pipe(
      Effect.tapError((error) => mayPass(error) ? options.onWaiting(error) : Effect.void),
      Effect.retry({ schedule: Schedule.upTo(backoff, { duration: options.patience }), while: mayPass })
    )

  const resumedAt = yield* patiently(client.lastSequence(options.producer))
  let read = 0
  let bytes = 0
  let accepted = 0
  let duplicates = 0
  let rejected = 0

  const progress = Effect.map(Clock.currentTimeMillis, (now): IngestProgress => ({
    read,
    resumedAt,
    accepted,
    duplicates,
    rejected,
    bytes,
    millis: now - started
  }))

  const send = Effect.suspend(() => {
    if (segment.count === 0) return Effect.void
    const sequence = read - segment.count + 1
    // The same events under the same numbers, however often: the node keeps each once.
    return patiently(client.append(segment.cut(), { ...query, sequence: String(sequence) })).pipe(
      Effect.andThen((summary) => {
        accepted += summary.accepted
        duplicates += summary.duplicates
        return Effect.flatMap(progress, options.onProgress)
      })
    )
  })

  const take = Effect.fnUntraced(function*(batch: JsonLines.LineBatch) {
    rejected += batch.rejectedCount
    for (const line of batch.rejected) yield* options.onRejected(line)
    const known = Math.max(0, Math.min(batch.count, resumedAt - read))
    read += known
    for (let i = known; i < batch.count; i++) {
      segment.add(batch.bytes.subarray(batch.starts[i]!, batch.ends[i]!))
      read++
    }
    if (segment.length >= segmentBytes) yield* send
  })

  const chunks = source[Symbol.asyncIterator]()
  while (true) {
    const next = yield* Effect.tryPromise({ try: () => chunks.next(), catch: toFailure })
    if (next.done === true) break
    bytes += next.value.length
    yield* take(decoder.push(next.value))
  }
  yield* take(decoder.end())
  yield* send
  return yield* progress
})
