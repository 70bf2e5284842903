/**
 * Batches: `[u32 size][SingleMessageMetadata][payload]` a message, one after another, as the payload of one entry.
 *
 * @since 0.1.0
 */
import * as Slab from "../internal/Slab.ts"
import { ProtoReader } from "../internal/ProtoReader.ts"
import { ProtoWriter, putVarint, varintLength } from "../internal/ProtoWriter.ts"
import { readSingle, type SingleMetadata, writeSingle } from "./Metadata.ts"
import { WireFormatError } from "./WireFormatError.ts"

/** Bytes kept free in front of a payload, so that its header can be written there without a copy. @category constants @since 0.1.0 */
export const HEADROOM = 256

// Tags of `SingleMessageMetadata`.
const PAYLOAD_SIZE = 3 << 3
const SEQUENCE_ID = 8 << 3

const NONE = Slab.own(0)

/** A payload in its memory. @category models @since 0.1.0 */
export interface Built {
  readonly memory: Uint8Array
  readonly start: number
  readonly end: number
  /** What the memory belongs to. */
  readonly slab: Slab.Slab
}

/**
 * Collects payloads in place: one batch at a time, in memory that is not written again once `take` has handed it out, until whoever has it
 * releases the slab.
 *
 * @category codecs
 * @since 0.1.0
 */
export class BatchBuilder {
  /** Messages inside. */
  count = 0
  readonly #expected: number
  readonly #pooled: boolean
  #slab = NONE
  /** Where the free part of the slab begins. */
  #at = 0
  readonly #writer = new ProtoWriter(256)
  #start = 0
  #end = 0

  /**
   * `expected`: bytes a batch will mostly have at most, so that it is not moved while it grows. `pooled`: whether to build in the large slabs that all
   * share; one of many builders that are filled at the same time rather begins small.
   */
  constructor(expected = 0, pooled = true) {
    this.#expected = Math.min(expected, Slab.SIZE / 2 - HEADROOM)
    this.#pooled = pooled
  }

  /** Bytes inside. */
  get byteLength(): number {
    return this.#end - this.#start
  }

  /** Adds a message; returns its bytes within the batch. */
  add(single: SingleMetadata, payload: Uint8Array): number {
    const writer = this.#writer
    writer.reset()
    writeSingle(writer, single)
    const head = writer.position
    const size = 4 + head + payload.length
    const at = this.#open(size, head)
    const { memory } = this.#slab
    const source = writer.buffer
    for (let index = 0; index < head; index++) memory[at + index] = source[index]!
    memory.set(payload, at + head)
    return size
  }

  /** {@link BatchBuilder.add} of a message that has nothing but a sequence id, from 0 to 2^53 - 1. */
  addPlain(sequence: number, payload: Uint8Array): number {
    const head = 2 + varintLength(payload.length) + varintLength(sequence)
    const size = 4 + head + payload.length
    let at = this.#open(size, head)
    const { memory } = this.#slab
    memory[at++] = PAYLOAD_SIZE
    at = putVarint(memory, at, payload.length)
    memory[at++] = SEQUENCE_ID
    at = putVarint(memory, at, sequence)
    memory.set(payload, at)
    return size
  }

  /** Makes room for a message of `size` bytes and writes the length of its metadata; gives the place of the metadata. */
  #open(size: number, head: number): number {
    this.#reserve(size)
    const { memory } = this.#slab
    const at = this.#end
    memory[at] = head >>> 24
    memory[at + 1] = head >>> 16
    memory[at + 2] = head >>> 8
    memory[at + 3] = head
    this.#end += size
    this.count++
    return at + 4
  }

  /** Puts a payload alone, without the prefix of a batch. */
  put(payload: Uint8Array): void {
    this.#reserve(payload.length)
    this.#slab.memory.set(payload, this.#end)
    this.#end += payload.length
    this.count++
  }

  /** The collected bytes, at least one payload, with {@link HEADROOM} bytes free in front; the builder is empty afterwards. */
  take(): Built {
    const slab = this.#slab
    const taken = { memory: slab.memory, start: this.#start, end: this.#end, slab }
    slab.shares++
    this.#at = this.#end
    this.#start = this.#end = 0
    this.count = 0
    return taken
  }

  #reserve(size: number): void {
    const { memory } = this.#slab
    if (this.count === 0) {
      const needed = HEADROOM + Math.max(size, this.#expected)
      if (this.#at + needed > memory.length) {
        Slab.release(this.#slab)
        this.#slab = this.#acquire(needed)
        this.#at = 0
      }
      this.#start = this.#end = this.#at + HEADROOM
    } else if (this.#end + size > memory.length) {
      const length = this.byteLength
      const before = this.#slab
      this.#slab = this.#acquire(HEADROOM + 2 * length + size)
      this.#slab.memory.set(memory.subarray(this.#start, this.#end), HEADROOM)
      Slab.release(before)
      this.#start = HEADROOM
      this.#end = HEADROOM + length
    }
  }

  #acquire(size: number): Slab.Slab {
    return this.#pooled ? Slab.acquire(size) : Slab.own(size)
  }
}

/** One message of a batch: its metadata, and where its payload is. @category models @since 0.1.0 */
export interface BatchMember {
  readonly index: number
  readonly single: SingleMetadata
  readonly start: number
  readonly end: number
}

/**
 * Walks a batch. Stops at the first entry that does not fit, as every client does: what precedes it is good.
 *
 * @category codecs
 * @since 0.1.0
 */
export class BatchCursor {
  readonly bytes: Uint8Array
  readonly count: number
  /** Index of the next message. */
  index = 0
  /** The payload of the message last stepped to is `bytes[start, end)`, its metadata `bytes[singleStart, start)`. */
  singleStart = 0
  start = 0
  end: number
  isCompactedOut = false
  /** Whether the metadata has fields that can be malformed within their bounds: then it should be read where a failure can be told. */
  hasProperties = false
  readonly #reader: ProtoReader

  constructor(bytes: Uint8Array, count: number, start = 0) {
    this.bytes = bytes
    this.count = count
    this.end = start
    this.#reader = new ProtoReader(bytes)
  }

  /** Moves to the next message; `false` when there is none. Reads no more of its metadata than where it ends: for the hot path. */
  step(): boolean {
    if (this.index >= this.count) return false
    const bytes = this.bytes
    const at = this.end
    if (bytes.length - at < 4) return false
    const size = ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0
    const from = at + 4
    if (size > bytes.length - from) return false
    const start = from + size
    const reader = this.#reader.over(bytes, from, start)
    let payloadSize = -1
    let isCompactedOut = false
    let hasProperties = false
    while (reader.position < start) {
      const tag = reader.varint()
      if (tag === 24) payloadSize = reader.int32()
      else if (tag === 32) isCompactedOut = reader.bool()
      else {
        if (tag === 10) hasProperties = true
        reader.skip(tag & 7)
      }
    }
    if (payloadSize < 0) throw new WireFormatError("MissingField", "a message of a batch without its size")
    if (payloadSize > bytes.length - start) return false
    this.singleStart = from
    this.start = start
    this.end = start + payloadSize
    this.isCompactedOut = isCompactedOut
    this.hasProperties = hasProperties
    this.index++
    return true
  }

  /** {@link BatchCursor.step}, with the metadata read. */
  next(): BatchMember | undefined {
    if (!this.step()) return undefined
    const { end, index, start } = this
    return { index: index - 1, single: readSingle(this.bytes, this.singleStart, start), start, end }
  }
}
