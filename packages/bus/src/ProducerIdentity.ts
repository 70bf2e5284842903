/**
 * Who a bus is to its store: a nonce, and the sequence numbers it has not used yet.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as FileLock from "./FileLock.ts"
import { InvalidMarks, readMarks, writeMarks } from "./internal/MarksFile.ts"
import { createNonce, freshNonce, InvalidNonce, loadNonce, readNonce } from "./internal/NonceFile.ts"

/**
 * Why an identity could not be loaded, or sequence numbers not reserved.
 *
 * - `Held`: another owner lives: process `pid`, since `since` (milliseconds since the Unix epoch).
 * - `Invalid`: the file holds something else, or belongs to another nonce.
 * - `Incomplete`: there is a nonce, but no marks: which sequence numbers it used is not known.
 * - `Exhausted`: no sequence number is left in a shard.
 * - `Io`: the file system refused.
 *
 * @category errors
 * @since 0.1.0
 */
export type IdentityErrorReason =
  | { readonly _tag: "Held"; readonly pid: number | null; readonly since: number | null }
  | { readonly _tag: "Invalid"; readonly detail: string }
  | { readonly _tag: "Incomplete"; readonly nonceFile: string }
  | { readonly _tag: "Exhausted"; readonly shard: number }
  | { readonly _tag: "Io"; readonly detail: string; readonly cause: unknown }

/** @category errors @since 0.1.0 */
export class IdentityError extends Data.TaggedError("IdentityError")<{
  /** The file that is the matter. */
  readonly path: string
  readonly reason: IdentityErrorReason
}> {
  override get message(): string {
    const { path, reason } = this
    switch (reason._tag) {
      case "Held":
        return `the producer identity ${path} is in use${FileLock.owner(reason)}`
      case "Invalid":
        return `${path}: invalid data: ${reason.detail}`
      case "Incomplete":
        return `${path} is missing beside ${reason.nonceFile}: restore it, or remove the nonce file too to start as a new producer`
      case "Exhausted":
        return `${path}: shard ${reason.shard} has no sequence number left`
      case "Io":
        return `${path}: ${reason.detail}`
    }
  }
}

/**
 * The identity of one bus. No two of its batches share a shard and a sequence number, across restarts too when it is kept in a file.
 *
 * @category models
 * @since 0.1.0
 */
export interface ProducerIdentity {
  /** 1 … 2^64 − 1. */
  readonly nonce: bigint
  /** First sequence number to use in a shard. */
  readonly start: (shard: number) => number
  /** Makes sequence numbers below `upTo` usable in a shard; returns at once when they are. */
  readonly reserve: (shard: number, upTo: number) => Effect.Effect<void, IdentityError>
  /** Gives back what was reserved and not used: exactly the next sequence number of each shard, at a clean close. */
  readonly release: (next: ReadonlyMap<number, number>) => Effect.Effect<void>
}

/**
 * A random identity that nobody had before, for the life of the bus.
 *
 * @category constructors
 * @since 0.1.0
 */
export const ephemeral: Effect.Effect<ProducerIdentity> = Effect.sync(() => ({
  nonce: freshNonce(),
  start: () => 0,
  reserve: () => Effect.void,
  release: () => Effect.void
}))

/** @category models @since 0.1.0 */
export interface FileOptions {
  /**
   * How many sequence numbers are reserved in a shard at a time, each with one forced write; a crash skips at most as many. Default
   * 1,000,000.
   */
  readonly blockSize?: number | undefined
}

const attempt = <A>(path: string, run: () => Promise<A>): Effect.Effect<A, IdentityError> =>
  Effect.tryPromise({
    try: run,
    catch: (cause) =>
      new IdentityError({
        path,
        reason: cause instanceof InvalidNonce || cause instanceof InvalidMarks
          ? { _tag: "Invalid", detail: cause.message }
          : { _tag: "Io", detail: cause instanceof Error ? cause.message : String(cause), cause }
      })
  })

const lock = (path: string): Effect.Effect<void, IdentityError, Scope.Scope> =>
  Effect.mapError(FileLock.acquire(`${path}.lock`), (error) =>
    new IdentityError({
      path,
      reason: error.reason._tag === "Held" ? error.reason : { _tag: "Io", detail: error.message, cause: error }
    }))

/** The nonce and its marks. Marks come first, so that a nonce that is there had them. */
const load = (path: string, marksPath: string) =>
  Effect.gen(function*() {
    const nonce = yield* attempt(path, () => readNonce(path))
    if (nonce === undefined) {
      const fresh = freshNonce()
      yield* attempt(marksPath, () => writeMarks(marksPath, { nonce: fresh, next: new Map() }))
      return { nonce: yield* attempt(path, () => createNonce(path, fresh)), next: new Map<number, number>() }
    }
    const marks = yield* attempt(marksPath, () => readMarks(marksPath))
    if (marks === undefined) {
      return yield* new IdentityError({ path: marksPath, reason: { _tag: "Incomplete", nonceFile: path } })
    }
    if (marks.nonce !== nonce) {
      return yield* new IdentityError({
        path: marksPath,
        reason: { _tag: "Invalid", detail: `its marks belong to another nonce than that of ${path}` }
      })
    }
    return { nonce, next: new Map(marks.next) }
  })

/**
 * An identity kept in files, for the life of the scope: the nonce at `path` (nine bytes: version 1, then u64 little endian), marks of
 * used sequence numbers at `path.marks`, and `path.lock` against a second live owner. Their directory must exist.
 *
 * Sequence numbers are reserved in blocks before they are used, so that a restart after a crash reuses none; after a clean close it goes
 * on where it was.
 *
 * @category constructors
 * @since 0.1.0
 */
export const file = Effect.fnUntraced(function*(path: string, options: FileOptions = {}) {
  const blockSize = Math.max(1, Math.floor(options.blockSize ?? 1_000_000))
  const marksPath = `${path}.marks`
  yield* lock(path)
  const { next: reserved, nonce } = yield* load(path, marksPath)
  const started = new Map(reserved)
  const writing = yield* Semaphore.make(1)

  const write = (next: ReadonlyMap<number, number>) =>
    Effect.tap(attempt(marksPath, () => writeMarks(marksPath, { nonce, next })), () =>
      Effect.sync(() => {
        for (const [shard, sequence] of next) reserved.set(shard, sequence)
      }))

  const isReserved = (shard: number, upTo: number): boolean => upTo <= (reserved.get(shard) ?? 0)

  // Shards that wait for the file while it is written are written together.
  const wanted = new Map<number, number>()
  const reserveMore = (shard: number, upTo: number) =>
    Effect.suspend(() => {
      const block = Math.min(upTo - 1 + blockSize, Number.MAX_SAFE_INTEGER)
      const want = () => wanted.set(shard, Math.max(wanted.get(shard) ?? 0, block))
      want()
      return writing.withPermit(Effect.suspend(() => {
        if (isReserved(shard, upTo)) return Effect.void
        // Whoever wrote last took this along, and failed.
        want()
        const next = new Map([...reserved, ...wanted])
        wanted.clear()
        // An interrupted write may still land: it only reserves more.
        return write(next)
      }))
    })

  const identity: ProducerIdentity = {
    nonce,
    start: (shard) => started.get(shard) ?? 0,
    reserve: (shard, upTo) =>
      Effect.suspend(() => {
        if (isReserved(shard, upTo)) return Effect.void
        if (!Number.isSafeInteger(upTo)) {
          return Effect.fail(new IdentityError({ path: marksPath, reason: { _tag: "Exhausted", shard } }))
        }
        return reserveMore(shard, upTo)
      }),
    release: (next) =>
      writing.withPermit(Effect.suspend(() => write(new Map([...reserved, ...next])))).pipe(
        // What stays reserved is skipped: a gap, and no harm.
        Effect.catch((error) => Effect.logWarning("sequence numbers stay reserved", error.message)),
        Effect.uninterruptible
      )
  }
  return identity
})

/**
 * The nonce in a file of its own (nine bytes), which is created when there is none, without marks and without a lock. For programs that
 * number their events themselves; a bus wants {@link file}.
 *
 * @category constructors
 * @since 0.1.0
 */
export const nonce = (path: string): Effect.Effect<bigint, IdentityError> => attempt(path, () => loadNonce(path))
