/**
 * Values as JSON.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { fromUtf8, type PulsarSchema, toUtf8 } from "./Definition.ts"

/**
 * JSON through an Effect schema. `avro` is the Avro record definition that brokers check JSON topics by; without one the broker knows the
 * topic as bytes and any JSON passes.
 *
 * @category schemas
 * @since 0.1.0
 */
export const json = <S extends Schema.Codec<any, any>>(
  schema: S,
  options: { readonly name?: string | undefined; readonly avro?: object | undefined } = {}
): PulsarSchema<S["Type"]> => {
  const text = Schema.fromJsonString(schema as Schema.Codec<S["Type"], S["Encoded"]>)
  const encode = Schema.encodeEffect(text)
  const decode = Schema.decodeUnknownEffect(text)
  return {
    definition: options.avro === undefined
      ? undefined
      : { name: options.name ?? "Json", type: 2, data: toUtf8(JSON.stringify(options.avro)) },
    encode: (value) => Effect.map(encode(value), toUtf8),
    decode: (payload) =>
      Effect.flatMap(
        Effect.try({ try: () => fromUtf8(payload), catch: () => ({ message: "not UTF-8" }) }),
        (json) => decode(json)
      )
  }
}
