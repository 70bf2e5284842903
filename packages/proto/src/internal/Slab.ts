/**
 * Memory that entries are built in, and built in again when the broker has confirmed what was in it.
 *
 * What is allocated for every batch anew is outside the heap, where it makes the collector run once for a few dozen batches: that costs more than the
 * batches themselves.
 */

/** Two batches of the default limit, with their headers. */
export const SIZE = 260 * 1024

/** Slabs kept for later, 16 MiB of a thread: what a window of 10,000 messages of a kilobyte takes. */
const KEPT = 64

export class Slab {
  readonly memory: Uint8Array
  /** Where the free part begins. */
  at = 0
  /** Those who need it as it is: the builder that fills it, and the entries in it. */
  users = 1

  constructor(size: number) {
    this.memory = new Uint8Array(size)
  }
}

const kept: Array<Slab> = []

/** A slab with room for `size` bytes, for one user. */
export const acquire = (size: number): Slab => {
  if (size > SIZE) return new Slab(size)
  const slab = kept.pop()
  if (slab === undefined) return new Slab(SIZE)
  slab.at = 0
  slab.users = 1
  return slab
}

/** One user less. Whoever cannot tell whether anybody still reads does not call this, and leaves the slab to the collector. */
export const release = (slab: Slab): void => {
  slab.users--
  if (slab.users === 0 && slab.memory.length === SIZE && kept.length < KEPT) kept.push(slab)
}
