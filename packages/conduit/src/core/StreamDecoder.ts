/**
 * Cuts a byte stream into payloads: each is preceded by its length as u32 little-endian.
 *
 * @since 0.1.0
 */

/**
 * Receives the payloads. The bytes may be overwritten after the call returns unless `owned` is true.
 *
 * @since 0.1.0
 */
export interface PayloadSink {
  payload(bytes: Uint8Array, offset: number, length: number, owned: boolean): boolean | void
}

/**
 * Why a byte stream cannot be cut any further.
 *
 * @since 0.1.0
 */
export type StreamFault = "PayloadTooLarge" | "PartialPrefix" | "PartialPayload"

const prefixBytes = 4
/** A payload that spans reads is collected in a buffer that grows with the data, never with the announced length. */
const firstCarryBytes = 1024

/**
 * An incremental decoder; bytes of an unfinished payload are the only thing it keeps.
 *
 * @since 0.1.0
 */
export class StreamDecoder {
  /** Longest payload accepted, in bytes; a longer prefix is a fault before anything is allocated for it. */
  readonly maxPayload: number
  private carry = new Uint8Array(0)
  private carried = 0

  constructor(maxPayload: number) {
    this.maxPayload = maxPayload
  }

  /** Bytes kept of an unfinished payload, its prefix included. */
  get pending(): number {
    return this.carried
  }

  /**
   * Cuts `bytes[start, end)`; calls the sink once per finished payload. A sink that returns false stops it there, and
   * the rest of the input is dropped, because its link is gone.
   */
  push(bytes: Uint8Array, start: number, end: number, owned: boolean, sink: PayloadSink): StreamFault | undefined {
    let at = start
    while (this.carried > 0) {
      const wanted = this.carried < prefixBytes ? prefixBytes : prefixBytes + lengthAt(this.carry, 0)
      if (this.carried >= prefixBytes && wanted - prefixBytes > this.maxPayload) return "PayloadTooLarge"
      const taken = Math.min(wanted - this.carried, end - at)
      this.keep(bytes, at, at + taken, wanted)
      at += taken
      if (this.carried < wanted) return undefined
      if (wanted > prefixBytes || lengthAt(this.carry, 0) === 0) {
        // The carry is given away: a payload that spanned reads is the receiver's to keep.
        const whole = this.carry
        this.carry = new Uint8Array(0)
        this.carried = 0
        if (sink.payload(whole, prefixBytes, wanted - prefixBytes, true) === false) return undefined
      }
    }
    while (end - at >= prefixBytes) {
      const length = lengthAt(bytes, at)
      if (length > this.maxPayload) return "PayloadTooLarge"
      if (end - at - prefixBytes < length) break
      if (sink.payload(bytes, at + prefixBytes, length, owned) === false) return undefined
      at += prefixBytes + length
    }
    if (at < end) this.keep(bytes, at, end, end - at)
    return undefined
  }

  /** What the end of the stream means: nothing in the middle is fine, anything else is a fault. */
  finish(): StreamFault | undefined {
    return this.carried === 0 ? undefined : this.carried < prefixBytes ? "PartialPrefix" : "PartialPayload"
  }

  private keep(bytes: Uint8Array, from: number, to: number, wanted: number): void {
    const needed = this.carried + to - from
    if (needed > this.carry.length) {
      const doubled = Math.max(firstCarryBytes, this.carry.length * 2)
      const grown = new Uint8Array(Math.max(needed, Math.min(doubled, Math.max(wanted, needed))))
      grown.set(this.carry.subarray(0, this.carried))
      this.carry = grown
    }
    this.carry.set(bytes.subarray(from, to), this.carried)
    this.carried = needed
  }
}

/**
 * One payload behind its prefix.
 *
 * @since 0.1.0
 */
export const encode = (payload: Uint8Array): Uint8Array<ArrayBuffer> => {
  const out = new Uint8Array(prefixBytes + payload.length)
  new DataView(out.buffer).setUint32(0, payload.length, true)
  out.set(payload, prefixBytes)
  return out
}

/**
 * The payloads of a run of whole, prefixed payloads, as views.
 *
 * @since 0.1.0
 */
export function* payloads(bytes: Uint8Array, start: number, end: number): Generator<Uint8Array> {
  for (let at = start; at < end;) {
    const length = lengthAt(bytes, at)
    yield bytes.subarray(at + prefixBytes, at + prefixBytes + length)
    at += prefixBytes + length
  }
}

const lengthAt = (bytes: Uint8Array, at: number): number =>
  (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0
