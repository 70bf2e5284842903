/**
 * The embedded store: one SQLite file, written and read by two worker threads.
 *
 * @since 0.1.0
 */
import { dirname, resolve } from "node:path"
import { Worker } from "node:worker_threads"
import * as Clock from "effect/Clock"
import * as Config from "effect/Config"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { Adapter, type AdapterError, adapterError, type ShardPage } from "../../Adapter.ts"
import type { Batch, ProducerMark } from "../../Batch.ts"
import type { StoredEvent } from "../../Event.ts"
import * as FileLock from "../../FileLock.ts"
import { emptyPage, lastTimestamp, positionError, positionOf } from "../../internal/Positions.ts"
import { Block, encode } from "../../internal/StoredBlock.ts"
import { BlockCache } from "./internal/BlockCache.ts"
import type {
  Opened,
  OpenFailure,
  ReadRequest,
  Retention,
  StoredBytes,
  WorkerOptions,
  WriteRequest
} from "./internal/protocol.ts"
import { WorkerLink } from "./internal/WorkerLink.ts"
import { SqliteStoreError } from "./SqliteStoreError.ts"

export * from "./SqliteStoreError.ts"

/**
 * What a store keeps. Whole blocks go, the oldest of all shards first; the newest block always stays. Freed space is used again, the file
 * does not shrink.
 *
 * @category models
 * @since 0.1.0
 */
export interface RetentionOptions {
  /** At least so many of the newest events are kept, and at most one block more. */
  readonly maxEvents?: number | undefined
  /** At most so many bytes of blocks: payloads and about ten bytes an event. */
  readonly maxBytes?: number | undefined
  /** Events older than this may go. Looked at after every commit and once a minute. */
  readonly maxAge?: Duration.Input | undefined
}

/** @category models @since 0.1.0 */
export interface SqliteStoreOptions {
  /** The database file; `-wal` and `-shm` beside it are SQLite's, `.lock` keeps a second owner out. Its directory must exist. */
  readonly path: string
  /**
   * What is durable when `append` succeeds: `fsync` (default) has forced it to the device, `os` has handed it to the operating system,
   * which is faster and survives a crash of the process, but not a power cut.
   */
  readonly synchronous?: "fsync" | "os" | undefined
  /** Default: everything is kept. */
  readonly retention?: RetentionOptions | undefined
  /** How long closing waits for each worker before it is stopped. Default 10 seconds. */
  readonly closeTimeout?: Duration.Input | undefined
  /** How long a commit waits for another program that has the file locked, before it fails as `Transient`. Default 5 seconds. */
  readonly busyTimeout?: Duration.Input | undefined
}

const adapter = "sqlite"
/** Larger batches become several blocks, so that reading a few events never moves more than this. */
const blockBytes = 262_144
const cacheBytes = 16_777_216
const mostShards = 65_535

// Beside the sources the workers are sources too, beside the build they are built.
const script = (name: string): URL =>
  new URL(`./${name}.${import.meta.url.endsWith(".ts") ? "ts" : "js"}`, import.meta.url)

const isLimit = (value: number): boolean => Number.isSafeInteger(value) && value >= 1

const workerOptions = (options: SqliteStoreOptions): Effect.Effect<WorkerOptions, SqliteStoreError> =>
  Effect.suspend(() => {
    const path = resolve(options.path)
    const { maxAge, maxBytes = null, maxEvents = null } = options.retention ?? {}
    const invalid = (option: string, problem: string) =>
      Effect.fail(new SqliteStoreError({ path, reason: { _tag: "InvalidOptions", option, problem } }))
    if (options.path === "" || options.path === ":memory:") {
      return invalid("path", "must name a file; for memory use MemoryStore")
    }
    if (maxEvents !== null && !isLimit(maxEvents)) {
      return invalid("retention.maxEvents", `must be a whole number from 1, not ${maxEvents}`)
    }
    if (maxBytes !== null && !isLimit(maxBytes)) {
      return invalid("retention.maxBytes", `must be a whole number from 1, not ${maxBytes}`)
    }
    const maxAgeMillis = maxAge === undefined ? null : Duration.toMillis(Duration.fromInputUnsafe(maxAge))
    if (maxAgeMillis !== null && !(maxAgeMillis > 0 && Number.isFinite(maxAgeMillis))) {
      return invalid("retention.maxAge", `must be a time above 0, not ${maxAgeMillis} ms`)
    }
    const retention: Retention = { maxEvents, maxBytes, maxAgeMillis }
    return Effect.succeed({
      path,
      retention,
      synchronous: options.synchronous ?? "fsync",
      busyTimeoutMillis: Duration.toMillis(Duration.fromInputUnsafe(options.busyTimeout ?? "5 seconds"))
    })
  })

const lock = (path: string): Effect.Effect<void, SqliteStoreError, Scope.Scope> =>
  Effect.mapError(FileLock.acquire(`${path}.lock`), ({ message, reason }) => {
    switch (reason._tag) {
      case "Held":
        return new SqliteStoreError({ path, reason: { ...reason, _tag: "Locked" } })
      case "NoDirectory":
        return new SqliteStoreError({ path, reason: { _tag: "NoDirectory", directory: dirname(path) } })
      case "ReadOnly":
        return new SqliteStoreError({ path, reason: { _tag: "ReadOnly", detail: message } })
      case "Full":
        return new SqliteStoreError({ path, reason: { _tag: "Full", detail: message } })
      case "Io":
        return new SqliteStoreError({ path, reason: { _tag: "Io", detail: reason.message } })
    }
  })

const openError = (path: string) => (failure: OpenFailure): SqliteStoreError =>
  // Our own lock is held, so that only a foreign program can keep the file busy.
  new SqliteStoreError({ path, reason: failure._tag === "Busy" ? { _tag: "Locked", pid: null, since: null } : failure })

const spawn = (name: string, options: WorkerOptions): Worker =>
  // The workers need none of the process's own flags, and some of them (`--input-type`) would break them.
  new Worker(script(name), { name: `perigee-sqlite-${name}`, workerData: options, execArgv: [] })

/** Starts a worker; closing lets it finish what it has, and stops it when it does not. */
const start = <Body, Greeting = never>(name: string, options: WorkerOptions, closeTimeout: Duration.Input) =>
  Effect.acquireRelease(
    Effect.sync(() => new WorkerLink<Body | { readonly _tag: "close" }, Greeting>(adapter, spawn(name, options))),
    (link) =>
      link.ask({ _tag: "close" }).pipe(
        Effect.andThen(link.ended),
        Effect.timeoutOption(closeTimeout),
        Effect.ignore,
        Effect.ensuring(Effect.sync(() => link.terminate()))
      )
  )

/**
 * Opens, or creates, a store for the life of the scope.
 *
 * Closing lets running commits finish, empties the log into the file and ends the workers.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(options: SqliteStoreOptions) {
  const settings = yield* workerOptions(options)
  const { path, retention, synchronous } = settings
  const closeTimeout = options.closeTimeout ?? "10 seconds"
  const clock = yield* Clock.Clock
  yield* lock(path)
  const writer = yield* start<WriteRequest, Opened>("writer", settings, closeTimeout)
  const reader = yield* start<ReadRequest>("reader", settings, closeTimeout)
  const opened = yield* Effect.mapError(writer.opened, openError(path))
  // Once the writer has made sure that there is a store.
  yield* Effect.mapError(
    reader.ask({ _tag: "open" }),
    ({ reason }) => openError(path)({ _tag: "Io", detail: reason.message })
  )

  let isClosed = false
  let isWriting = true
  yield* Effect.addFinalizer(() => Effect.sync(() => void (isClosed = true)))
  const whileOpen = <A>(effect: () => Effect.Effect<A, AdapterError>): Effect.Effect<A, AdapterError> =>
    Effect.suspend(() => isClosed ? Effect.fail(adapterError(adapter, "Shutdown", `${path} is closed`)) : effect())

  if (retention.maxAgeMillis !== null) {
    yield* Effect.sync(() => writer.tell({ _tag: "sweep", now: clock.currentTimeMillisUnsafe() })).pipe(
      Effect.repeat(Schedule.spaced(Math.min(60_000, Math.max(1000, retention.maxAgeMillis / 4)))),
      Effect.forkScoped
    )
  }

  // Positions up to here may be read: they are in the store, and their callers have been told.
  const tails = new Map(opened.tails)
  const cache = new BlockCache(cacheBytes)

  const append = (batch: Batch) =>
    whileOpen(() => {
      const { count, marks, nonce, sequenceStart, shard } = batch
      if (!(shard >= 0 && shard < mostShards)) {
        return Effect.fail(adapterError(adapter, "Fatal", `shard ${shard} is not in 0 to 65534`))
      }
      return Effect.flatMap(
        Effect.try({
          try: () => encode(batch, blockBytes),
          catch: (cause) => adapterError(adapter, "Serialization", (cause as Error).message, cause)
        }),
        (blocks) =>
          writer.ask<number>(
            {
              _tag: "append",
              shard,
              nonce,
              sequenceStart,
              count,
              marks,
              blocks,
              lastTs: lastTimestamp(batch),
              now: clock.currentTimeMillisUnsafe()
            },
            blocks.map(({ buffer }) => buffer),
            (tail) => void tails.set(shard, tail)
          )
      ).pipe(
        Effect.onExit((exit) =>
          Effect.sync(() => void (isWriting = Exit.isSuccess(exit) || (isWriting && Exit.hasInterrupts(exit))))
        ),
        Effect.asVoid
      )
    })

  const page = (events: ReadonlyArray<StoredEvent>, tail: number): ShardPage => {
    const nextId = events.at(-1)?.id ?? null
    return { events, nextId, hasMore: nextId !== null && Number(nextId) < tail }
  }

  const decodePage = (shard: number, after: number, limit: number, tail: number, stored: ReadonlyArray<StoredBytes>) =>
    Effect.try({
      try: () => {
        const events: Array<StoredEvent> = []
        let block: Block | undefined
        for (const { bytes, first } of stored) {
          block = new Block(bytes, shard, first)
          block.collect(events, after + 1, limit)
        }
        const result = page(events, tail)
        if (block !== undefined && Number(result.nextId) < block.last) cache.set(block)
        else cache.delete(shard)
        return result
      },
      catch: (cause) =>
        adapterError(adapter, "Fatal", `${path} is damaged: shard ${shard}: ${(cause as Error).message}`, cause)
    })

  const poll = (shard: number, from: string | null, limit: number): Effect.Effect<ShardPage, AdapterError> =>
    whileOpen(() => {
      const tail = tails.get(shard) ?? 0
      const after = positionOf(from, tail)
      if (after === undefined) return Effect.fail(positionError(adapter, shard, from!, tail))
      if (after === tail) return Effect.succeed(emptyPage)
      const cached = cache.get(shard, after + 1)
      if (cached !== undefined) {
        const events: Array<StoredEvent> = []
        cached.collect(events, after + 1, limit)
        return Effect.succeed(page(events, tail))
      }
      return Effect.flatMap(
        reader.ask<ReadonlyArray<StoredBytes>>({ _tag: "poll", shard, after, upTo: tail, limit }),
        (stored) => decodePage(shard, after, limit, tail, stored)
      )
    })

  return Adapter.of({
    name: adapter,
    durability: synchronous,
    storeId: opened.storeId,
    lastInsertionTs: opened.lastInsertionTs,
    append,
    poll,
    flush: whileOpen(() => synchronous === "fsync" ? Effect.void : Effect.asVoid(writer.ask({ _tag: "checkpoint" }))),
    tails: whileOpen(() => Effect.succeed(new Map(Array.from(tails, ([shard, tail]) => [shard, String(tail)])))),
    // Asked of the writer: it answers after the batches that it had before, those that nobody waits for any more too.
    producerMarks: (producer) => whileOpen(() => writer.ask<ReadonlyArray<ProducerMark>>({ _tag: "marks", producer })),
    saveMarks: (marks) => whileOpen(() => Effect.asVoid(writer.ask({ _tag: "saveMarks", marks }))),
    isHealthy: Effect.sync(() => !isClosed && isWriting && writer.isAlive && reader.isAlive)
  })
})

/**
 * The store as an {@link Adapter}.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: SqliteStoreOptions): Layer.Layer<Adapter, SqliteStoreError> =>
  Layer.effect(Adapter, make(options))

/**
 * The store with its options from the configuration.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  options: Config.Wrap<SqliteStoreOptions>
): Layer.Layer<Adapter, SqliteStoreError | Config.ConfigError> =>
  Layer.effect(Adapter, Effect.flatMap(Config.unwrap(options), make))
