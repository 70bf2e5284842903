/**
 * Reads protobuf fields in place: for the few messages that are read per message or per batch.
 */
import { WireFormatError } from "../wire/WireFormatError.ts"

const decoder = new TextDecoder()
const BIG_32 = 32n

const truncated = (): never => {
  throw new WireFormatError("Truncated", "a message ends inside a field")
}

/** A cursor over `[position, end)` of a buffer; every read beyond `end` fails with `Truncated`. */
export class ProtoReader {
  buffer: Uint8Array
  position: number
  end: number

  constructor(buffer: Uint8Array, position = 0, end = buffer.length) {
    this.buffer = buffer
    this.position = position
    this.end = end
  }

  /** Points the cursor elsewhere. */
  over(buffer: Uint8Array, position: number, end: number): this {
    this.buffer = buffer
    this.position = position
    this.end = end
    return this
  }

  /** An unsigned varint; beyond 2^53 the result is rounded and larger than `Number.MAX_SAFE_INTEGER`. */
  varint(): number {
    const buffer = this.buffer
    let position = this.position
    if (position >= this.end) truncated()
    let byte = buffer[position++]!
    if (byte < 0x80) {
      this.position = position
      return byte
    }
    let value = byte & 0x7f
    for (let shift = 7; shift < 28; shift += 7) {
      if (position >= this.end) truncated()
      byte = buffer[position++]!
      value |= (byte & 0x7f) << shift
      if (byte < 0x80) {
        this.position = position
        return value
      }
    }
    let scale = 268_435_456
    for (let index = 4; index < 10; index++) {
      if (position >= this.end) truncated()
      byte = buffer[position++]!
      value += (byte & 0x7f) * scale
      if (byte < 0x80) {
        this.position = position
        return value
      }
      scale *= 128
    }
    throw new WireFormatError("InvalidVarint", "a varint is longer than ten bytes")
  }

  /** A signed 64-bit varint. */
  int64(): bigint {
    const start = this.position
    const value = this.varint()
    if (value <= Number.MAX_SAFE_INTEGER) return BigInt(value)
    let low = 0
    let high = 0
    for (let index = start, shift = 0; index < this.position; index++, shift += 7) {
      const bits = this.buffer[index]! & 0x7f
      if (shift < 28) low |= bits << shift
      else if (shift === 28) {
        low |= bits << 28
        high |= bits >>> 4
      } else high |= bits << (shift - 32)
    }
    return (BigInt(high | 0) << BIG_32) | BigInt(low >>> 0)
  }

  /** A signed 32-bit varint. */
  int32(): number {
    const start = this.position
    const value = this.varint()
    if (value <= 0x7fffffff) return value
    this.position = start
    return Number(BigInt.asIntN(32, this.int64()))
  }

  bool(): boolean {
    return this.varint() !== 0
  }

  /** End of the length-prefixed field that starts here; the cursor is at its first byte. */
  delimited(): number {
    const length = this.varint()
    const end = this.position + length
    if (end > this.end) truncated()
    return end
  }

  bytes(): Uint8Array {
    const end = this.delimited()
    const value = this.buffer.subarray(this.position, end)
    this.position = end
    return value
  }

  string(): string {
    const end = this.delimited()
    const start = this.position
    this.position = end
    const length = end - start
    if (length < 32) {
      let text = ""
      for (let index = start; index < end; index++) {
        const byte = this.buffer[index]!
        if (byte > 0x7f) return decoder.decode(this.buffer.subarray(start, end))
        text += String.fromCharCode(byte)
      }
      return text
    }
    return decoder.decode(this.buffer.subarray(start, end))
  }

  /** The `KeyValue` message of the protocol. */
  pair(): readonly [string, string] {
    const end = this.delimited()
    let key = ""
    let value = ""
    while (this.position < end) {
      const tag = this.varint()
      if (tag === 10) key = this.string()
      else if (tag === 18) value = this.string()
      else this.skip(tag & 7)
    }
    return [key, value]
  }

  skip(wireType: number): void {
    switch (wireType) {
      case 0:
        this.varint()
        return
      case 1:
        this.position += 8
        break
      case 2:
        this.position = this.delimited()
        return
      case 5:
        this.position += 4
        break
      default:
        throw new WireFormatError("InvalidTag", `wire type ${wireType} does not exist in this protocol`)
    }
    if (this.position > this.end) truncated()
  }
}
