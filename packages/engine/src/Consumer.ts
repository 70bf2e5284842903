/**
 * Receiving messages: as a stream, by pulling, or by a handler.
 *
 * @since 0.1.0
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import type { ConnectionEvent, ConsumerSpec, SubscriptionType } from "@perigee/proto"
import { Chunk, type MessageId } from "@perigee/proto/wire"
import { ConsumerImpl } from "./internal/ConsumerImpl.ts"
import { isPattern, retryTopicOf, topicsOf } from "./internal/ConsumerTopics.ts"
import type { Latency } from "./internal/LatencyHistogram.ts"
import type { Rate } from "./internal/RateMeter.ts"
import { check, toMillis, within } from "./internal/options.ts"
import * as TopicListWatcher from "./internal/TopicListWatcher.ts"
import type { Message } from "./Message.ts"
import { PulsarClient } from "./PulsarClient.ts"
import type { PulsarError, SendError } from "./PulsarError.ts"
import * as PulsarSchema from "./PulsarSchema.ts"

/** @category models @since 0.1.0 */
export interface DeadLetterOptions {
  /** How often a message may be delivered again before it is put aside, at least 1: with 2 a consumer sees it three times. As in Java. */
  readonly maxRedeliveries: number
  /** Default `<topic>-<subscription>-DLQ`. */
  readonly topic?: string | undefined
  /** Where `reconsumeLater` sends messages. Default `<topic>-<subscription>-RETRY`. */
  readonly retryTopic?: string | undefined
  /** Subscribe to the retry topic too, so that `reconsumeLater` works. Default `false`. */
  readonly retry?: boolean | undefined
}

/** @category models @since 0.1.0 */
export interface ConsumerOptions<A = Uint8Array> {
  /** One topic, several, or all of a namespace whose full name matches. */
  readonly topic: string | ReadonlyArray<string> | { readonly namespace: string; readonly pattern: RegExp }
  readonly subscription: string
  /** Who gets which message. Default `exclusive`. */
  readonly type?: SubscriptionType | undefined
  /** Default `PulsarSchema.bytes`. */
  readonly schema?: PulsarSchema.PulsarSchema<A> | undefined
  /** What happens to a message that does not fit the schema: the pull fails, or it is refused and comes again. Default `fail`. */
  readonly onUndecodable?: "fail" | "nack" | undefined
  /** Shown by the broker. Default: the broker gives one. */
  readonly name?: string | undefined
  /** The broker keeps the position. Default `true`. */
  readonly durable?: boolean | undefined
  /** Where a new subscription begins. Default `latest`. */
  readonly initialPosition?: "latest" | "earliest" | undefined
  /** Where a subscription that is not durable, or new, begins. */
  readonly startMessageId?: MessageId.MessageId | undefined
  /** Begin so long before now. */
  readonly startRollback?: Duration.Input | undefined
  /** Messages on their way or waiting, for each topic. 1 to 1,000,000. Default 1,000. */
  readonly receiverQueue?: number | undefined
  /** Messages not acknowledged for so long come again; 0 for never, else at least 1 second. Default never. */
  readonly ackTimeout?: Duration.Input | undefined
  /** How long after a `nack` the message comes again. Default 60 seconds. */
  readonly nackDelay?: Duration.Input | undefined
  /** How long acknowledgements are collected; 0 sends each at once. Default 100 milliseconds. */
  readonly ackGroupTime?: Duration.Input | undefined
  /** Collected acknowledgements that go out at once, 1 to 1,000. Default 1,000. */
  readonly ackGroupSize?: number | undefined
  /** Acknowledge single messages of a batch; the broker must have that on. Default `false`. */
  readonly batchIndexAck?: boolean | undefined
  /**
   * Use the memory of messages again once all of an entry are acknowledged through `ack` of the message: for large messages at high rates, where the
   * collector takes half of the processor. A message's bytes are gone when it is acknowledged: a raw `value`, or a value that a schema made of views of
   * the bytes, must not be kept, and reading a raw `value`, `key`, `properties`, `eventTime`, `sequenceId`, `orderingKey` or `isNull` throws
   * `MemoryReused`. Whoever sends a raw value on acknowledges it after the receipt. Connections without TLS; elsewhere nothing is used again, but the
   * rules are the same. Default `false`.
   */
  readonly reuseMemory?: boolean | undefined
  /** Put messages aside that were delivered too often. Shared and Key_Shared only. */
  readonly deadLetter?: DeadLetterOptions | undefined
  /** Only the newest message of each key; persistent topics, exclusive or failover. Default `false`. */
  readonly readCompacted?: boolean | undefined
  /** Lower is served first. Default 0. */
  readonly priorityLevel?: number | undefined
  /** For `keyShared`: fixed hash ranges (0 to 65,535, both included) instead of an automatic share; delivery out of order. */
  readonly keyShared?: {
    readonly sticky?: ReadonlyArray<readonly [start: number, end: number]> | undefined
    readonly allowOutOfOrder?: boolean | undefined
  } | undefined
  readonly properties?: Readonly<Record<string, string>> | undefined
  readonly subscriptionProperties?: Readonly<Record<string, string>> | undefined
  /** Let the broker make the topic. Default `true`; for a pattern `false`. */
  readonly createTopic?: boolean | undefined
  readonly replicateSubscriptionState?: boolean | undefined
  /** Incomplete chunked messages at a time. Default 10. */
  readonly maxPendingChunked?: number | undefined
  /** When an incomplete chunked message is given up. Default 60 seconds. */
  readonly expireIncompleteChunks?: Duration.Input | undefined
  /**
   * How long a consumer with permits may hear nothing from a topic whose backlog is not empty before it subscribes again; 0 for never.
   * A silent topic without backlog is no stall: the broker is asked first. Default 60 seconds.
   */
  readonly stallTimeout?: Duration.Input | undefined
  /**
   * How often new partitions, or topics of a pattern, are looked for; 0 for never. Default 60 seconds. Beside it, brokers that can tell of new
   * and deleted topics at once are asked to.
   */
  readonly topicsRefresh?: Duration.Input | undefined
  /** Hears of what happens to the consumer beside messages: becoming active, stalls, dropped messages, the end of a topic. */
  readonly onEvent?: ((event: ConsumerEvent) => void) | undefined
}

/** What happens to a consumer beside messages. @category models @since 0.1.0 */
export type ConsumerEvent = {
  readonly topic: string
  readonly event: Extract<
    ConnectionEvent,
    {
      readonly _tag:
        | "MessageDropped"
        | "EndOfTopic"
        | "ActiveChanged"
        | "ConsumerStalled"
        | "ConsumerReady"
        | "ConsumerClosed"
    }
  >
}

/** @category models @since 0.1.0 */
export interface ConsumerStats {
  readonly received: number
  readonly bytes: number
  readonly acked: number
  readonly nacked: number
  readonly dropped: number
  readonly redelivered: number
  /** Waiting here. */
  readonly queued: number
  /** Messages the broker may still send without being asked. */
  readonly permits: number
  readonly stalls: number
  /** How long entries waited here before their first message was taken, milliseconds. */
  readonly waited: Latency
  /** Taken per second over the client's last whole `statsInterval`; 0 before the first has passed. */
  readonly rate: Rate
}

/** What a batch of messages is complete with: whichever comes first. @category models @since 0.1.0 */
export interface BatchReceiveOptions {
  /** Default 1,000. */
  readonly maxMessages?: number | undefined
  /** Payload bytes; the first message is taken whatever its size. Default 10 MiB. */
  readonly maxBytes?: number | undefined
  /** Default 100 milliseconds. */
  readonly maxWait?: Duration.Input | undefined
}

/** @category models @since 0.1.0 */
export interface Consumer<A> {
  readonly subscription: string
  /** Topics and partitions it is subscribed to. */
  readonly topics: Effect.Effect<ReadonlyArray<string>>
  readonly isConnected: Effect.Effect<boolean>
  /** The next message. Interrupting the wait loses nothing. */
  readonly receive: Effect.Effect<Message<A>, PulsarError>
  /** The messages that are there, `max` (default 1,000) at most, waiting for the first. */
  readonly receiveAll: (max?: number) => Effect.Effect<NonEmptyReadonlyArray<Message<A>>, PulsarError>
  /** Like `receiveAll`, but empty when nothing comes within the time. */
  readonly receiveWithin: (time: Duration.Input, max?: number) => Effect.Effect<ReadonlyArray<Message<A>>, PulsarError>
  /** Waits until there is a batch: as many messages or bytes as given, or what came within the time, which may be nothing. */
  readonly receiveBatch: (options?: BatchReceiveOptions) => Effect.Effect<ReadonlyArray<Message<A>>, PulsarError>
  /** All messages, until the consumer is closed; ends when every topic of it has ended, which brokers tell once all is acknowledged. */
  readonly stream: Stream.Stream<Message<A>, PulsarError>
  /** Acknowledges by position. */
  readonly ack: (id: MessageId.MessageId, topic?: string) => Effect.Effect<void, PulsarError>
  /** Acknowledges these with one command a topic, and waits until the broker has them. */
  readonly ackAll: (messages: ReadonlyArray<Message<A>>) => Effect.Effect<void, PulsarError>
  /** Acknowledges a message and all before it on its topic. Not for Shared and Key_Shared. */
  readonly ackUpTo: (message: Message<A>) => Effect.Effect<void, PulsarError>
  /** Sends what was acknowledged and waits until the broker has it. */
  readonly flushAcks: Effect.Effect<void, PulsarError>
  /** Asks for a message again, after the delay or the consumer's own. */
  readonly nack: (message: Message<A>, delay?: Duration.Input) => Effect.Effect<void>
  /** Everything unacknowledged comes again. */
  readonly redeliverAll: Effect.Effect<void>
  /**
   * Sends a message to the retry topic, to come back after the delay, and acknowledges it. After `deadLetter.maxRedeliveries` trips it goes to
   * the dead letters instead.
   */
  readonly reconsumeLater: (message: Message<A>, delay: Duration.Input) => Effect.Effect<void, PulsarError | SendError>
  /** Moves to a position, or to the first message published at or after a time (milliseconds since the epoch). All topics of it. */
  readonly seek: (to: MessageId.MessageId | number | "earliest" | "latest") => Effect.Effect<void, PulsarError>
  /** No new messages are asked for; those that were may still come. */
  readonly pause: Effect.Effect<void>
  readonly resume: Effect.Effect<void>
  /** Position of the last message of the topic; for several topics, of the first of them. */
  readonly lastMessageId: Effect.Effect<MessageId.MessageId, PulsarError>
  /** Whether there is anything after a position, on any topic of it. */
  readonly hasMessageAfter: (id: MessageId.MessageId) => Effect.Effect<boolean, PulsarError>
  /** Deletes the subscription; with `force` even if others use it. */
  readonly unsubscribe: (force?: boolean) => Effect.Effect<void, PulsarError>
  readonly stats: Effect.Effect<ConsumerStats>
  /** Sends the acknowledgements and leaves the broker, as the end of the scope does. */
  readonly close: Effect.Effect<void>
}

/**
 * Subscribes; the subscription is left, not deleted, with the scope.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <A = Uint8Array>(
  options: ConsumerOptions<A>
): Effect.Effect<Consumer<A>, PulsarError, PulsarClient | Scope.Scope> =>
  Effect.gen(function*() {
    const client = yield* PulsarClient
    const { internals } = client
    const type = options.type ?? "exclusive"
    const shared = type === "shared" || type === "keyShared"
    yield* check(options.subscription !== "", "a subscription has a name")
    yield* check(within(options.receiverQueue, 1, 1_000_000), "receiverQueue is a whole number from 1 to 1,000,000")
    yield* check(within(options.ackGroupSize, 1, 1000), "ackGroupSize is a whole number from 1 to 1,000")
    yield* check(options.deadLetter === undefined || shared, "deadLetter is for shared and keyShared subscriptions")
    yield* check(
      options.deadLetter === undefined || options.deadLetter.maxRedeliveries >= 1,
      "deadLetter.maxRedeliveries is at least 1"
    )
    const ackTimeout = toMillis(options.ackTimeout ?? 0)
    yield* check(ackTimeout === 0 || ackTimeout >= 1000, "ackTimeout is 0 or at least 1 second")
    for (const [from, to] of options.keyShared?.sticky ?? []) {
      yield* check(
        within(from, 0, 65_535) && within(to, from, 65_535),
        "keyShared.sticky has ranges within 0 to 65,535"
      )
    }
    const spec: ConsumerSpec = {
      topic: "",
      subscription: options.subscription,
      type,
      name: options.name,
      durable: options.durable ?? true,
      initialPosition: options.initialPosition ?? "latest",
      startMessageId: options.startMessageId,
      startRollback: toMillis(options.startRollback ?? 0) / 1000,
      readCompacted: options.readCompacted ?? false,
      priorityLevel: options.priorityLevel,
      properties: Object.entries(options.properties ?? {}),
      subscriptionProperties: Object.entries(options.subscriptionProperties ?? {}),
      schema: PulsarSchema.toWire(options.schema?.definition),
      keyShared: type !== "keyShared" ? undefined : {
        sticky: options.keyShared?.sticky,
        allowOutOfOrder: options.keyShared?.allowOutOfOrder ?? false
      },
      // A topic of a pattern is there, or it is gone: it must not come back because somebody was subscribed to it.
      forceTopicCreation: options.createTopic ?? !isPattern(options),
      replicateSubscriptionState: options.replicateSubscriptionState ?? false,
      receiverQueue: options.receiverQueue ?? 1000,
      ackTimeout,
      ackGroupTime: toMillis(options.ackGroupTime ?? 100),
      ackGroupSize: options.ackGroupSize ?? 1000,
      batchIndexAck: options.batchIndexAck ?? false,
      chunks: {
        maxPending: options.maxPendingChunked ?? Chunk.defaultLimits.maxPending,
        expireAfter: toMillis(options.expireIncompleteChunks ?? Chunk.defaultLimits.expireAfter),
        maxBytes: Chunk.defaultLimits.maxBytes
      },
      autoAckOldestChunk: false,
      reuseMemory: options.reuseMemory ?? false,
      stallTimeout: toMillis(options.stallTimeout ?? "60 seconds")
    }
    const scope = yield* Scope.Scope
    const consumer = new ConsumerImpl<A>(internals, options, spec, scope)
    const first = yield* topicsOf(client, options)
    yield* Effect.forEach(first, (topic) => consumer.add(topic, true), { concurrency: 8, discard: true })
    if (options.deadLetter?.retry === true) yield* consumer.keep(yield* retryTopicOf(options))
    const refresh = toMillis(options.topicsRefresh ?? "60 seconds")
    const grows = isPattern(options)
    const turn = yield* Semaphore.make(1)
    const reconcile = topicsOf(client, options).pipe(
      Effect.flatMap((topics) => consumer.reconcile(topics, grows)),
      turn.withPermits(1),
      Effect.ignore
    )
    if (grows) {
      const { namespace } = options.topic as { readonly namespace: string }
      yield* Effect.forkScoped(TopicListWatcher.watch(internals.pool, namespace, reconcile))
    }
    if (refresh > 0 && (grows || consumer.hasPartitions)) {
      yield* reconcile.pipe(Effect.delay(refresh), Effect.repeat(Schedule.forever), Effect.forkScoped)
    }
    return consumer
  })

/**
 * All messages of a subscription as a stream that subscribes when it is run.
 *
 * @category constructors
 * @since 0.1.0
 */
export const stream = <A = Uint8Array>(
  options: ConsumerOptions<A>
): Stream.Stream<Message<A>, PulsarError, PulsarClient> =>
  Stream.unwrap(Effect.map(make(options), (consumer) => consumer.stream))

/**
 * A consumer whose messages go to a handler: nobody else receives them.
 *
 * @category models
 * @since 0.1.0
 */
export interface Listener<A, E>
  extends Omit<Consumer<A>, "receive" | "receiveAll" | "receiveWithin" | "receiveBatch" | "stream" | "close">
{
  /** Waits until the handler, or the consumer, has failed; ends when it is stopped, or when every topic has ended. */
  readonly ended: Effect.Effect<void, PulsarError | E>
  /** Takes no more messages, lets the handler finish the one it works on, and leaves the broker. The end of the scope does it too. */
  readonly stop: Effect.Effect<void>
}

/**
 * Subscribes and gives every message to a handler, one after another, in order, topics that come later included. The handler acknowledges:
 * nothing does it for it. When it fails, listening ends.
 *
 * @category constructors
 * @since 0.1.0
 */
export const listen = <A = Uint8Array, E = never, R = never>(
  options: ConsumerOptions<A>,
  handler: (message: Message<A>) => Effect.Effect<void, E, R>
): Effect.Effect<Listener<A, E>, PulsarError, PulsarClient | Scope.Scope | R> =>
  Effect.gen(function*() {
    const consumer = yield* make(options)
    // Stopped between two messages, never inside one.
    const fiber = yield* consumer.stream.pipe(
      Stream.runForEach((message) => Effect.uninterruptible(handler(message))),
      Effect.forkScoped
    )
    return {
      subscription: consumer.subscription,
      topics: consumer.topics,
      isConnected: consumer.isConnected,
      ack: (id, topic) => consumer.ack(id, topic),
      ackAll: (messages) => consumer.ackAll(messages),
      ackUpTo: (message) => consumer.ackUpTo(message),
      flushAcks: consumer.flushAcks,
      nack: (message, delay) => consumer.nack(message, delay),
      redeliverAll: consumer.redeliverAll,
      reconsumeLater: (message, delay) => consumer.reconsumeLater(message, delay),
      seek: (to) => consumer.seek(to),
      pause: consumer.pause,
      resume: consumer.resume,
      lastMessageId: consumer.lastMessageId,
      hasMessageAfter: (id) => consumer.hasMessageAfter(id),
      unsubscribe: (force) => consumer.unsubscribe(force),
      stats: consumer.stats,
      ended: Fiber.join(fiber),
      stop: Effect.andThen(Fiber.interrupt(fiber), consumer.close)
    }
  })
