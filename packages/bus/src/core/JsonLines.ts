/**
 * NDJSON, cut into validated lines without parsing them.
 *
 * @since 0.1.0
 */

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
  readonly rejected: ReadonlyArray<RejectedLine>
}
