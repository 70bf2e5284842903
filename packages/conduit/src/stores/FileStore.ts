/**
 * A store of files: one log a conduit, appended and synced to disk, compacted when most of it is past.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FileSystem from "effect/FileSystem"
import * as Scope from "effect/Scope"
import { type ConduitStore, type Remembered, StoreError } from "../ConduitStore.ts"
import * as ChangeLog from "../internal/ChangeLog.ts"
import { type AppendFile, fromFileSystem as diskOf, type LogDisk } from "../internal/LogDisk.ts"
import { nodeDisk } from "../internal/NodeDisk.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface FileStoreOptions {
  /** Folder of the logs; made when missing, readable by its owner only, because it holds keys. */
  readonly folder: string
  /** Bytes of a log beyond which it is compacted, if that halves it: 1 MiB unless given. */
  readonly compactBytes?: number | undefined
}

interface OpenLog {
  readonly file: AppendFile
  readonly scope: Scope.Closeable
  bytes: number
  /** Size after the last attempt to compact. */
  base: number
}

const suffix = ".log"

const over = Effect.fnUntraced(function*(
  disk: LogDisk,
  options: FileStoreOptions
): Effect.fn.Return<ConduitStore, StoreError, Scope.Scope> {
  const logs = new Map<string, OpenLog>()
  /** Sizes of the logs that this process has written from their beginning. */
  const written = new Map<string, number>()
  const compactBytes = options.compactBytes ?? 1_048_576
  const as = (operation: StoreError["operation"]) =>
    Effect.mapError((cause: unknown) => new StoreError({ operation, cause }))
  const pathOf = (id: string) => `${options.folder}/${encodeURIComponent(id)}${suffix}`
  const close = (id: string) =>
    Effect.suspend(() => {
      const log = logs.get(id)
      logs.delete(id)
      written.delete(id)
      return log === undefined ? Effect.void : Scope.close(log.scope, Exit.void)
    })
  const remembered = (id: string) =>
    Effect.flatMap(disk.read(pathOf(id)), (bytes) =>
      bytes === undefined
        ? Effect.succeed(undefined)
        : Effect.try({ try: () => ChangeLog.read(bytes), catch: (cause) => cause }))
  /**
   * Writes a log anew with what it remembers, once a process and after each failure. That drops a torn tail, and brings to
   * the disk what a sync that failed may have left in the page cache only: nobody may be told of it before.
   */
  const adopt = (id: string, state: Remembered | undefined) =>
    Effect.gen(function*() {
      const whole = ChangeLog.compacted(state)
      yield* disk.replace(pathOf(id), whole)
      written.set(id, whole.length)
      return whole.length
    })
  const open = (id: string) =>
    Effect.gen(function*() {
      const existing = logs.get(id)
      if (existing !== undefined) return existing
      const bytes = written.get(id) ?? (yield* adopt(id, yield* remembered(id)))
      const scope = yield* Scope.make()
      const file = yield* disk.open(pathOf(id)).pipe(Scope.provide(scope))
      const log: OpenLog = { file, scope, bytes, base: bytes }
      logs.set(id, log)
      return log
    })
  const compact = (id: string, log: OpenLog) =>
    Effect.gen(function*() {
      log.base = log.bytes
      if (ChangeLog.compacted(yield* remembered(id)).length <= log.bytes / 2) {
        yield* close(id)
        yield* open(id)
      }
    })
  yield* disk.makeFolder(options.folder).pipe(as("open"))
  yield* Effect.addFinalizer(() => Effect.forEach([...logs.keys()], close, { discard: true }))
  return {
    list: disk.list(options.folder).pipe(
      Effect.map((names) =>
        names.filter((name) => name.endsWith(suffix)).map((name) => decodeURIComponent(name.slice(0, -suffix.length)))
      ),
      as("list")
    ),
    load: (id) =>
      Effect.gen(function*() {
        const state = yield* remembered(id)
        if (state !== undefined && !written.has(id)) yield* adopt(id, state)
        return state
      }).pipe(as("load"), Effect.uninterruptible),
    write: (id, changes) =>
      Effect.gen(function*() {
        const log = yield* open(id)
        const bytes = ChangeLog.record(changes)
        yield* log.file.append(bytes)
        log.bytes += bytes.length
        // The changes are on the disk already: a compaction that fails is tried again by the next write, or fails it.
        if (log.bytes > compactBytes && log.bytes > 2 * log.base) {
          yield* compact(id, log).pipe(Effect.catch(() => close(id)))
        }
      }).pipe(
        // What a failed append left behind is unknown: the next write must not build on it.
        Effect.tapError(() => close(id)),
        as("write"),
        Effect.uninterruptible
      ),
    remove: (id) => Effect.andThen(close(id), disk.remove(pathOf(id))).pipe(as("remove"), Effect.uninterruptible)
  }
})

/**
 * Opens the folder on Node's file system; closing the scope closes the logs. Each write is one `write` and one
 * `fdatasync`.
 *
 * Fails with `StoreError` when the folder cannot be made.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: FileStoreOptions): Effect.Effect<ConduitStore, StoreError, Scope.Scope> =>
  over(nodeDisk, options)

/**
 * Like `make`, over whichever file system the context has: another runtime's, or a simulated one.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromFileSystem = (
  options: FileStoreOptions
): Effect.Effect<ConduitStore, StoreError, FileSystem.FileSystem | Scope.Scope> =>
  Effect.flatMap(FileSystem.FileSystem, (fs) => over(diskOf(fs), options))
