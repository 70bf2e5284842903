/**
 * Writes protobuf fields into one growing buffer: for the few messages that are written per message or per batch.
 */
import { WireFormatError } from "../wire/WireFormatError.ts"

const encoder = new TextEncoder()

/** Bytes of the varint form of a whole number of at most 2^53 - 1. */
export const varintLength = (value: number): number => {
  let length = 1
  while (value >= 0x80) {
    value = value > 0x7fffffff ? Math.floor(value / 128) : value >>> 7
    length++
  }
  return length
}

/** Writes the varint form of a whole number of at most 2^53 - 1 at `position`; gives the position behind it. */
export const putVarint = (buffer: Uint8Array, position: number, value: number): number => {
  while (value > 0x7fffffff) {
    buffer[position++] = (value % 128) | 0x80
    value = Math.floor(value / 128)
  }
  while (value > 0x7f) {
    buffer[position++] = (value & 0x7f) | 0x80
    value >>>= 7
  }
  buffer[position++] = value
  return position
}

/** A buffer that doubles when it is full; `reset` starts over in the same memory. */
export class ProtoWriter {
  buffer: Uint8Array
  position = 0

  constructor(capacity = 512) {
    this.buffer = new Uint8Array(capacity)
  }

  reset(): void {
    this.position = 0
  }

  /** What was written, valid until the next `reset`. */
  view(): Uint8Array {
    return this.buffer.subarray(0, this.position)
  }

  /** What was written, in memory of its own. */
  copy(): Uint8Array {
    return this.buffer.slice(0, this.position)
  }

  ensure(extra: number): void {
    const needed = this.position + extra
    if (needed <= this.buffer.length) return
    const grown = new Uint8Array(Math.max(needed, this.buffer.length * 2))
    grown.set(this.buffer.subarray(0, this.position))
    this.buffer = grown
  }

  /** A whole number from 0 to 2^53 - 1. */
  varint(value: number): void {
    this.ensure(10)
    this.position = putVarint(this.buffer, this.position, value)
  }

  /** A 64-bit number; negative numbers take ten bytes, as the encoding demands. */
  varint64(value: bigint): void {
    if (value >= 0n && value <= 0x1fffffffffffffn) {
      this.varint(Number(value))
      return
    }
    this.ensure(10)
    let rest = BigInt.asUintN(64, value)
    while (rest > 0x7fn) {
      this.buffer[this.position++] = Number(rest & 0x7fn) | 0x80
      rest >>= 7n
    }
    this.buffer[this.position++] = Number(rest)
  }

  /** A varint field of a number from 0 to 2^53 - 1. */
  uintField(field: number, value: number): void {
    if (!Number.isSafeInteger(value) || value < 0) {
      throw new WireFormatError("InvalidValue", `field ${field} cannot hold ${value}`)
    }
    this.varint(field << 3)
    this.varint(value)
  }

  /** A varint field of an int32, negative ones included. */
  intField(field: number, value: number): void {
    if (value >= 0) this.uintField(field, value)
    else this.int64Field(field, BigInt(value))
  }

  int64Field(field: number, value: bigint): void {
    this.varint(field << 3)
    this.varint64(value)
  }

  boolField(field: number, value: boolean): void {
    this.varint(field << 3)
    this.varint(value ? 1 : 0)
  }

  bytesField(field: number, value: Uint8Array): void {
    this.varint((field << 3) | 2)
    this.varint(value.length)
    this.ensure(value.length)
    this.buffer.set(value, this.position)
    this.position += value.length
  }

  stringField(field: number, value: string): void {
    this.varint((field << 3) | 2)
    this.string(value)
  }

  /** A length-prefixed string. */
  string(value: string): void {
    const length = value.length
    if (length < 64) {
      // Short and ASCII, the usual case: one pass without a call into the runtime.
      this.ensure(length + 5)
      const buffer = this.buffer
      const start = this.position + 1
      let index = 0
      for (; index < length; index++) {
        const unit = value.charCodeAt(index)
        if (unit > 0x7f) break
        buffer[start + index] = unit
      }
      if (index === length) {
        buffer[this.position] = length
        this.position = start + length
        return
      }
    }
    const bytes = encoder.encode(value)
    this.varint(bytes.length)
    this.ensure(bytes.length)
    this.buffer.set(bytes, this.position)
    this.position += bytes.length
  }

  /** The `KeyValue` message of the protocol, as an embedded field. */
  pairField(field: number, key: string, value: string): void {
    this.varint((field << 3) | 2)
    const at = this.position
    this.ensure(5)
    this.position += 1
    this.stringField(1, key)
    this.stringField(2, value)
    this.closeLength(at)
  }

  /** Writes, at `at`, the length of what followed the one byte left free there, moving it when the length needs more bytes. */
  closeLength(at: number): void {
    const length = this.position - at - 1
    if (length < 0x80) {
      this.buffer[at] = length
      return
    }
    const extra = varintLength(length) - 1
    this.ensure(extra)
    this.buffer.copyWithin(at + 1 + extra, at + 1, this.position)
    const end = this.position + extra
    this.position = at
    this.varint(length)
    this.position = end
  }
}
