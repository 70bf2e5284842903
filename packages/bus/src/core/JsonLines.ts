/**
 * NDJSON, cut into validated lines without parsing them.
 *
 * @since 0.1.0
 */
import { deepest, type Exports, instantiate, reasons, reserve, slack } from "./internal/Wasm.ts"

/** @category models @since 0.1.0 */
export interface RejectedLine {
  /** From 1, over the whole stream. */
  readonly line: number
  readonly reason: "notJson" | "invalidUtf8" | "tooLong" | "tooDeep"
  /** Byte of the line at which it stopped being acceptable. */
  readonly offset: number
}

/**
 * Lines of one chunk: line `i` occupies `bytes[starts[i], ends[i])`. Valid until the next call on the decoder.
 *
 * @category models
 * @since 0.1.0
 */
export interface LineBatch {
  readonly bytes: Uint8Array<ArrayBuffer>
  readonly starts: Uint32Array<ArrayBuffer>
  readonly ends: Uint32Array<ArrayBuffer>
  readonly count: number
  /** Number of shards that `routes` is for; 0 when the decoder was not told. */
  readonly shards: number
  /** Shard of each line's content, when the decoder was told the number of shards. */
  readonly routes?: Uint16Array<ArrayBuffer> | undefined
  /** Lines of this batch that were refused, the first `maxRejected` of the stream only. */
  readonly rejected: ReadonlyArray<RejectedLine>
  /** Number of lines of this batch that were refused, listed or not. */
  readonly rejectedCount: number
}

/** @category models @since 0.1.0 */
export interface JsonLinesOptions {
  /** Longest line in bytes, its end of line not counted, 1 … 67,108,864. Default 1 MiB. */
  readonly maxLineBytes?: number | undefined
  /** Deepest nesting, 1 … 4,096. Default 128. */
  readonly maxDepth?: number | undefined
  /** How many refused lines of the stream are listed; the others are only counted. Default 10,000. */
  readonly maxRejected?: number | undefined
}

const lf = 10
const cr = 13
/** Bytes of one record in the table of refusals: line, reason, offset. */
const refusalBytes = 12
const isMark = (bytes: Uint8Array): boolean => bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf
const align = (address: number): number => (address + 15) & ~15

/**
 * A decoder for one stream of NDJSON.
 *
 * Lines end with `\n` or `\r\n`, the last one also with the stream. A line is kept when it is one JSON document (RFC 8259, strict UTF-8);
 * blank lines are skipped, but counted in the numbers of later ones; a byte order mark at the start of the stream is skipped. Between chunks it holds at most one unfinished line: a longer one
 * is refused once, as `tooLong`, and skipped to its end without being held.
 *
 * @category models
 * @since 0.1.0
 */
export class JsonLines {
  readonly #maxLine: number
  readonly #maxDepth: number
  readonly #wasm: Exports = instantiate()
  readonly #origin = align(this.#wasm.base.value)
  /** Unfinished line: its address and length. */
  #held = this.#origin
  #heldBytes = 0
  /** Inside a line that is too long. */
  #skipping = false
  /** Lines seen so far. */
  #lines = 0
  /** Refusals that may still be listed. */
  #room: number

  constructor(options: JsonLinesOptions = {}) {
    this.#maxLine = options.maxLineBytes ?? 1_048_576
    this.#maxDepth = options.maxDepth ?? 128
    this.#room = options.maxRejected ?? 10_000
    if (!Number.isInteger(this.#maxLine) || this.#maxLine < 1 || this.#maxLine > 67_108_864) {
      throw new RangeError(`maxLineBytes must be a whole number from 1 to 67108864, not ${this.#maxLine}`)
    }
    if (!Number.isInteger(this.#maxDepth) || this.#maxDepth < 1 || this.#maxDepth > deepest) {
      throw new RangeError(`maxDepth must be a whole number from 1 to ${deepest}, not ${this.#maxDepth}`)
    }
  }

  /** Lines seen so far: kept, blank, refused, and the unfinished one if it was refused already. */
  get lines(): number {
    return this.#lines
  }

  /**
   * Takes the next bytes of the stream, of any number, and returns the lines that they finish. With `shards` (1 … 65,535), also the
   * shard of each line.
   */
  push(chunk: Uint8Array, shards = 0): LineBatch {
    let from = 0
    if (this.#skipping) {
      const end = chunk.indexOf(lf)
      if (end === -1) return this.#batch(0, 0, 0, 0, 0, 0)
      this.#skipping = false
      from = end + 1
    }
    return this.#decode(from === 0 ? chunk : chunk.subarray(from), shards)
  }

  /** The stream has ended: returns its last line, if that had no end of line. The decoder is then as new, but for the line numbers. */
  end(shards = 0): LineBatch {
    this.#skipping = false
    if (this.#heldBytes === 0) return this.#batch(0, 0, 0, 0, 0, 0)
    return this.#decode(Uint8Array.of(lf), shards)
  }

  #decode(chunk: Uint8Array, shards: number): LineBatch {
    const wasm = this.#wasm
    const origin = this.#origin
    const scan = this.#append(chunk)
    const to = scan + chunk.length
    const most = wasm.newlines(scan, to)
    const room = Math.min(most, this.#room)

    // Tables come after the bytes.
    const starts = align(to + slack)
    const ends = starts + most * 4
    const routes = ends + most * 4
    const refusals = align(routes + (shards > 0 ? most * 2 : 0))
    reserve(wasm.memory, refusals + room * refusalBytes + slack)

    const count = wasm.lines(
      origin,
      this.#held,
      scan,
      to,
      this.#lines === 0,
      this.#maxLine,
      this.#maxDepth,
      shards,
      starts,
      ends,
      routes,
      refusals,
      room
    )
    const rejected = this.#rejected(refusals, Math.min(room, wasm.rejected.value))
    let rejectedCount = wasm.rejected.value
    this.#lines += wasm.seen.value
    this.#held = wasm.rest.value
    this.#heldBytes = to - this.#held
    if (this.#isTooLong()) {
      this.#skipping = true
      this.#held = origin
      this.#heldBytes = 0
      this.#lines++
      rejectedCount++
      if (this.#room > rejected.length) {
        rejected.push({ line: this.#lines, reason: "tooLong", offset: this.#maxLine })
      }
    }
    this.#room -= rejected.length
    return this.#batch(count, starts, ends, shards, routes, rejectedCount, rejected)
  }

  /** Puts the chunk behind the unfinished line; returns its address. */
  #append(chunk: Uint8Array): number {
    const { memory } = this.#wasm
    const origin = this.#origin
    // Moving costs one copy a chunk that ended lines, none while a long line arrives in small pieces.
    if (this.#held !== origin) {
      const bytes = new Uint8Array(memory.buffer)
      bytes.copyWithin(origin, this.#held, this.#held + this.#heldBytes)
      this.#held = origin
    }
    const address = origin + this.#heldBytes
    reserve(memory, address + chunk.length + slack)
    new Uint8Array(memory.buffer, address, chunk.length).set(chunk)
    return address
  }

  /** A carriage return that may belong to the end of line is not counted yet, nor a byte order mark. */
  #isTooLong(): boolean {
    const bytes = new Uint8Array(this.#wasm.memory.buffer, this.#held, this.#heldBytes)
    const excess = this.#heldBytes - this.#maxLine - (this.#lines === 0 && isMark(bytes) ? 3 : 0)
    return excess > 1 || (excess === 1 && bytes.at(-1) !== cr)
  }

  #rejected(table: number, count: number): Array<RejectedLine> {
    const records = new Uint32Array(this.#wasm.memory.buffer, table, count * 3)
    return Array.from({ length: count }, (_, i) => ({
      line: this.#lines + records[i * 3]! + 1,
      reason: reasons[records[i * 3 + 1]!] as RejectedLine["reason"],
      offset: records[i * 3 + 2]!
    }))
  }

  #batch(
    count: number,
    starts: number,
    ends: number,
    shards: number,
    routes: number,
    rejectedCount: number,
    rejected: ReadonlyArray<RejectedLine> = []
  ): LineBatch {
    const { buffer } = this.#wasm.memory
    return {
      bytes: new Uint8Array(buffer, this.#origin),
      starts: new Uint32Array(buffer, starts, count),
      ends: new Uint32Array(buffer, ends, count),
      count,
      shards,
      routes: shards === 0 ? undefined : new Uint16Array(buffer, routes, count),
      rejected,
      rejectedCount
    }
  }
}
