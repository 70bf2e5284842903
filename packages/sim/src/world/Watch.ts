/**
 * Who watches files of a simulated disk, and what they are told: a little later than it happened, in order, and as the
 * disk is by then. Node does the same: it asks for the file when the kernel says that a name has changed.
 */
import type { WatchEvent } from "effect/FileSystem"
import type { Rng } from "../internal/Rng.ts"
import type { DiskModel, Touched } from "./DiskModel.ts"
import type { Owner, World } from "./World.ts"

interface Watcher {
  readonly owner: Owner
  /** The watched directory or file. */
  readonly ino: number
  readonly recursive: boolean
  readonly emit: (event: WatchEvent) => void
  /** When the last notice arrives: later ones never overtake it. */
  last: number
}

/** The watchers of one disk. */
export class Watchers {
  readonly #world: World
  readonly #rng: Rng
  readonly #model: DiskModel
  readonly #watching = new Set<Watcher>()

  constructor(world: World, rng: Rng, model: DiskModel) {
    this.#world = world
    this.#rng = rng
    this.#model = model
  }

  /** Tells `emit` of changes to a file, or to what is in a directory, until the returned function is called. */
  add(owner: Owner, ino: number, recursive: boolean, emit: (event: WatchEvent) => void): () => void {
    const watcher: Watcher = { owner, ino, recursive, emit, last: 0 }
    this.#watching.add(watcher)
    this.#model.onTouch = (touched) => this.#tell(touched)
    return () => this.#remove(watcher)
  }

  /** The processes that watched are gone. */
  clear(): void {
    this.#watching.clear()
    this.#model.onTouch = undefined
  }

  #remove(watcher: Watcher): void {
    this.#watching.delete(watcher)
    if (this.#watching.size === 0) this.#model.onTouch = undefined
  }

  #tell(touched: Touched): void {
    for (const watcher of this.#watching) {
      const path = this.#pathFor(watcher, touched)
      if (path === undefined) continue
      const at = Math.max(watcher.last, this.#world.now + 20 + this.#rng.int(1000))
      watcher.last = at
      this.#world.afterFor(watcher.owner, at - this.#world.now, () => {
        if (!this.#watching.has(watcher)) return
        const exists = this.#model.entry(touched.dir, touched.name) !== undefined
        watcher.emit({ _tag: touched.kind === "content" ? "Update" : exists ? "Create" : "Remove", path })
      })
    }
  }

  /** What a change is called by who watches; undefined when it is none of theirs. */
  #pathFor({ ino, recursive }: Watcher, { dir, ino: changed, name }: Touched): string | undefined {
    if (dir === ino || changed === ino) return name
    return recursive ? this.#model.pathBelow(ino, dir, name) : undefined
  }
}
