/**
 * Packed storage for a run of events: payload bytes end to end, everything else in columns.
 *
 * A million queued events cost their bytes plus twelve each, and a garbage collection sees a few thousand arrays instead of a million objects.
 */

/** Payload bytes of a full-size block. */
export const BLOCK_BYTES = 128 * 1024
/** Most events of a block, whatever their size: keeps the columns of tiny events in proportion. */
export const BLOCK_EVENTS = 8192

const FIRST_COLUMN = 128

/** What a named producer holds in one shard: the events it has under way there. See `Producers`. */
export interface Lease {
  readonly producer: string
  /** Set when an earlier event of the same lease was lost: whatever follows must not overtake it. */
  stale: boolean
}

/** One block of a ring; events are appended at the tail and consumed from the head. */
export class Block {
  readonly bytes: Uint8Array<ArrayBuffer>
  ends: Uint32Array<ArrayBuffer>
  deltas: Float64Array<ArrayBuffer>
  /** Present once an event of the block has a channel. */
  channels: Uint16Array<ArrayBuffer> | undefined = undefined
  /** Present once an event of the block belongs to a named producer; `sequences` goes with it. */
  leases: Array<Lease | undefined> | undefined = undefined
  sequences: Float64Array<ArrayBuffer> | undefined = undefined
  /** Unix milliseconds that `deltas` (nanoseconds) count from. */
  baseMillis = 0
  /** Events appended. */
  count = 0
  /** Bytes appended. */
  used = 0
  /** Events consumed from the head. */
  head = 0
  /** Cuts that still refer to this memory. */
  references = 0
  /** False once a refused or abandoned adapter call may still be reading it: then it is left to the garbage collector. */
  recyclable = true

  constructor(byteCapacity: number) {
    this.bytes = new Uint8Array(byteCapacity)
    this.ends = new Uint32Array(FIRST_COLUMN)
    this.deltas = new Float64Array(FIRST_COLUMN)
  }

  /** Whether `length` more bytes stamped `millis` can be appended. */
  fits(length: number, millis: number): boolean {
    return this.used + length <= this.bytes.length && this.count < BLOCK_EVENTS &&
      // 2^52 ns is 52 days: beyond it the deltas of a block that nobody drained would lose exactness.
      (this.count === 0 || (millis - this.baseMillis) * 1e6 < 2 ** 52)
  }

  /** Appends an event that {@link fits}; the payload's bytes have been written at `used` by the caller. */
  append(length: number, millis: number, nanos: number, channel: number): void {
    const at = this.count
    if (at === this.ends.length) this.#growColumns()
    if (at === 0) this.baseMillis = millis
    this.used += length
    this.ends[at] = this.used
    this.deltas[at] = (millis - this.baseMillis) * 1e6 + nanos
    if (channel !== 0) {
      this.channels ??= new Uint16Array(this.ends.length)
      this.channels[at] = channel
    }
    this.count = at + 1
  }

  /** Marks the event appended last as belonging to a named producer. */
  tag(lease: Lease, sequence: number): void {
    const at = this.count - 1
    this.leases ??= []
    this.leases[at] = lease
    this.sequences ??= new Float64Array(this.ends.length)
    this.sequences[at] = sequence
  }

  startOf(index: number): number {
    return index === 0 ? 0 : this.ends[index - 1]!
  }

  /** Empties the block for reuse. */
  reset(): void {
    this.count = 0
    this.used = 0
    this.head = 0
    this.references = 0
    this.channels = undefined
    this.leases = undefined
    this.sequences = undefined
  }

  #growColumns(): void {
    const capacity = Math.min(this.ends.length * 2, BLOCK_EVENTS)
    const ends = new Uint32Array(capacity)
    ends.set(this.ends)
    this.ends = ends
    const deltas = new Float64Array(capacity)
    deltas.set(this.deltas)
    this.deltas = deltas
    if (this.channels !== undefined) {
      const channels = new Uint16Array(capacity)
      channels.set(this.channels)
      this.channels = channels
    }
    if (this.sequences !== undefined) {
      const sequences = new Float64Array(capacity)
      sequences.set(this.sequences)
      this.sequences = sequences
    }
  }
}

/** Full-size blocks waiting to be used again, shared by the rings of a bus and bounded. */
export class BlockPool {
  readonly #free: Array<Block> = []
  readonly #limit: number

  constructor(limit: number) {
    this.#limit = limit
  }

  /** A block of at least `length` bytes; `preferred` is the size a ring would like, up to {@link BLOCK_BYTES}. */
  take(length: number, preferred: number): Block {
    if (length <= BLOCK_BYTES && preferred >= BLOCK_BYTES) {
      const block = this.#free.pop()
      if (block !== undefined) return block
    }
    return new Block(Math.max(length, preferred))
  }

  give(block: Block): void {
    if (block.recyclable && block.bytes.length === BLOCK_BYTES && this.#free.length < this.#limit) {
      block.reset()
      this.#free.push(block)
    }
  }
}
