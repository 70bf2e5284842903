/**
 * The disk of a host as Effect's `FileSystem`: latency, faults and a page cache over {@link DiskModel}.
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as PlatformError from "effect/PlatformError"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import type { Rng } from "../internal/Rng.ts"
import { epoch } from "./Clock.ts"
import { makeFile, toInfo } from "./DiskFile.ts"
import { type Code, DiskFailure, DiskModel } from "./DiskModel.ts"
import { Watchers } from "./Watch.ts"
import type { Owner, World } from "./World.ts"

/** The classes of operations that faults address. */
export type Operation = "read" | "write" | "sync" | "metadata"

/** Latency ranges in microseconds. */
const latencies: Record<Operation, readonly [low: number, high: number]> = {
  read: [50, 200],
  write: [100, 500],
  sync: [1000, 5000],
  metadata: [50, 300]
}

/** Notices kept for who watches files and does not read; later ones are dropped, as by the kernel. */
const watchBuffer = 4096

/** Fails the `nth` operation of a class from now on, counting from one. */
export interface InjectedFailure {
  readonly operation: Operation | "any"
  readonly nth: number
  readonly code: Code
}

/** One machine's disk: it survives kills of the process, and power cuts only as far as it was synced. */
export class SimDisk {
  readonly model: DiskModel
  readonly host: string
  readonly #world: World
  readonly #rng: Rng
  /** Multiplies latencies. */
  slowness = 1
  /** Probability that an operation fails with EIO. */
  errorRate = 0
  /** Probability that a sync fails; its dirty pages are then lost for every later sync. */
  syncErrorRate = 0
  /** Probability that a read returns one flipped bit. */
  corruptRate = 0
  /** Operations wait while the disk is frozen. */
  frozen = false
  #waiting: Array<() => void> = []
  #injected: Array<{ operation: Operation | "any"; left: number; code: Code }> = []
  /** Operations started, by class: what `nth` counts. */
  readonly counts: Record<Operation, number> = { read: 0, write: 0, sync: 0, metadata: 0 }
  /** Called before an operation takes effect; returning true means that the machine died there. */
  beforeEffect: ((operation: Operation, count: number) => boolean) | undefined
  #open = 0
  readonly #watchers: Watchers

  constructor(world: World, host: string, capacity = 64 * 1024 * 1024) {
    this.#world = world
    this.host = host
    this.#rng = world.stream(`disk:${host}`)
    this.model = new DiskModel(capacity)
    this.#watchers = new Watchers(world, world.stream(`watch:${host}`), this.model)
  }

  /** Files that are open. */
  get openFiles(): number {
    return this.#open
  }

  /** Makes one later operation fail. */
  failNth(failure: InjectedFailure): void {
    this.#injected.push({ operation: failure.operation, left: failure.nth, code: failure.code })
  }

  freeze(): void {
    this.frozen = true
  }

  thaw(): void {
    this.frozen = false
    const waiting = this.#waiting
    this.#waiting = []
    for (const start of waiting) start()
  }

  /** Ends every fault. */
  heal(): void {
    this.slowness = 1
    this.errorRate = 0
    this.syncErrorRate = 0
    this.corruptRate = 0
    this.#injected = []
    this.model.readOnly = false
    this.thaw()
  }

  /** Cuts the power of the machine. */
  crash(options: { readonly torn: boolean; readonly nothing?: boolean }): void {
    this.model.crash(this.#rng, { torn: options.torn, nothing: options.nothing === true })
    this.forgetHandles()
  }

  /** The process that held them is gone. */
  forgetHandles(): void {
    this.#open = 0
    this.#waiting = []
    this.#watchers.clear()
  }

  #injectedFailure(operation: Operation): Code | undefined {
    let code: Code | undefined
    for (const failure of this.#injected) {
      if (failure.operation !== "any" && failure.operation !== operation) continue
      if (--failure.left === 0) code = failure.code
    }
    this.#injected = this.#injected.filter((failure) => failure.left > 0)
    if (code === undefined && this.errorRate > 0 && this.#rng.chance(this.errorRate)) code = "EIO"
    return code
  }

  /**
   * One operation of a process: it takes effect at a drawn moment between its start and its answer, so that a crash
   * falls on either side of it.
   */
  operation<A>(
    owner: Owner,
    operation: Operation,
    method: string,
    path: string,
    run: (model: DiskModel) => A,
    failed?: () => void
  ): Effect.Effect<A, PlatformError.PlatformError> {
    return Effect.callback<A, PlatformError.PlatformError>((resume) => {
      const world = this.#world
      const count = ++this.counts[operation]
      let outcome: Effect.Effect<A, PlatformError.PlatformError> | undefined
      const effect = () => {
        if (this.beforeEffect?.(operation, count) === true) return
        try {
          const code = this.#injectedFailure(operation)
          if (code !== undefined) {
            world.trace.append(this.host, "disk.error", { operation, method, code, count })
            failed?.()
            throw new DiskFailure(code, method, path)
          }
          outcome = Effect.succeed(run(this.model))
        } catch (cause) {
          if (!(cause instanceof DiskFailure)) outcome = Effect.die(cause)
          else outcome = Effect.fail(toPlatformError(method, path, cause))
        }
      }
      const begin = () => {
        if (!owner.alive) return
        const [low, high] = latencies[operation]
        const total = Math.round((low + this.#rng.int(high - low)) * this.slowness)
        const early = this.#rng.chance(0.5)
        if (early) {
          effect()
          if (outcome === undefined) return
        }
        world.afterFor(owner, total, () => {
          if (!early) effect()
          if (outcome !== undefined && owner.alive) resume(outcome)
        })
      }
      if (this.frozen) this.#waiting.push(begin)
      else begin()
    })
  }

  /** Forces a file to the disk. When that fails, what was not there yet never will be. */
  sync(owner: Owner, path: string, ino: number): Effect.Effect<void, PlatformError.PlatformError> {
    return Effect.suspend(() => {
      const fails = this.syncErrorRate > 0 && this.#rng.chance(this.syncErrorRate)
      return this.operation(
        owner,
        "sync",
        "sync",
        path,
        (model) => {
          if (fails) {
            this.#world.trace.append(this.host, "disk.error", { operation: "sync", method: "sync", code: "EIO" })
            model.forgetDirty(ino)
            throw new DiskFailure("EIO", "fsync", path)
          }
          model.sync(ino)
        },
        () => this.model.forgetDirty(ino)
      )
    })
  }

  /** The time that files are stamped with. */
  wallMillis(): number {
    return epoch + Math.floor(this.#world.now / 1000)
  }

  /** The `FileSystem` of one incarnation of a process on this machine. */
  fileSystem(owner: Owner): FileSystem.FileSystem {
    const meta = <A>(method: string, path: string, run: (model: DiskModel) => A) =>
      this.operation(owner, "metadata", method, path, run)
    const wall = () => this.wallMillis()

    const open: FileSystem.FileSystem["open"] = (path, options) =>
      Effect.acquireRelease(
        Effect.map(
          meta("open", path, (model) => model.open(path, options?.flag ?? "r", options?.mode ?? 0o666, wall())),
          (ino) => {
            this.#open++
            return ino
          }
        ),
        () =>
          Effect.sync(() => {
            this.#open--
          })
      ).pipe(Effect.map((ino) => makeFile(this, owner, path, ino, options?.flag ?? "r")))

    const writeFile: FileSystem.FileSystem["writeFile"] = (path, data, options) =>
      Effect.scoped(
        Effect.flatMap(
          open(path, { flag: options?.flag ?? "w", mode: options?.mode }),
          (file) => data.length === 0 ? Effect.void : file.writeAll(data)
        )
      )
    const readFile: FileSystem.FileSystem["readFile"] = (path) =>
      this.operation(owner, "read", "readFile", path, (model) => {
        const inode = model.lookup(path, "open")
        const out = new Uint8Array(inode.cache.size)
        model.read(inode.ino, out, 0)
        return this.maybeCorrupt(out)
      })
    const tempName = (prefix: string | undefined) => `${prefix ?? ""}${this.#rng.u32().toString(36)}`
    const makeTempDirectory: FileSystem.FileSystem["makeTempDirectory"] = (options) => {
      const path = `${options?.directory ?? "/tmp"}/${tempName(options?.prefix)}`
      return meta("makeTempDirectory", path, (model) => {
        model.makeDirectory(options?.directory ?? "/tmp", true, 0o777, wall())
        model.makeDirectory(path, false, 0o700, wall())
        return path
      })
    }
    const makeTempFile: FileSystem.FileSystem["makeTempFile"] = (options) =>
      Effect.flatMap(makeTempDirectory(options), (directory) => {
        const path = `${directory}/${tempName(undefined)}${options?.suffix ?? ""}`
        return Effect.as(writeFile(path, new Uint8Array(0)), path)
      })
    const remove: FileSystem.FileSystem["remove"] = (path, options) =>
      meta("remove", path, (model) => {
        try {
          model.remove(path, options?.recursive === true)
        } catch (cause) {
          if (options?.force !== true || !(cause instanceof DiskFailure) || cause.code !== "ENOENT") throw cause
        }
      })
    const info = (path: string, method: string, follow: boolean) =>
      meta(method, path, (model) => toInfo(model.lookup(path, method, follow)))

    return FileSystem.make({
      access: (path) => Effect.asVoid(meta("access", path, (model) => model.lookup(path, "access").ino)),
      chmod: (path, mode) =>
        meta("chmod", path, (model) => {
          model.lookup(path, "chmod").mode = mode & 0o777
        }),
      chown: (path) => Effect.asVoid(meta("chown", path, (model) => model.lookup(path, "chown").ino)),
      copy: (from, to, options) => this.#copy(owner, from, to, options?.overwrite !== false),
      copyFile: (from, to) => Effect.flatMap(readFile(from), (bytes) => writeFile(to, bytes)),
      link: (from, to) => meta("link", to, (model) => model.link(from, to)),
      lstat: (path) => info(path, "lstat", false),
      makeDirectory: (path, options) =>
        meta(
          "makeDirectory",
          path,
          (model) => model.makeDirectory(path, options?.recursive === true, options?.mode ?? 0o777, wall())
        ),
      makeTempDirectory,
      makeTempDirectoryScoped: (options) =>
        Effect.acquireRelease(
          makeTempDirectory(options),
          (path) => Effect.orDie(remove(path, { recursive: true, force: true }))
        ),
      makeTempFile,
      makeTempFileScoped: (options) =>
        Effect.acquireRelease(
          makeTempFile(options),
          (path) => Effect.orDie(remove(path.slice(0, path.lastIndexOf("/")), { recursive: true, force: true }))
        ),
      open,
      readDirectory: (path, options) =>
        meta(
          "readDirectory",
          path,
          (model) => options?.recursive === true ? walk(model, path, "") : model.readDirectory(path)
        ),
      readDirectoryEntries: (path) =>
        meta("readDirectoryEntries", path, (model) =>
          model.readDirectory(path).map((name) => ({
            name,
            type: model.lookup(`${path}/${name}`, "scandir", false).type
          }))),
      readFile,
      readLink: (path) =>
        meta("readLink", path, (model) => {
          const inode = model.lookup(path, "readlink", false)
          if (inode.type !== "SymbolicLink") throw new DiskFailure("EINVAL", "readlink", path)
          return inode.target
        }),
      realPath: (path) => meta("realPath", path, (model) => model.realPath(path)),
      remove,
      rename: (from, to) => meta("rename", from, (model) => model.rename(from, to, wall())),
      stat: (path) => info(path, "stat", true),
      symlink: (target, path) => meta("symlink", path, (model) => model.symlink(target, path, wall())),
      truncate: (path, length) =>
        this.operation(
          owner,
          "write",
          "truncate",
          path,
          (model) => model.truncate(model.lookup(path, "open").ino, length ?? 0, wall())
        ),
      utimes: (path, atime, mtime) =>
        meta("utimes", path, (model) => {
          const inode = model.lookup(path, "utimes")
          inode.atime = typeof atime === "number" ? atime * 1000 : atime.getTime()
          inode.mtime = typeof mtime === "number" ? mtime * 1000 : mtime.getTime()
        }),
      watch: (path, options) =>
        Stream.unwrap(
          Effect.map(meta("watch", path, (model) => model.lookup(path, "watch").ino), (ino) =>
            Stream.callback<FileSystem.WatchEvent>((queue) =>
              Effect.acquireRelease(
                Effect.sync(() => {
                  const emit = (event: FileSystem.WatchEvent) =>
                    void Queue.offerUnsafe(queue, event)
                  const stop = this.#watchers.add(owner, ino, options?.recursive === true, emit)
                  options?.onReady?.()
                  return stop
                }),
                (stop) => Effect.sync(stop)
              ), { bufferSize: watchBuffer }))
        ),
      writeFile
    })
  }

  #copy(owner: Owner, from: string, to: string, overwrite: boolean): Effect.Effect<void, PlatformError.PlatformError> {
    return this.operation(owner, "write", "copy", from, (model) => {
      const visit = (source: string, target: string): void => {
        const inode = model.lookup(source, "cp")
        if (inode.type === "Directory") {
          model.makeDirectory(target, true, inode.mode, this.wallMillis())
          for (const name of model.readDirectory(source)) visit(`${source}/${name}`, `${target}/${name}`)
          return
        }
        const ino = model.open(target, overwrite ? "w" : "wx", inode.mode, this.wallMillis())
        const bytes = inode.cache.bytes.slice(0, inode.cache.size)
        if (bytes.length > 0) model.write(ino, bytes, 0, this.wallMillis())
      }
      visit(from, to)
    })
  }

  /** What was read, with a flipped bit when the disk corrupts reads. */
  maybeCorrupt(bytes: Uint8Array): Uint8Array {
    if (this.corruptRate > 0 && bytes.length > 0 && this.#rng.chance(this.corruptRate)) {
      const at = this.#rng.int(bytes.length)
      bytes[at] = bytes[at]! ^ (1 << this.#rng.int(8))
      this.#world.trace.append(this.host, "disk.corrupt", { at, size: bytes.length })
    }
    return bytes
  }
}

const walk = (model: DiskModel, root: string, prefix: string): Array<string> =>
  model.readDirectory(`${root}/${prefix}`).flatMap((name) => {
    const path = prefix === "" ? name : `${prefix}/${name}`
    return model.lookup(`${root}/${path}`, "scandir", false).type === "Directory"
      ? [path, ...walk(model, root, path)]
      : [path]
  })

const tags: Partial<Record<Code, PlatformError.SystemErrorTag>> = {
  ENOENT: "NotFound",
  EEXIST: "AlreadyExists",
  EISDIR: "BadResource",
  ENOTDIR: "BadResource",
  ELOOP: "BadResource"
}

const toPlatformError = (method: string, path: string, failure: DiskFailure): PlatformError.PlatformError =>
  PlatformError.systemError({
    _tag: tags[failure.code] ?? "Unknown",
    module: "FileSystem",
    method,
    pathOrDescriptor: path,
    syscall: failure.syscall,
    cause: failure
  })
