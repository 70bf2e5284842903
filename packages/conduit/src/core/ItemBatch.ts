import * as Serial from "./Serial.ts"

/**
 * Items that arrived together, in order and with consecutive numbers, as ranges of one piece of memory.
 *
 * Iterate it for views of the items, or read `bytes`, `start` and `length` and allocate nothing.
 *
 * @since 0.1.0
 */
export class ItemBatch implements Iterable<Uint8Array> {
  /** Number of the first item; item `i` has this number plus `i`, modulo 2^32. */
  readonly firstSeq: number
  readonly bytes: Uint8Array
  /** How many items there are. */
  readonly count: number
  private readonly ranges: Int32Array

  constructor(firstSeq: number, bytes: Uint8Array, ranges: Int32Array, count: number) {
    this.firstSeq = firstSeq
    this.bytes = bytes
    this.ranges = ranges
    this.count = count
  }

  /** Number of the last item. */
  get lastSeq(): number {
    return (this.firstSeq + this.count - 1) >>> 0
  }

  /** Bytes of all items together. */
  get itemBytes(): number {
    let total = 0
    for (let i = 0; i < this.count; i++) total += this.ranges[2 * i + 1]!
    return total
  }

  /** Offset in `bytes` of item `i`. */
  start(i: number): number {
    return this.ranges[2 * i]!
  }

  /** Bytes of item `i`. */
  length(i: number): number {
    return this.ranges[2 * i + 1]!
  }

  /** A view of item `i`. */
  at(i: number): Uint8Array {
    const start = this.ranges[2 * i]!
    return this.bytes.subarray(start, start + this.ranges[2 * i + 1]!)
  }

  /** Number of item `i`. */
  seq(i: number): number {
    return (this.firstSeq + i) >>> 0
  }

  /** Views of all items. */
  toArray(): Array<Uint8Array> {
    const items = Array.from<Uint8Array>({ length: this.count })
    for (let i = 0; i < this.count; i++) items[i] = this.at(i)
    return items
  }

  *[Symbol.iterator](): Generator<Uint8Array> {
    for (let i = 0; i < this.count; i++) yield this.at(i)
  }

  /** The batch without the items before number `seq`; `undefined` when none is left. */
  from(seq: number): ItemBatch | undefined {
    const skip = Serial.distance(this.firstSeq, seq)
    if (skip === 0 || skip >= Serial.halfSpace) return this
    if (skip >= this.count) return undefined
    return new ItemBatch(seq, this.bytes, this.ranges.subarray(2 * skip), this.count - skip)
  }
}

/** Ranges that a collector starts with; it doubles. */
const firstRanges = 16

/**
 * Collects accepted items while one piece of input is parsed, and cuts them into batches.
 *
 * @since 0.1.0
 */
export class BatchCollector {
  private source: Uint8Array | undefined
  private owned = false
  private ranges = new Int32Array(2 * firstRanges)
  private count = 0
  private firstSeq = 0

  /** Batches that had to be cut because the next item could not join them. */
  private finished: Array<ItemBatch> = []

  /** Whether nothing was collected since the last cut. */
  get isEmpty(): boolean {
    return this.count === 0 && this.finished.length === 0
  }

  /**
   * Adds an item. `owned` says that nobody will overwrite `bytes`, so that a batch may refer to them for good.
   */
  add(bytes: Uint8Array, start: number, length: number, seq: number, owned: boolean): void {
    if (this.count > 0 && (bytes !== this.source || seq !== ((this.firstSeq + this.count) >>> 0))) {
      this.finished.push(this.copy())
    }
    if (this.count === 0) {
      this.source = bytes
      this.firstSeq = seq
      this.owned = owned
    }
    let at = 2 * this.count
    if (at === this.ranges.length) {
      const grown = new Int32Array(2 * at)
      grown.set(this.ranges)
      this.ranges = grown
    }
    this.ranges[at++] = start
    this.ranges[at] = length
    this.count++
  }

  /**
   * Everything collected, oldest first. With `borrow` the last batch may lie over the source itself, and is valid only
   * until the source is overwritten or the next item is added.
   */
  cut(borrow: boolean): ReadonlyArray<ItemBatch> {
    const batches = this.finished
    this.finished = []
    if (this.count > 0) batches.push(borrow ? this.lend() : this.copy())
    return batches
  }

  private lend(): ItemBatch {
    const batch = new ItemBatch(this.firstSeq, this.source!, this.ranges, this.count)
    this.source = undefined
    this.count = 0
    return batch
  }

  private copy(): ItemBatch {
    const count = this.count
    const ranges = this.ranges.slice(0, 2 * count)
    let bytes = this.source!
    if (!this.owned) {
      // Items of one read lie close together: one copy from the first to the last is cheaper than one an item.
      const from = ranges[0]!
      const to = ranges[2 * count - 2]! + ranges[2 * count - 1]!
      bytes = bytes.slice(from, to)
      if (from !== 0) { for (let i = 0; i < ranges.length; i += 2) ranges[i] = ranges[i]! - from }
    }
    this.source = undefined
    this.count = 0
    return new ItemBatch(this.firstSeq, bytes, ranges, count)
  }
}
