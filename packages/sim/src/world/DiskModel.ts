/**
 * A disk without I/O: what programs see (the page cache) against what a power cut leaves (durable bytes).
 *
 * The rules are those of a journalling Linux file system with ordered metadata: `fsync` of a file makes its bytes and
 * every earlier directory change durable; without it a power cut keeps a prefix of the directory changes and, of each
 * file's unsynced writes, any subset of 512-byte sectors when tearing is on, otherwise whole writes.
 */
import type { Rng } from "../internal/Rng.ts"

/** Error codes that operations throw, as the kernel names them. */
export type Code =
  | "ENOENT"
  | "EEXIST"
  | "EISDIR"
  | "ENOTDIR"
  | "ENOTEMPTY"
  | "ENOSPC"
  | "EIO"
  | "EINVAL"
  | "EBADF"
  | "EROFS"
  | "ELOOP"

/** What every failing operation throws. */
export class DiskFailure extends Error {
  readonly code: Code
  readonly syscall: string
  constructor(code: Code, syscall: string, path: string) {
    super(`${code}: ${syscall} '${path}'`)
    this.name = "DiskFailure"
    this.code = code
    this.syscall = syscall
  }
}

type Dirty =
  | { readonly _tag: "write"; readonly offset: number; readonly bytes: Uint8Array }
  | { readonly _tag: "truncate"; readonly size: number }

interface Content {
  bytes: Uint8Array
  size: number
}

/** A file, directory or symbolic link. */
export interface Inode {
  readonly ino: number
  readonly type: "File" | "Directory" | "SymbolicLink"
  readonly cache: Content
  readonly durable: Content
  dirty: Array<Dirty>
  readonly entries: Map<string, number>
  readonly durableEntries: Map<string, number>
  readonly target: string
  mode: number
  mtime: number
  atime: number
  readonly birthtime: number
  links: number
}

type Change = { readonly dir: number; readonly name: string; readonly ino: number | undefined }

/** A change that somebody may watch: of a name in a directory, or of the bytes behind one. */
export interface Touched {
  readonly kind: "name" | "content"
  readonly dir: number
  readonly name: string
  readonly ino: number | undefined
}

const sector = 512

const grow = (content: Content, size: number): void => {
  if (size <= content.bytes.length) return
  const next = new Uint8Array(Math.max(size, content.bytes.length * 2, 64))
  next.set(content.bytes.subarray(0, content.size))
  content.bytes = next
}

const put = (content: Content, offset: number, bytes: Uint8Array): void => {
  const end = offset + bytes.length
  grow(content, end)
  if (offset > content.size) content.bytes.fill(0, content.size, offset)
  content.bytes.set(bytes, offset)
  if (end > content.size) content.size = end
}

const resize = (content: Content, size: number): void => {
  grow(content, size)
  if (size > content.size) content.bytes.fill(0, content.size, size)
  content.size = size
}

/** Symbolic links followed in one path before it counts as a loop. */
const maxLinks = 40

/** The state of one disk. Operations throw {@link DiskFailure}. */
export class DiskModel {
  /** Bytes that fit; writes beyond fail with ENOSPC. */
  capacity: number
  readOnly = false
  #inodes = new Map<number, Inode>()
  #next = 1
  #used = 0
  /** Directory changes that are not durable yet: each entry is atomic. */
  #journal: Array<ReadonlyArray<Change>> = []

  /** Called after every change while somebody watches. */
  onTouch: ((touched: Touched) => void) | undefined

  constructor(capacity: number) {
    this.capacity = capacity
    this.#make("Directory", 0o755, 0)
  }

  #fillers = 0

  /** Leaves no room until the returned function is called, however often it was filled. */
  fill(): () => void {
    this.#fillers++
    return () => {
      this.#fillers--
    }
  }

  get #room(): number {
    return this.#fillers > 0 ? 0 : this.capacity - this.#used
  }

  /** Bytes of file content in use. */
  get used(): number {
    return this.#used
  }

  #make(type: Inode["type"], mode: number, now: number, target = ""): Inode {
    const inode: Inode = {
      ino: this.#next++,
      type,
      cache: { bytes: new Uint8Array(0), size: 0 },
      durable: { bytes: new Uint8Array(0), size: 0 },
      dirty: [],
      entries: new Map(),
      durableEntries: new Map(),
      target,
      mode,
      mtime: now,
      atime: now,
      birthtime: now,
      links: 1
    }
    this.#inodes.set(inode.ino, inode)
    return inode
  }

  /** The inode with this number. */
  inode(ino: number): Inode {
    const found = this.#inodes.get(ino)
    if (found === undefined) throw new DiskFailure("EBADF", "open", `inode ${ino}`)
    return found
  }

  #segments(path: string): Array<string> {
    const out: Array<string> = []
    for (const part of path.split("/")) {
      if (part === "" || part === ".") continue
      if (part === "..") out.pop()
      else out.push(part)
    }
    return out
  }

  /** The inode at a path; symbolic links are followed, the last one only when `follow`. */
  lookup(path: string, syscall: string, follow = true): Inode {
    return this.inode(this.#walk(this.#segments(path), path, syscall, follow, 0))
  }

  /** The path itself with every symbolic link resolved. */
  realPath(path: string): string {
    this.lookup(path, "realpath")
    const resolve = (parts: Array<string>, depth: number): Array<string> => {
      const out: Array<string> = []
      for (let i = 0; i < parts.length; i++) {
        out.push(parts[i]!)
        const inode = this.lookup(`/${out.join("/")}`, "realpath", false)
        if (inode.type !== "SymbolicLink") continue
        if (depth > maxLinks) throw new DiskFailure("ELOOP", "realpath", path)
        const base = inode.target.startsWith("/") ? "" : `/${out.slice(0, -1).join("/")}/`
        return resolve([...this.#segments(base + inode.target), ...parts.slice(i + 1)], depth + 1)
      }
      return out
    }
    return `/${resolve(this.#segments(path), 0).join("/")}`
  }

  #walk(parts: Array<string>, path: string, syscall: string, follow: boolean, depth: number): number {
    if (depth > maxLinks) throw new DiskFailure("ELOOP", syscall, path)
    let ino = 1
    for (let i = 0; i < parts.length; i++) {
      const dir = this.inode(ino)
      if (dir.type !== "Directory") throw new DiskFailure("ENOTDIR", syscall, path)
      const next = dir.entries.get(parts[i]!)
      if (next === undefined) throw new DiskFailure("ENOENT", syscall, path)
      const inode = this.inode(next)
      if (inode.type === "SymbolicLink" && (follow || i < parts.length - 1)) {
        const base = inode.target.startsWith("/") ? [] : parts.slice(0, i)
        const target = this.#segments(`/${base.join("/")}/${inode.target}`)
        return this.#walk([...target, ...parts.slice(i + 1)], path, syscall, follow, depth + 1)
      }
      ino = next
    }
    return ino
  }

  #parent(path: string, syscall: string): { readonly dir: Inode; readonly name: string } {
    const parts = this.#segments(path)
    const name = parts.pop()
    if (name === undefined) throw new DiskFailure("EINVAL", syscall, path)
    const dir = this.inode(this.#walk(parts, path, syscall, true, 0))
    if (dir.type !== "Directory") throw new DiskFailure("ENOTDIR", syscall, path)
    return { dir, name }
  }

  #change(changes: ReadonlyArray<Change>): void {
    for (const { dir, ino, name } of changes) {
      const entries = this.inode(dir).entries
      if (ino === undefined) entries.delete(name)
      else entries.set(name, ino)
    }
    this.#journal.push(changes)
    for (const { dir, ino, name } of changes) this.onTouch?.({ kind: "name", dir, name, ino })
  }

  /** The inode number behind a name of a directory. */
  entry(dir: number, name: string): number | undefined {
    return this.#inodes.get(dir)?.entries.get(name)
  }

  /** The path from one directory down to a name in another; undefined when that is not below it. */
  pathBelow(top: number, dir: number, name: string): string | undefined {
    const visit = (at: number): string | undefined => {
      if (at === dir) return name
      for (const [child, ino] of this.#inodes.get(at)?.entries ?? []) {
        const rest = this.#inodes.get(ino)?.type === "Directory" ? visit(ino) : undefined
        if (rest !== undefined) return `${child}/${rest}`
      }
      return undefined
    }
    return visit(top)
  }

  #touchContent(ino: number): void {
    if (this.onTouch === undefined) return
    for (const [dir, { entries }] of this.#inodes) {
      for (const [name, child] of entries) if (child === ino) this.onTouch({ kind: "content", dir, name, ino })
    }
  }

  #writable(syscall: string, path: string): void {
    if (this.readOnly) throw new DiskFailure("EROFS", syscall, path)
  }

  /** Opens or creates a file and returns its inode number. Flags as in Node. */
  open(path: string, flag: string, mode: number, now: number): number {
    const writes = flag !== "r"
    if (writes) this.#writable("open", path)
    let inode: Inode | undefined
    try {
      inode = this.lookup(path, "open")
    } catch (cause) {
      if (!(cause instanceof DiskFailure) || cause.code !== "ENOENT" || flag.startsWith("r")) throw cause
    }
    if (inode !== undefined && flag.includes("x")) throw new DiskFailure("EEXIST", "open", path)
    if (inode === undefined) {
      const { dir, name } = this.#parent(path, "open")
      inode = this.#make("File", mode & 0o777, now)
      this.#change([{ dir: dir.ino, name, ino: inode.ino }])
      dir.mtime = now
    } else if (inode.type === "Directory" && writes) throw new DiskFailure("EISDIR", "open", path)
    if (flag.startsWith("w")) this.truncate(inode.ino, 0, now)
    return inode.ino
  }

  /** Copies bytes into `buffer` and returns how many there were. */
  read(ino: number, buffer: Uint8Array, position: number): number {
    const inode = this.inode(ino)
    if (inode.type === "Directory") throw new DiskFailure("EISDIR", "read", `inode ${ino}`)
    const end = Math.min(inode.cache.size, position + buffer.length)
    if (end <= position) return 0
    buffer.set(inode.cache.bytes.subarray(position, end))
    return end - position
  }

  /** Writes into the page cache and returns how many bytes were taken: fewer when the disk is nearly full. */
  write(ino: number, bytes: Uint8Array, position: number | undefined, now: number): number {
    const inode = this.inode(ino)
    this.#writable("write", `inode ${ino}`)
    const offset = position ?? inode.cache.size
    const wanted = Math.max(0, offset + bytes.length - inode.cache.size)
    const room = this.#room
    let taken = bytes
    if (wanted > room) {
      taken = bytes.subarray(0, Math.max(0, bytes.length - (wanted - room)))
      if (taken.length === 0) throw new DiskFailure("ENOSPC", "write", `inode ${ino}`)
    }
    const before = inode.cache.size
    put(inode.cache, offset, taken)
    this.#used += inode.cache.size - before
    inode.dirty.push({ _tag: "write", offset, bytes: taken.slice() })
    inode.mtime = now
    this.#touchContent(ino)
    return taken.length
  }

  truncate(ino: number, size: number, now: number): void {
    const inode = this.inode(ino)
    this.#writable("ftruncate", `inode ${ino}`)
    if (inode.type !== "File") throw new DiskFailure("EISDIR", "ftruncate", `inode ${ino}`)
    if (size > inode.cache.size && size - inode.cache.size > this.#room) {
      throw new DiskFailure("ENOSPC", "ftruncate", `inode ${ino}`)
    }
    if (size === inode.cache.size) return
    this.#used += size - inode.cache.size
    resize(inode.cache, size)
    inode.dirty.push({ _tag: "truncate", size })
    inode.mtime = now
    this.#touchContent(ino)
  }

  /** Makes the bytes of a file, and every directory change so far, durable. */
  sync(ino: number): void {
    const inode = this.inode(ino)
    for (const dirty of inode.dirty) {
      if (dirty._tag === "write") put(inode.durable, dirty.offset, dirty.bytes)
      else resize(inode.durable, dirty.size)
    }
    inode.dirty = []
    this.#commit(this.#journal.length)
  }

  /** The failure that follows a write error: dirty pages are marked clean, so a later sync succeeds without them. */
  forgetDirty(ino: number): void {
    this.inode(ino).dirty = []
  }

  #commit(count: number): void {
    for (const changes of this.#journal.splice(0, count)) {
      for (const { dir, ino, name } of changes) {
        const entries = this.#inodes.get(dir)?.durableEntries
        if (ino === undefined) entries?.delete(name)
        else entries?.set(name, ino)
      }
    }
  }

  makeDirectory(path: string, recursive: boolean, mode: number, now: number): void {
    this.#writable("mkdir", path)
    if (recursive) {
      const parts = this.#segments(path)
      for (let i = 1; i <= parts.length; i++) {
        const prefix = `/${parts.slice(0, i).join("/")}`
        try {
          if (this.lookup(prefix, "mkdir").type !== "Directory") throw new DiskFailure("EEXIST", "mkdir", path)
        } catch (cause) {
          if (!(cause instanceof DiskFailure) || cause.code !== "ENOENT") throw cause
          this.makeDirectory(prefix, false, mode, now)
        }
      }
      return
    }
    const { dir, name } = this.#parent(path, "mkdir")
    if (dir.entries.has(name)) throw new DiskFailure("EEXIST", "mkdir", path)
    const made = this.#make("Directory", mode & 0o777, now)
    this.#change([{ dir: dir.ino, name, ino: made.ino }])
  }

  readDirectory(path: string): Array<string> {
    const inode = this.lookup(path, "scandir")
    if (inode.type !== "Directory") throw new DiskFailure("ENOTDIR", "scandir", path)
    return [...inode.entries.keys()].sort()
  }

  symlink(target: string, path: string, now: number): void {
    this.#writable("symlink", path)
    const { dir, name } = this.#parent(path, "symlink")
    if (dir.entries.has(name)) throw new DiskFailure("EEXIST", "symlink", path)
    const made = this.#make("SymbolicLink", 0o777, now, target)
    this.#change([{ dir: dir.ino, name, ino: made.ino }])
  }

  link(from: string, to: string): void {
    this.#writable("link", to)
    const inode = this.lookup(from, "link", false)
    const { dir, name } = this.#parent(to, "link")
    if (dir.entries.has(name)) throw new DiskFailure("EEXIST", "link", to)
    inode.links++
    this.#change([{ dir: dir.ino, name, ino: inode.ino }])
  }

  remove(path: string, recursive: boolean): void {
    this.#writable("rm", path)
    const inode = this.lookup(path, "rm", false)
    const { dir, name } = this.#parent(path, "rm")
    if (inode.type === "Directory") {
      if (!recursive) throw new DiskFailure("EISDIR", "rm", path)
      for (const child of Array.from(inode.entries.keys())) this.remove(`${path}/${child}`, true)
    }
    this.#unlinked(inode)
    this.#change([{ dir: dir.ino, name, ino: undefined }])
  }

  #unlinked(inode: Inode): void {
    if (--inode.links === 0) this.#used -= inode.cache.size
  }

  rename(from: string, to: string, now: number): void {
    this.#writable("rename", from)
    const inode = this.lookup(from, "rename", false)
    const source = this.#parent(from, "rename")
    const target = this.#parent(to, "rename")
    const replaced = target.dir.entries.get(target.name)
    if (replaced === inode.ino) return
    if (replaced !== undefined) {
      const old = this.inode(replaced)
      if (old.type === "Directory" && inode.type !== "Directory") throw new DiskFailure("EISDIR", "rename", to)
      if (old.type !== "Directory" && inode.type === "Directory") throw new DiskFailure("ENOTDIR", "rename", to)
      if (old.type === "Directory" && old.entries.size > 0) throw new DiskFailure("ENOTEMPTY", "rename", to)
      this.#unlinked(old)
    }
    this.#change([
      { dir: source.dir.ino, name: source.name, ino: undefined },
      { dir: target.dir.ino, name: target.name, ino: inode.ino }
    ])
    target.dir.mtime = now
  }

  /** Content of a file as a power cut right now would leave it at worst; undefined when it would not exist. */
  durableFile(path: string): Uint8Array | undefined {
    let ino: number | undefined = 1
    for (const part of this.#segments(path)) {
      ino = this.#inodes.get(ino)?.durableEntries.get(part)
      if (ino === undefined) return undefined
    }
    const { durable } = this.inode(ino)
    return durable.bytes.slice(0, durable.size)
  }

  /**
   * Cuts the power: a drawn prefix of the directory changes survives, and of each file's unsynced writes a drawn
   * subset. `torn` lets single sectors of a write survive; `nothing` keeps only what was synced.
   */
  crash(rng: Rng, options: { readonly torn: boolean; readonly nothing: boolean }): void {
    this.#commit(options.nothing ? 0 : rng.int(this.#journal.length + 1))
    this.#journal = []
    for (const inode of this.#inodes.values()) {
      if (inode.dirty.length > 0 && !options.nothing) this.#writeBack(inode, rng, options.torn)
      inode.dirty = []
      inode.cache.bytes = inode.durable.bytes.slice()
      inode.cache.size = inode.durable.size
      inode.entries.clear()
      for (const [name, ino] of inode.durableEntries) inode.entries.set(name, ino)
    }
    this.#collect()
  }

  #writeBack(inode: Inode, rng: Rng, torn: boolean): void {
    for (const dirty of inode.dirty) {
      if (dirty._tag === "truncate") {
        if (rng.chance(0.5)) resize(inode.durable, dirty.size)
      } else if (!torn) {
        if (rng.chance(0.5)) put(inode.durable, dirty.offset, dirty.bytes)
      } else {
        const first = Math.floor(dirty.offset / sector) * sector
        for (let at = first; at < dirty.offset + dirty.bytes.length; at += sector) {
          if (!rng.chance(0.5)) continue
          const from = Math.max(at, dirty.offset)
          const to = Math.min(at + sector, dirty.offset + dirty.bytes.length)
          put(inode.durable, from, dirty.bytes.subarray(from - dirty.offset, to - dirty.offset))
        }
      }
    }
  }

  /** Drops inodes that no directory reaches, and counts links and space again. */
  #collect(): void {
    const links = new Map<number, number>([[1, 1]])
    const visit = (ino: number): void => {
      for (const child of this.inode(ino).entries.values()) {
        const known = links.get(child)
        links.set(child, (known ?? 0) + 1)
        if (known === undefined) visit(child)
      }
    }
    visit(1)
    this.#used = 0
    for (const [ino, inode] of this.#inodes) {
      const count = links.get(ino)
      if (count === undefined) this.#inodes.delete(ino)
      else {
        inode.links = count
        this.#used += inode.cache.size
      }
    }
  }

  /** Loses everything: the disk is replaced by an empty one. */
  wipe(): void {
    this.#inodes.clear()
    this.#journal = []
    this.#next = 1
    this.#used = 0
    this.#make("Directory", 0o755, 0)
  }
}
