/**
 * An open file of a simulated disk: its position, and what its flags allow.
 */
import * as ByteSize from "effect/ByteSize"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as PlatformError from "effect/PlatformError"
import type { SimDisk } from "./Disk.ts"
import { DiskFailure, type Inode } from "./DiskModel.ts"
import type { Owner } from "./World.ts"

/** The handle of a process on the inode that it has opened at `path`. */
export const makeFile = (
  disk: SimDisk,
  owner: Owner,
  path: string,
  ino: number,
  flag: FileSystem.OpenFlag
): FileSystem.File => {
  const append = flag.startsWith("a")
  const readable = flag === "r" || flag.includes("+")
  const writable = flag !== "r"
  let position = 0n
  const check = (allowed: boolean, syscall: string) => {
    if (!allowed) throw new DiskFailure("EBADF", syscall, path)
  }
  const outOfRange = (method: string) =>
    Effect.fail(
      PlatformError.badArgument({
        module: "FileSystem",
        method,
        description: "Cannot read or seek before the start of the file"
      })
    )
  const readAt = (method: string, buffer: Uint8Array, explicit: bigint | undefined) =>
    Effect.suspend(() => {
      if (explicit !== undefined && explicit < 0n) return outOfRange(method)
      const at = explicit ?? position
      return Effect.map(
        disk.operation(owner, "read", method, path, (model) => {
          check(readable, "read")
          const count = model.read(ino, buffer, Number(at))
          disk.maybeCorrupt(buffer.subarray(0, count))
          return count
        }),
        (count) => {
          if (explicit === undefined) position = at + BigInt(count)
          return count
        }
      )
    })
  const write = (method: string, buffer: Uint8Array) =>
    Effect.suspend(() => {
      const at = append ? undefined : position
      return Effect.map(
        disk.operation(owner, "write", method, path, (model) => {
          check(writable, "write")
          return model.write(ino, buffer, at === undefined ? undefined : Number(at), disk.wallMillis())
        }),
        (count) => {
          if (at !== undefined) position = at + BigInt(count)
          return count
        }
      )
    })
  const writeAll = (buffer: Uint8Array): Effect.Effect<void, PlatformError.PlatformError> =>
    buffer.length === 0
      ? Effect.void
      : Effect.flatMap(write("writeAll", buffer), (count) =>
        count === buffer.length ? Effect.void : writeAll(buffer.subarray(count)))
  return {
    [FileSystem.FileTypeId]: FileSystem.FileTypeId,
    stat: disk.operation(owner, "metadata", "stat", path, (model) => toInfo(model.inode(ino))),
    seek: (offset, from) =>
      Effect.suspend(() => {
        const next = from === "start" ? offset : position + offset
        if (next < 0n) return outOfRange("seek")
        position = next
        return Effect.succeed(next)
      }),
    sync: disk.sync(owner, path, ino),
    read: (buffer, options) => readAt("read", buffer, options?.position),
    readAlloc: (size, options) =>
      Effect.suspend(() => {
        if (!Number.isInteger(size) || size < 0) {
          return Effect.fail(
            PlatformError.badArgument({
              module: "FileSystem",
              method: "readAlloc",
              description: "size must be a non-negative integer"
            })
          )
        }
        const buffer = new Uint8Array(size)
        return Effect.map(
          readAt("readAlloc", buffer, options?.position),
          (count) => count === 0 ? Option.none() : Option.some(count === size ? buffer : buffer.slice(0, count))
        )
      }),
    truncate: (length) =>
      Effect.map(
        disk.operation(owner, "write", "truncate", path, (model) => {
          check(writable, "ftruncate")
          model.truncate(ino, length ?? 0, disk.wallMillis())
        }),
        () => {
          if (!append && position > BigInt(length ?? 0)) position = BigInt(length ?? 0)
        }
      ),
    write: (buffer) => write("write", buffer),
    writeAll
  }
}

/** What programs see of an inode. */
export const toInfo = (inode: Inode): FileSystem.File.Info => ({
  type: inode.type,
  mtime: Option.some(new Date(inode.mtime)),
  atime: Option.some(new Date(inode.atime)),
  birthtime: Option.some(new Date(inode.birthtime)),
  dev: 1n,
  ino: Option.some(BigInt(inode.ino)),
  mode: inode.mode,
  nlink: Option.some(BigInt(inode.links)),
  uid: Option.some(0),
  gid: Option.some(0),
  rdev: Option.some(0n),
  size: ByteSize.bytes(inode.cache.size),
  blksize: Option.some(ByteSize.bytes(4096)),
  blocks: Option.some(BigInt(Math.ceil(inode.cache.size / 512)))
})
