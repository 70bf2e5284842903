/**
 * CRC32C (Castagnoli): reflected polynomial 0x82F63B78, initial and final xor 0xFFFFFFFF.
 *
 * @since 0.1.0
 */
import { crcFold, WORTHWHILE } from "../internal/CrcFold.ts"

// Sixteen tables of 256 entries: table k advances a byte past k further bytes.
const tables = new Int32Array(16 * 256)
for (let byte = 0; byte < 256; byte++) {
  let value = byte
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1
  tables[byte] = value
}
for (let index = 256; index < tables.length; index++) {
  const previous = tables[index - 256]!
  tables[index] = (previous >>> 8) ^ tables[previous & 0xff]!
}

const littleEndian = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1

// Frames come in runs from the same memory; a view of it costs more than the checksum of a short one.
let lastBuffer: ArrayBufferLike = new ArrayBuffer(0)
let lastWords: Int32Array = new Int32Array(lastBuffer)

const wordsOf = (buffer: ArrayBufferLike): Int32Array => {
  if (buffer !== lastBuffer) {
    lastBuffer = buffer
    lastWords = new Int32Array(buffer, 0, buffer.byteLength >>> 2)
  }
  return lastWords
}

/** The register after `[start, end)`, by tables. */
const register = (before: number, bytes: Uint8Array, start: number, end: number): number => {
  const t = tables
  let c = before
  let index = start
  if (end - start >= 48 && littleEndian) {
    const base = bytes.byteOffset
    while (((base + index) & 3) !== 0) c = (c >>> 8) ^ t[(c ^ bytes[index++]!) & 0xff]!
    const words = wordsOf(bytes.buffer)
    let word = (base + index) >>> 2
    const blocks = (end - index) >>> 4
    index += blocks << 4
    for (const last = word + (blocks << 2); word < last; word += 4) {
      const a = words[word]! ^ c
      const b = words[word + 1]!
      const d = words[word + 2]!
      const e = words[word + 3]!
      c = t[3840 + (a & 0xff)]! ^ t[3584 + ((a >>> 8) & 0xff)]! ^ t[3328 + ((a >>> 16) & 0xff)]! ^
        t[3072 + (a >>> 24)]! ^
        t[2816 + (b & 0xff)]! ^ t[2560 + ((b >>> 8) & 0xff)]! ^ t[2304 + ((b >>> 16) & 0xff)]! ^ t[2048 + (b >>> 24)]! ^
        t[1792 + (d & 0xff)]! ^ t[1536 + ((d >>> 8) & 0xff)]! ^ t[1280 + ((d >>> 16) & 0xff)]! ^ t[1024 + (d >>> 24)]! ^
        t[768 + (e & 0xff)]! ^ t[512 + ((e >>> 8) & 0xff)]! ^ t[256 + ((e >>> 16) & 0xff)]! ^ t[e >>> 24]!
    }
  }
  while (index < end) c = (c >>> 8) ^ t[(c ^ bytes[index++]!) & 0xff]!
  return c
}

/**
 * The checksum of `[start, end)`, continued from `crc`, the checksum of what precedes it (0 for nothing), as an unsigned 32-bit number.
 *
 * @category checksums
 * @since 0.1.0
 */
export const update = (crc: number, bytes: Uint8Array, start = 0, end = bytes.length): number => {
  let c = ~crc
  let at = start
  while (end - at >= WORTHWHILE) {
    const fold = crcFold()
    const next = Math.min(end, at + fold.limit)
    const left = fold.shorten(c, bytes.subarray(at, next))
    c = register(0, fold.memory, fold.rest, fold.rest + left)
    at = next
  }
  return ~register(c, bytes, at, end) >>> 0
}

/** The checksum of a whole buffer. @category checksums @since 0.1.0 */
export const crc32c = (bytes: Uint8Array): number => update(0, bytes)
