/**
 * The two 25-byte hellos that open every link of a stable conduit: magic, flags, a 16-byte resume key and the highest
 * number received. The layout is fixed; it is not postcard and has no padding.
 *
 * @since 0.1.0
 */

/**
 * Bytes of either hello.
 *
 * @since 0.1.0
 */
export const helloBytes = 25

/**
 * Bytes of a resume key.
 *
 * @since 0.1.0
 */
export const keyBytes = 16

/**
 * What the initiator presents.
 *
 * @since 0.1.0
 */
export interface ClientHello {
  /** The key of the last ServerHello; absent on the first link. A bearer credential: never log it. */
  readonly key: Uint8Array | undefined
  /** The highest number received; absent means none, which differs from 0. */
  readonly lastReceived: number | undefined
  /** Whether the initiator understands the control payloads of `Control`. */
  readonly extensions: boolean
}

/**
 * What the acceptor answers.
 *
 * @since 0.1.0
 */
export interface ServerHello {
  readonly rejected: boolean
  /** The key to present next time; all zero when rejected. */
  readonly key: Uint8Array
  readonly lastReceived: number | undefined
  /** Whether the acceptor agreed to the control payloads of `Control`. */
  readonly extensions: boolean
}

/**
 * Why bytes are not a hello.
 *
 * @since 0.1.0
 */
export type HelloFault = "HelloSize" | "HelloMagic" | "HelloFields"

const clientMagic = [0x56, 0x4f, 0x43, 0x48] as const
const serverMagic = [0x56, 0x4f, 0x53, 0x48] as const
/** "Key present" in a ClientHello, "rejected" in a ServerHello. */
const bit0 = 1
const hasLastReceived = 2
/** Every other decoder ignores bits 2-7, so a peer that does not know this bit never agrees to it. */
const hasExtensions = 4

const write = (
  magic: ReadonlyArray<number>,
  flags: number,
  key: Uint8Array | undefined,
  lastReceived: number | undefined
): Uint8Array<ArrayBuffer> => {
  const out = new Uint8Array(helloBytes)
  out.set(magic, 0)
  out[4] = flags | (lastReceived === undefined ? 0 : hasLastReceived)
  if (key !== undefined) out.set(key, 5)
  if (lastReceived !== undefined) new DataView(out.buffer).setUint32(21, lastReceived, true)
  return out
}

const lastReceivedOf = (bytes: Uint8Array): number | undefined =>
  (bytes[4]! & hasLastReceived) === 0
    ? undefined
    : new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(21, true)

const check = (bytes: Uint8Array, magic: ReadonlyArray<number>): HelloFault | undefined => {
  if (bytes.length !== helloBytes) return "HelloSize"
  return magic.every((byte, index) => bytes[index] === byte) ? undefined : "HelloMagic"
}

/**
 * Whether a payload starts like a ClientHello; tells it from a CBOR Hello, whose first byte is `a1`.
 *
 * @since 0.1.0
 */
export const looksLikeClientHello = (bytes: Uint8Array): boolean => check(bytes, clientMagic) === undefined

/**
 * @since 0.1.0
 */
export const encodeClient = (hello: ClientHello): Uint8Array<ArrayBuffer> =>
  write(
    clientMagic,
    (hello.key === undefined ? 0 : bit0) | (hello.extensions ? hasExtensions : 0),
    hello.key,
    hello.lastReceived
  )

/**
 * Decodes a ClientHello. A hello that has received something but holds no key is nonsense, yet decodable: the acceptor
 * answers it with a rejection.
 *
 * @since 0.1.0
 */
export const decodeClient = (bytes: Uint8Array): ClientHello | HelloFault =>
  check(bytes, clientMagic) ?? {
    key: (bytes[4]! & bit0) === 0 ? undefined : bytes.slice(5, 21),
    lastReceived: lastReceivedOf(bytes),
    extensions: (bytes[4]! & hasExtensions) !== 0
  }

/**
 * @since 0.1.0
 */
export const encodeServer = (hello: ServerHello): Uint8Array<ArrayBuffer> =>
  hello.rejected
    ? rejection()
    : write(serverMagic, hello.extensions ? hasExtensions : 0, hello.key, hello.lastReceived)

/**
 * The rejecting ServerHello: flag 1, zero key, zero last-received.
 *
 * @since 0.1.0
 */
export const rejection = (): Uint8Array<ArrayBuffer> => write(serverMagic, bit0, undefined, undefined)

/**
 * Decodes a ServerHello: size, then magic, then the rejected flag, after which nothing else is looked at.
 *
 * @since 0.1.0
 */
export const decodeServer = (bytes: Uint8Array): ServerHello | HelloFault => {
  const fault = check(bytes, serverMagic)
  if (fault !== undefined) return fault
  if ((bytes[4]! & bit0) !== 0) {
    return { rejected: true, key: new Uint8Array(keyBytes), lastReceived: undefined, extensions: false }
  }
  return {
    rejected: false,
    key: bytes.slice(5, 21),
    lastReceived: lastReceivedOf(bytes),
    extensions: (bytes[4]! & hasExtensions) !== 0
  }
}
