/**
 * The part of CBOR (RFC 8949) that the session handshake uses: definite lengths, shortest integers, text keys.
 *
 * @since 0.1.0
 */

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
  const out: Array<number> = []
  write(out, value)
  return Uint8Array.from(out)
}

const head = (out: Array<number>, major: number, n: number | bigint): void => {
  const tag = major << 5
  if (n < 24) out.push(tag | Number(n))
  else if (n < 0x100) out.push(tag | 24, Number(n))
  else if (n < 0x1_0000) out.push(tag | 25, Number(n) >>> 8, Number(n) & 0xff)
  else if (n < 0x1_0000_0000) {
    const value = Number(n)
    out.push(tag | 26, value >>> 24, (value >>> 16) & 0xff, (value >>> 8) & 0xff, value & 0xff)
  } else {
    out.push(tag | 27)
    for (let shift = 56; shift >= 0; shift -= 8) out.push(Number((BigInt(n) >> BigInt(shift)) & BigInt(0xff)))
  }
}

const write = (out: Array<number>, value: Cbor): void => {
  if (value === null || value === undefined) out.push(0xf6)
  else if (typeof value === "boolean") out.push(value ? 0xf5 : 0xf4)
  else if (typeof value === "bigint") {
    if (value >= 0) head(out, 0, value)
    else head(out, 1, -value - BigInt(1))
  } else if (typeof value === "number") {
    if (Number.isSafeInteger(value)) {
      if (value >= 0) head(out, 0, value)
      else head(out, 1, -value - 1)
    } else {
      const bytes = new Uint8Array(8)
      new DataView(bytes.buffer).setFloat64(0, value)
      out.push(0xfb, ...bytes)
    }
  } else if (typeof value === "string") {
    const bytes = text.encode(value)
    head(out, 3, bytes.length)
    for (const byte of bytes) out.push(byte)
  } else if (value instanceof Uint8Array) {
    head(out, 2, value.length)
    for (const byte of value) out.push(byte)
  } else if (Array.isArray(value)) {
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
