/**
 * The bounded queue of one shard: first in, first out, exact limits, storage that grows with what is in it.
 */
import type { Segment } from "../Batch.ts"
import { type Block, BLOCK_BYTES, type BlockPool, type Lease } from "./Block.ts"

const FIRST_BLOCK_BYTES = 4096

/** A run of events taken from a ring; its memory stays valid until {@link Ring.release}. */
export interface Cut {
  readonly segments: ReadonlyArray<Segment>
  readonly blocks: ReadonlyArray<Block>
  readonly count: number
  readonly byteLength: number
  /** Events consumed from the ring, `count` plus the stale ones. */
  readonly taken: number
  /** Index, among those taken, of events left out of `segments` because the lease they were published under is stale. */
  readonly stale: ReadonlyArray<number>
  /** Highest sequence of each named producer in `segments`. */
  readonly marks: ReadonlyMap<Lease, number>
}

const noMarks: ReadonlyMap<Lease, number> = new Map()

/**
 * Holds at most `capacity - 1` events and `maxBytes` payload bytes.
 *
 * `capacity` is a power of two of at least 2 and one slot of it is never used, as in the ring it descends from, so that limits read the same.
 * Storage is a chain of blocks: the first is small, later ones double up to the block size, and drained ones are used again.
 */
export class Ring {
  readonly capacity: number
  readonly maxBytes: number
  /** Events inside. */
  length = 0
  /** Payload bytes inside. */
  byteLength = 0
  readonly #pool: BlockPool
  #blocks: Array<Block> = []
  /** Index of the first block in `#blocks` that still holds events. */
  #first = 0
  #tail: Block | undefined = undefined

  constructor(capacity: number, maxBytes: number, pool: BlockPool) {
    if (!Number.isInteger(capacity) || capacity < 2 || (capacity & (capacity - 1)) !== 0) {
      throw new RangeError(`ring capacity must be a power of two of at least 2, not ${capacity}`)
    }
    this.capacity = capacity
    this.maxBytes = maxBytes
    this.#pool = pool
  }

  /** Events that still fit, apart from the byte limit. */
  get freeSlots(): number {
    return this.capacity - 1 - this.length
  }

  get isEmpty(): boolean {
    return this.length === 0
  }

  get isFull(): boolean {
    return this.length >= this.capacity - 1
  }

  /** Whether an event of `length` bytes can be pushed. An empty ring takes any one event. */
  accepts(length: number): boolean {
    return this.length < this.capacity - 1 && (this.byteLength + length <= this.maxBytes || this.length === 0)
  }

  /** Whether so many events of so many bytes together can be pushed. */
  acceptsAll(events: number, bytes: number): boolean {
    return events <= this.freeSlots && (this.byteLength + bytes <= this.maxBytes || this.length === 0 && events === 1)
  }

  /**
   * Appends `payload[from, to)`. The caller has checked {@link accepts}.
   * `millis` and `nanos` are the insertion timestamp: Unix milliseconds plus nanoseconds.
   */
  push(payload: Uint8Array, from: number, to: number, millis: number, nanos: number, channel: number): void {
    const length = to - from
    let tail = this.#tail
    if (tail === undefined || !tail.fits(length, millis)) tail = this.#grow(length)
    const bytes = tail.bytes
    const at = tail.used
    if (from === 0 && to === payload.length) {
      bytes.set(payload, at)
    } else if (length <= 48) {
      for (let i = 0; i < length; i++) bytes[at + i] = payload[from + i]!
    } else {
      bytes.set(payload.subarray(from, to), at)
    }
    tail.append(length, millis, nanos, channel)
    this.length++
    this.byteLength += length
  }

  /** Marks the event pushed last as one of a named producer. */
  tag(lease: Lease, sequence: number): void {
    this.#tail!.tag(lease, sequence)
  }

  /** Unix milliseconds at which the oldest event was stamped; 0 when empty. */
  get headMillis(): number {
    const block = this.#head()
    return block === undefined ? 0 : block.baseMillis + Math.floor(block.deltas[block.head]! / 1e6)
  }

  /** How many of the oldest events would have to go for one of `length` bytes to fit; -1 when one of a named producer is among them. */
  inTheWayOf(length: number): number {
    let left = this.length
    let bytes = this.byteLength
    const fits = () => left < this.capacity - 1 && (bytes + length <= this.maxBytes || left === 0)
    for (let at = this.#first; !fits(); at++) {
      const block = this.#blocks[at]!
      for (let i = block.head; i < block.count && !fits(); i++) {
        if (block.leases?.[i] !== undefined) return -1
        bytes -= block.ends[i]! - block.startOf(i)
        left--
      }
    }
    return this.length - left
  }

  /** Takes the oldest event and returns a copy of its payload; undefined when empty. */
  pop(): Uint8Array<ArrayBuffer> | undefined {
    const block = this.#head()
    if (block === undefined) return undefined
    const payload = block.bytes.slice(block.startOf(block.head), block.ends[block.head]!)
    this.#advance(block, 1)
    return payload
  }

  /** Appends up to `max` oldest payloads to `target` and returns how many. */
  popInto(target: Array<Uint8Array<ArrayBuffer>>, max: number): number {
    let moved = 0
    while (moved < max) {
      const payload = this.pop()
      if (payload === undefined) break
      target.push(payload)
      moved++
    }
    return moved
  }

  /** Drops the oldest event; false when empty. */
  evict(): boolean {
    const block = this.#head()
    if (block === undefined) return false
    this.#advance(block, 1)
    return true
  }

  /** Takes up to `max` oldest events as views on the ring's own memory. */
  cut(max: number): Cut {
    const segments: Array<Segment> = []
    const blocks: Array<Block> = []
    let marks = noMarks as Map<Lease, number>
    let taken = 0
    let count = 0
    let byteLength = 0
    const stale: Array<number> = []
    while (taken < max) {
      const block = this.#head()
      if (block === undefined) break
      const from = block.head
      const to = Math.min(block.count, from + max - taken)
      block.references++
      blocks.push(block)
      if (block.leases === undefined) {
        segments.push(segment(block, from, to))
        count += to - from
        byteLength += block.ends[to - 1]! - block.startOf(from)
      } else {
        // Stale events split the run: what follows a lost event of a named producer must not be stored before it.
        if (marks === noMarks) marks = new Map()
        let start = from
        for (let i = from; i <= to; i++) {
          const lease = i < to ? block.leases[i] : undefined
          if (i === to || lease?.stale === true) {
            if (i > start) {
              segments.push(segment(block, start, i))
              count += i - start
              byteLength += block.ends[i - 1]! - block.startOf(start)
            }
            if (i < to) stale.push(taken + i - from)
            start = i + 1
          } else if (lease !== undefined) {
            marks.set(lease, block.sequences![i]!)
          }
        }
      }
      taken += to - from
      this.#advance(block, to - from)
    }
    return { segments, blocks, count, byteLength, taken, stale, marks }
  }

  /** Gives the memory of a cut back. `abandoned`: somebody may still be reading it. */
  release(cut: Cut, abandoned: boolean): void {
    for (const block of cut.blocks) {
      block.references--
      if (abandoned) block.recyclable = false
      if (block.references > 0 || block.head < block.count) continue
      if (block === this.#tail) this.#restart(block)
      else this.#pool.give(block)
    }
  }

  #head(): Block | undefined {
    return this.length === 0 ? undefined : this.#blocks[this.#first]
  }

  #advance(block: Block, events: number): void {
    this.byteLength -= block.ends[block.head + events - 1]! - block.startOf(block.head)
    block.head += events
    this.length -= events
    if (block.head < block.count) return
    if (block !== this.#tail) {
      this.#first++
      if (this.#first > 32 && this.#first * 2 > this.#blocks.length) {
        this.#blocks = this.#blocks.slice(this.#first)
        this.#first = 0
      }
      if (block.references === 0) this.#pool.give(block)
    } else if (block.references === 0) {
      this.#restart(block)
    }
  }

  #grow(length: number): Block {
    const last = this.#tail
    const preferred = last === undefined ? FIRST_BLOCK_BYTES : Math.min(last.bytes.length * 2, BLOCK_BYTES)
    const block = this.#pool.take(length, preferred)
    this.#tail = block
    if (last !== undefined && last.head === last.count) {
      // The old tail was drained while a cut still referred to it.
      this.#blocks = [block]
      this.#first = 0
      if (last.references === 0) this.#pool.give(last)
    } else {
      this.#blocks.push(block)
    }
    return block
  }

  /** The ring is empty and nobody looks at its last block: use it from its start again, unless it is unfit or oversized. */
  #restart(block: Block): void {
    if (block.recyclable && block.bytes.length <= BLOCK_BYTES) {
      block.reset()
    } else {
      this.#tail = undefined
      this.#blocks = []
      this.#first = 0
    }
  }
}

const segment = (block: Block, from: number, to: number): Segment => ({
  bytes: block.bytes,
  start: block.startOf(from),
  ends: block.ends.subarray(from, to),
  count: to - from,
  baseMillis: block.baseMillis,
  deltas: block.deltas.subarray(from, to),
  channels: block.channels?.subarray(from, to)
})
