/**
 * Memory that is used again when nobody needs what is in it: shares are counted, the last one given up puts it back.
 *
 * What is allocated for every batch anew is outside the heap, where it makes the collector run once for a few dozen batches: that costs more than the
 * batches themselves.
 */

/** Memory and the number of those who need it as it is. */
export class Shared {
  readonly memory: Uint8Array<ArrayBuffer>
  shares = 1

  constructor(bytes: number) {
    this.memory = new Uint8Array(bytes)
  }
}

/** Memory of one size. Whoever cannot tell whether anybody still reads does not give up his share, and leaves it to the collector. */
export class MemoryPool {
  /** Bytes of each. */
  readonly size: number
  readonly #limit: number
  readonly #kept: Array<Shared> = []

  /** Keeps `limit` of them for later. */
  constructor(size: number, limit: number) {
    this.size = size
    this.#limit = limit
  }

  /** Memory with one share, its content undefined. */
  acquire(): Shared {
    const shared = this.#kept.pop()
    if (shared === undefined) return new Shared(this.size)
    shared.shares = 1
    return shared
  }

  /** One share less. Memory of another size is not kept. */
  release(shared: Shared): void {
    if (shared.shares === 0) return
    shared.shares--
    if (shared.shares === 0 && shared.memory.length === this.size && this.#kept.length < this.#limit) {
      this.#kept.push(shared)
    }
  }
}
