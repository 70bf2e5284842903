/**
 * Events in memory: blocks in the order they came, found by shard and position, the oldest dropped when there are too many.
 */
import type { Batch, ProducerMark } from "../Batch.ts"
import type { StoredEvent } from "../Event.ts"
import { Block, encode } from "../internal/StoredBlock.ts"

const blockBytes = 4_194_304
/** Producing identities remembered. */
const keptIdentities = 100_000

export interface EventLogLimits {
  readonly maxEvents: number
  readonly maxBytes: number
}

/** Blocks of one shard, oldest first. */
class ShardLog {
  tail = 0
  #blocks: Array<Block> = []
  #head = 0

  push(block: Block): void {
    this.#blocks.push(block)
    this.tail = block.last
  }

  shift(): void {
    this.#head++
    if (this.#head * 2 > this.#blocks.length) {
      this.#blocks = this.#blocks.slice(this.#head)
      this.#head = 0
    }
  }

  /** Events from position `from` on. */
  read(from: number, limit: number): ReadonlyArray<StoredEvent> {
    const events: Array<StoredEvent> = []
    for (let i = this.#find(from); i < this.#blocks.length && events.length < limit; i++) {
      this.#blocks[i]!.collect(events, from, limit)
    }
    return events
  }

  /** Index of the first block that ends at or after `position`. */
  #find(position: number): number {
    let low = this.#head
    let high = this.#blocks.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#blocks[middle]!.last < position) low = middle + 1
      else high = middle
    }
    return low
  }
}

export class EventLog {
  readonly #limits: EventLogLimits
  readonly #shards = new Map<number, ShardLog>()
  /** Every block, oldest first. */
  readonly #blocks = new Set<Block>()
  readonly #next = new Map<string, number>()
  readonly #marks = new Map<string, Map<string, ProducerMark>>()
  #events = 0
  #bytes = 0

  constructor(limits: EventLogLimits) {
    this.#limits = limits
  }

  /** Stores a batch, unless it was stored before. Fails with RangeError on one that was stored in part. */
  append(batch: Batch): void {
    const { count, nonce, sequenceStart, shard } = batch
    const key = `${nonce}:${shard}`
    const expected = this.#next.get(key) ?? 0
    if (sequenceStart + count <= expected) return
    if (sequenceStart < expected) {
      throw new RangeError(
        `events ${sequenceStart} to ${
          sequenceStart + count
        } of shard ${shard} overlap with stored ones, which end at ${expected}`
      )
    }
    let log = this.#shards.get(shard)
    if (log === undefined) this.#shards.set(shard, log = new ShardLog())
    for (const { buffer, length } of encode(batch, blockBytes)) {
      const block = new Block(new Uint8Array(buffer, 0, length), shard, log.tail + 1)
      log.push(block)
      this.#blocks.add(block)
      this.#events += block.count
      this.#bytes += block.byteLength
    }
    this.#next.delete(key)
    this.#next.set(key, sequenceStart + count)
    if (this.#next.size > keptIdentities) this.#next.delete(this.#next.keys().next().value!)
    this.save(batch.marks)
    this.#evict()
  }

  save(marks: ReadonlyArray<ProducerMark>): void {
    for (const mark of marks) this.#mark(mark)
  }

  #mark(mark: ProducerMark): void {
    let marks = this.#marks.get(mark.producer)
    if (marks === undefined) this.#marks.set(mark.producer, marks = new Map())
    const key = `${mark.shards}:${mark.shard}`
    if (mark.sequence > (marks.get(key)?.sequence ?? 0)) marks.set(key, mark)
  }

  #evict(): void {
    for (const block of this.#blocks) {
      const isOver = this.#bytes > this.#limits.maxBytes || this.#events - block.count >= this.#limits.maxEvents
      if (!isOver || this.#blocks.size === 1) return
      this.#blocks.delete(block)
      this.#shards.get(block.shard)!.shift()
      this.#events -= block.count
      this.#bytes -= block.byteLength
    }
  }

  read(shard: number, after: number, limit: number): ReadonlyArray<StoredEvent> {
    return this.#shards.get(shard)?.read(after + 1, limit) ?? []
  }

  /** Position of the last event, 0 for none ever. */
  tail(shard: number): number {
    return this.#shards.get(shard)?.tail ?? 0
  }

  get tails(): ReadonlyMap<number, string> {
    return new Map(Array.from(this.#shards, ([shard, { tail }]) => [shard, String(tail)]))
  }

  marks(producer: string): ReadonlyArray<ProducerMark> {
    return [...(this.#marks.get(producer)?.values() ?? [])]
  }
}
