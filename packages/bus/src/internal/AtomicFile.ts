/**
 * Small files that are either as they were or as they were to become, whatever happens in between.
 */
import { randomUUID } from "node:crypto"
import { constants } from "node:fs"
import { link, open, readdir, rename, unlink } from "node:fs/promises"
import { basename, dirname, join } from "node:path"

/** Makes the name of a file as durable as its content. */
const syncDirectory = async (path: string): Promise<void> => {
  // Windows has no such thing, and keeps names durable by itself.
  if (process.platform === "win32") return
  const directory = await open(dirname(path), constants.O_RDONLY)
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}

/** Writes and forces a file beside `path`, readable by its owner only, and gives it to `place`; what is left of it is removed. */
const beside = async (
  path: string,
  content: Uint8Array | string,
  place: (temporary: string) => Promise<void>
): Promise<void> => {
  const temporary = `${path}.${randomUUID()}.tmp`
  const file = await open(temporary, "wx", 0o600)
  try {
    try {
      await file.writeFile(content)
      await file.sync()
    } finally {
      await file.close()
    }
    await place(temporary)
  } finally {
    await unlink(temporary).catch(() => undefined)
  }
  await syncDirectory(path)
}

/** Replaces the file at `path`, durably. */
export const replace = (path: string, content: Uint8Array | string): Promise<void> =>
  beside(path, content, (temporary) => rename(temporary, path))

/** Removes what writers of `path` that were killed have left beside it. For whoever knows that no other writer lives. */
export const tidy = async (path: string): Promise<void> => {
  const folder = dirname(path)
  const prefix = `${basename(path)}.`
  for (const name of await readdir(folder).catch(() => [])) {
    if (!name.startsWith(prefix) || !/^[0-9a-f-]{36}\.tmp$/.test(name.slice(prefix.length))) continue
    await unlink(join(folder, name)).catch(() => undefined)
  }
}

const isCode = (cause: unknown, ...codes: ReadonlyArray<string>): boolean =>
  codes.includes(String((cause as NodeJS.ErrnoException).code))

/** Creates the file at `path`, durably, unless there is one: the first of several that try wins, and no other is ever seen. */
export const create = (path: string, content: Uint8Array | string): Promise<void> =>
  beside(path, content, async (temporary) => {
    try {
      await link(temporary, path)
    } catch (cause) {
      if (isCode(cause, "EEXIST")) return
      // A file system without hard links.
      if (!isCode(cause, "EPERM", "ENOTSUP", "ENOSYS", "EMLINK")) throw cause
      await rename(temporary, path)
    }
  })

/** The file's content, or undefined when there is none. Reads at most `maxBytes`, and one more to tell that there are more. */
export const read = async (path: string, maxBytes: number): Promise<Uint8Array | undefined> => {
  let file
  try {
    file = await open(path, constants.O_RDONLY)
  } catch (cause) {
    if (isCode(cause, "ENOENT")) return undefined
    throw cause
  }
  try {
    const { size } = await file.stat()
    const bytes = new Uint8Array(Math.min(size, maxBytes + 1))
    const { bytesRead } = await file.read(bytes, 0, bytes.length, 0)
    return bytes.subarray(0, bytesRead)
  } finally {
    await file.close()
  }
}
