/**
 * Where `perigee ingest` reads from: a file, plain or compressed, or standard input.
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { createHash } from "node:crypto"
import * as Fs from "node:fs"
import type { Readable } from "node:stream"
import { pipeline } from "node:stream"
import { createGunzip } from "node:zlib"
import { describe, type Failure, failure } from "./Failure.ts"

/** Reading failed on the way. */
export class SourceError extends Data.TaggedError("SourceError")<{ readonly failure: Failure }> {}

export interface Source {
  /** Unpacked bytes. */
  readonly chunks: AsyncIterable<Uint8Array>
  /** Bytes of the file and how many of them were read; undefined where nobody knows. */
  readonly size: number | undefined
  readonly position: () => number
  /** Name for the producer of these events; undefined for standard input, which has none. */
  readonly name: string | undefined
}

/** Read at once from a file. */
const readBytes = 1_048_576
/** Of the first line, what goes into the name. */
const nameBytes = 4096

const isGzip = (head: Uint8Array): boolean => head[0] === 0x1f && head[1] === 0x8b

const unreadable = (path: string, cause: unknown): Failure =>
  failure(
    "E_INPUT",
    "input",
    `${path} cannot be read: ${describe(cause)}. Nothing after it was sent; mend it and run the same command again.`
  )

const unpacked = (raw: Readable, gzip: boolean): Readable => {
  if (!gzip) return raw
  const gunzip = createGunzip({ chunkSize: readBytes })
  // Whoever iterates hears of a damaged end. Whoever has left by then does not, and must not bring the process down.
  gunzip.on("error", () => {})
  return pipeline(raw, gunzip, () => {})
}

const firstLine = async (chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array> => {
  const parts: Array<Uint8Array> = []
  let length = 0
  for await (const chunk of chunks) {
    parts.push(chunk)
    length += chunk.length
    if (length >= nameBytes || chunk.includes(10)) break
  }
  const bytes = Buffer.concat(parts).subarray(0, nameBytes)
  const end = bytes.indexOf(10)
  return end === -1 ? bytes : bytes.subarray(0, end)
}

/** Its real path and its first line: a file that grows keeps its name, another one in its place has another. */
const nameOf = async (path: string, gzip: boolean): Promise<string> => {
  const line = await firstLine(unpacked(Fs.createReadStream(path, { highWaterMark: 65_536 }), gzip))
  return `file:${
    createHash("sha256").update(Fs.realpathSync(path)).update("\0").update(line).digest("hex").slice(0, 32)
  }`
}

const head = async (path: string): Promise<{ readonly size: number | undefined; readonly gzip: boolean }> => {
  const stats = Fs.statSync(path)
  if (stats.isDirectory()) throw new Error("it is a directory")
  if (!stats.isFile()) return { size: undefined, gzip: false }
  const file = await Fs.promises.open(path, "r")
  try {
    const bytes = new Uint8Array(2)
    await file.read(bytes, 0, 2, 0)
    return { size: stats.size, gzip: isGzip(bytes) }
  } finally {
    await file.close()
  }
}

/** Opens a path, `-` for standard input. */
export const open = (path: string): Effect.Effect<Source, Failure, Scope.Scope> =>
  path === "-" ?
    Effect.sync(() => ({ chunks: process.stdin, size: undefined, position: () => 0, name: undefined })) :
    Effect.gen(function*() {
      const { gzip, name, size } = yield* Effect.tryPromise({
        try: async () => {
          const found = await head(path)
          return { ...found, name: found.size === undefined ? undefined : await nameOf(path, found.gzip) }
        },
        catch: (cause) => unreadable(path, cause)
      })
      const raw = yield* Effect.acquireRelease(
        Effect.sync(() => Fs.createReadStream(path, { highWaterMark: readBytes })),
        (stream) => Effect.sync(() => stream.destroy())
      )
      return { chunks: failing(unpacked(raw, gzip), path), size, position: () => raw.bytesRead, name }
    })

/** A read error becomes a failure that says which file. */
async function* failing(chunks: AsyncIterable<Uint8Array>, path: string): AsyncGenerator<Uint8Array> {
  try {
    yield* chunks
  } catch (cause) {
    throw new SourceError({ failure: unreadable(path, cause) })
  }
}
