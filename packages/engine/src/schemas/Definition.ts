/**
 * What a schema is to a client and to a broker.
 *
 * @since 0.1.0
 */
import type { MessageInitShape } from "@bufbuild/protobuf"
import * as Effect from "effect/Effect"
import type { Api } from "@perigee/proto/wire"

/** Why a value or a payload does not fit. @category models @since 0.1.0 */
export interface SchemaFailure {
  readonly message: string
}

/** A schema as a broker registers it. @category models @since 0.1.0 */
export interface Definition {
  readonly name: string
  /** `Schema.Type` of the protocol. */
  readonly type: number
  readonly data: Uint8Array
  readonly properties?: Readonly<Record<string, string>> | undefined
}

/** What belongs to a payload that is to be read. @category models @since 0.1.0 */
export interface Origin {
  /** Bytes of the message's key, `undefined` without one. */
  readonly keyBytes: Uint8Array | undefined
  /** Under which version of the topic's schema it was written, if it was under any. */
  readonly schemaVersion: Uint8Array | undefined
  /** The definition that the broker has under a version; `undefined` when it has none. Answers are remembered. */
  readonly definitionOf: (version: Uint8Array) => Effect.Effect<Definition | undefined, SchemaFailure>
}

/**
 * A codec for the values of a topic. `definition` is what the broker registers and checks; without one it knows only bytes.
 *
 * @category models
 * @since 0.1.0
 */
export interface PulsarSchema<A> {
  readonly definition: Definition | undefined
  readonly encode: (value: A) => Effect.Effect<Uint8Array, SchemaFailure>
  readonly decode: (payload: Uint8Array, origin?: Origin) => Effect.Effect<A, SchemaFailure>
  /** Bytes of a value that travel as the message's key, for schemas whose values have a part of their own for it. */
  readonly keyOf?: ((value: A) => Effect.Effect<Uint8Array, SchemaFailure>) | undefined
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

export const toUtf8 = (text: string): Uint8Array => encoder.encode(text)
/** Fails on what is no UTF-8. */
export const fromUtf8 = (bytes: Uint8Array): string => decoder.decode(bytes)

export const words = (cause: unknown): string => cause instanceof Error ? cause.message : String(cause)

/** A schema whose functions throw when something does not fit. */
export const sync = <A>(
  definition: Definition | undefined,
  encode: (value: A) => Uint8Array,
  decode: (payload: Uint8Array) => A
): PulsarSchema<A> => ({
  definition,
  encode: (value) => Effect.try({ try: () => encode(value), catch: (cause) => ({ message: words(cause) }) }),
  decode: (payload) => Effect.try({ try: () => decode(payload), catch: (cause) => ({ message: words(cause) }) })
})
