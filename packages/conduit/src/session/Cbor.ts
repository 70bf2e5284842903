/**
 * The part of CBOR (RFC 8949) that the session handshake uses: definite lengths, shortest integers, text keys.
 *
 * @since 0.1.0
 */

import { ByteWriter } from "../core/ByteWriter.ts"

/**
 * A CBOR value. Maps keep their order; integers beyond 2^53 are bigints.
 *
 * @since 0.1.0
 */
export type Cbor =
  | number
  | bigint
  | string
  | boolean
  | null
  | undefined
  | Uint8Array
  | ReadonlyArray<Cbor>
  | { readonly [key: string]: Cbor }

/**
 * Bytes are not CBOR, or not the part of it that is spoken here.
 *
 * @since 0.1.0
 */
export class CborFault extends Error {
  readonly _tag = "CborFault"
  readonly offset: number
  constructor(detail: string, offset: number) {
    super(`${detail} at byte ${offset}`)
    this.offset = offset
  }
}

/** Deeper nesting is refused, so that a few bytes cannot exhaust the stack. */
const maxDepth = 64
const utf8 = new TextDecoder("utf-8", { fatal: true })
const text = new TextEncoder()

/**
 * Encodes a value: floats as 64 bits, `undefined` as null.
 *
 * @since 0.1.0
 */
export const encode = (value: Cbor): Uint8Array<ArrayBuffer> => {
  const out = new ByteWriter()
  write(out, value)
  return out.finish()
}

const head = (out: ByteWriter, major: number, n: number | bigint): void => {
  const tag = major << 5
  if (n < 24) out.byte(tag | Number(n))
  else if (n < 0x100) {
    out.byte(tag | 24)
    out.byte(Number(n))
  } else if (n < 0x1_0000) {
    out.byte(tag | 25)
    out.room(2).setUint16(0, Number(n))
  } else if (n < 0x1_0000_0000) {
    out.byte(tag | 26)
    out.room(4).setUint32(0, Number(n))
  } else {
    out.byte(tag | 27)
    out.room(8).setBigUint64(0, BigInt(n))
  }
}

const integer = (out: ByteWriter, value: number | bigint): void => {
  if (value >= 0) head(out, 0, value)
  else head(out, 1, typeof value === "bigint" ? -value - BigInt(1) : -value - 1)
}

const bytes = (out: ByteWriter, major: number, value: Uint8Array): void => {
  head(out, major, value.length)
  out.bytes(value)
}

const write = (out: ByteWriter, value: Cbor): void => {
  if (value === null || value === undefined) out.byte(0xf6)
  else if (typeof value === "boolean") out.byte(value ? 0xf5 : 0xf4)
  else if (typeof value === "bigint" || Number.isSafeInteger(value)) integer(out, value as number | bigint)
  else if (typeof value === "number") {
    out.byte(0xfb)
    out.room(8).setFloat64(0, value)
  } else if (typeof value === "string") bytes(out, 3, text.encode(value))
  else if (value instanceof Uint8Array) bytes(out, 2, value)
  else if (Array.isArray(value)) {
    head(out, 4, value.length)
    for (const item of value) write(out, item)
  } else {
    const entries = Object.entries(value)
    head(out, 5, entries.length)
    for (const [key, item] of entries) {
      write(out, key)
      write(out, item)
    }
  }
}

/**
 * Decodes exactly one value.
 *
 * @throws CborFault when the bytes are not such a value, or when any are left
 * @since 0.1.0
 */
export const decode = (bytes: Uint8Array): Cbor => {
  const reader = new Reader(bytes)
  const value = reader.value(0)
  if (reader.at !== bytes.length) throw new CborFault("trailing bytes", reader.at)
  return value
}

class Reader {
  at = 0
  private readonly bytes: Uint8Array
  private readonly view: DataView

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  value(depth: number): Cbor {
    if (depth > maxDepth) throw new CborFault("nested too deep", this.at)
    this.need(1)
    const first = this.bytes[this.at++]!
    const major = first >> 5
    const minor = first & 31
    if (major === 7) return this.simple(minor)
    const argument = this.argument(minor)
    switch (major) {
      case 0:
        return argument
      case 1:
        return typeof argument === "bigint" ? -argument - BigInt(1) : -argument - 1
      case 2:
        return this.slice(argument).slice()
      case 3:
        try {
          return utf8.decode(this.slice(argument))
        } catch {
          throw new CborFault("text is not UTF-8", this.at)
        }
      case 4: {
        // Every element takes a byte at least, so a count beyond the input is a lie and allocates nothing.
        const count = this.count(argument, 1)
        const items: Array<Cbor> = []
        for (let i = 0; i < count; i++) items.push(this.value(depth + 1))
        return items
      }
      case 5: {
        const count = this.count(argument, 2)
        const map: Record<string, Cbor> = Object.create(null)
        for (let i = 0; i < count; i++) {
          const key = this.value(depth + 1)
          if (typeof key !== "string") throw new CborFault("a map key is not text", this.at)
          map[key] = this.value(depth + 1)
        }
        return map
      }
      default:
        // A tag says how to read the next value; nothing here depends on one.
        return this.value(depth + 1)
    }
  }

  private simple(minor: number): Cbor {
    switch (minor) {
      case 20:
        return false
      case 21:
        return true
      case 22:
      case 23:
        return null
      case 26:
        this.need(4)
        this.at += 4
        return this.view.getFloat32(this.at - 4)
      case 27:
        this.need(8)
        this.at += 8
        return this.view.getFloat64(this.at - 8)
      default:
        throw new CborFault(`unsupported simple value ${minor}`, this.at)
    }
  }

  private argument(minor: number): number | bigint {
    if (minor < 24) return minor
    const size = minor === 24 ? 1 : minor === 25 ? 2 : minor === 26 ? 4 : minor === 27 ? 8 : 0
    if (size === 0) throw new CborFault("indefinite or reserved length", this.at)
    this.need(size)
    const at = this.at
    this.at += size
    if (size === 1) return this.bytes[at]!
    if (size === 2) return this.view.getUint16(at)
    if (size === 4) return this.view.getUint32(at)
    const wide = this.view.getBigUint64(at)
    return wide <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(wide) : wide
  }

  private count(argument: number | bigint, bytesEach: number): number {
    if (Number(argument) * bytesEach > this.bytes.length - this.at) throw new CborFault("truncated", this.at)
    return Number(argument)
  }

  private slice(length: number | bigint): Uint8Array {
    this.need(Number(length))
    this.at += Number(length)
    return this.bytes.subarray(this.at - Number(length), this.at)
  }

  private need(bytes: number): void {
    if (bytes > this.bytes.length - this.at) throw new CborFault("truncated", this.at)
  }
}
