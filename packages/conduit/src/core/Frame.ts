/**
 * The frame: one link payload that holds a sequence number, an optional cumulative acknowledgement and one item.
 *
 * Layout: sequence number as postcard varint (1-5 bytes); `00`, or `01` and the acknowledged number as varint; item
 * length as fixed u32 little-endian; the item. Nothing else: no type byte, no checksum, no trailing bytes.
 *
 * @since 0.1.0
 */

/**
 * The largest possible frame header: 5 bytes of number, 6 of acknowledgement, 4 of item length.
 *
 * @since 0.1.0
 */
export const maxHeaderBytes = 15

/**
 * The smallest frame: a one-byte number, no acknowledgement, an empty item.
 *
 * @since 0.1.0
 */
export const minFrameBytes = 6

/**
 * Why bytes are not a frame.
 *
 * @since 0.1.0
 */
export type FrameFault =
  | "Truncated"
  | "BadAckTag"
  | "VarintTooLong"
  | "VarintOverflow"
  | "ItemLongerThanPayload"
  | "TrailingBytes"

/**
 * A decoded frame; `item` is a view of the decoded payload, not a copy.
 *
 * @since 0.1.0
 */
export interface Frame {
  readonly seq: number
  readonly ack: number | undefined
  readonly item: Uint8Array
}

/**
 * Bytes that `n` takes as a u32 varint.
 *
 * @since 0.1.0
 */
export const varintSize = (n: number): number =>
  n < 0x80 ? 1 : n < 0x4000 ? 2 : n < 0x20_0000 ? 3 : n < 0x1000_0000 ? 4 : 5

const writeVarint = (out: Uint8Array, at: number, n: number): number => {
  while (n >= 0x80) {
    out[at++] = (n & 0x7f) | 0x80
    n >>>= 7
  }
  out[at++] = n
  return at
}

/**
 * Bytes of a frame's header.
 *
 * @since 0.1.0
 */
export const headerSize = (seq: number, ack: number | undefined): number =>
  varintSize(seq) + (ack === undefined ? 1 : 1 + varintSize(ack)) + 4

/**
 * Writes a frame header at `at` and returns the offset where the item's bytes go. The caller has made room for
 * `maxHeaderBytes`.
 *
 * @since 0.1.0
 */
export const writeHeader = (
  out: Uint8Array,
  at: number,
  seq: number,
  ack: number | undefined,
  itemLength: number
): number => {
  at = writeVarint(out, at, seq)
  if (ack === undefined) {
    out[at++] = 0
  } else {
    out[at++] = 1
    at = writeVarint(out, at, ack)
  }
  out[at] = itemLength
  out[at + 1] = itemLength >>> 8
  out[at + 2] = itemLength >>> 16
  out[at + 3] = itemLength >>> 24
  return at + 4
}

/**
 * Encodes one frame into bytes of its own.
 *
 * @since 0.1.0
 */
export const encode = (frame: Frame): Uint8Array<ArrayBuffer> => {
  const out = new Uint8Array(headerSize(frame.seq, frame.ack) + frame.item.length)
  out.set(frame.item, writeHeader(out, 0, frame.seq, frame.ack, frame.item.length))
  return out
}

/**
 * Reads frames in place without allocating: the fields hold the last frame that `read` accepted.
 *
 * @since 0.1.0
 */
export class FrameReader {
  seq = 0
  /** The acknowledged number; meaningful only while `hasAck` is true. */
  ack = 0
  hasAck = false
  itemStart = 0
  itemLength = 0
  private cursor = 0

  /**
   * Reads the payload `bytes[offset, offset + length)`; the fields are valid only when the result is `undefined`.
   */
  read(bytes: Uint8Array, offset: number, length: number): FrameFault | undefined {
    const end = offset + length
    if (offset >= end) return "Truncated"
    // One-byte numbers are the common case only for short streams, so the general path is kept tight instead.
    this.cursor = offset
    const seq = this.varint(bytes, end)
    if (seq < 0) return varintFaults[-seq]
    if (this.cursor >= end) return "Truncated"
    const tag = bytes[this.cursor++]
    if (tag === 1) {
      const ack = this.varint(bytes, end)
      if (ack < 0) return varintFaults[-ack]
      this.ack = ack
      this.hasAck = true
    } else if (tag === 0) {
      this.hasAck = false
    } else {
      return "BadAckTag"
    }
    const at = this.cursor
    if (at + 4 > end) return "Truncated"
    const itemLength = (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0
    const available = end - at - 4
    if (itemLength !== available) return itemLength > available ? "ItemLongerThanPayload" : "TrailingBytes"
    this.seq = seq
    this.itemStart = at + 4
    this.itemLength = itemLength
    return undefined
  }

  /** A varint as a number, or minus an index into `varintFaults`. */
  private varint(bytes: Uint8Array, end: number): number {
    let at = this.cursor
    if (at >= end) return -1
    let byte = bytes[at++]!
    let value = byte & 0x7f
    let shift = 7
    while (byte >= 0x80) {
      if (shift === 35) return -2
      if (at >= end) return -1
      byte = bytes[at++]!
      if (shift === 28) {
        if (byte >= 0x80) return -2
        if (byte > 0x0f) return -3
      }
      value |= (byte & 0x7f) << shift
      shift += 7
    }
    this.cursor = at
    return value >>> 0
  }
}

const varintFaults = [undefined, "Truncated", "VarintTooLong", "VarintOverflow"] as const

/**
 * Decodes one payload as a frame, or says why it is none.
 *
 * @since 0.1.0
 */
export const decode = (payload: Uint8Array): Frame | FrameFault => {
  const reader = new FrameReader()
  const fault = reader.read(payload, 0, payload.length)
  if (fault !== undefined) return fault
  return {
    seq: reader.seq,
    ack: reader.hasAck ? reader.ack : undefined,
    item: payload.subarray(reader.itemStart, reader.itemStart + reader.itemLength)
  }
}
