/** The memory that entries are built in: used again when the broker has confirmed what was in it. */
import { MemoryPool, Shared } from "./MemoryPool.ts"

/** Two batches of the default limit with their headers; 16 MiB are kept, what a window of 10,000 messages of a kilobyte takes. */
const pool = new MemoryPool(260 * 1024, 64)

export type Slab = Shared

/** Bytes of the slabs that all share. */
export const SIZE = pool.size

/** A slab of one's own, which nobody uses again. */
export const own = (size: number): Slab => new Shared(size)

/** A slab with room for `size` bytes, for one user. */
export const acquire = (size: number): Slab => size > SIZE ? own(size) : pool.acquire()

/** One user less. */
export const release = (slab: Slab): void => pool.release(slab)
