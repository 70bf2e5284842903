/**
 * How values become payloads, and what the broker is told about them.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { type Api } from "@perigee/proto/wire"
import type { MessageInitShape } from "@bufbuild/protobuf"

/**
 * A codec for the values of a topic. `definition` is what the broker registers and checks; without one it knows only bytes.
 *
 * @category models
 * @since 0.1.0
 */
export interface PulsarSchema<A> {
  readonly definition: Definition | undefined
  readonly encode: (value: A) => Effect.Effect<Uint8Array, { readonly message: string }>
  readonly decode: (payload: Uint8Array) => Effect.Effect<A, { readonly message: string }>
}

/** @category models @since 0.1.0 */
export interface Definition {
  readonly name: string
  /** `Schema.Type` of the protocol. */
  readonly type: number
  readonly data: Uint8Array
  readonly properties?: Readonly<Record<string, string>> | undefined
}

/** A definition as the protocol has it. @internal */
export const toWire = (definition: Definition | undefined): Api.Schema | undefined =>
  definition === undefined ? undefined : ({
    name: definition.name,
    schemaData: definition.data,
    type: definition.type as Api.Schema_Type,
    properties: Object.entries(definition.properties ?? {}).map(([key, value]) => ({ key, value }))
  } satisfies MessageInitShape<typeof Api.SchemaSchema> as unknown as Api.Schema)

const encoder = new TextEncoder()
const decoder = new TextDecoder("utf-8", { fatal: true })
const nothing = new Uint8Array(0)

const sync = <A>(
  definition: Definition | undefined,
  encode: (value: A) => Uint8Array,
  decode: (payload: Uint8Array) => A
): PulsarSchema<A> => ({
  definition,
  encode: (value) => Effect.try({ try: () => encode(value), catch: (cause) => ({ message: String(cause) }) }),
  decode: (payload) => Effect.try({ try: () => decode(payload), catch: (cause) => ({ message: String(cause) }) })
})

/** Payloads as they are. The bytes of a received message are a view of what was read. @category schemas @since 0.1.0 */
export const bytes: PulsarSchema<Uint8Array> = sync(undefined, (value) => value, (payload) => payload)

/** UTF-8 text. @category schemas @since 0.1.0 */
export const string: PulsarSchema<string> = sync(
  { name: "String", type: 1, data: nothing },
  (value) => encoder.encode(value),
  (payload) => decoder.decode(payload)
)

const sized = <A>(
  name: string,
  type: number,
  size: number,
  set: (view: DataView, value: A) => void,
  get: (view: DataView) => A
): PulsarSchema<A> =>
  sync(
    { name, type, data: nothing },
    (value) => {
      const payload = new Uint8Array(size)
      set(new DataView(payload.buffer), value)
      return payload
    },
    (payload) => {
      if (payload.length !== size) throw new RangeError(`${name} has ${size} bytes, not ${payload.length}`)
      return get(new DataView(payload.buffer, payload.byteOffset, size))
    }
  )

const whole = (name: string, bits: number) => (value: number): number => {
  if (!Number.isInteger(value) || value < -(2 ** (bits - 1)) || value >= 2 ** (bits - 1)) {
    throw new RangeError(`${value} is no ${name}`)
  }
  return value
}
const int8Of = whole("INT8", 8)
const int16Of = whole("INT16", 16)
const int32Of = whole("INT32", 32)

/** One byte, 0 or 1. @category schemas @since 0.1.0 */
export const boolean: PulsarSchema<boolean> = sized(
  "Boolean",
  5,
  1,
  (view, value) => view.setUint8(0, value ? 1 : 0),
  (view) => view.getUint8(0) !== 0
)
/** Big-endian, signed. @category schemas @since 0.1.0 */
export const int8: PulsarSchema<number> = sized(
  "INT8",
  6,
  1,
  (view, value) => view.setInt8(0, int8Of(value)),
  (view) => view.getInt8(0)
)
/** Big-endian, signed. @category schemas @since 0.1.0 */
export const int16: PulsarSchema<number> = sized(
  "INT16",
  7,
  2,
  (view, value) => view.setInt16(0, int16Of(value)),
  (view) => view.getInt16(0)
)
/** Big-endian, signed. @category schemas @since 0.1.0 */
export const int32: PulsarSchema<number> = sized(
  "INT32",
  8,
  4,
  (view, value) => view.setInt32(0, int32Of(value)),
  (view) => view.getInt32(0)
)
/** Big-endian, signed. @category schemas @since 0.1.0 */
export const int64: PulsarSchema<bigint> = sized(
  "INT64",
  9,
  8,
  (view, value) => view.setBigInt64(0, value),
  (view) => view.getBigInt64(0)
)
/** IEEE 754, 32 bits. @category schemas @since 0.1.0 */
export const float: PulsarSchema<number> = sized(
  "Float",
  10,
  4,
  (view, value) => view.setFloat32(0, value),
  (view) => view.getFloat32(0)
)
/** IEEE 754, 64 bits. @category schemas @since 0.1.0 */
export const double: PulsarSchema<number> = sized(
  "Double",
  11,
  8,
  (view, value) => view.setFloat64(0, value),
  (view) => view.getFloat64(0)
)
/** A moment, in milliseconds. @category schemas @since 0.1.0 */
export const timestamp: PulsarSchema<Date> = sized(
  "Timestamp",
  14,
  8,
  (view, value) => view.setBigInt64(0, BigInt(value.getTime())),
  (view) => new Date(Number(view.getBigInt64(0)))
)

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
      : { name: options.name ?? "Json", type: 2, data: encoder.encode(JSON.stringify(options.avro)) },
    encode: (value) => Effect.map(encode(value), (json) => encoder.encode(json)),
    decode: (payload) =>
      Effect.flatMap(
        Effect.try({ try: () => decoder.decode(payload), catch: () => ({ message: "not UTF-8" }) }),
        (json) => decode(json)
      )
  }
}
