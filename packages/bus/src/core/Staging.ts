/**
 * Where a payload waits while it is hashed, routed and validated: one area of WebAssembly memory, no object an event.
 *
 * @since 0.1.0
 */
import { deepest, type Exports, instantiate, reasons, reserve, slack } from "./internal/Wasm.ts"
import type { RejectedLine } from "./JsonLines.ts"

/** @category models @since 0.1.0 */
export interface StagingOptions {
  /** Largest payload in bytes, 1 … 67,108,864. Default 1 MiB. */
  readonly maxBytes?: number | undefined
  /** Deepest nesting that `validate` accepts, 1 … 4,096. Default 128. */
  readonly maxDepth?: number | undefined
}

interface WritableBuffer {
  readonly utf8Write: (text: string, offset: number, length: number) => number
}

interface BufferConstructor {
  readonly from: (buffer: ArrayBuffer, offset: number, length: number) => WritableBuffer
  readonly prototype: Partial<WritableBuffer>
}

// Node's own writer is twice as fast as `encodeInto` on short texts; elsewhere there is none.
const NodeBuffer = (globalThis as unknown as { readonly Buffer?: BufferConstructor }).Buffer
const hasUtf8Write = typeof NodeBuffer?.prototype.utf8Write === "function"
const encoder = new TextEncoder()
/** Views on payloads up to this length are kept: making one takes longer than copying so few bytes. */
const KEPT_VIEWS = 1024

/** Length of a text in UTF-8; a lone surrogate counts as the three bytes of U+FFFD that replace it. */
const utf8Length = (text: string): number => {
  let length = text.length
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    if (unit < 0x80) continue
    if (unit < 0x800) length += 1
    else if ((unit & 0xfc00) === 0xd800 && (text.charCodeAt(i + 1) & 0xfc00) === 0xdc00) {
      length += 2
      i++
    } else length += 2
  }
  return length
}

/**
 * Stages one payload at a time. The memory starts small and grows up to what the largest payload needs.
 *
 * @category models
 * @since 0.1.0
 */
export class Staging {
  /** Largest payload in bytes. */
  readonly maxBytes: number
  readonly #maxDepth: number
  readonly #wasm: Exports
  readonly #base: number
  #capacity: number
  #bytes: Uint8Array<ArrayBuffer>
  #writer: WritableBuffer | undefined
  /** By length: views on the start of the area. */
  #views: Array<Uint8Array<ArrayBuffer> | undefined> = []

  constructor(options: StagingOptions = {}) {
    this.maxBytes = options.maxBytes ?? 1_048_576
    this.#maxDepth = options.maxDepth ?? 128
    if (!Number.isInteger(this.maxBytes) || this.maxBytes < 1 || this.maxBytes > 67_108_864) {
      throw new RangeError(`maxBytes must be a whole number from 1 to 67108864, not ${this.maxBytes}`)
    }
    if (!Number.isInteger(this.#maxDepth) || this.#maxDepth < 1 || this.#maxDepth > deepest) {
      throw new RangeError(`maxDepth must be a whole number from 1 to ${deepest}, not ${this.#maxDepth}`)
    }
    this.#wasm = instantiate()
    this.#base = this.#wasm.base.value
    this.#capacity = 0
    this.#bytes = new Uint8Array(0)
    this.#view()
  }

  /** The staged bytes, from offset 0. A new view after a payload larger than any before: read it after staging. */
  get staging(): Uint8Array<ArrayBuffer> {
    return this.#bytes
  }

  /** The staged payload of so many bytes, as a view that holds nothing else. Valid until the next payload is staged. */
  staged(length: number): Uint8Array<ArrayBuffer> {
    return length > KEPT_VIEWS
      ? this.#bytes.subarray(0, length)
      : this.#views[length] ??= this.#bytes.subarray(0, length)
  }

  /** Copies a payload in. Returns its length; when that exceeds `maxBytes`, nothing was staged. */
  stageBytes(bytes: Uint8Array): number {
    const length = bytes.length
    if (length > this.#capacity && !this.#grow(length)) return length
    this.#bytes.set(bytes)
    return length
  }

  /** Writes the UTF-8 of a text. Returns its length in bytes; when that exceeds `maxBytes`, nothing was staged. */
  stageString(text: string): number {
    // Every UTF-16 unit takes three bytes at most, so that most texts need not be measured.
    if (text.length * 3 > this.#capacity) {
      const length = utf8Length(text)
      if (length > this.#capacity && !this.#grow(length)) return length
    }
    return this.#writer === undefined
      ? encoder.encodeInto(text, this.#bytes).written
      : this.#writer.utf8Write(text, 0, this.#capacity)
  }

  /** Shard of the staged payload: floor(XXH3-64 × shards / 2^64), for 1 … 65,535 shards. */
  route(length: number, shards: number): number {
    return this.#wasm.route(this.#base, length, shards)
  }

  /** XXH3-64 of the staged payload. */
  hash(length: number): bigint {
    return BigInt.asUintN(64, this.#wasm.hash(this.#base, length))
  }

  /** -1 when the staged payload is one JSON document (RFC 8259, strict UTF-8), else the offset of the first byte that does not fit. */
  validate(length: number): number {
    return this.#wasm.validate(this.#base, length, this.#maxDepth)
  }

  /** Why the last `validate` that did not return -1 refused. */
  get fault(): Exclude<RejectedLine["reason"], "tooLong"> {
    return reasons[this.#wasm.fault.value] as Exclude<RejectedLine["reason"], "tooLong">
  }

  #grow(length: number): boolean {
    if (length > this.maxBytes) return false
    reserve(this.#wasm.memory, this.#base + length + slack)
    this.#view()
    return true
  }

  #view(): void {
    const { buffer } = this.#wasm.memory
    this.#capacity = Math.min(this.maxBytes, buffer.byteLength - this.#base - slack)
    this.#bytes = new Uint8Array(buffer, this.#base, this.#capacity)
    this.#views = []
    if (hasUtf8Write) this.#writer = NodeBuffer!.from(buffer, this.#base, this.#capacity)
  }
}
