// The embedded store alone, without a bus in front: packed batches in, events out.
import { Effect } from "effect"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { make, type SqliteStoreOptions } from "../src/adapters/sqlite/SqliteStore.ts"
import type { Batch } from "../src/Batch.ts"
import type { Measured } from "./hash.ts"

export interface SqliteLoad {
  readonly events: number
  /** Events of one batch. */
  readonly batch: number
  readonly bytes: number
  readonly shards: number
  readonly synchronous?: SqliteStoreOptions["synchronous"]
}

/** One batch of events of the same size, to be sent again under another sequence number. */
const packed = (count: number, bytes: number): Omit<Batch, "shard" | "sequenceStart"> => ({
  nonce: 1n,
  count,
  byteLength: count * bytes,
  channels: [""],
  marks: [],
  segments: [{
    bytes: new Uint8Array(count * bytes).fill(0x61),
    start: 0,
    ends: Uint32Array.from({ length: count }, (_, i) => (i + 1) * bytes),
    count,
    baseMillis: 1_767_225_600_000,
    deltas: Float64Array.from({ length: count }, (_, i) => i * 1000),
    channels: undefined
  }]
})

/** Events per second until durable, CPU of the main thread for each, and events per second read back in pages. */
export const sqlite = (load: SqliteLoad): Promise<ReadonlyArray<Measured>> =>
  Effect.gen(function*() {
    const directory = yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(process.env["BENCH_DIR"] ?? tmpdir(), "perigee-bench-"))),
      (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
    )
    const store = yield* make({ path: join(directory, "events.db"), synchronous: load.synchronous })
    const template = packed(load.batch, load.bytes)
    const batches = Math.ceil(load.events / load.batch / load.shards)
    const total = batches * load.batch * load.shards
    const writeFrom = process.hrtime.bigint()
    const cpuFrom = process.threadCpuUsage()
    yield* Effect.forEach(Array.from({ length: load.shards }, (_, shard) => shard), (shard) =>
      Effect.gen(function*() {
        for (let i = 0; i < batches; i++) yield* store.append({ ...template, shard, sequenceStart: i * load.batch })
      }), { concurrency: "unbounded" })
    const cpu = process.threadCpuUsage(cpuFrom)
    const written = Number(process.hrtime.bigint() - writeFrom) / 1e9

    const readFrom = process.hrtime.bigint()
    let read = 0
    let bytes = 0
    for (let shard = 0; shard < load.shards; shard++) {
      for (let after: string | null = null, more = true; more;) {
        const page: {
          events: ReadonlyArray<{ raw: Uint8Array; insertionTs: bigint }>
          nextId: string | null
          hasMore: boolean
        } = yield* store.poll(shard, after, 10_000)
        for (const event of page.events) bytes += event.raw.length
        read += page.events.length
        after = page.nextId
        more = page.hasMore
      }
    }
    const readSeconds = Number(process.hrtime.bigint() - readFrom) / 1e9
    if (read !== total || bytes !== total * load.bytes) return yield* Effect.die(new Error(`read ${read} of ${total}`))
    const name = `${load.bytes} B, batches of ${load.batch}, ${load.shards} shard(s), ${load.synchronous ?? "fsync"}`
    return [
      { work: `SQLite append, ${name}`, unit: "events/s", value: total / written },
      { work: `SQLite append, main thread, ${name}`, unit: "µs/event", value: (cpu.user + cpu.system) / total },
      { work: `SQLite poll 10,000, ${name}`, unit: "events/s", value: read / readSeconds }
    ]
  }).pipe(Effect.scoped, Effect.runPromise)
