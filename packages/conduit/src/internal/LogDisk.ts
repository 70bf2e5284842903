import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import type * as Scope from "effect/Scope"

/** The few operations that a folder of logs needs. What has succeeded survives a power cut, where the disk can tell. */
export interface LogDisk {
  /** Makes a folder that only its owner can read, with the folders above it. */
  readonly makeFolder: (path: string) => Effect.Effect<void, unknown>
  readonly list: (folder: string) => Effect.Effect<ReadonlyArray<string>, unknown>
  /** The bytes of a file; undefined when there is none. */
  readonly read: (path: string) => Effect.Effect<Uint8Array | undefined, unknown>
  /** Puts new bytes in a file's place, or makes it: after a crash it has the old ones or the new ones, all of them. */
  readonly replace: (path: string, bytes: Uint8Array) => Effect.Effect<void, unknown>
  /** Opens a file for appending until the scope closes. */
  readonly open: (path: string) => Effect.Effect<AppendFile, unknown, Scope.Scope>
  readonly remove: (path: string) => Effect.Effect<void, unknown>
}

/** A file that only grows. */
export interface AppendFile {
  /** Appends, and waits for the disk. */
  readonly append: (bytes: Uint8Array) => Effect.Effect<void, unknown>
}

const ownerOnly = 0o600

/** Over Effect's file system, which may be a simulated one. */
export const fromFileSystem = (fs: FileSystem.FileSystem): LogDisk => {
  // Not every file system lets a folder be synced; where it does not, syncing a file in it has to do.
  const syncFolderOf = (path: string) =>
    fs.open(path.slice(0, path.lastIndexOf("/")), { flag: "r" }).pipe(
      Effect.flatMap((folder) => folder.sync),
      Effect.scoped,
      Effect.ignore
    )
  const writeSynced = (path: string, flag: FileSystem.OpenFlag, bytes: Uint8Array) =>
    Effect.scoped(Effect.gen(function*() {
      const file = yield* fs.open(path, { flag, mode: ownerOnly })
      if (bytes.length > 0) yield* file.writeAll(bytes)
      yield* file.sync
    }))
  return {
    makeFolder: (path) => fs.makeDirectory(path, { recursive: true, mode: 0o700 }),
    list: (folder) => fs.readDirectory(folder),
    read: (path) =>
      fs.readFile(path).pipe(
        Effect.catchIf(({ reason }) => reason._tag === "NotFound", () => Effect.succeed(undefined))
      ),
    replace: (path, bytes) =>
      Effect.gen(function*() {
        const next = `${path}.next`
        yield* writeSynced(next, "w", bytes)
        yield* fs.rename(next, path)
        yield* writeSynced(path, "a", new Uint8Array(0))
        yield* syncFolderOf(path)
      }),
    open: (path) =>
      Effect.map(fs.open(path, { flag: "a", mode: ownerOnly }), (file) => ({
        append: (bytes) => Effect.andThen(file.writeAll(bytes), file.sync)
      })),
    remove: (path) => Effect.andThen(fs.remove(path, { force: true }), syncFolderOf(path))
  }
}
