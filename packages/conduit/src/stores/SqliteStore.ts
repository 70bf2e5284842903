/**
 * A store in one SQLite file, through Node's own `node:sqlite` in a thread of its own. Each write is one transaction,
 * synced to disk (WAL, `synchronous = FULL`).
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { Worker } from "node:worker_threads"
import { type ConduitStore, type Remembered, StoreError } from "../ConduitStore.ts"
import * as StoreCodec from "../internal/StoreCodec.ts"
import type { Request } from "./SqliteWorker.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface SqliteStoreOptions {
  /** Path of the database file; it holds keys, so keep it private. */
  readonly path: string
}

type Ask<R extends Request = Request> = R extends Request ? Omit<R, "n"> : never
interface Waiting {
  readonly operation: StoreError["operation"]
  readonly resume: (outcome: Effect.Effect<unknown, StoreError>) => void
}

/**
 * Opens the database; closing the scope closes it.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(
  options: SqliteStoreOptions
): Effect.fn.Return<ConduitStore, StoreError, Scope.Scope> {
  const waiting = new Map<number, Waiting>()
  let last = 0
  let broken: unknown
  const worker = yield* Effect.acquireRelease(
    Effect.sync(() => {
      // Sources run as they are in development, and as JavaScript when published.
      const file = import.meta.url.endsWith(".ts") ? "./SqliteWorker.ts" : "./SqliteWorker.js"
      return new Worker(new URL(file, import.meta.url), { workerData: { path: options.path } })
    }),
    (worker) => Effect.promise(() => worker.terminate())
  )
  worker.on(
    "message",
    ({ error, n, value }: { readonly n: number; readonly value?: unknown; readonly error?: string }) => {
      const ask = waiting.get(n)
      waiting.delete(n)
      ask?.resume(
        error === undefined
          ? Effect.succeed(value)
          : Effect.fail(new StoreError({ operation: ask.operation, cause: error }))
      )
    }
  )
  const fail = (cause: unknown) => {
    broken ??= cause
    for (const { operation, resume } of waiting.values()) resume(Effect.fail(new StoreError({ operation, cause })))
    waiting.clear()
  }
  worker.on("error", fail)
  worker.on("exit", () => fail(new Error("the database thread has ended")))
  const ask = (operation: StoreError["operation"], request: Ask): Effect.Effect<any, StoreError> =>
    Effect.callback((resume) => {
      if (broken !== undefined) return resume(Effect.fail(new StoreError({ operation, cause: broken })))
      waiting.set(++last, { operation, resume })
      worker.postMessage({ ...request, n: last }, [])
    })
  const list: Effect.Effect<ReadonlyArray<string>, StoreError> = ask("list", { op: "list" })
  // The first question tells whether the file could be opened at all.
  yield* Effect.mapError(list, ({ cause }) => new StoreError({ operation: "open", cause }))
  // Finalizers run in reverse: the database is closed before its thread is ended.
  yield* Effect.addFinalizer(() => Effect.ignore(ask("open", { op: "close" })))
  return {
    list,
    load: (id): Effect.Effect<Remembered | undefined, StoreError> => ask("load", { op: "load", id }),
    write: (id, changes) => ask("write", { op: "write", id, changes: StoreCodec.encode(changes) }),
    remove: (id) => ask("remove", { op: "remove", id })
  }
})
