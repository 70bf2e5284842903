/**
 * Frames: `[u32 totalSize][u32 commandSize][command]`, and for SEND and MESSAGE the payload section behind it.
 *
 * The payload section is `[0x0e02 u32 size BrokerEntryMetadata]? [0x0e01 u32 crc32c] [u32 size MessageMetadata] [payload]`;
 * the checksum covers everything behind it.
 *
 * @since 0.1.0
 */
import { ProtoWriter } from "../internal/ProtoWriter.ts"
import * as ReadMemory from "../ReadMemory.ts"
import * as Crc32c from "./Crc32c.ts"
import { type BrokerEntryMetadata, readBrokerEntry, writeBrokerEntry } from "./Metadata.ts"
import { WireFormatError } from "./WireFormatError.ts"

/** The largest message a broker takes unless it says otherwise: 5 MiB. @category constants @since 0.1.0 */
export const DEFAULT_MAX_MESSAGE_SIZE = 5 * 1024 * 1024

/** What a frame may hold beyond the largest message: command and headers. @category constants @since 0.1.0 */
export const FRAME_PADDING = 10 * 1024

const MAGIC_CHECKSUM = 0x0e01
const MAGIC_BROKER_ENTRY = 0x0e02

/** A frame that comes in pieces gets memory for so many bytes on its word alone: the default batch with its headers. */
const AT_ONCE = 256 * 1024

const readU32 = (bytes: Uint8Array, at: number): number =>
  ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0

const writeU32 = (bytes: Uint8Array, at: number, value: number): void => {
  bytes[at] = value >>> 24
  bytes[at + 1] = value >>> 16
  bytes[at + 2] = value >>> 8
  bytes[at + 3] = value
}

/** A simple command as a frame. @category codecs @since 0.1.0 */
export const encodeCommand = (command: Uint8Array): Uint8Array => {
  const frame = new Uint8Array(8 + command.length)
  writeU32(frame, 0, 4 + command.length)
  writeU32(frame, 4, command.length)
  frame.set(command, 8)
  return frame
}

/**
 * A payload command as one or two segments: when `memory` has room from `floor` to `start` for everything that precedes the payload, the header is
 * written there and one segment comes out, else header and payload come out apart. The bytes are the same.
 *
 * @category codecs
 * @since 0.1.0
 */
export const encodePayload = (
  command: Uint8Array,
  metadata: Uint8Array,
  memory: Uint8Array,
  start: number,
  end: number,
  floor = 0,
  brokerEntry?: BrokerEntryMetadata
): Array<Uint8Array> => {
  let entry: Uint8Array | undefined
  if (brokerEntry !== undefined) {
    const writer = new ProtoWriter(32)
    writeBrokerEntry(writer, brokerEntry)
    entry = writer.view()
  }
  const entrySize = entry === undefined ? 0 : 6 + entry.length
  const headSize = 8 + command.length + entrySize + 6 + 4 + metadata.length
  const inPlace = headSize <= start - floor
  const head = inPlace ? memory : new Uint8Array(headSize)
  const from = inPlace ? start - headSize : 0
  let at = from
  writeU32(head, at, headSize - 4 + (end - start))
  writeU32(head, at + 4, command.length)
  head.set(command, at + 8)
  at += 8 + command.length
  if (entry !== undefined) {
    head[at] = MAGIC_BROKER_ENTRY >>> 8
    head[at + 1] = MAGIC_BROKER_ENTRY & 0xff
    writeU32(head, at + 2, entry.length)
    head.set(entry, at + 6)
    at += entrySize
  }
  head[at] = MAGIC_CHECKSUM >>> 8
  head[at + 1] = MAGIC_CHECKSUM & 0xff
  const checksumAt = at + 2
  at += 6
  writeU32(head, at, metadata.length)
  head.set(metadata, at + 4)
  const headEnd = at + 4 + metadata.length
  if (inPlace) {
    writeU32(memory, checksumAt, Crc32c.update(0, memory, at, end))
    return [memory.subarray(from, end)]
  }
  writeU32(head, checksumAt, Crc32c.update(Crc32c.update(0, head, at, headEnd), memory, start, end))
  return [head, memory.subarray(start, end)]
}

/** Where the parts of a payload section are, and whether its checksum holds. @category models @since 0.1.0 */
export interface PayloadSection {
  readonly brokerEntry: BrokerEntryMetadata | undefined
  readonly metadataStart: number
  readonly metadataEnd: number
  readonly payloadEnd: number
  /** The checksum the frame carries, `undefined` in a frame without one. */
  readonly expected: number | undefined
  readonly computed: number
}

/**
 * Reads the payload section in `[start, end)`. Never fails for a wrong checksum: compare `expected` and `computed`.
 *
 * @category codecs
 * @since 0.1.0
 */
export const readPayload = (bytes: Uint8Array, start: number, end: number): PayloadSection => {
  let at = start
  let brokerEntry: BrokerEntryMetadata | undefined
  const magic = (): number => {
    if (end - at < 2) throw new WireFormatError("BadLength", "a payload section of one byte")
    return (bytes[at]! << 8) | bytes[at + 1]!
  }
  const sized = (what: string): number => {
    if (end - at < 4) throw new WireFormatError("BadLength", `a frame ends before the size of its ${what}`)
    const size = readU32(bytes, at)
    at += 4
    if (size > end - at) throw new WireFormatError("BadLength", `the ${what} claims ${size} bytes of ${end - at}`)
    return size
  }
  if (magic() === MAGIC_BROKER_ENTRY) {
    at += 2
    const size = sized("broker entry metadata")
    brokerEntry = readBrokerEntry(bytes, at, at + size)
    at += size
  }
  if (magic() !== MAGIC_CHECKSUM) {
    throw new WireFormatError("MissingMagic", "a payload section without its checksum mark")
  }
  if (end - at < 6) throw new WireFormatError("BadLength", "a frame ends inside its checksum")
  const expected = readU32(bytes, at + 2)
  at += 6
  const computed = Crc32c.update(0, bytes, at, end)
  // The sizes of a corrupt section mean nothing: it is dropped as a whole.
  if (computed !== expected) {
    return { brokerEntry, metadataStart: at, metadataEnd: at, payloadEnd: end, expected, computed }
  }
  const metadataSize = sized("message metadata")
  return { brokerEntry, metadataStart: at, metadataEnd: at + metadataSize, payloadEnd: end, expected, computed }
}

/**
 * Cuts a stream of chunks into frames. However the stream is cut, the frames are the same.
 *
 * After every `push`, call `next` until it says `false`; each `true` describes one frame in the public fields. Its `buffer` is valid as long as it is
 * referred to, unless it is a piece of `ReadMemory`: then until the next `push` for whoever takes no share in it.
 *
 * @category codecs
 * @since 0.1.0
 */
export class FrameDecoder {
  /** Largest `totalSize`, bytes; a larger one is `BadLength`. */
  ceiling: number
  buffer: Uint8Array = new Uint8Array(0)
  commandStart = 0
  commandEnd = 0
  /** End of the frame: the payload section is `[commandEnd, frameEnd)`, empty for a simple command. */
  frameEnd = 0
  #at = 0
  #end = 0
  /** Bytes of `buffer` when it is the decoder's own and may be appended to, else 0. */
  #owned = 0
  /** What follows the frame that is held, still in the memory it came in. */
  #rest: Uint8Array = this.buffer

  constructor(ceiling = DEFAULT_MAX_MESSAGE_SIZE + FRAME_PADDING) {
    this.ceiling = ceiling
  }

  /** Bytes held back because their frame is incomplete. */
  get buffered(): number {
    return this.#end - this.#at + this.#rest.length
  }

  /** Takes a chunk of the stream; the memory belongs to the decoder from now on. */
  push(chunk: Uint8Array): void {
    const held = this.#end - this.#at
    if (held === 0) {
      this.#use(chunk, 0, chunk.length)
      return
    }
    const { buffer } = this
    if (chunk.buffer === buffer.buffer && chunk.byteOffset === buffer.byteOffset + this.#end) {
      // It lies right behind what is held, as it was read: one view of both.
      this.#use(
        new Uint8Array(chunk.buffer, buffer.byteOffset, this.#end + chunk.length),
        this.#at,
        this.#end + chunk.length
      )
      return
    }
    // Only what completes the frame is copied; the frames behind it are read where they are.
    let taken = this.#append(chunk, 0, 4 - held)
    const total = this.buffered < 4 ? 0 : readU32(this.buffer, this.#at)
    // A length that is beyond repair is for `next` to tell.
    if (total <= this.ceiling) taken += this.#append(chunk, taken, 4 + total - this.buffered)
    this.#rest = chunk.subarray(taken)
  }

  #use(buffer: Uint8Array, at: number, end: number, owned = 0): void {
    if (buffer.buffer !== this.buffer.buffer) {
      ReadMemory.retain(buffer)
      ReadMemory.release(this.buffer)
    }
    this.buffer = buffer
    this.#at = at
    this.#end = end
    this.#owned = owned
  }

  /** Copies up to `count` bytes of a chunk behind what is held; gives how many there were. */
  #append(chunk: Uint8Array, from: number, count: number): number {
    const taken = Math.min(count, chunk.length - from)
    if (taken <= 0) return 0
    const held = this.#end - this.#at
    if (this.#end + taken > this.#owned) {
      // A frame of common size gets its memory at once; beyond that it grows by what is there, not by what a length field promises.
      const promised = held < 4 ? 0 : Math.min(4 + readU32(this.buffer, this.#at), this.ceiling + 4)
      const grown = new Uint8Array(
        Math.max(held + taken, promised <= AT_ONCE ? promised : Math.min(2 * held, promised))
      )
      grown.set(this.buffer.subarray(this.#at, this.#end))
      this.#use(grown, 0, held, grown.length)
    }
    this.buffer.set(chunk.subarray(from, from + taken), this.#end)
    this.#end += taken
    return taken
  }

  /** Forgets everything, for a new stream. */
  reset(): void {
    this.#use(new Uint8Array(0), 0, 0)
    this.#rest = this.buffer
  }

  /** Whether another frame is complete; fails with `BadLength` when the stream is beyond repair. */
  next(): boolean {
    if (this.#at === this.#end && this.#rest.length > 0) {
      this.#use(this.#rest, 0, this.#rest.length)
      this.#rest = new Uint8Array(0)
    }
    const held = this.#end - this.#at
    if (held < 4) return false
    const bytes = this.buffer
    const at = this.#at
    const total = readU32(bytes, at)
    if (total < 4 || total > this.ceiling) {
      throw new WireFormatError("BadLength", `a frame of ${total} bytes, the ceiling is ${this.ceiling}`)
    }
    if (held < 4 + total) return false
    const commandSize = readU32(bytes, at + 4)
    if (commandSize > total - 4) {
      throw new WireFormatError("BadLength", `a command of ${commandSize} bytes in a frame of ${total}`)
    }
    this.commandStart = at + 8
    this.commandEnd = at + 8 + commandSize
    this.frameEnd = at + 4 + total
    this.#at = this.frameEnd
    return true
  }
}
