/**
 * A store of files: one log a conduit, appended and synced to disk, compacted when most of it is past.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Fs from "node:fs/promises"
import { join } from "node:path"
import { crc32 } from "node:zlib"
import { type Change, type ConduitStore, type Remembered, replay, snapshot, StoreError } from "../ConduitStore.ts"
import * as StoreCodec from "../internal/StoreCodec.ts"

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

interface Log {
  readonly file: Fs.FileHandle
  bytes: number
  /** Size after the last compaction. */
  base: number
}

const headerBytes = 8

const record = (changes: ReadonlyArray<Change>): Buffer => {
  const body = StoreCodec.encode(changes)
  const out = Buffer.allocUnsafe(headerBytes + body.length)
  out.writeUInt32LE(body.length, 0)
  out.writeUInt32LE(crc32(body), 4)
  out.set(body, headerBytes)
  return out
}

/** Reads whole records; a torn or damaged tail was never acknowledged, and ends the log. */
const read = (bytes: Buffer): { readonly remembered: Remembered | undefined; readonly whole: number } => {
  let remembered: Remembered | undefined
  let at = 0
  const changes: Array<Change> = []
  while (at + headerBytes <= bytes.length) {
    const length = bytes.readUInt32LE(at)
    const body = bytes.subarray(at + headerBytes, at + headerBytes + length)
    if (body.length < length || crc32(body) !== bytes.readUInt32LE(at + 4)) break
    changes.push(...StoreCodec.decode(body))
    at += headerBytes + length
  }
  if (at > 0) remembered = replay(undefined, changes)
  return { remembered, whole: at }
}

/**
 * Opens the folder; closing the scope closes the logs. Each write is one `write` and one `fdatasync`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(
  options: FileStoreOptions
): Effect.fn.Return<ConduitStore, StoreError, Scope.Scope> {
  const logs = new Map<string, Log>()
  const compactBytes = options.compactBytes ?? 1_048_576
  const attempt = <A>(operation: StoreError["operation"], run: () => Promise<A>) =>
    Effect.tryPromise({ try: run, catch: (cause) => new StoreError({ operation, cause }) })
  const pathOf = (id: string) => join(options.folder, `${encodeURIComponent(id)}.log`)
  const syncFolder = async () => {
    const folder = await Fs.open(options.folder, "r")
    try {
      await folder.sync()
    } finally {
      await folder.close()
    }
  }
  const open = async (id: string): Promise<Log> => {
    const existing = logs.get(id)
    if (existing !== undefined) return existing
    const file = await Fs.open(pathOf(id), "a+", 0o600)
    const bytes = await file.readFile()
    const { whole } = read(bytes)
    if (whole < bytes.length) {
      await file.truncate(whole)
      await file.datasync()
    }
    if (bytes.length === 0) await syncFolder()
    const log: Log = { file, bytes: whole, base: whole }
    logs.set(id, log)
    return log
  }
  const compact = async (id: string, log: Log): Promise<void> => {
    const { remembered } = read(await Fs.readFile(pathOf(id)))
    if (remembered === undefined) return
    const whole = record(snapshot(remembered))
    log.base = log.bytes
    if (whole.length > log.bytes / 2) return
    const next = `${pathOf(id)}.next`
    const file = await Fs.open(next, "w", 0o600)
    try {
      await file.writeFile(whole)
      await file.datasync()
    } finally {
      await file.close()
    }
    await Fs.rename(next, pathOf(id))
    await syncFolder()
    await log.file.close()
    logs.delete(id)
  }
  yield* attempt("open", () => Fs.mkdir(options.folder, { recursive: true, mode: 0o700 }))
  yield* Effect.addFinalizer(() =>
    Effect.promise(async () => {
      for (const { file } of logs.values()) await file.close().catch(() => {})
    })
  )
  return {
    list: attempt(
      "list",
      async () =>
        (await Fs.readdir(options.folder)).filter((name) => name.endsWith(".log")).map((name) =>
          decodeURIComponent(name.slice(0, -4))
        )
    ),
    load: (id) =>
      attempt("load", async () => {
        try {
          return read(await Fs.readFile(pathOf(id))).remembered
        } catch (cause) {
          if ((cause as NodeJS.ErrnoException).code === "ENOENT") return undefined
          throw cause
        }
      }),
    write: (id, changes) =>
      attempt("write", async () => {
        const log = await open(id)
        const bytes = record(changes)
        await log.file.appendFile(bytes)
        await log.file.datasync()
        log.bytes += bytes.length
        if (log.bytes > compactBytes && log.bytes > 2 * log.base) await compact(id, log)
      }),
    remove: (id) =>
      attempt("remove", async () => {
        const log = logs.get(id)
        logs.delete(id)
        await log?.file.close()
        await Fs.rm(pathOf(id), { force: true })
        await syncFolder()
      })
  }
})
