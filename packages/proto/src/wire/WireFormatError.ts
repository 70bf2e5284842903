/**
 * Bytes that do not follow the protocol, or values that have no form in it.
 *
 * @since 0.1.0
 */

/**
 * - `BadLength`: a length field contradicts the frame, or the frame is larger than the ceiling.
 * - `MissingMagic`: a payload command without the checksum mark.
 * - `Truncated`, `InvalidVarint`, `InvalidTag`, `MissingField`: the protobuf of a command or of its metadata is broken.
 * - `UnknownCommand`: a command number that is not in the protocol.
 * - `InvalidValue`: a value that cannot be written.
 * - `UnknownCompression`, `Decompression`: a payload that cannot be inflated, or not within the ceiling.
 *
 * @category errors
 * @since 0.1.0
 */
export type WireFormatReason =
  | "BadLength"
  | "MissingMagic"
  | "Truncated"
  | "InvalidVarint"
  | "InvalidTag"
  | "MissingField"
  | "UnknownCommand"
  | "InvalidValue"
  | "UnknownCompression"
  | "Decompression"

/** @category errors @since 0.1.0 */
export class WireFormatError extends Error {
  readonly _tag = "WireFormatError"
  readonly reason: WireFormatReason
  constructor(reason: WireFormatReason, message: string) {
    super(message)
    this.name = "WireFormatError"
    this.reason = reason
  }
}
