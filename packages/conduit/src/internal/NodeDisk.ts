import * as Effect from "effect/Effect"
import * as Fs from "node:fs/promises"
import { dirname } from "node:path"
import type { LogDisk } from "./LogDisk.ts"

const attempt = <A>(run: () => Promise<A>): Effect.Effect<A, unknown> =>
  Effect.tryPromise({ try: run, catch: (cause) => cause })

const syncFolderOf = async (path: string): Promise<void> => {
  try {
    const folder = await Fs.open(dirname(path), "r")
    try {
      await folder.sync()
    } finally {
      await folder.close()
    }
  } catch (cause) {
    // Windows neither opens a folder nor needs to.
    if (process.platform !== "win32") throw cause
  }
}

/** Node's own file system, with `fdatasync`. */
export const nodeDisk: LogDisk = {
  makeFolder: (path) => attempt(() => Fs.mkdir(path, { recursive: true, mode: 0o700 })),
  list: (folder) => attempt(() => Fs.readdir(folder)),
  read: (path) =>
    attempt(async () => {
      try {
        return await Fs.readFile(path)
      } catch (cause) {
        if ((cause as NodeJS.ErrnoException).code === "ENOENT") return undefined
        throw cause
      }
    }),
  replace: (path, bytes) =>
    attempt(async () => {
      const next = `${path}.next`
      const file = await Fs.open(next, "w", 0o600)
      try {
        await file.writeFile(bytes)
        await file.datasync()
      } finally {
        await file.close()
      }
      await Fs.rename(next, path)
      await syncFolderOf(path)
    }),
  open: (path) =>
    Effect.map(
      Effect.acquireRelease(attempt(() => Fs.open(path, "a", 0o600)), (file) =>
        Effect.ignore(attempt(() => file.close()))),
      (file) => ({
        append: (bytes) =>
          attempt(async () => {
            await file.appendFile(bytes)
            await file.datasync()
          })
      })
    ),
  remove: (path) =>
    attempt(async () => {
      await Fs.rm(path, { force: true })
      await syncFolderOf(path)
    })
}
