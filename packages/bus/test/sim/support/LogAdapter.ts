// A store of the bus over an append-only log in any `FileSystem`, so that a simulated disk can carry it: one record a batch,
// forced before it is acknowledged. It stands for the SQLite store, which brings its own I/O and cannot run on a simulated
// disk: both obey the same laws, this one in `laws.test.ts`, SQLite in `../conformance`, where power and processes are real.
import { LogStore } from "@perigee/sim"
import { Effect, Exit, FileSystem, Layer, Schedule, Scope, Semaphore } from "effect"
import { Adapter, type AdapterError, adapterError, type ShardPage } from "../../../src/Adapter.ts"
import { type Batch, dedupId, forEach, type ProducerMark } from "../../../src/Batch.ts"
import type { StoredEvent } from "../../../src/Event.ts"

/** What a wrong store does. */
export type Defect = "acknowledges before the disk has it" | "stores a retried batch again" | "forgets producer marks"

interface StoredBatch {
  readonly nonce: string
  readonly shard: number
  readonly start: number
  readonly marks: ReadonlyArray<ProducerMark>
  readonly events: ReadonlyArray<{ readonly raw: string; readonly ts: string; readonly channel: string | null }>
}

const utf8 = new TextEncoder()
const decoder = new TextDecoder()
// JSON texts hold any bytes as characters of the same number.
const toText = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1")
const fromText = (text: string): Uint8Array<ArrayBuffer> => new Uint8Array(Buffer.from(text, "latin1"))

const encode = (batch: Batch): StoredBatch => {
  const events: Array<StoredBatch["events"][number]> = []
  forEach(batch, (payload, ts, channel) => {
    events.push({ raw: toText(payload), ts: ts.toString(), channel })
  })
  return {
    nonce: batch.nonce.toString(),
    shard: batch.shard,
    start: batch.sequenceStart,
    marks: batch.marks,
    events
  }
}

/** What is in the store, as its readers see it. */
class Index {
  readonly shards = new Map<number, Array<StoredEvent>>()
  readonly known = new Set<string>()
  readonly marks = new Map<string, ProducerMark>()
  lastTs = 0n

  identity(batch: { readonly nonce: string; readonly shard: number; readonly start: number }): string {
    return `${batch.nonce}/${batch.shard}/${batch.start}`
  }

  add(batch: StoredBatch, defect: Defect | undefined): void {
    if (batch.events.length > 0) {
      const identity = this.identity(batch)
      if (this.known.has(identity) && defect !== "stores a retried batch again") return
      this.known.add(identity)
    }
    const events = this.shards.get(batch.shard) ?? []
    batch.events.forEach(({ channel, raw, ts }, index) => {
      const insertionTs = BigInt(ts)
      if (insertionTs > this.lastTs) this.lastTs = insertionTs
      events.push({
        id: String(events.length + 1),
        shard: batch.shard,
        raw: fromText(raw),
        insertionTs,
        dedupId: dedupId(BigInt(batch.nonce), batch.shard, batch.start, index),
        channel
      })
    })
    if (events.length > 0) this.shards.set(batch.shard, events)
    if (defect === "forgets producer marks") return
    for (const mark of batch.marks) {
      const key = `${mark.producer}/${mark.shards}/${mark.shard}`
      if (mark.sequence > (this.marks.get(key)?.sequence ?? 0)) this.marks.set(key, mark)
    }
  }

  /** Undefined when `after` was never handed out. */
  page(shard: number, after: string | null, limit: number): ShardPage | undefined {
    const events = this.shards.get(shard) ?? []
    const from = after === null ? 0 : /^[1-9]\d{0,8}$/.test(after) ? Number(after) : Infinity
    if (from > events.length) return undefined
    const taken = events.slice(from, from + limit)
    return { events: taken, nextId: taken.at(-1)?.id ?? null, hasMore: from + limit < events.length }
  }
}

const name = "log"
const failed = (cause: unknown) => adapterError(name, "Transient", String(cause), cause)

/** Opens the log, reads it, and serves the port. A failed write closes the log; the next one opens and reads it again. */
export const make = (path: string, defect?: Defect) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const lock = yield* Semaphore.make(1)
    let index = new Index()
    let current: { readonly log: LogStore.LogStore; readonly scope: Scope.Closeable } | undefined

    const open = Effect.gen(function*() {
      if (current !== undefined) return current
      const scope = yield* Scope.make()
      const read = Effect.gen(function*() {
        const log = yield* LogStore.open(path)
        const fresh = new Index()
        for (const record of yield* log.read(0, yield* log.length)) {
          fresh.add(JSON.parse(decoder.decode(record)) as StoredBatch, defect)
        }
        index = fresh
        return { log, scope }
      })
      current = yield* read.pipe(
        Effect.provideService(FileSystem.FileSystem, fs),
        Scope.provide(scope),
        Effect.onError(() => Scope.close(scope, Exit.void))
      )
      return current
    })
    const close = Effect.suspend(() => {
      const scope = current?.scope
      current = undefined
      return scope === undefined ? Effect.void : Scope.close(scope, Exit.void)
    })
    // A disk that is full or broken for now holds up the start, as a supervisor would.
    yield* Effect.retry(open, Schedule.spaced("100 millis"))
    let closed = false
    yield* Effect.addFinalizer(() =>
      Effect.suspend(() => {
        closed = true
        return lock.withPermit(close)
      })
    )

    const whileOpen = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E | AdapterError> =>
      Effect.suspend((): Effect.Effect<A, E | AdapterError> =>
        closed ? Effect.fail(adapterError(name, "Shutdown", "the store is closed")) : effect
      )
    const write = (stored: StoredBatch) =>
      lock.withPermit(
        whileOpen(Effect.gen(function*() {
          const { log } = yield* open
          const known = stored.events.length > 0 && index.known.has(index.identity(stored))
          if (known && defect !== "stores a retried batch again") return
          yield* log.append([utf8.encode(JSON.stringify(stored))])
          if (defect !== "acknowledges before the disk has it") yield* log.sync
          index.add(stored, defect)
        })).pipe(
          Effect.tapError(() => close),
          Effect.mapError((cause) => cause._tag === "AdapterError" ? cause : failed(cause)),
          // What was begun is ended, so that the index never lags behind the file.
          Effect.uninterruptible
        )
      )
    return Adapter.of({
      name,
      durability: "fsync",
      storeId: "simulated",
      lastInsertionTs: index.lastTs,
      append: (batch) => Effect.suspend(() => write(encode(batch))),
      saveMarks: (marks) => write({ nonce: "0", shard: 0, start: 0, marks, events: [] }),
      flush: whileOpen(Effect.void),
      poll: (shard, after, limit) =>
        whileOpen(Effect.suspend(() => {
          const page = index.page(shard, after, limit)
          return page === undefined
            ? Effect.fail(adapterError(name, "InvalidPosition", `shard ${shard} never handed out ${after}`))
            : Effect.succeed(page)
        })),
      tails: whileOpen(Effect.sync(() => {
        const tails = new Map<number, string>()
        for (const [shard, events] of index.shards) if (events.length > 0) tails.set(shard, events.at(-1)!.id)
        return tails
      })),
      // The truth is in the file: after a failed write it has to be read again first.
      producerMarks: (producer) =>
        lock.withPermit(whileOpen(Effect.mapError(open, failed))).pipe(
          Effect.map(() => [...index.marks.values()].filter((mark) => mark.producer === producer))
        ),
      isHealthy: Effect.sync(() => !closed)
    })
  })

/** The adapter over a log file of the host that it is built on. */
export const layer = (path = "/events.log", defect?: Defect): Layer.Layer<Adapter, never, FileSystem.FileSystem> =>
  Layer.effect(Adapter, Effect.orDie(make(path, defect)))
