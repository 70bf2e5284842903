/**
 * The part of the postcard format that conduit peers write in Rust use for their items: varints, strings, bytes,
 * options, structs, tuples, enums, lists, maps, floats. Positional: both ends must know the same layout.
 *
 * @since 0.1.0
 */
import type { Codec } from "../Codec.ts"
import { ByteWriter } from "../core/ByteWriter.ts"

/**
 * Bytes are not the value that was expected.
 *
 * @category errors
 * @since 0.1.0
 */
export class PostcardFault extends Error {
  readonly _tag = "PostcardFault"
  readonly offset: number
  constructor(detail: string, offset: number) {
    super(`${detail} at byte ${offset}`)
    this.offset = offset
  }
}

/** Collects written bytes. */
export class Writer extends ByteWriter {
  varint(value: number | bigint): void {
    if (typeof value === "bigint" || value > 0xffff_ffff) {
      let rest = BigInt(value)
      const low = BigInt(0x7f)
      while (rest > low) {
        this.byte(Number(rest & low) | 0x80)
        rest >>= BigInt(7)
      }
      return this.byte(Number(rest))
    }
    let rest = value
    while (rest >= 0x80) {
      this.byte((rest & 0x7f) | 0x80)
      rest >>>= 7
    }
    this.byte(rest)
  }
}

/** Reads from bytes it does not own. */
export class Reader {
  at = 0
  private readonly source: Uint8Array
  private readonly view: DataView

  constructor(source: Uint8Array) {
    this.source = source
    this.view = new DataView(source.buffer, source.byteOffset, source.byteLength)
  }

  get left(): number {
    return this.source.length - this.at
  }

  fail(detail: string): never {
    throw new PostcardFault(detail, this.at)
  }

  take(bytes: number): DataView {
    if (bytes > this.left) this.fail("truncated")
    const at = this.at
    this.at += bytes
    return new DataView(this.view.buffer, this.view.byteOffset + at, bytes)
  }

  byte(): number {
    if (this.left < 1) this.fail("truncated")
    return this.source[this.at++]!
  }

  bytes(length: number): Uint8Array {
    if (length > this.left) this.fail("truncated")
    this.at += length
    return this.source.subarray(this.at - length, this.at)
  }

  /** A varint of at most `bits` bits. */
  varint(bits: number): bigint {
    let value = BigInt(0)
    for (let shift = 0; shift < bits; shift += 7) {
      const byte = this.byte()
      value |= BigInt(byte & 0x7f) << BigInt(shift)
      if (byte < 0x80) return value >> BigInt(bits) === BigInt(0) ? value : this.fail("varint overflow")
    }
    return this.fail("varint too long")
  }

  /** A varint of at most 32 bits. */
  u32(): number {
    let value = 0
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.byte()
      if (shift === 28 && byte > 0x0f) this.fail("varint overflow")
      value |= (byte & 0x7f) << shift
      if (byte < 0x80) return value >>> 0
    }
    return this.fail("varint too long")
  }

  /** A count of elements that take at least one byte each, so that a lie allocates nothing. */
  count(): number {
    const count = this.u32()
    return count > this.left ? this.fail("count beyond the input") : count
  }
}

/**
 * How one type is laid out.
 *
 * @category models
 * @since 0.1.0
 */
export interface Layout<in out A> {
  readonly write: (writer: Writer, value: A) => void
  readonly read: (reader: Reader) => A
}

/**
 * The type of a layout's values.
 *
 * @category models
 * @since 0.1.0
 */
export type Type<L> = L extends Layout<infer A> ? A : never

/**
 * A codec for one whole item. Bytes after the value are a fault, though the Rust decoder ignores them: no encoder
 * produces any.
 *
 * @category codecs
 * @since 0.1.0
 */
export const codec = <A>(layout: Layout<A>): Codec<A> => ({
  encode: (value) => {
    const writer = new Writer()
    layout.write(writer, value)
    return writer.finish()
  },
  decode: (bytes) => {
    const reader = new Reader(bytes)
    const value = layout.read(reader)
    return reader.left === 0 ? value : reader.fail("trailing bytes")
  }
})

const utf8 = new TextEncoder()
const fromUtf8 = new TextDecoder("utf-8", { fatal: true })

/** `()`: no bytes. */
export const unit: Layout<undefined> = { write: () => {}, read: () => undefined }

/** One byte, `00` or `01`. */
export const bool: Layout<boolean> = {
  write: (writer, value) => writer.byte(value ? 1 : 0),
  read: (reader) => {
    const byte = reader.byte()
    return byte > 1 ? reader.fail("not a boolean") : byte === 1
  }
}

/** One byte. */
export const u8: Layout<number> = {
  write: (writer, value) => writer.byte(value),
  read: (reader) => reader.byte()
}

/** One byte, two's complement. */
export const i8: Layout<number> = {
  write: (writer, value) => writer.byte(value & 0xff),
  read: (reader) => (reader.byte() << 24) >> 24
}

const unsigned = (bits: number): Layout<number> => ({
  write: (writer, value) => writer.varint(value),
  read: (reader) => bits === 32 ? reader.u32() : Number(reader.varint(bits))
})

const zigzag = (bits: number): Layout<number> => ({
  write: (writer, value) => writer.varint(value < 0 ? -2 * value - 1 : 2 * value),
  read: (reader) => {
    const raw = Number(reader.varint(bits))
    return raw % 2 === 0 ? raw / 2 : -(raw + 1) / 2
  }
})

/** Varint, 0 to 65535. */
export const u16: Layout<number> = unsigned(16)
/** Varint, 0 to 4294967295. */
export const u32: Layout<number> = unsigned(32)
/** Zig-zag varint of 16 bits. */
export const i16: Layout<number> = zigzag(16)
/** Zig-zag varint of 32 bits. */
export const i32: Layout<number> = zigzag(32)

/** Varint of 64 bits. */
export const u64: Layout<bigint> = {
  write: (writer, value) => writer.varint(value),
  read: (reader) => reader.varint(64)
}

/** Zig-zag varint of 64 bits. */
export const i64: Layout<bigint> = {
  write: (writer, value) => writer.varint(value < 0 ? -value * BigInt(2) - BigInt(1) : value * BigInt(2)),
  read: (reader) => {
    const raw = reader.varint(64)
    return (raw & BigInt(1)) === BigInt(0) ? raw >> BigInt(1) : -((raw + BigInt(1)) >> BigInt(1))
  }
}

/** Four bytes, IEEE little-endian. */
export const f32: Layout<number> = {
  write: (writer, value) => writer.room(4).setFloat32(0, value, true),
  read: (reader) => reader.take(4).getFloat32(0, true)
}

/** Eight bytes, IEEE little-endian. */
export const f64: Layout<number> = {
  write: (writer, value) => writer.room(8).setFloat64(0, value, true),
  read: (reader) => reader.take(8).getFloat64(0, true)
}

/** Varint length, then UTF-8. */
export const string: Layout<string> = {
  write: (writer, value) => {
    const bytes = utf8.encode(value)
    writer.varint(bytes.length)
    writer.bytes(bytes)
  },
  read: (reader) => {
    const bytes = reader.bytes(reader.u32())
    try {
      return fromUtf8.decode(bytes)
    } catch {
      return reader.fail("not UTF-8")
    }
  }
}

/** Varint length, then the bytes. */
export const bytes: Layout<Uint8Array> = {
  write: (writer, value) => {
    writer.varint(value.length)
    writer.bytes(value)
  },
  read: (reader) => reader.bytes(reader.u32()).slice()
}

/** An encoded value inside another: fixed u32 little-endian length, then the bytes, kept as they are. */
export const opaque: Layout<Uint8Array> = {
  write: (writer, value) => {
    writer.room(4).setUint32(0, value.length, true)
    writer.bytes(value)
  },
  read: (reader) => reader.bytes(reader.take(4).getUint32(0, true)).slice()
}

/** `00`, or `01` and the value. */
export const option = <A>(layout: Layout<A>): Layout<A | undefined> => ({
  write: (writer, value) => {
    writer.byte(value === undefined ? 0 : 1)
    if (value !== undefined) layout.write(writer, value)
  },
  read: (reader) => {
    const tag = reader.byte()
    return tag === 0 ? undefined : tag === 1 ? layout.read(reader) : reader.fail("not an option")
  }
})

/** Varint count, then the elements. */
export const list = <A>(layout: Layout<A>): Layout<ReadonlyArray<A>> => ({
  write: (writer, values) => {
    writer.varint(values.length)
    for (const value of values) layout.write(writer, value)
  },
  read: (reader) => {
    const count = reader.count()
    const values: Array<A> = []
    for (let i = 0; i < count; i++) values.push(layout.read(reader))
    return values
  }
})

/** Varint count, then key and value in turn, in the map's order. */
export const map = <K, V>(key: Layout<K>, value: Layout<V>): Layout<ReadonlyMap<K, V>> => ({
  write: (writer, entries) => {
    writer.varint(entries.size)
    for (const [k, v] of entries) {
      key.write(writer, k)
      value.write(writer, v)
    }
  },
  read: (reader) => {
    const count = reader.count()
    const entries = new Map<K, V>()
    for (let i = 0; i < count; i++) entries.set(key.read(reader), value.read(reader))
    return entries
  }
})

/** The elements one after the other; also a fixed array. */
export const tuple = <const L extends ReadonlyArray<Layout<any>>>(
  ...layouts: L
): Layout<{ readonly [I in keyof L]: Type<L[I]> }> => ({
  write: (writer, values) => layouts.forEach((layout, index) => layout.write(writer, values[index])),
  read: (reader) => layouts.map((layout) => layout.read(reader)) as { [I in keyof L]: Type<L[I]> }
})

/** The fields one after the other, in the order of the record. */
export const struct = <const F extends { readonly [name: string]: Layout<any> }>(
  fields: F
): Layout<{ readonly [N in keyof F]: Type<F[N]> }> => {
  const entries = Object.entries(fields)
  return {
    write: (writer, value) => {
      for (const [name, layout] of entries) layout.write(writer, value[name])
    },
    read: (reader) => {
      const value: Record<string, unknown> = {}
      for (const [name, layout] of entries) value[name] = layout.read(reader)
      return value as { readonly [N in keyof F]: Type<F[N]> }
    }
  }
}

/** Varint index of the variant, in the order of the record, then its content. */
export const variants = <const V extends { readonly [name: string]: Layout<any> }>(
  cases: V
): Layout<{ readonly [N in keyof V]: { readonly _tag: N; readonly value: Type<V[N]> } }[keyof V]> => {
  const names = Object.keys(cases)
  return {
    write: (writer, { _tag, value }) => {
      writer.varint(names.indexOf(_tag as string))
      cases[_tag]!.write(writer, value)
    },
    read: (reader) => {
      const name = names[reader.u32()]
      return name === undefined
        ? reader.fail("unknown variant")
        : { _tag: name, value: cases[name]!.read(reader) }
    }
  } as Layout<{ readonly [N in keyof V]: { readonly _tag: N; readonly value: Type<V[N]> } }[keyof V]>
}
