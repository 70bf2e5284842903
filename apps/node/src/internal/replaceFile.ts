import { constants } from "node:fs"
import * as Fs from "node:fs/promises"
import { dirname } from "node:path"

/**
 * Writes a file beside it and renames it, so that a reader sees the old content or the new one, also after a power cut. Readable by its owner only.
 * For one writer of a path at a time.
 */
export const replaceFile = async (path: string, content: string): Promise<void> => {
  const draft = `${path}.${process.pid}`
  const file = await Fs.open(draft, "w", 0o600)
  try {
    await file.writeFile(content)
    await file.sync()
  } finally {
    await file.close()
  }
  await Fs.rename(draft, path)
  // Windows has no such thing, and keeps names durable by itself.
  if (process.platform === "win32") return
  const directory = await Fs.open(dirname(path), constants.O_RDONLY)
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}
