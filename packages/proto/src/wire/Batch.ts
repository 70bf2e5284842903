/**
 * Batches: `[u32 size][SingleMessageMetadata][payload]` a message, one after another, as the payload of one entry.
 *
 * @since 0.1.0
 */
import { ProtoWriter } from "../internal/ProtoWriter.ts"
import { readSingle, type SingleMetadata, writeSingle } from "./Metadata.ts"

/** Bytes kept free in front of a payload, so that its header can be written there without a copy. @category constants @since 0.1.0 */
export const HEADROOM = 256

const SLAB = 256 * 1024

/** Memory handed out in one piece after another; a piece lives as long as someone refers to it. */
class Slab {
  memory = new Uint8Array(0)
  at = 0
}

/**
 * Collects payloads in place: one batch at a time, in memory that is never written again once `take` has handed it out.
 *
 * @category codecs
 * @since 0.1.0
 */
export class BatchBuilder {
  /** Messages inside. */
  count = 0
  readonly #slab = new Slab()
  readonly #writer = new ProtoWriter(256)
  #start = 0
  #end = 0

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
    this.#reserve(size)
    const memory = this.#slab.memory
    let at = this.#end
    memory[at] = head >>> 24
    memory[at + 1] = head >>> 16
    memory[at + 2] = head >>> 8
    memory[at + 3] = head
    at += 4
    const source = writer.buffer
    for (let index = 0; index < head; index++) memory[at + index] = source[index]!
    memory.set(payload, at + head)
    this.#end += size
    this.count++
    return size
  }

  /** Puts a payload alone, without the prefix of a batch. */
  put(payload: Uint8Array): void {
    this.#reserve(payload.length)
    this.#slab.memory.set(payload, this.#end)
    this.#end += payload.length
    this.count++
  }

  /** The collected bytes with {@link HEADROOM} bytes free in front; the builder is empty afterwards. */
  take(): { readonly memory: Uint8Array; readonly start: number; readonly end: number } {
    const taken = { memory: this.#slab.memory, start: this.#start, end: this.#end }
    this.#slab.at = this.#end
    this.#start = this.#end = 0
    this.count = 0
    return taken
  }

  /** Forgets what was collected. */
  clear(): void {
    this.#start = this.#end = 0
    this.count = 0
  }

  #reserve(size: number): void {
    const slab = this.#slab
    if (this.count === 0) {
      const needed = HEADROOM + size
      if (slab.at + needed > slab.memory.length) {
        slab.memory = new Uint8Array(Math.max(SLAB, needed))
        slab.at = 0
      }
      this.#start = this.#end = slab.at + HEADROOM
      return
    }
    if (this.#end + size <= slab.memory.length) return
    const length = this.#end - this.#start
    const memory = new Uint8Array(Math.max(SLAB, HEADROOM + 2 * length + size))
    memory.set(slab.memory.subarray(this.#start, this.#end), HEADROOM)
    slab.memory = memory
    slab.at = 0
    this.#start = HEADROOM
    this.#end = HEADROOM + length
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
  #at: number

  constructor(bytes: Uint8Array, count: number, start = 0) {
    this.bytes = bytes
    this.count = count
    this.#at = start
  }

  next(): BatchMember | undefined {
    if (this.index >= this.count) return undefined
    const bytes = this.bytes
    const at = this.#at
    if (bytes.length - at < 4) return undefined
    const size = ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0
    const from = at + 4
    if (size > bytes.length - from) return undefined
    const single = readSingle(bytes, from, from + size)
    const start = from + size
    const end = start + single.payloadSize
    if (end > bytes.length) return undefined
    this.#at = end
    return { index: this.index++, single, start, end }
  }
}
