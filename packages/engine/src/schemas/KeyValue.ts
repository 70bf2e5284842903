/**
 * Pairs of a key and a value, each with a schema of its own.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type { Definition, PulsarSchema } from "./Definition.ts"

/** @category models @since 0.1.0 */
export interface KeyValue<K, V> {
  readonly key: K
  readonly value: V
}

const nothing = new Uint8Array(0)

/** Names of the kinds as the Java client writes them into properties. */
const kinds: ReadonlyArray<string> = [
  "BYTES",
  "STRING",
  "JSON",
  "PROTOBUF",
  "AVRO",
  "BOOLEAN",
  "INT8",
  "INT16",
  "INT32",
  "INT64",
  "FLOAT",
  "DOUBLE",
  "DATE",
  "TIME",
  "TIMESTAMP",
  "KEY_VALUE",
  "INSTANT",
  "LOCAL_DATE",
  "LOCAL_TIME",
  "LOCAL_DATE_TIME"
]

const joined = (key: Uint8Array, value: Uint8Array): Uint8Array => {
  const bytes = new Uint8Array(8 + key.length + value.length)
  const view = new DataView(bytes.buffer)
  view.setInt32(0, key.length)
  bytes.set(key, 4)
  view.setInt32(4 + key.length, value.length)
  bytes.set(value, 8 + key.length)
  return bytes
}

const split = (bytes: Uint8Array): readonly [key: Uint8Array, value: Uint8Array] | undefined => {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (bytes.length < 8) return undefined
  // A length of -1 is a null.
  const key = Math.max(0, view.getInt32(0))
  if (8 + key > bytes.length) return undefined
  const value = Math.max(0, view.getInt32(4 + key))
  if (8 + key + value > bytes.length) return undefined
  return [bytes.subarray(4, 4 + key), bytes.subarray(8 + key, 8 + key + value)]
}

const bytesOf: Definition = { name: "Bytes", type: 0, data: nothing }

const propertiesOf = (side: string, definition: Definition): Readonly<Record<string, string>> => ({
  [`${side}.schema.name`]: definition.name,
  [`${side}.schema.type`]: kinds[definition.type] ?? "BYTES",
  [`${side}.schema.properties`]: JSON.stringify(definition.properties ?? {})
})

/**
 * Keys and values together. `inline` puts both into the payload; with `separated` the key travels as the key of the message, where routing,
 * Key_Shared and compaction see it. Default `inline`.
 *
 * @category schemas
 * @since 0.1.0
 */
export const keyValue = <K, V>(
  key: PulsarSchema<K>,
  value: PulsarSchema<V>,
  encoding: "inline" | "separated" = "inline"
): PulsarSchema<KeyValue<K, V>> => {
  const ofKey = key.definition ?? bytesOf
  const ofValue = value.definition ?? bytesOf
  const definition: Definition = {
    name: "KeyValue",
    type: 15,
    data: joined(ofKey.data, ofValue.data),
    properties: {
      ...propertiesOf("key", ofKey),
      ...propertiesOf("value", ofValue),
      "kv.encoding.type": encoding === "inline" ? "INLINE" : "SEPARATED"
    }
  }
  const pair = (keyBytes: Uint8Array, valueBytes: Uint8Array) =>
    Effect.flatMap(
      key.decode(keyBytes),
      (decodedKey) => Effect.map(value.decode(valueBytes), (decodedValue) => ({ key: decodedKey, value: decodedValue }))
    )
  if (encoding === "separated") {
    return {
      definition,
      encode: (both) => value.encode(both.value),
      keyOf: (both) => key.encode(both.key),
      decode: (payload, origin) => pair(origin?.keyBytes ?? nothing, payload)
    }
  }
  return {
    definition,
    encode: (both) =>
      Effect.flatMap(
        key.encode(both.key),
        (keyBytes) => Effect.map(value.encode(both.value), (valueBytes) => joined(keyBytes, valueBytes))
      ),
    decode: (payload) => {
      const parts = split(payload)
      return parts === undefined
        ? Effect.fail({ message: "the payload does not hold a key and a value" })
        : pair(parts[0], parts[1])
    }
  }
}
