import * as Frame from "./Frame.ts"
import * as Serial from "./Serial.ts"

/**
 * Bounds of a replay buffer.
 *
 * @since 0.1.0
 */
export interface ReplayLimits {
  /** Most bytes kept, headers and prefixes included. */
  readonly bytes: number
  /** Most frames kept; below 2^31. */
  readonly frames: number
}

/** Slabs start small, so that an idle conduit is cheap, and double up to the size of one socket write. */
const firstSlabBytes = 1024
const lastSlabBytes = 65_536
/** Free slabs that a busy buffer keeps for its next items, so that a stream of items allocates nothing. */
const spareSlabs = 32
/** Every frame is kept behind the u32 length prefix of the stream framing, ready to be written as it is. */
const prefixBytes = 4

interface Slab {
  readonly bytes: Uint8Array<ArrayBuffer>
  /** First byte of the first frame that is still kept. */
  start: number
  /** End of the last frame. */
  end: number
  /** Frames between `start` and `end`. */
  frames: number
  /** Whether a link that is gone may still be reading the bytes, so that they must never be written again. */
  shared: boolean
}

/**
 * A run of whole frames in stream framing: `bytes[start, end)` is a sequence of u32 little-endian lengths, each followed
 * by that many bytes of frame. The bytes do not change while a link may still read them.
 *
 * @since 0.1.0
 */
export interface Run {
  readonly bytes: Uint8Array<ArrayBuffer>
  readonly start: number
  readonly end: number
}

/**
 * Sent and unsent frames until the peer acknowledges them, as the bytes that go to the wire.
 *
 * A frame is numbered and stored in one step (`append`), before any link sees it; "sent" is only the cursor of the
 * current link (`take`). A new link rewinds the cursor, so replay is not a separate path and order cannot break.
 * Frames of many items share one slab, and a link writes whole slabs.
 *
 * @since 0.1.0
 */
export class ReplayBuffer {
  readonly limits: ReplayLimits
  /** Number that the next item gets. */
  nextSeq: number
  /** Number of the oldest frame kept; equals `nextSeq` when empty. */
  firstSeq: number
  /** Number of the next frame that the current link has not been given. */
  cursorSeq: number
  /** Bytes kept. */
  bytes = 0
  /** Highest value that `bytes` ever had. */
  highWater = 0
  /** Whether slabs may be written again once the peer has everything in them: only when links do not keep what they get. */
  recycles = false
  private slabs: Array<Slab> = []
  private spare: Array<Slab> = []
  private cursorSlab = 0
  private cursorOffset = 0

  constructor(limits: ReplayLimits, firstSeq = 0) {
    if (!(limits.frames > 0 && limits.frames < Serial.halfSpace)) {
      throw new RangeError(`frames must be between 1 and ${Serial.halfSpace - 1}, not ${limits.frames}`)
    }
    this.limits = limits
    this.nextSeq = firstSeq >>> 0
    this.firstSeq = this.nextSeq
    this.cursorSeq = this.nextSeq
  }

  /** Frames kept. */
  get frames(): number {
    return Serial.distance(this.firstSeq, this.nextSeq)
  }

  /** Frames that the current link has not been given yet. */
  get unsent(): number {
    return Serial.distance(this.cursorSeq, this.nextSeq)
  }

  /** Whether an item of this many bytes fits now. */
  fits(itemBytes: number): boolean {
    return this.frames < this.limits.frames &&
      this.bytes + prefixBytes + Frame.maxHeaderBytes + itemBytes <= this.limits.bytes
  }

  /** The largest item that can ever fit. */
  get maxItemBytes(): number {
    return this.limits.bytes - prefixBytes - Frame.maxHeaderBytes
  }

  /**
   * Numbers and stores one item, and returns its number. The caller has asked `fits`.
   */
  append(item: Uint8Array, ack: number | undefined): number {
    const seq = this.nextSeq
    const frameBytes = Frame.headerSize(seq, ack) + item.length
    const total = prefixBytes + frameBytes
    let slab = this.slabs[this.slabs.length - 1]
    if (slab === undefined || slab.bytes.length - slab.end < total) slab = this.grow(slab, total)
    const out = slab.bytes
    const at = slab.end
    out[at] = frameBytes
    out[at + 1] = frameBytes >>> 8
    out[at + 2] = frameBytes >>> 16
    out[at + 3] = frameBytes >>> 24
    out.set(item, Frame.writeHeader(out, at + prefixBytes, seq, ack, item.length))
    slab.end = at + total
    slab.frames++
    this.bytes += total
    if (this.bytes > this.highWater) this.highWater = this.bytes
    this.nextSeq = Serial.next(seq)
    return seq
  }

  /**
   * Forgets everything at or before `ack`. A number older than the front changes nothing, so stale acknowledgements are
   * harmless; the caller has checked that it is not from the future.
   *
   * @returns how many frames were forgotten
   */
  trim(ack: number): number {
    let acknowledged = Serial.distance(this.firstSeq, Serial.next(ack))
    if (acknowledged === 0 || acknowledged > this.frames) return 0
    const trimmed = acknowledged
    this.firstSeq = Serial.next(ack)
    if (Serial.after(this.firstSeq, this.cursorSeq)) this.cursorSeq = this.firstSeq
    let dropped = 0
    while (acknowledged > 0) {
      const slab = this.slabs[dropped]!
      if (acknowledged >= slab.frames) {
        acknowledged -= slab.frames
        this.bytes -= slab.end - slab.start
        slab.start = slab.end
        slab.frames = 0
        dropped++
      } else {
        const start = slab.start
        slab.frames -= acknowledged
        for (; acknowledged > 0; acknowledged--) slab.start += prefixBytes + lengthAt(slab.bytes, slab.start)
        this.bytes -= slab.start - start
      }
    }
    if (dropped > 0) {
      // The last slab keeps its free room, unless it is bigger than a slab should be or nothing is left in it.
      if (dropped === this.slabs.length && this.slabs[dropped - 1]!.bytes.length - this.slabs[dropped - 1]!.end > 64) {
        dropped--
      }
      const gone = this.slabs.splice(0, dropped)
      if (this.recycles) {
        for (const slab of gone) {
          if (!slab.shared && slab.bytes.length === lastSlabBytes && this.spare.length < spareSlabs) {
            this.spare.push(slab)
          }
        }
      }
      this.cursorSlab -= dropped
      if (this.cursorSlab < 0) {
        this.cursorSlab = 0
        this.cursorOffset = this.slabs[0]?.start ?? 0
      }
    }
    const slab = this.slabs[this.cursorSlab]
    if (slab !== undefined && this.cursorOffset < slab.start) this.cursorOffset = slab.start
    return trimmed
  }

  /** Releases the slab that an empty buffer still holds: for conduits that go idle by the thousand. */
  compact(): void {
    this.spare = []
    if (this.frames === 0) {
      this.slabs = []
      this.cursorSlab = 0
      this.cursorOffset = 0
    }
  }

  /** Sets the cursor to the oldest frame kept: a new link replays everything it is not told to skip. */
  rewind(): void {
    // The link before may hold on to what it was given; nobody else will write there.
    for (const slab of this.slabs) slab.shared = true
    this.spare = []
    this.cursorSeq = this.firstSeq
    this.cursorSlab = 0
    this.cursorOffset = this.slabs[0]?.start ?? 0
  }

  /**
   * The next bytes for the current link, at most one slab, and moves the cursor past them; `undefined` when there is
   * nothing to give.
   *
   * @param heldFrom first number that must not be given out yet, because it is not durable
   */
  take(heldFrom?: number): Run | undefined {
    let unsent = this.unsent
    if (heldFrom !== undefined) unsent = Math.min(unsent, Serial.distance(this.cursorSeq, heldFrom))
    if (unsent === 0) return undefined
    let slab = this.slabs[this.cursorSlab]!
    while (this.cursorOffset >= slab.end) {
      slab = this.slabs[++this.cursorSlab]!
      this.cursorOffset = slab.start
    }
    const start = this.cursorOffset
    let taken = this.framesFrom(slab, start)
    let end = slab.end
    if (taken > unsent) {
      taken = unsent
      end = start
      for (let i = 0; i < unsent; i++) end += prefixBytes + lengthAt(slab.bytes, end)
    }
    this.cursorOffset = end
    this.cursorSeq = (this.cursorSeq + taken) >>> 0
    return { bytes: slab.bytes, start, end }
  }

  /** The frames kept, oldest first. */
  *entries(): Generator<{ readonly seq: number; readonly frame: Uint8Array }> {
    let seq = this.firstSeq
    for (const slab of this.slabs) {
      for (let at = slab.start; at < slab.end;) {
        const length = lengthAt(slab.bytes, at)
        yield { seq, frame: slab.bytes.subarray(at + prefixBytes, at + prefixBytes + length) }
        at += prefixBytes + length
        seq = Serial.next(seq)
      }
    }
  }

  private grow(last: Slab | undefined, total: number): Slab {
    let slab = total <= lastSlabBytes ? this.spare.pop() : undefined
    if (slab === undefined) {
      const size = last === undefined ? firstSlabBytes : Math.min(lastSlabBytes, last.bytes.length * 2)
      slab = { bytes: new Uint8Array(Math.max(size, total)), start: 0, end: 0, frames: 0, shared: false }
    } else {
      slab.start = 0
      slab.end = 0
      slab.frames = 0
    }
    this.slabs.push(slab)
    return slab
  }

  private framesFrom(slab: Slab, offset: number): number {
    if (offset === slab.start) return slab.frames
    let frames = 0
    for (let at = offset; at < slab.end; frames++) at += prefixBytes + lengthAt(slab.bytes, at)
    return frames
  }
}

const lengthAt = (bytes: Uint8Array, at: number): number =>
  (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0
