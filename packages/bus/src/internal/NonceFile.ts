/**
 * The nonce of a producer in a file: the version byte 1, then the nonce as u64, little endian. Nine bytes.
 */
import { randomBytes } from "node:crypto"
import { create, read } from "./AtomicFile.ts"

const version = 1
const length = 9
const one = BigInt(1)

/** A file that is not a nonce. */
export class InvalidNonce extends Error {}

/** Never 0, which means "none". */
export const freshNonce = (): bigint => randomBytes(8).readBigUInt64LE() || one

const decode = (bytes: Uint8Array): bigint => {
  if (bytes.length !== length) {
    const actual = bytes.length > length ? `more than ${length}` : bytes.length
    throw new InvalidNonce(`a nonce file of length ${actual}, expected ${length}`)
  }
  if (bytes[0] !== version) {
    throw new InvalidNonce(`a nonce file of version 0x${bytes[0]!.toString(16).padStart(2, "0")}, expected 0x01`)
  }
  return new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(1, true) || one
}

const encode = (nonce: bigint): Uint8Array => {
  const bytes = new Uint8Array(length)
  bytes[0] = version
  new DataView(bytes.buffer).setBigUint64(1, nonce, true)
  return bytes
}

/** The nonce in the file, or undefined when there is no file. */
export const readNonce = async (path: string): Promise<bigint | undefined> => {
  const bytes = await read(path, length)
  return bytes === undefined ? undefined : decode(bytes)
}

/** Puts a nonce into a new file, and returns the one that is there then: of several that create it at once, one wins for all. */
export const createNonce = async (path: string, nonce: bigint): Promise<bigint> => {
  await create(path, encode(nonce))
  return (await readNonce(path))!
}

/** The nonce in the file, which is created when there is none. */
export const loadNonce = async (path: string): Promise<bigint> =>
  (await readNonce(path)) ?? createNonce(path, freshNonce())
