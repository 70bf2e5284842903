/**
 * The four compressions of the protocol, with guards against payloads that inflate beyond what they say.
 *
 * LZ4 is the raw block format without header or size, ZLIB is RFC 1950, ZSTD a standard frame at level 3, SNAPPY the raw block format.
 *
 * @since 0.1.0
 */
import * as lz4 from "lz4-wasm-nodejs"
import { constants, deflateSync, inflateSync, zstdCompressSync, zstdDecompressSync } from "node:zlib"
import snappy from "snappyjs"
import { WireFormatError } from "./WireFormatError.ts"

/** @category models @since 0.1.0 */
export type Compression = "none" | "lz4" | "zlib" | "zstd" | "snappy"

const names: ReadonlyArray<Compression> = ["none", "lz4", "zlib", "zstd", "snappy"]

/** Number of a codec in `MessageMetadata.compression`. @category codecs @since 0.1.0 */
export const toNumber = (compression: Compression): number => names.indexOf(compression)

/** Codec of a number, `undefined` for one that does not exist. @category codecs @since 0.1.0 */
export const fromNumber = (number: number): Compression | undefined => names[number]

/** @category codecs @since 0.1.0 */
export const compress = (compression: Compression, bytes: Uint8Array): Uint8Array => {
  switch (compression) {
    case "none":
      return bytes
    case "lz4":
      // The library puts the size in front, four bytes; the protocol has it in the metadata.
      return lz4.compress(bytes).subarray(4)
    case "zlib":
      return deflateSync(bytes)
    case "zstd":
      return zstdCompressSync(bytes, { params: { [constants.ZSTD_c_compressionLevel]: 3 } })
    case "snappy":
      return snappy.compress(bytes)
  }
}

const refuse = (detail: string): never => {
  throw new WireFormatError("Decompression", detail)
}

/** The size in front of a Snappy block, `undefined` when it is not there. */
const snappySize = (bytes: Uint8Array): number | undefined => {
  let size = 0
  for (let index = 0; index < 5 && index < bytes.length; index++) {
    const byte = bytes[index]!
    size += (byte & 0x7f) * 2 ** (7 * index)
    if (byte < 0x80) return size
  }
  return undefined
}

/**
 * Checks that an LZ4 block yields exactly `size` bytes and reads only what lies within, before anything is decoded:
 * the decoder is WebAssembly and would trap.
 */
const checkLz4 = (bytes: Uint8Array, size: number): void => {
  let at = 0
  let out = 0
  const length = (base: number): number => {
    let value = base
    if (base === 15) {
      let byte = 255
      while (byte === 255) {
        if (at >= bytes.length) refuse("an LZ4 block ends inside a length")
        byte = bytes[at++]!
        value += byte
        if (value > size) refuse("an LZ4 block is longer than it says")
      }
    }
    return value
  }
  while (at < bytes.length) {
    const token = bytes[at++]!
    const literals = length(token >>> 4)
    at += literals
    out += literals
    if (at > bytes.length || out > size) refuse("an LZ4 block runs over its end")
    if (at === bytes.length) break
    if (at + 2 > bytes.length) refuse("an LZ4 block ends inside an offset")
    const offset = bytes[at]! | (bytes[at + 1]! << 8)
    at += 2
    if (offset === 0 || offset > out) refuse("an LZ4 block refers to what is not there")
    out += length(token & 15) + 4
    if (out > size) refuse("an LZ4 block is longer than it says")
  }
  if (out !== size) refuse(`an LZ4 block holds ${out} bytes instead of ${size}`)
}

const inflate = (compression: Compression, bytes: Uint8Array, size: number, ceiling: number): Uint8Array => {
  switch (compression) {
    case "none":
      return bytes
    case "lz4": {
      if (size === 0) return new Uint8Array(0)
      checkLz4(bytes, size)
      const prefixed = new Uint8Array(4 + bytes.length)
      new DataView(prefixed.buffer).setUint32(0, size, true)
      prefixed.set(bytes, 4)
      return lz4.decompress(prefixed)
    }
    case "zlib":
      // Java's client flushes its stream and never ends it; that all of it came is seen by its length.
      return inflateSync(bytes, { maxOutputLength: Math.max(size, 1), finishFlush: constants.Z_SYNC_FLUSH })
    case "zstd":
      return zstdDecompressSync(bytes, { maxOutputLength: Math.max(size, 1) })
    case "snappy": {
      const embedded = snappySize(bytes)
      if (embedded === undefined || embedded > ceiling || embedded !== size) {
        refuse(`a Snappy block says ${embedded} bytes, its metadata ${size}`)
      }
      return snappy.uncompress(bytes, size)
    }
  }
}

/**
 * Inflates a payload to exactly `size` bytes, its uncompressed size in the metadata, which may not exceed `ceiling`.
 * Fails with `WireFormatError`: `UnknownCompression` or `Decompression`.
 *
 * @category codecs
 * @since 0.1.0
 */
export const decompress = (number: number, bytes: Uint8Array, size: number, ceiling: number): Uint8Array => {
  if (number === 0) return bytes
  const compression = fromNumber(number)
  if (compression === undefined) throw new WireFormatError("UnknownCompression", `compression ${number} does not exist`)
  if (size > ceiling) refuse(`a payload of ${size} bytes, the ceiling is ${ceiling}`)
  let inflated: Uint8Array
  try {
    inflated = inflate(compression, bytes, size, ceiling)
  } catch (cause) {
    if (cause instanceof WireFormatError) throw cause
    return refuse(`${compression}: ${cause instanceof Error ? cause.message.slice(0, 120) : "broken payload"}`)
  }
  return inflated.length === size ? inflated : refuse(`${compression}: ${inflated.length} bytes instead of ${size}`)
}
