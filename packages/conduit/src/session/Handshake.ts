/**
 * The three-step session handshake: Hello, HelloYourself, LetsGo, any of which may be answered by Sorry. It runs once a
 * session, before the first hello of the conduit, and is not repeated when the conduit reconnects.
 *
 * @since 0.1.0
 */
import * as Cbor from "./Cbor.ts"

/**
 * Which half of the id space a side allocates from.
 *
 * @since 0.1.0
 */
export type Parity = "Odd" | "Even"

/**
 * One metadata entry. Byte strings are left out on purpose: the implementations disagree about their encoding here.
 *
 * @since 0.1.0
 */
export interface MetadataEntry {
  readonly key: string
  readonly value: string | number | bigint
  /** Bit 0: sensitive. Bit 1: do not propagate. */
  readonly flags: number
}

/**
 * What either side announces.
 *
 * @since 0.1.0
 */
export interface SessionSettings {
  readonly parity: Parity
  /** Requests that this side takes at a time. */
  readonly maxConcurrentRequests: number
  /** Schemas of the `Message` type as CBOR; empty means that both ends use the same layout. */
  readonly messagePayloadSchema: ReadonlyArray<Cbor.Cbor>
  readonly supportsRetry: boolean
  /** The session's resume key, which is not the conduit's; 16 bytes. */
  readonly resumeKey: Uint8Array | undefined
  readonly metadata: ReadonlyArray<MetadataEntry>
}

/**
 * @since 0.1.0
 */
export type SessionMessage =
  | { readonly _tag: "Hello"; readonly settings: SessionSettings }
  | { readonly _tag: "HelloYourself"; readonly settings: SessionSettings }
  | { readonly _tag: "LetsGo" }
  | { readonly _tag: "Sorry"; readonly reason: string }

/**
 * What a side announces unless told otherwise: as the initiator Odd ids, 64 requests, no schema, retry supported.
 *
 * @since 0.1.0
 */
export const settings = (options: Partial<SessionSettings> = {}): SessionSettings => ({
  parity: options.parity ?? "Odd",
  maxConcurrentRequests: options.maxConcurrentRequests ?? 64,
  messagePayloadSchema: options.messagePayloadSchema ?? [],
  supportsRetry: options.supportsRetry ?? true,
  resumeKey: options.resumeKey,
  metadata: options.metadata ?? []
})

const connectionSettings = (settings: SessionSettings): Cbor.Cbor => ({
  parity: { [settings.parity]: null },
  max_concurrent_requests: settings.maxConcurrentRequests
})

const rest = (settings: SessionSettings) => ({
  connection_settings: connectionSettings(settings),
  message_payload_schema: settings.messagePayloadSchema,
  supports_retry: settings.supportsRetry,
  resume_key: settings.resumeKey === undefined ? null : { bytes: settings.resumeKey },
  metadata: settings.metadata.map(({ flags, key, value }) => ({
    key,
    value: typeof value === "string" ? { String: value } : { U64: value },
    flags
  }))
})

/**
 * Encodes a handshake message: a map of one entry, fields in declaration order.
 *
 * @since 0.1.0
 */
export const encode = (message: SessionMessage): Uint8Array<ArrayBuffer> => {
  switch (message._tag) {
    case "Hello":
      return Cbor.encode({
        Hello: { parity: { [message.settings.parity]: null }, ...rest(message.settings) }
      })
    case "HelloYourself":
      return Cbor.encode({ HelloYourself: rest(message.settings) })
    case "LetsGo":
      return Cbor.encode({ LetsGo: {} })
    case "Sorry":
      return Cbor.encode({ Sorry: { reason: message.reason } })
  }
}

/**
 * Decodes a handshake message; absent fields take their defaults.
 *
 * @returns the message, or what is wrong with it
 * @since 0.1.0
 */
export const decode = (bytes: Uint8Array): SessionMessage | string => {
  let value: Cbor.Cbor
  try {
    value = Cbor.decode(bytes)
  } catch (error) {
    return error instanceof Cbor.CborFault ? error.message : String(error)
  }
  const entries = isMap(value) ? Object.entries(value) : []
  const [name, body] = entries.length === 1 ? entries[0]! : ["", undefined]
  if (!isMap(body)) return "not a map of one message"
  switch (name) {
    case "LetsGo":
      return { _tag: "LetsGo" }
    case "Sorry":
      return { _tag: "Sorry", reason: typeof body["reason"] === "string" ? body["reason"].slice(0, 512) : "" }
    case "Hello":
    case "HelloYourself": {
      const settings = decodeSettings(body)
      return typeof settings === "string" ? settings : { _tag: name, settings }
    }
    default:
      return "unknown message"
  }
}

const isMap = (value: Cbor.Cbor): value is { readonly [key: string]: Cbor.Cbor } =>
  typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array)

const parityOf = (value: Cbor.Cbor): Parity | undefined => {
  const name = isMap(value) ? Object.keys(value)[0] : value
  return name === "Odd" || name === "Even" ? name : undefined
}

const decodeSettings = (body: { readonly [key: string]: Cbor.Cbor }): SessionSettings | string => {
  const connection = body["connection_settings"]
  if (!isMap(connection)) return "connection_settings is missing"
  const parity = parityOf(connection["parity"])
  if (parity === undefined) return "parity is neither Odd nor Even"
  const limit = connection["max_concurrent_requests"]
  if (typeof limit !== "number" || limit >>> 0 !== limit) return "max_concurrent_requests is not a u32"
  const schema = body["message_payload_schema"] ?? []
  if (!Array.isArray(schema)) return "message_payload_schema is not an array"
  const key = body["resume_key"]
  const keyBytes = isMap(key) ? key["bytes"] : undefined
  const metadata = body["metadata"] ?? []
  if (!Array.isArray(metadata)) return "metadata is not an array"
  return {
    parity,
    maxConcurrentRequests: limit,
    messagePayloadSchema: schema,
    supportsRetry: body["supports_retry"] === true,
    // Any length but 16 counts as no key.
    resumeKey: keyBytes instanceof Uint8Array && keyBytes.length === 16 ? keyBytes : undefined,
    metadata: metadata.flatMap((entry): Array<MetadataEntry> => {
      if (!isMap(entry) || typeof entry["key"] !== "string") return []
      const value = isMap(entry["value"]) ? Object.values(entry["value"])[0] : undefined
      if (typeof value !== "string" && typeof value !== "number" && typeof value !== "bigint") return []
      return [{ key: entry["key"], value, flags: typeof entry["flags"] === "number" ? entry["flags"] : 0 }]
    })
  }
}
