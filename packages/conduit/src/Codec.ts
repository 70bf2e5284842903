/**
 * How items become bytes. A conduit moves bytes; a codec makes it a conduit of something.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as ConduitErrors from "./ConduitError.ts"
import type { ConduitError } from "./ConduitError.ts"
import type { StableConduit } from "./StableConduit.ts"

/**
 * A pair of synchronous functions; either may throw, which fails that one item.
 *
 * `decode` is also where a translation plan for a peer's older or newer layout belongs.
 *
 * @category models
 * @since 0.1.0
 */
export interface Codec<in out A> {
  readonly encode: (item: A) => Uint8Array
  readonly decode: (bytes: Uint8Array) => A
}

/**
 * Items are bytes already.
 *
 * @category codecs
 * @since 0.1.0
 */
export const bytes: Codec<Uint8Array> = { encode: (item) => item, decode: (bytes) => bytes }

const utf8 = new TextEncoder()
const fromUtf8 = new TextDecoder("utf-8", { fatal: true })

/**
 * Items are UTF-8 text, without a length of their own.
 *
 * @category codecs
 * @since 0.1.0
 */
export const text: Codec<string> = {
  encode: (item) => utf8.encode(item),
  decode: (bytes) => fromUtf8.decode(bytes)
}

/**
 * Items are what a schema says, as JSON.
 *
 * @category codecs
 * @since 0.1.0
 */
export const json = <S extends Schema.Codec<any, any>>(schema: S): Codec<S["Type"]> => {
  const codec = Schema.fromJsonString(schema)
  const encode = Schema.encodeSync(codec as Schema.Codec<S["Type"], string>)
  const decode = Schema.decodeUnknownSync(codec as Schema.Codec<S["Type"], string>)
  return { encode: (item) => utf8.encode(encode(item)), decode: (bytes) => decode(fromUtf8.decode(bytes)) }
}

/**
 * A conduit of typed items.
 *
 * @category models
 * @since 0.1.0
 */
export interface TypedConduit<A> {
  /** Encodes, then accepts; an item that cannot be encoded fails with `ItemEncode` and takes no number. */
  readonly send: (item: A) => Effect.Effect<void, ConduitError>
  readonly sendConfirmed: (item: A) => Effect.Effect<void, ConduitError>
  /**
   * Takes one item. An item that cannot be decoded fails with `ItemDecode`, in its place in the order; it counts as taken,
   * and the conduit goes on.
   */
  readonly take: Effect.Effect<A, ConduitError>
  /** Every item; fails at the first that cannot be decoded, after which another run goes on with the next. */
  readonly receive: Stream.Stream<A, ConduitError>
  /** The conduit of bytes underneath. */
  readonly conduit: StableConduit
}

/**
 * Makes a conduit typed.
 *
 * @category combinators
 * @since 0.1.0
 */
export const typed = <A>(conduit: StableConduit, codec: Codec<A>): TypedConduit<A> => {
  const encoded = (item: A) =>
    Effect.try({
      try: () => codec.encode(item),
      catch: (cause) => ConduitErrors.make({ _tag: "ItemEncode", cause })
    })
  const take = Effect.flatMap(conduit.takeNumbered, ({ item, seq }) =>
    Effect.try({
      try: () => codec.decode(item),
      catch: (cause) => ConduitErrors.make({ _tag: "ItemDecode", cause, seq })
    }))
  return {
    send: (item) => Effect.flatMap(encoded(item), conduit.send),
    sendConfirmed: (item) => Effect.flatMap(encoded(item), conduit.sendConfirmed),
    take,
    receive: Stream.fromEffectRepeat(take).pipe(
      Stream.catchIf(
        (error) => error.reason._tag === "Closed" || error.reason._tag === "PeerClosed",
        () => Stream.empty
      )
    ),
    conduit
  }
}
