/**
 * The stored form of events: one block of bytes for a run of consecutive events of one shard.
 *
 * Version 1, everything little endian, offsets in bytes:
 *
 * | at | type | content |
 * | --- | --- | --- |
 * | 0 | u32 | `PEB1`: the kind of record and its version |
 * | 4 | u32 | flags: 1 a channel index for each event, 2 deltas as f64 instead of u32 |
 * | 8 | u64 | XXH3-64 of everything from offset 16 on |
 * | 16 | u32 | number of events, n ≥ 1 |
 * | 20 | u32 | bytes of the table of channel names |
 * | 24 | u64 | nonce of the producing bus |
 * | 32 | f64 | sequence number of the first event of the batch that the block came from |
 * | 40 | f64 | base of the insertion timestamps, milliseconds since the Unix epoch |
 * | 48 | u32 | index of the block's first event in that batch |
 * | 52 | u32 | 0 |
 * | 56 | f64 × n or u32 × n | insertion timestamps: nanoseconds since the base |
 * | | u32 × n | ends of the payloads, relative to the start of the payload bytes |
 * | | u16 × n | with flag 1: index of the channel name, from 1; 0 for none |
 * | | | channel names: each its length in bytes (u8) and UTF-8 |
 * | | | payload bytes |
 *
 * Decoding checks every length against the bytes that are there before it makes a view, and allocates nothing by a number it read.
 */
import { type Batch, dedupId, insertionTs, type Segment } from "../Batch.ts"
import type { StoredEvent } from "../Event.ts"

const magic = 0x31424550
const hasChannels = 1
const hasWideDeltas = 2
const headerBytes = 56
const nanosPerMilli = 1_000_000

/** Where the checksum lies, and from where on it counts. */
export const checksumAt = 8
export const checksumFrom = 16

/** A run of events of one segment: `from` ≤ index < `to`. */
interface Piece {
  readonly segment: Segment
  readonly from: number
  readonly to: number
}

/** What the writer needs to know of a block without looking into it. */
export interface Encoded {
  /** The block is its first `length` bytes. */
  readonly buffer: ArrayBuffer
  readonly length: number
  readonly count: number
  /** Insertion time of the newest event, milliseconds since the Unix epoch. */
  readonly millis: number
}

export class BlockError extends Error {}

const utf8 = new TextEncoder()
const text = new TextDecoder()

const startOf = (segment: Segment, index: number): number => index === 0 ? segment.start : segment.ends[index - 1]!

/** Cuts a batch where a block would exceed `maxBytes` of payload; a larger event is a block of its own. */
const cut = (batch: Batch, maxBytes: number): ReadonlyArray<ReadonlyArray<Piece>> => {
  if (batch.byteLength <= maxBytes) return [batch.segments.map((segment) => ({ segment, from: 0, to: segment.count }))]
  const blocks: Array<Array<Piece>> = [[]]
  let room = maxBytes
  for (const segment of batch.segments) {
    let from = 0
    for (let i = 0; i < segment.count; i++) {
      const size = segment.ends[i]! - startOf(segment, i)
      if (size > room && room < maxBytes) {
        if (i > from) blocks.at(-1)!.push({ segment, from, to: i })
        blocks.push([])
        from = i
        room = maxBytes
      }
      room -= size
    }
    if (segment.count > from) blocks.at(-1)!.push({ segment, from, to: segment.count })
  }
  return blocks.filter((pieces) => pieces.length > 0)
}

/** Channel names of one block: the batch's indexes, renumbered from 1 in order of appearance. */
class Names {
  readonly #indexes = new Map<number, number>()
  readonly #encoded: Array<Uint8Array> = []
  readonly #names: ReadonlyArray<string>
  byteLength = 0

  constructor(names: ReadonlyArray<string>) {
    this.#names = names
  }

  add(index: number): void {
    if (index === 0 || this.#indexes.has(index)) return
    const encoded = utf8.encode(this.#names[index])
    if (encoded.length > 255) throw new BlockError(`a channel name has ${encoded.length} bytes, the limit is 255`)
    this.#indexes.set(index, this.#indexes.size + 1)
    this.#encoded.push(encoded)
    this.byteLength += 1 + encoded.length
  }

  indexOf(index: number): number {
    return index === 0 ? 0 : this.#indexes.get(index)!
  }

  write(bytes: Uint8Array, at: number): void {
    let to = at
    for (const encoded of this.#encoded) {
      bytes[to] = encoded.length
      bytes.set(encoded, to + 1)
      to += 1 + encoded.length
    }
  }
}

const encodeBlock = (
  batch: Batch,
  pieces: ReadonlyArray<Piece>,
  firstIndex: number,
  allocate: (bytes: number) => ArrayBuffer
): Encoded => {
  let count = 0
  let payloadBytes = 0
  let named = false
  for (const { from, segment, to } of pieces) {
    count += to - from
    payloadBytes += segment.ends[to - 1]! - startOf(segment, from)
    named ||= segment.channels !== undefined
  }
  const names = new Names(batch.channels)
  if (named) {
    for (const { from, segment, to } of pieces) {
      if (segment.channels !== undefined) { for (let i = from; i < to; i++) names.add(segment.channels[i]!) }
    }
  }
  // Timestamps increase, so that the last one is the largest.
  const baseMillis = pieces[0]!.segment.baseMillis
  const last = pieces.at(-1)!
  const lastDelta = (last.segment.baseMillis - baseMillis) * nanosPerMilli + last.segment.deltas[last.to - 1]!
  const wide = lastDelta > 0xffffffff || pieces.some(({ segment }) => segment.baseMillis < baseMillis)

  const endsAt = headerBytes + count * (wide ? 8 : 4)
  const channelsAt = endsAt + count * 4
  const namesAt = channelsAt + (named ? count * 2 : 0)
  const payloadAt = namesAt + names.byteLength
  const length = payloadAt + payloadBytes
  const buffer = allocate(length)
  const bytes = new Uint8Array(buffer, 0, length)
  const view = new DataView(buffer)
  view.setUint32(0, magic, true)
  view.setUint32(4, (named ? hasChannels : 0) | (wide ? hasWideDeltas : 0), true)
  view.setUint32(16, count, true)
  view.setUint32(20, names.byteLength, true)
  view.setBigUint64(24, batch.nonce, true)
  view.setFloat64(32, batch.sequenceStart, true)
  view.setFloat64(40, baseMillis, true)
  view.setUint32(48, firstIndex, true)
  view.setUint32(52, 0, true)
  names.write(bytes, namesAt)

  const deltas = wide ? new Float64Array(buffer, headerBytes, count) : new Uint32Array(buffer, headerBytes, count)
  const ends = new Uint32Array(buffer, endsAt, count)
  const channels = named ? new Uint16Array(buffer, channelsAt, count) : undefined
  let event = 0
  let payload = 0
  for (const { from, segment, to } of pieces) {
    const start = startOf(segment, from)
    const end = segment.ends[to - 1]!
    bytes.set(segment.bytes.subarray(start, end), payloadAt + payload)
    const shift = payload - start
    const offset = (segment.baseMillis - baseMillis) * nanosPerMilli
    for (let i = from, j = event; i < to; i++, j++) {
      ends[j] = segment.ends[i]! + shift
      deltas[j] = segment.deltas[i]! + offset
    }
    if (channels !== undefined) {
      for (let i = from, j = event; i < to; i++, j++) {
        channels[j] = segment.channels === undefined ? 0 : names.indexOf(segment.channels[i]!)
      }
    }
    event += to - from
    payload += end - start
  }
  return { buffer, length, count, millis: baseMillis + Math.floor(lastDelta / nanosPerMilli) }
}

/** Packs a batch into blocks of at most `maxBytes` of payload, in order. Usually one. The checksum is left to {@link seal}. */
export const encode = (
  batch: Batch,
  maxBytes: number,
  allocate: (bytes: number) => ArrayBuffer = (bytes) => new ArrayBuffer(bytes)
): ReadonlyArray<Encoded> => {
  let firstIndex = 0
  return cut(batch, maxBytes).map((pieces) => {
    const block = encodeBlock(batch, pieces, firstIndex, allocate)
    firstIndex += block.count
    return block
  })
}

const checksum = (bytes: Uint8Array, hash: (bytes: Uint8Array) => bigint): bigint => hash(bytes.subarray(checksumFrom))

/** Writes the checksum of a block. */
export const seal = (bytes: Uint8Array, hash: (bytes: Uint8Array) => bigint): void =>
  new DataView(bytes.buffer, bytes.byteOffset).setBigUint64(checksumAt, checksum(bytes, hash), true)

/** Whether a block is as it was sealed. */
export const isIntact = (bytes: Uint8Array, hash: (bytes: Uint8Array) => bigint): boolean =>
  bytes.length >= headerBytes &&
  new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(checksumAt, true) === checksum(bytes, hash)

/** One event of a block: nothing is copied or computed before it is asked for. */
class BlockEvent implements StoredEvent {
  readonly #block: Block
  readonly #index: number

  constructor(block: Block, index: number) {
    this.#block = block
    this.#index = index
  }

  get id(): string {
    return String(this.#block.first + this.#index)
  }

  get shard(): number {
    return this.#block.shard
  }

  get raw(): Uint8Array<ArrayBuffer> {
    return this.#block.raw(this.#index)
  }

  get insertionTs(): bigint {
    return this.#block.insertionTs(this.#index)
  }

  get dedupId(): string {
    return this.#block.dedupId(this.#index)
  }

  get channel(): string | null {
    return this.#block.channel(this.#index)
  }
}

/** A decoded block: views on its bytes. */
export class Block {
  readonly shard: number
  /** Position of the first event in its shard. */
  readonly first: number
  readonly count: number
  readonly byteLength: number
  readonly #nonce: bigint
  readonly #sequenceStart: number
  readonly #firstIndex: number
  readonly #baseMillis: number
  readonly #ends: Uint32Array<ArrayBuffer>
  readonly #deltas: Uint32Array<ArrayBuffer> | Float64Array<ArrayBuffer>
  readonly #channels: Uint16Array<ArrayBuffer> | undefined
  readonly #names: ReadonlyArray<string>
  readonly #payload: Uint8Array<ArrayBuffer>

  /** Fails with {@link BlockError} on bytes that are not a whole block. */
  constructor(stored: Uint8Array<ArrayBuffer>, shard: number, first: number) {
    const bytes = stored.byteOffset % 8 === 0 ? stored : stored.slice()
    if (bytes.length < headerBytes) throw new BlockError(`a block of ${bytes.length} bytes has no header`)
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
    if (view.getUint32(0, true) !== magic) throw new BlockError("not a block of version 1")
    const flags = view.getUint32(4, true)
    const count = view.getUint32(16, true)
    const namesBytes = view.getUint32(20, true)
    if ((flags & ~(hasChannels | hasWideDeltas)) !== 0) throw new BlockError(`unknown flags ${flags}`)
    const wide = (flags & hasWideDeltas) !== 0
    const named = (flags & hasChannels) !== 0
    const endsAt = headerBytes + count * (wide ? 8 : 4)
    const channelsAt = endsAt + count * 4
    const namesAt = channelsAt + (named ? count * 2 : 0)
    const payloadAt = namesAt + namesBytes
    if (count === 0 || payloadAt > bytes.length) throw new BlockError(`tables for ${count} events exceed the block`)
    this.shard = shard
    this.first = first
    this.count = count
    this.byteLength = bytes.length
    this.#nonce = view.getBigUint64(24, true)
    this.#sequenceStart = view.getFloat64(32, true)
    this.#baseMillis = view.getFloat64(40, true)
    this.#firstIndex = view.getUint32(48, true)
    if (!Number.isSafeInteger(this.#sequenceStart) || !Number.isSafeInteger(this.#baseMillis)) {
      throw new BlockError("sequence number or time is not a whole number")
    }
    const { buffer, byteOffset } = bytes
    this.#deltas = wide
      ? new Float64Array(buffer, byteOffset + headerBytes, count)
      : new Uint32Array(buffer, byteOffset + headerBytes, count)
    this.#ends = new Uint32Array(buffer, byteOffset + endsAt, count)
    this.#channels = named ? new Uint16Array(buffer, byteOffset + channelsAt, count) : undefined
    this.#names = decodeNames(bytes.subarray(namesAt, payloadAt))
    this.#payload = bytes.subarray(payloadAt)
    this.#check(wide)
  }

  #check(wide: boolean): void {
    const ends = this.#ends
    let previous = 0
    for (let i = 0; i < this.count; i++) {
      const end = ends[i]!
      if (end < previous) throw new BlockError(`event ${i} ends before it starts`)
      previous = end
    }
    if (previous !== this.#payload.length) {
      throw new BlockError(`events of ${previous} bytes in ${this.#payload.length} bytes`)
    }
    if (wide && !this.#deltas.every(Number.isSafeInteger)) throw new BlockError("a time is not a whole number")
    if (this.#channels?.some((channel) => channel > this.#names.length)) throw new BlockError("a channel has no name")
  }

  /** Position of the last event. */
  get last(): number {
    return this.first + this.count - 1
  }

  raw(index: number): Uint8Array<ArrayBuffer> {
    return this.#payload.subarray(index === 0 ? 0 : this.#ends[index - 1], this.#ends[index])
  }

  insertionTs(index: number): bigint {
    return insertionTs(this.#baseMillis, this.#deltas[index]!)
  }

  dedupId(index: number): string {
    return dedupId(this.#nonce, this.shard, this.#sequenceStart, this.#firstIndex + index)
  }

  channel(index: number): string | null {
    const channel = this.#channels === undefined ? 0 : this.#channels[index]!
    return channel === 0 ? null : this.#names[channel - 1]!
  }

  /** Appends events from position `from` on to `events`, until those are `limit`. */
  collect(events: Array<StoredEvent>, from: number, limit: number): void {
    const to = Math.min(this.count, Math.max(0, from - this.first) + limit - events.length)
    for (let i = Math.max(0, from - this.first); i < to; i++) events.push(new BlockEvent(this, i))
  }
}

const decodeNames = (bytes: Uint8Array): ReadonlyArray<string> => {
  const names: Array<string> = []
  for (let at = 0; at < bytes.length;) {
    const end = at + 1 + bytes[at]!
    if (end > bytes.length) throw new BlockError("a channel name exceeds its table")
    names.push(text.decode(bytes.subarray(at + 1, end)))
    at = end
  }
  return names
}
