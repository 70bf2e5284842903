/**
 * A lock on a path that one process holds at a time and that dies with it.
 *
 * @since 0.1.0
 */
import { randomUUID } from "node:crypto"
import { existsSync } from "node:fs"
import { dirname } from "node:path"
import type { DatabaseSync } from "node:sqlite"
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { describe, resultCode } from "./internal/Sqlite.ts"

/**
 * Why a lock was not taken.
 *
 * - `Held`: another owner lives: process `pid`, since `since` (milliseconds since the Unix epoch). Both null when it has not said yet.
 * - `NoDirectory`: the lock's directory does not exist.
 * - `ReadOnly`: the lock's file cannot be written.
 * - `Full`: no room left on the device.
 * - `Io`: anything else.
 *
 * @category errors
 * @since 0.1.0
 */
export type FileLockErrorReason =
  | { readonly _tag: "Held"; readonly pid: number | null; readonly since: number | null }
  | { readonly _tag: "NoDirectory"; readonly directory: string }
  | { readonly _tag: "ReadOnly" }
  | { readonly _tag: "Full" }
  | { readonly _tag: "Io"; readonly message: string; readonly cause: unknown }

/** @category errors @since 0.1.0 */
export class FileLockError extends Data.TaggedError("FileLockError")<{
  readonly path: string
  readonly reason: FileLockErrorReason
}> {
  override get message(): string {
    switch (this.reason._tag) {
      case "Held":
        return `${this.path} is held by another process${owner(this.reason)}`
      case "NoDirectory":
        return `${this.path}: the directory ${this.reason.directory} does not exist`
      case "ReadOnly":
        return `${this.path} cannot be written`
      case "Full":
        return `${this.path}: no room left on the device`
      case "Io":
        return `${this.path}: ${this.reason.message}`
    }
  }
}

/**
 * ` (pid 4121, since 2026-01-31T12:04:00.000Z)`, or nothing when that is not known.
 *
 * @category formatting
 * @since 0.1.0
 */
export const owner = ({ pid, since }: { readonly pid: number | null; readonly since: number | null }): string =>
  pid === null || since === null ? "" : ` (pid ${pid}, since ${new Date(since).toISOString()})`

const failure = (path: string, cause: unknown): FileLockError => {
  const directory = dirname(path)
  if (!existsSync(directory)) return new FileLockError({ path, reason: { _tag: "NoDirectory", directory } })
  switch (resultCode(cause)) {
    case 8: // READONLY
    case 14: // CANTOPEN: it does not exist and could not be made
      return new FileLockError({ path, reason: { _tag: "ReadOnly" } })
    case 13: // FULL
      return new FileLockError({ path, reason: { _tag: "Full" } })
    default:
      return new FileLockError({ path, reason: { _tag: "Io", message: describe(cause), cause } })
  }
}

interface Sqlite {
  readonly DatabaseSync: typeof DatabaseSync
}

/**
 * Holds an open write transaction on a database of one row. The lock is the operating system's, so that neither a crash nor `kill -9`
 * leaves it behind, and readers see the last committed row: who the owner is.
 */
const take = (sqlite: Sqlite, path: string, pid: number, now: number): DatabaseSync => {
  const token = randomUUID()
  // A contender needs the lock for an instant only, to write its name; the owner keeps it.
  const db = new sqlite.DatabaseSync(path, { timeout: 100 })
  try {
    db.exec("PRAGMA synchronous = OFF")
    for (let attempt = 0;; attempt++) {
      db.exec("BEGIN IMMEDIATE")
      db.exec(
        "CREATE TABLE IF NOT EXISTS owner (one INTEGER PRIMARY KEY CHECK (one = 1), token TEXT, pid INTEGER, since INTEGER)"
      )
      if (db.prepare("SELECT 1 FROM owner WHERE token = ?").get(token) !== undefined) return db
      if (attempt === 10) throw new Error("other processes keep contending for the lock")
      // Committing gives the lock away for an instant: whoever has it next and finds its own name there keeps it.
      db.prepare("INSERT OR REPLACE INTO owner VALUES (1, ?, ?, ?)").run(token, pid, now)
      db.exec("COMMIT")
    }
  } catch (cause) {
    const held = resultCode(cause) === 5 ? readOwner(db) : undefined
    db.close()
    if (held !== undefined) throw new FileLockError({ path, reason: { _tag: "Held", ...held } })
    throw cause
  }
}

const readOwner = (db: DatabaseSync): { readonly pid: number | null; readonly since: number | null } => {
  try {
    const row = db.prepare("SELECT pid, since FROM owner").get()
    return { pid: (row?.["pid"] ?? null) as number | null, since: (row?.["since"] ?? null) as number | null }
  } catch {
    return { pid: null, since: null }
  }
}

/**
 * Takes the lock for the life of the scope.
 *
 * The file at `path` belongs to the lock and stays after it; its directory must exist. On systems with POSIX locks, a process must not
 * open and close that file by other means while it holds the lock. Not for network file systems.
 *
 * @category constructors
 * @since 0.1.0
 */
export const acquire = (path: string): Effect.Effect<void, FileLockError, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.gen(function*() {
      // Only when it is needed: some versions of Node warn about it.
      const sqlite = yield* Effect.promise(() => import("node:sqlite"))
      const now = yield* Clock.currentTimeMillis
      return yield* Effect.try({
        try: () => take(sqlite, path, process.pid, now),
        catch: (cause) => cause instanceof FileLockError ? cause : failure(path, cause)
      })
    }),
    (db) => Effect.sync(() => db.close())
  ).pipe(Effect.asVoid)
