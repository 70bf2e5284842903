/**
 * Named topics over one bus, typed by a `Schema`.
 *
 * The name travels beside the payload, never in it: no payload can forge it, and any value that the schema encodes to JSON can be published,
 * primitives and arrays too.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Event from "./Event.ts"
import type { StoredEvent } from "./Event.ts"
import { EventBus, type PublishOptions, type PublishSummary, type Receipt } from "./EventBus.ts"
import type { PollError } from "./Poll.ts"
import { PublishError } from "./PublishError.ts"
import type { BusEvent, SubscribeOptions } from "./Subscription.ts"

/**
 * A decoded event of a channel.
 *
 * @category models
 * @since 0.1.0
 */
export interface Message<out A> {
  readonly value: A
  readonly event: BusEvent
  /** All one needs to come back to just after this message; computed on access. */
  readonly cursor: string
}

/**
 * An event of a channel that is not what the channel's schema describes: a value to route, not the end of the stream.
 *
 * @category models
 * @since 0.1.0
 */
export interface Undecodable {
  readonly _tag: "Undecodable"
  readonly event: BusEvent
  /** A `SchemaError`, or what the UTF-8 decoder or the JSON parser said. It may quote the payload. */
  readonly cause: Error
}

/** @category models @since 0.1.0 */
export interface ChannelOptions<A> {
  /** How values are written and read: in the JSON form of this schema. */
  readonly schema: Schema.Codec<A, any, never, never>
  /** Messages with the same key keep their order. Default: none do. */
  readonly key?: ((value: A) => string) | undefined
}

/** What a caller may say about a publish; the channel is given. @category models @since 0.1.0 */
export type ChannelPublishOptions = Omit<PublishOptions, "channel" | "validate">

/** How to follow a channel; a filter sees the JSON form of the messages. @category models @since 0.1.0 */
export type ChannelSubscribeOptions = Omit<SubscribeOptions, "channel">

/**
 * A named topic over whatever {@link EventBus} is provided.
 *
 * @category models
 * @since 0.1.0
 */
export interface Channel<A> {
  readonly name: string
  readonly schema: Schema.Codec<A, any, never, never>
  /** Publishes a value. One that the schema cannot encode fails with `Serialization`, before anything is published. */
  readonly publish: (value: A, options?: ChannelPublishOptions) => Effect.Effect<Receipt, PublishError, EventBus>
  /** Publishes values in order, each under its own key; all are encoded before the first is published. */
  readonly publishAll: (
    values: ReadonlyArray<A>,
    options?: ChannelPublishOptions
  ) => Effect.Effect<PublishSummary, PublishError, EventBus>
  /**
   * Follows the channel. A payload that does not decode goes to `onUndecodable`, before the messages of its chunk are delivered, and the stream
   * goes on; without a handler it is logged as a warning that names the event and not its contents.
   */
  readonly subscribe: <E = never, R = never>(
    options?: ChannelSubscribeOptions & {
      readonly onUndecodable?: ((undecodable: Undecodable) => Effect.Effect<void, E, R>) | undefined
    }
  ) => Stream.Stream<Message<A>, PollError | E, EventBus | R>
  /** Follows the channel; what does not decode comes in its place, as a failed `Result`. */
  readonly subscribeResults: (
    options?: ChannelSubscribeOptions
  ) => Stream.Stream<Result.Result<Message<A>, Undecodable>, PollError, EventBus>
  /** Decodes the payload of one event, as it comes from `EventBus.poll`. */
  readonly decode: (event: StoredEvent) => Result.Result<A, Error>
}

class DecodedMessage<A> implements Message<A> {
  readonly value: A
  readonly event: BusEvent

  constructor(value: A, event: BusEvent) {
    this.value = value
    this.event = event
  }

  get cursor(): string {
    return this.event.cursor
  }
}

/**
 * A channel of values of one type. It holds nothing and opens nothing: its methods ask for the `EventBus` that is provided.
 *
 * @example
 * const Readings = Channel.make("readings", { schema: Reading, key: (reading) => reading.station })
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <A>(name: string, options: ChannelOptions<A>): Channel<A> => {
  const codec = Schema.toCodecJson(options.schema)
  const encode = Schema.encodeResult(codec)
  const decodeJson = Schema.decodeUnknownResult(codec)
  const keyOf = options.key

  const decode = (event: StoredEvent): Result.Result<A, Error> => {
    const json = Event.json(event)
    return Result.isSuccess(json) ? decodeJson(json.success) : Result.fail(json.failure)
  }

  const encoded = (value: A): Effect.Effect<Schema.Json, PublishError> => {
    const result = encode(value)
    return Result.isSuccess(result)
      ? Effect.succeed(result.success)
      : Effect.fail(new PublishError({ reason: { _tag: "Serialization", offset: null, cause: result.failure } }))
  }

  const subscribeResults: Channel<A>["subscribeResults"] = (options) =>
    Stream.unwrap(Effect.map(EventBus, (bus) => bus.subscribe({ ...options, channel: name }))).pipe(
      Stream.map((event) => {
        const value = decode(event)
        return Result.isSuccess(value)
          ? Result.succeed(new DecodedMessage(value.success, event))
          : Result.fail<Undecodable>({ _tag: "Undecodable", event, cause: value.failure })
      })
    )

  const logged = ({ event }: Undecodable): Effect.Effect<void> =>
    Effect.logWarning("a message of a channel does not decode", { channel: name, shard: event.shard, id: event.id })

  return {
    name,
    schema: options.schema,
    publish: (value, options) =>
      Effect.flatMap(
        EventBus,
        (bus) =>
          Effect.flatMap(
            encoded(value),
            (json) => bus.publish(json, { key: keyOf?.(value), ...options, channel: name })
          )
      ),
    publishAll: (values, options) =>
      Effect.flatMap(
        EventBus,
        (bus) =>
          Effect.flatMap(Effect.forEach(values, encoded), (json) =>
            bus.publishAll(json, {
              key: keyOf === undefined ? undefined : values.map(keyOf),
              ...options,
              channel: name
            }))
      ),
    subscribe: (options) => {
      const handle = options?.onUndecodable ?? logged
      return Stream.transformPull(subscribeResults(options), (pull) =>
        Effect.succeed(Effect.gen(function*() {
          for (;;) {
            const messages: Array<Message<A>> = []
            for (const result of yield* pull) {
              if (Result.isSuccess(result)) messages.push(result.success)
              else yield* handle(result.failure)
            }
            if (messages.length > 0) return messages as [Message<A>, ...Array<Message<A>>]
          }
        })))
    },
    subscribeResults,
    decode
  }
}
