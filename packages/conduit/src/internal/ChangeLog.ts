import { crc32 } from "node:zlib"
import { type Change, type Remembered, replay, snapshot } from "../ConduitStore.ts"
import * as StoreCodec from "./StoreCodec.ts"

/**
 * The file of one conduit: a magic number, then records of changes. A record is its length, a checksum and its bytes.
 * Each was synced before the next was begun, so only the last one can be torn.
 */

/** What every log begins with; the digit is the version of the format. */
const magic = new TextEncoder().encode("conduit1")
const headerBytes = 8

/** A file is not a log, or one of its whole records says nothing that can be understood. */
export class ChangeLogFault extends Error {
  readonly _tag = "ChangeLogFault"
}

/** Covers the length too: a hole of zeros, as a torn write leaves, must not read as empty records. */
const checksum = (length: Uint8Array, body: Uint8Array): number => crc32(body, crc32(length))

/** One record. */
export const record = (changes: ReadonlyArray<Change>): Uint8Array<ArrayBuffer> => {
  const body = StoreCodec.encode(changes)
  const out = new Uint8Array(headerBytes + body.length)
  const view = new DataView(out.buffer)
  view.setUint32(0, body.length, true)
  view.setUint32(4, checksum(out.subarray(0, 4), body), true)
  out.set(body, headerBytes)
  return out
}

/** A whole log that says as much as `remembered`, in one record. */
export const compacted = (remembered: Remembered | undefined): Uint8Array<ArrayBuffer> => {
  if (remembered === undefined) return magic.slice()
  const only = record(snapshot(remembered))
  const out = new Uint8Array(magic.length + only.length)
  out.set(magic)
  out.set(only, magic.length)
  return out
}

/**
 * What a log remembers. A torn or damaged record was never acknowledged, and ends the log.
 *
 * @throws ChangeLogFault when the bytes are no log of this version
 */
export const read = (bytes: Uint8Array): Remembered | undefined => {
  if (bytes.length === 0) return undefined
  for (let i = 0; i < magic.length; i++) {
    if (bytes[i] !== magic[i]) throw new ChangeLogFault("not a conduit's log, or one of another version")
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const changes: Array<Change> = []
  let at = magic.length
  while (at + headerBytes <= bytes.length) {
    const length = view.getUint32(at, true)
    if (length > bytes.length - at - headerBytes) break
    const body = bytes.subarray(at + headerBytes, at + headerBytes + length)
    if (checksum(bytes.subarray(at, at + 4), body) !== view.getUint32(at + 4, true)) break
    try {
      for (const change of StoreCodec.decode(body)) changes.push(change)
    } catch (cause) {
      throw new ChangeLogFault("a whole record of a conduit's log cannot be understood", { cause })
    }
    at += headerBytes + length
  }
  return at === magic.length ? undefined : replay(undefined, changes)
}
