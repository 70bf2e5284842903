/**
 * Values as Avro, with the schema they were written under resolved into the one they are read with.
 *
 * @since 0.1.0
 */
import avsc from "avsc"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { type Definition, fromUtf8, type Origin, type PulsarSchema, toUtf8, words } from "./Definition.ts"

/** `Schema.Type` of the protocol. */
const AVRO = 4

/** @category models @since 0.1.0 */
export interface AvroOptions {
  /** The Avro definition of the values: what the broker registers and checks by its rule of compatibility. */
  readonly definition: object
  /** Name of the schema. Default: the name of the definition. */
  readonly name?: string | undefined
  /**
   * What a `long` is here. As `number`, one beyond the safe integers is an error, never a rounded number. Default `number`.
   */
  readonly longs?: "number" | "bigint" | undefined
}

/** A `long` as values of `A`. The library's own knows one number fewer than there are safe ones on either side. */
const longAs = <A extends number | bigint>(fromLong: (long: bigint) => A, isValid: (value: unknown) => value is A) =>
  avsc.types.LongType.__with({
    fromBuffer: (buffer: Buffer) => fromLong(buffer.readBigInt64LE()),
    toBuffer: (value: A) => {
      const buffer = Buffer.alloc(8)
      buffer.writeBigInt64LE(BigInt(value))
      return buffer
    },
    fromJSON: (value: number) => fromLong(BigInt(value)),
    toJSON: Number,
    isValid,
    compare: (a: A, b: A) => (a < b ? -1 : a > b ? 1 : 0)
  })

const longTypes = {
  number: longAs(
    (long) => {
      const value = Number(long)
      if (!Number.isSafeInteger(value)) throw new RangeError(`the long ${long} is no safe number`)
      return value
    },
    (value): value is number => Number.isSafeInteger(value)
  ),
  bigint: longAs(
    (long) => long,
    (value): value is bigint => typeof value === "bigint" && BigInt.asIntN(64, value) === value
  )
}

const typeOf = (definition: object, longs: AvroOptions["longs"]): avsc.Type =>
  avsc.Type.forSchema(definition as avsc.Schema, { registry: { long: longTypes[longs ?? "number"] } })

/** The library knows byte arrays by Node's class for them only. */
const withBuffers = (value: unknown): unknown => {
  if (value instanceof Uint8Array) return Buffer.from(value.buffer, value.byteOffset, value.byteLength)
  if (Array.isArray(value)) return value.map(withBuffers)
  return typeof value === "object" && value !== null
    ? Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, withBuffers(inner)]))
    : value
}

const attempt = <A>(what: () => A) => Effect.try({ try: what, catch: (cause) => ({ message: words(cause) }) })

/**
 * Avro through an Effect schema, whose encoded side is what the definition describes: records are structs, unions with `null` are `NullOr`, maps
 * are records, bytes are byte arrays. Throws when the definition is none.
 *
 * A message that was written under another version of the topic's schema is read by the rules of Avro: its own schema is asked of the broker,
 * once, and resolved into this one.
 *
 * @category schemas
 * @since 0.1.0
 */
export const avro = <S extends Schema.Codec<any, any>>(schema: S, options: AvroOptions): PulsarSchema<S["Type"]> => {
  const { longs } = options
  const reader = typeOf(options.definition, longs)
  const encodeValue = Schema.encodeEffect(schema as Schema.Codec<S["Type"], S["Encoded"]>)
  const decodeValue = Schema.decodeUnknownEffect(schema as Schema.Codec<S["Type"], S["Encoded"]>)
  const data = toUtf8(JSON.stringify(options.definition))
  const own = fromUtf8(data)
  const prepare = /"(bytes|fixed)"/.test(own) ? withBuffers : (value: unknown) => value
  type Read = (payload: Buffer) => unknown
  const plain: Read = (payload) => reader.fromBuffer(payload)
  // A definition is asked for once and kept by its topic: what is made of it lives as long.
  const readers = new WeakMap<Definition, Read>()

  const resolve = (definition: Definition): Read => {
    const text = fromUtf8(definition.data)
    if (text === own) return plain
    const resolver = reader.createResolver(typeOf(JSON.parse(text) as object, longs))
    return (payload) => reader.fromBuffer(payload, resolver)
  }
  const readerOf = (definition: Definition | undefined) => {
    if (definition === undefined || definition.type !== AVRO) return Effect.succeed(plain)
    const known = readers.get(definition)
    if (known !== undefined) return Effect.succeed(known)
    return Effect.tap(attempt(() => resolve(definition)), (read) => Effect.sync(() => readers.set(definition, read)))
  }
  const readOf = (origin: Origin | undefined) => {
    const version = origin?.schemaVersion
    return origin === undefined || version === undefined || version.length === 0
      ? Effect.succeed(plain)
      : Effect.flatMap(origin.definitionOf(version), readerOf)
  }
  return {
    definition: {
      name: options.name ?? (reader as { readonly name?: string }).name ?? "Avro",
      type: AVRO,
      data
    },
    encode: (value) =>
      Effect.flatMap(encodeValue(value), (encoded) => attempt(() => reader.toBuffer(prepare(encoded)))),
    decode: (payload, origin) =>
      Effect.flatMap(readOf(origin), (read) =>
        Effect.flatMap(
          attempt(() => read(Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength))),
          (value) => decodeValue(value)
        ))
  }
}
