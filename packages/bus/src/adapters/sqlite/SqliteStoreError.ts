/**
 * Why a store could not be opened.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import { owner } from "../../FileLock.ts"

/**
 * - `Locked`: another process, or another store of this one, has it: process `pid`, since `since` (milliseconds since the Unix epoch).
 * - `WrongVersion`: the file has layout `found`; this release reads `supported`.
 * - `NotAPerigeeStore`: the file is something else, or its first page is damaged.
 * - `Corrupt`: the file is a store, but damaged.
 * - `ReadOnly`: the file or its directory cannot be written.
 * - `NoDirectory`: the directory does not exist.
 * - `Full`: no room left on the device.
 * - `InvalidOptions`: `option` is out of its range.
 * - `Io`: anything else.
 *
 * @category errors
 * @since 0.1.0
 */
export type SqliteStoreErrorReason =
  | { readonly _tag: "Locked"; readonly pid: number | null; readonly since: number | null }
  | { readonly _tag: "WrongVersion"; readonly found: number; readonly supported: number }
  | { readonly _tag: "NotAPerigeeStore"; readonly detail: string }
  | { readonly _tag: "Corrupt"; readonly detail: string }
  | { readonly _tag: "ReadOnly"; readonly detail: string }
  | { readonly _tag: "NoDirectory"; readonly directory: string }
  | { readonly _tag: "Full"; readonly detail: string }
  | { readonly _tag: "InvalidOptions"; readonly option: string; readonly problem: string }
  | { readonly _tag: "Io"; readonly detail: string }

const explain = (path: string, reason: SqliteStoreErrorReason): string => {
  switch (reason._tag) {
    case "Locked":
      return `${path} is in use${owner(reason)}. Stop that process, or choose another path.`
    case "WrongVersion":
      return reason.found > reason.supported
        ? `${path} has layout ${reason.found}, newer than layout ${reason.supported} of this release. Update, or choose another path.`
        : `${path} has layout ${reason.found}, which this release (layout ${reason.supported}) does not read. Open it with the release that wrote it.`
    case "NotAPerigeeStore":
      return `${path} is not an event store (${reason.detail}). Choose another path; the file was not touched.`
    case "Corrupt":
      return `${path} is damaged (${reason.detail}). Restore it from a copy, or move it away to start an empty store.`
    case "ReadOnly":
      return `${path} cannot be written (${reason.detail}). Check the permissions of the file and of its directory.`
    case "NoDirectory":
      return `${path} cannot be created: the directory ${reason.directory} does not exist. Create it first.`
    case "Full":
      return `${path} cannot be opened: no room left on the device. Free some space.`
    case "InvalidOptions":
      return `${reason.option}: ${reason.problem}`
    case "Io":
      return `${path} cannot be opened (${reason.detail}).`
  }
}

/**
 * Failure to open a store, with its tagged `reason`. The message says what to do.
 *
 * @category errors
 * @since 0.1.0
 */
export class SqliteStoreError extends Data.TaggedError("SqliteStoreError")<{
  readonly path: string
  readonly reason: SqliteStoreErrorReason
}> {
  override get message(): string {
    return explain(this.path, this.reason)
  }
}
