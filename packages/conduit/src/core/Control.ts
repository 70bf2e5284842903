/**
 * Control payloads: a five-byte extension between two peers that both set the extension bit in their hellos.
 *
 * A frame is at least six bytes long, so a five-byte payload can be nothing else. They carry what the plain protocol
 * can only say with an item: an acknowledgement without reverse traffic, liveness, and "I am leaving on purpose".
 * Control payloads are never numbered, never replayed and never sent to a peer that did not agree.
 *
 * Layout: one byte of kind, then a u32 little-endian value.
 *
 * @since 0.1.0
 */

/**
 * Bytes of a control payload.
 *
 * @since 0.1.0
 */
export const controlBytes = 5

/**
 * `ack`: value is the highest number delivered. `ping`, `pong`: value is a nonce. `bye`: the sender will send nothing
 * more; value is how many numbers it has assigned in all, modulo 2^32. `abort`: the sender's conduit is gone.
 *
 * @since 0.1.0
 */
export type ControlKind = "ack" | "ping" | "pong" | "bye" | "abort"

/**
 * @since 0.1.0
 */
export interface Control {
  readonly kind: ControlKind
  readonly value: number
}

const kinds: ReadonlyArray<ControlKind> = ["ack", "ping", "pong", "bye", "abort"]

/**
 * @since 0.1.0
 */
export const encode = (kind: ControlKind, value: number): Uint8Array<ArrayBuffer> => {
  const out = new Uint8Array(controlBytes)
  out[0] = kinds.indexOf(kind)
  new DataView(out.buffer).setUint32(1, value, true)
  return out
}

/**
 * Decodes the five bytes at `offset`, or says that the kind is unknown.
 *
 * @since 0.1.0
 */
export const decode = (bytes: Uint8Array, offset = 0): Control | "UnknownControl" => {
  const kind = kinds[bytes[offset]!]
  if (kind === undefined) return "UnknownControl"
  const value = (bytes[offset + 1]! | (bytes[offset + 2]! << 8) | (bytes[offset + 3]! << 16) |
    (bytes[offset + 4]! << 24)) >>> 0
  return { kind, value }
}
