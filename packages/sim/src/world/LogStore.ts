/**
 * An append-only log of records over any `FileSystem`, with `sync` as the only promise of durability: the port that an
 * event store needs, runnable on Node's disk and on the simulated one.
 *
 * A record is a length, a checksum and its bytes. Opening reads to the first record that does not check, which is what
 * a torn write leaves, and writes what came before it anew: the cost of opening is the size of the log.
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import type { PlatformError } from "effect/PlatformError"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"

/** An operation failed. After a failed append or sync the log refuses further ones: what is on disk is unknown. */
export class LogError extends Data.TaggedError("LogError")<{
  readonly operation: "open" | "append" | "sync" | "read"
  /** `notDone`: nothing of it will be found again. `unknown`: it may be. */
  readonly outcome: "notDone" | "unknown"
  readonly cause: PlatformError | undefined
}> {
  override get message(): string {
    return `log ${this.operation} failed, outcome ${this.outcome}`
  }
}

/** An open log. Positions count records from zero. */
export interface LogStore {
  /** Adds records in order and returns the position of the first. They survive a power cut only after {@link sync}. */
  readonly append: (records: ReadonlyArray<Uint8Array>) => Effect.Effect<number, LogError>
  /** Makes every appended record durable. */
  readonly sync: Effect.Effect<void, LogError>
  /** Up to `limit` records from a position on. */
  readonly read: (from: number, limit: number) => Effect.Effect<ReadonlyArray<Uint8Array>, LogError>
  /** Number of records. */
  readonly length: Effect.Effect<number>
}

const headerBytes = 8
/** Largest record; longer ones are refused, and a longer length on disk counts as the end of the log. */
export const maxRecordBytes = 16 * 1024 * 1024

const table = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n
  for (let k = 0; k < 8; k++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1
  return c >>> 0
})

const crc32 = (bytes: Uint8Array): number => {
  let crc = 0xffffffff
  for (let i = 0; i < bytes.length; i++) crc = table[(crc ^ bytes[i]!) & 0xff]! ^ (crc >>> 8)
  return (crc ^ 0xffffffff) >>> 0
}

/** Covers the length too, and is never zero for zeros: a hole that a torn write leaves must not read as empty records. */
const checksum = (body: Uint8Array): number => (crc32(body) ^ Math.imul(body.length + 1, 0x9e3779b1)) >>> 0

const encode = (records: ReadonlyArray<Uint8Array>): Uint8Array => {
  const out = new Uint8Array(records.reduce((sum, record) => sum + headerBytes + record.length, 0))
  const view = new DataView(out.buffer)
  let at = 0
  for (const record of records) {
    view.setUint32(at, record.length)
    view.setUint32(at + 4, checksum(record))
    out.set(record, at + headerBytes)
    at += headerBytes + record.length
  }
  return out
}

/** Offsets of the valid records, and where they end. */
const scan = (bytes: Uint8Array): { readonly offsets: Array<number>; readonly end: number } => {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const offsets: Array<number> = []
  let at = 0
  while (at + headerBytes <= bytes.length) {
    const length = view.getUint32(at)
    if (length > maxRecordBytes || at + headerBytes + length > bytes.length) break
    const body = bytes.subarray(at + headerBytes, at + headerBytes + length)
    if (checksum(body) !== view.getUint32(at + 4)) break
    offsets.push(at)
    at += headerBytes + length
  }
  return { offsets, end: at }
}

/** Opens or creates the log in a file. One log at a time may be open on it. */
export const open = (path: string): Effect.Effect<LogStore, LogError, FileSystem.FileSystem | Scope.Scope> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const failed = (operation: LogError["operation"], outcome: LogError["outcome"]) => (cause: PlatformError) =>
      new LogError({ operation, outcome, cause })
    const notOpen = Effect.mapError(failed("open", "notDone"))
    const existing = (yield* notOpen(fs.exists(path))) ? yield* notOpen(fs.readFile(path)) : new Uint8Array(0)
    const { end, offsets } = scan(existing)
    let size = end
    // A sync that failed leaves pages which read well, count as clean, and are not on the disk: no later sync brings
    // them there. What is relied upon from here on is therefore written again, beside, and put in place.
    const fresh = `${path}.new`
    yield* notOpen(Effect.scoped(Effect.gen(function*() {
      const copy = yield* fs.open(fresh, { flag: "w" })
      if (end > 0) yield* copy.writeAll(existing.subarray(0, end))
      yield* copy.sync
    })))
    yield* notOpen(fs.rename(fresh, path))
    const file = yield* notOpen(fs.open(path, { flag: "a+" }))
    // Makes the new name durable too.
    yield* notOpen(file.sync)
    const lock = yield* Semaphore.make(1)
    let broken = false
    const guard = <A>(operation: "append" | "sync", effect: Effect.Effect<A, PlatformError>) =>
      lock.withPermit(
        Effect.suspend(() => {
          if (broken) return Effect.fail(new LogError({ operation, outcome: "notDone", cause: undefined }))
          broken = true
          return effect.pipe(
            Effect.mapError(failed(operation, "unknown")),
            Effect.tap(() =>
              Effect.sync(() => {
                broken = false
              })
            ),
            Effect.uninterruptible
          )
        })
      )
    return {
      append: (records) =>
        guard(
          "append",
          Effect.suspend(() => {
            const bytes = encode(records)
            return Effect.map(bytes.length === 0 ? Effect.void : file.writeAll(bytes), () => {
              const first = offsets.length
              let at = size
              for (const record of records) {
                offsets.push(at)
                at += headerBytes + record.length
              }
              size = at
              return first
            })
          })
        ),
      sync: guard("sync", file.sync),
      read: (from, limit) =>
        Effect.gen(function*() {
          const wanted = offsets.slice(from, from + limit)
          if (wanted.length === 0) return []
          const start = wanted[0]!
          const stop = offsets[from + limit] ?? size
          const bytes = new Uint8Array(stop - start)
          let filled = 0
          while (filled < bytes.length) {
            const count = yield* file.read(bytes.subarray(filled), { position: BigInt(start + filled) }).pipe(
              Effect.mapError(failed("read", "notDone"))
            )
            if (count === 0) break
            filled += count
          }
          const found = scan(bytes.subarray(0, filled))
          if (found.offsets.length < wanted.length) {
            return yield* new LogError({ operation: "read", outcome: "notDone", cause: undefined })
          }
          const ends = [...found.offsets.slice(1), found.end]
          return found.offsets.map((offset, index) => bytes.slice(offset + headerBytes, ends[index]!))
        }),
      length: Effect.sync(() => offsets.length)
    }
  })
