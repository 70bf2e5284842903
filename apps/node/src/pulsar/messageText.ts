/**
 * Messages as text: for people, for programs, and read back.
 */
import type { Message, Producer } from "@perigee/engine"
import { MessageId } from "@perigee/engine"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

const asText = (bytes: Uint8Array): string | undefined => {
  try {
    return utf8.decode(bytes)
  } catch {
    return undefined
  }
}

const base64 = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64")

const iso = (millis: number): string => new Date(millis).toISOString()

/** One JSON document on one line. A payload that is no UTF-8 is given as `payload_base64`. */
export const envelope = (message: Message<Uint8Array>): string => {
  const text = asText(message.value)
  const key = message.keyBytes
  const keyText = key === undefined ? undefined : message.received.keyIsBase64 ? undefined : message.key
  return JSON.stringify({
    topic: message.topic,
    id: MessageId.format(message.id),
    ...(key === undefined ? {} : keyText === undefined ? { key_base64: base64(key) } : { key: keyText }),
    ...(message.orderingKey === undefined ? {} : { ordering_key_base64: base64(message.orderingKey) }),
    properties: message.properties,
    publish_time: iso(message.publishTime),
    ...(message.eventTime === 0 ? {} : { event_time: iso(message.eventTime) }),
    producer: message.producerName,
    sequence_id: Number(message.sequenceId),
    redelivery_count: message.redeliveryCount,
    ...(message.isNull ? { payload: null } : text === undefined
      ? { payload_base64: base64(message.value) }
      : { payload: text })
  })
}

/** What would move the cursor or clear the screen of whoever looks. */
const controls = /(?!\t)\p{Cc}/gu
const visible = (text: string): string =>
  text.replace(controls, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`)

/** Time, position, key and payload. */
export const line = (message: Message<Uint8Array>): string => {
  const text = asText(message.value)
  const payload = message.isNull
    ? "(no value)"
    : text === undefined
    ? `base64:${base64(message.value)}`
    : visible(text)
  return `${iso(message.publishTime)}  ${MessageId.format(message.id)}  ${visible(message.key ?? "-")}  ${payload}`
}

export type Form = "text" | "json" | "raw"

export const form = (flags: { readonly json: boolean; readonly raw: boolean }): Form =>
  flags.raw ? "raw" : flags.json ? "json" : "text"

const newline = Uint8Array.of(10)

/** Messages as they are printed. */
export const printed = (messages: ReadonlyArray<Message<Uint8Array>>, as: Form): string | Uint8Array => {
  if (as === "raw") return Buffer.concat(messages.flatMap((message) => [message.value, newline]))
  const render = as === "json" ? envelope : line
  return messages.map((message) => `${render(message)}\n`).join("")
}

const Time = Schema.Union([Schema.Finite, Schema.String])

/** What `produce --format envelope` takes on a line: what `--json` prints, as far as a sender decides on it. */
const Envelope = Schema.Struct({
  payload: Schema.optionalKey(Schema.NullOr(Schema.String)),
  payload_base64: Schema.optionalKey(Schema.String),
  key: Schema.optionalKey(Schema.String),
  key_base64: Schema.optionalKey(Schema.String),
  ordering_key_base64: Schema.optionalKey(Schema.String),
  properties: Schema.optionalKey(Schema.Record(Schema.String, Schema.String)),
  event_time: Schema.optionalKey(Time)
})

const decodeEnvelope = Schema.decodeUnknownResult(Envelope)
const strictBase64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/

class Refused {
  readonly why: string
  constructor(why: string) {
    this.why = why
  }
}

const bytesOf = (text: string, member: string): Uint8Array => {
  if (!strictBase64.test(text)) throw new Refused(`${member} is no base64`)
  return Buffer.from(text, "base64")
}

const timeOf = (time: number | string): number => {
  const millis = typeof time === "number" ? time : Date.parse(time)
  if (!Number.isSafeInteger(millis) || millis < 0) throw new Refused("event_time is no time")
  return millis
}

/** Reads an envelope, or says in a few words why not. */
export const readEnvelope = (bytes: Uint8Array): Result.Result<Producer.Outgoing<Uint8Array>, string> => {
  try {
    const text = asText(bytes)
    if (text === undefined) throw new Refused("it is no UTF-8")
    const decoded = decodeEnvelope(JSON.parse(text))
    if (Result.isFailure(decoded)) throw new Refused("it is no message with a payload")
    const read = decoded.success
    if ((read.payload === undefined) === (read.payload_base64 === undefined) || read.payload === null) {
      throw new Refused("it has to have one of payload and payload_base64")
    }
    return Result.succeed({
      value: read.payload === undefined
        ? bytesOf(read.payload_base64!, "payload_base64")
        : Buffer.from(read.payload, "utf8"),
      key: read.key,
      keyBytes: read.key_base64 === undefined ? undefined : bytesOf(read.key_base64, "key_base64"),
      orderingKey: read.ordering_key_base64 === undefined
        ? undefined
        : bytesOf(read.ordering_key_base64, "ordering_key_base64"),
      properties: read.properties,
      eventTime: read.event_time === undefined ? undefined : timeOf(read.event_time)
    })
  } catch (cause) {
    return Result.fail(cause instanceof Refused ? cause.why : "it is no JSON")
  }
}
