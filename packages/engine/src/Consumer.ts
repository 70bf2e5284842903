/**
 * Receiving messages: as a stream, or by pulling.
 *
 * @since 0.1.0
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import {
  type ConnectionEvent,
  type ConsumerSpec,
  type ReceivedMessage,
  type SubscriptionType,
  TopicName,
  truncate
} from "@perigee/proto"
import { Chunk, MessageId } from "@perigee/proto/wire"
import * as Lookup from "./driver/Lookup.ts"
import { ConsumerPart } from "./internal/ConsumerPart.ts"
import { Message } from "./Message.ts"
import * as Producer from "./Producer.ts"
import { type Internals, PulsarClient } from "./PulsarClient.ts"
import { closed, invalid, PulsarError, type SendError } from "./PulsarError.ts"
import * as PulsarSchema from "./PulsarSchema.ts"

/** @category models @since 0.1.0 */
export interface DeadLetterOptions {
  /** Deliveries after the first one before a message is put aside, at least 1. */
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
  /** Acknowledge single messages of a batch; the broker must have that on. Default `false`. */
  readonly batchIndexAck?: boolean | undefined
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
  /** Let the broker make the topic. Default `true`. */
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
  /** How often new partitions, or topics of a pattern, are looked for; 0 for never. Default 60 seconds. */
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
  /** All messages, until the consumer is closed; ends when every topic of it has ended, which brokers tell once all is acknowledged. */
  readonly stream: Stream.Stream<Message<A>, PulsarError>
  /** Acknowledges by position. */
  readonly ack: (id: MessageId.MessageId, topic?: string) => Effect.Effect<void, PulsarError>
  /** Acknowledges a message and all before it on its topic. Not for Shared and Key_Shared. */
  readonly ackUpTo: (message: Message<A>) => Effect.Effect<void, PulsarError>
  /** Sends what was acknowledged and waits until the broker has it. */
  readonly flushAcks: Effect.Effect<void, PulsarError>
  /** Asks for a message again, after the delay or the consumer's own. */
  readonly nack: (message: Message<A>, delay?: Duration.Input) => Effect.Effect<void>
  /** Everything unacknowledged comes again. */
  readonly redeliverAll: Effect.Effect<void>
  /** Sends a message to the retry topic, to come back after the delay, and acknowledges it. */
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

const toMillis = (input: Duration.Input): number => Duration.toMillis(Duration.fromInputUnsafe(input))

const within = (value: number | undefined, low: number, high: number): boolean =>
  value === undefined || (Number.isInteger(value) && value >= low && value <= high)

const check = (condition: boolean, why: string): Effect.Effect<void, PulsarError> =>
  condition ? Effect.void : Effect.fail(invalid(why))

const TAKE = 1000

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
      forceTopicCreation: options.createTopic ?? true,
      replicateSubscriptionState: options.replicateSubscriptionState ?? false,
      receiverQueue: options.receiverQueue ?? 1000,
      ackTimeout,
      ackGroupTime: toMillis(options.ackGroupTime ?? 100),
      batchIndexAck: options.batchIndexAck ?? false,
      chunks: {
        maxPending: options.maxPendingChunked ?? Chunk.defaultLimits.maxPending,
        expireAfter: toMillis(options.expireIncompleteChunks ?? Chunk.defaultLimits.expireAfter),
        maxBytes: Chunk.defaultLimits.maxBytes
      },
      autoAckOldestChunk: false,
      stallTimeout: toMillis(options.stallTimeout ?? "60 seconds")
    }
    const scope = yield* Scope.Scope
    const consumer = new ConsumerImpl<A>(internals, options, spec, scope)
    const first = yield* topicsOf(client, options)
    yield* Effect.forEach(first, (topic) => consumer.add(topic, true), { concurrency: 8, discard: true })
    if (options.deadLetter?.retry === true) yield* consumer.add(yield* retryTopicOf(options), true)
    const refresh = toMillis(options.topicsRefresh ?? "60 seconds")
    const grows = typeof options.topic === "object" && !Array.isArray(options.topic)
    if (refresh > 0 && (grows || consumer.hasPartitions)) {
      yield* topicsOf(client, options).pipe(
        Effect.flatMap((topics) => consumer.reconcile(topics, grows)),
        Effect.ignore,
        Effect.delay(refresh),
        Effect.repeat(Schedule.forever),
        Effect.forkScoped
      )
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

const firstTopic = (options: ConsumerOptions<any>): string | undefined => {
  const { topic } = options
  return typeof topic === "string" ? topic : Array.isArray(topic) ? (topic as ReadonlyArray<string>)[0] : undefined
}

const retryTopicOf = (options: ConsumerOptions<any>): Effect.Effect<string, PulsarError> => {
  const base = firstTopic(options)
  const given = options.deadLetter?.retryTopic
  if (given === undefined && base === undefined) return invalid("a consumer of a pattern needs deadLetter.retryTopic")
  const name = TopicName.normalize(given ?? `${base}-${options.subscription}-RETRY`)
  return name === undefined ? invalid("deadLetter.retryTopic is no topic name") : Effect.succeed(name)
}

/** The topics to subscribe to, partitions apart. */
const topicsOf = Effect.fnUntraced(function*(client: PulsarClient["Service"], options: ConsumerOptions<any>) {
  const { internals } = client
  const { topic } = options
  let bases: ReadonlyArray<string>
  if (typeof topic === "string") bases = [topic]
  else if (Array.isArray(topic)) bases = topic as ReadonlyArray<string>
  else {
    const { namespace, pattern } = topic as { readonly namespace: string; readonly pattern: RegExp }
    const all = yield* Producer.withinOperation(internals, "listing topics", client.topicsOf(namespace))
    // Partitions answer for their topic already; the name is what the pattern is about.
    return all.filter((name) => pattern.test(name.replace(/-partition-\d+$/, "")))
  }
  const names: Array<string> = []
  for (const base of bases) {
    const name = TopicName.normalize(base)
    if (name === undefined) return yield* invalid(`${JSON.stringify(truncate(base, 120))} is no topic name`)
    const count = yield* Producer.withinOperation(
      internals,
      "asking for partitions",
      Lookup.partitions(internals.pool, name, options.createTopic ?? true)
    )
    if (count === 0) names.push(name)
    else for (let index = 0; index < count; index++) names.push(TopicName.partition(name, index))
  }
  return names
})

class ConsumerImpl<A> implements Consumer<A> {
  readonly subscription: string
  readonly #internals: Internals
  readonly #options: ConsumerOptions<A>
  readonly #spec: ConsumerSpec
  readonly #scope: Scope.Scope
  readonly #schema: PulsarSchema.PulsarSchema<A>
  readonly #parts = new Map<string, { readonly part: ConsumerPart; readonly scope: Scope.Closeable }>()
  #order: Array<ConsumerPart> = []
  #turn = 0
  readonly #changed = Latch.makeUnsafe(false)
  #closed = false
  #stalls = 0
  readonly #nackDelay: number
  readonly #letters = new Map<string, Effect.Effect<Producer.Producer<Uint8Array>, PulsarError>>()

  constructor(internals: Internals, options: ConsumerOptions<A>, spec: ConsumerSpec, scope: Scope.Scope) {
    this.#internals = internals
    this.#options = options
    this.#spec = spec
    this.#scope = scope
    this.subscription = options.subscription
    this.#schema = options.schema ?? (PulsarSchema.bytes as unknown as PulsarSchema.PulsarSchema<A>)
    this.#nackDelay = toMillis(options.nackDelay ?? "60 seconds")
  }

  get hasPartitions(): boolean {
    return this.#order.some(({ topic }) => TopicName.partitionOf(topic) >= 0)
  }

  /** Subscribes to one more topic. */
  add(topic: string, wait: boolean): Effect.Effect<void, PulsarError> {
    return Effect.gen({ self: this }, function*() {
      if (this.#parts.has(topic) || this.#closed) return
      const part = new ConsumerPart(
        this.#internals,
        { ...this.#spec, topic },
        this.#nackDelay,
        () => this.#changed.openUnsafe(),
        (from, event) => this.#heard(from, event)
      )
      const scope = yield* Scope.fork(this.#scope)
      this.#parts.set(topic, { part, scope })
      this.#order = [...this.#order, part]
      yield* Scope.addFinalizer(scope, part.close(this.#internals.core.settings.operationTimeout))
      yield* Effect.forkIn(part.attachment.run, scope)
      if (wait) yield* part.attachment.ready
    })
  }

  /** Follows the topics there are: new ones are added, and with `remove` those that are gone are left. */
  reconcile(topics: ReadonlyArray<string>, remove: boolean): Effect.Effect<void, PulsarError> {
    return Effect.gen({ self: this }, function*() {
      const wanted = new Set(topics)
      if (remove) {
        for (const [topic, { scope }] of this.#parts) {
          if (wanted.has(topic)) continue
          this.#parts.delete(topic)
          this.#order = this.#order.filter((part) => part.topic !== topic)
          yield* Scope.close(scope, Exit.void)
        }
      }
      yield* Effect.forEach(wanted, (topic) => this.add(topic, false), { discard: true })
    })
  }

  #heard(part: ConsumerPart, event: ConnectionEvent): void {
    switch (event._tag) {
      case "ConsumerStalled":
        this.#stalls++
        this.#internals.core.fork(this.#unstall(part, event.silence))
        break
      case "MessageDropped":
      case "EndOfTopic":
      case "ActiveChanged":
      case "ConsumerReady":
      case "ConsumerClosed":
        break
      default:
        return
    }
    this.#options.onEvent?.({ topic: part.topic, event })
  }

  /** Silence is a stall only if there is something to hear: then the consumer subscribes again, in place. */
  #unstall(part: ConsumerPart, silence: number): Effect.Effect<void> {
    return Effect.gen(function*() {
      const reply = yield* part.lastMessageId
      const response = reply.getLastMessageIdResponse
      const last = response?.lastMessageId
      const marked = response?.consumerMarkDeletePosition
      if (last === undefined || BigInt.asIntN(64, last.entryId) < 0n) return
      if (marked !== undefined && MessageId.compare(idOf(marked), MessageId.entryOf(idOf(last))) >= 0) return
      yield* Effect.logWarning("pulsar: a consumer with permits hears nothing; subscribing again", {
        topic: part.topic,
        silence: Math.round(silence)
      })
      part.resubscribe()
    }).pipe(Effect.ignore)
  }

  // -------------------------------------------------------------------------------------------------------------------------------
  // Receiving

  /** Takes from the topics in turn, so that none starves. */
  #take(max: number): { readonly messages: Array<ReceivedMessage>; readonly part: ConsumerPart } | undefined {
    const { length } = this.#order
    for (let tried = 0; tried < length; tried++) {
      const part = this.#order[(this.#turn + tried) % length]!
      const messages = part.take(max)
      if (messages.length > 0) {
        this.#turn = (this.#turn + tried + 1) % length
        return { messages, part }
      }
    }
    return undefined
  }

  get #end(): PulsarError | undefined {
    if (this.#closed) return closed("the consumer is closed")
    const failed = this.#order.find(({ failure }) => failure !== undefined)
    if (failed !== undefined) return failed.failure
    return this.#order.length > 0 && this.#order.every(({ slot }) => slot.state === "closed")
      ? closed("the consumer is closed")
      : undefined
  }

  get #isDrained(): boolean {
    return this.#order.length > 0 && this.#order.every(({ slot }) => slot.endOfTopic && !slot.hasMessages)
  }

  /** Waits for messages; none means that every topic has ended. */
  #next(max: number): Effect.Effect<ReadonlyArray<Message<A>>, PulsarError> {
    return Effect.suspend(() => {
      this.#changed.closeUnsafe()
      const taken = this.#take(max)
      if (taken === undefined) {
        const end = this.#end
        if (end !== undefined) return Effect.fail(end)
        if (this.#isDrained) return Effect.succeed([])
        return Effect.flatMap(this.#changed.await, () => this.#next(max))
      }
      const { messages, part } = taken
      const limit = this.#options.deadLetter?.maxRedeliveries
      const tired = limit === undefined ? [] : messages.filter((message) => this.#deliveries(message) >= limit)
      if (tired.length === 0 && this.#schema === (PulsarSchema.bytes as unknown)) {
        return Effect.succeed(messages.map((message) => new Message(message.payload as unknown as A, message, part)))
      }
      const fresh = tired.length === 0 ? messages : messages.filter((message) => !tired.includes(message))
      const bury = Effect.forEach(tired, (message) => this.#bury(part, message), { discard: true })
      const decode = Effect.forEach(fresh, (message) => this.#decode(part, message))
      return Effect.flatMap(Effect.andThen(bury, decode), (decoded) => {
        const kept = decoded.filter((message) => message !== undefined)
        return kept.length > 0 ? Effect.succeed(kept) : this.#next(max)
      })
    })
  }

  #decode(part: ConsumerPart, message: ReceivedMessage): Effect.Effect<Message<A> | undefined, PulsarError> {
    return this.#schema.decode(message.payload).pipe(
      Effect.map((value) => new Message(value, message, part)),
      Effect.catch((cause) => {
        if (this.#options.onUndecodable === "nack") {
          part.nack(message.id)
          return Effect.succeed(undefined)
        }
        return Effect.fail(
          new PulsarError({
            reason: {
              _tag: "Undecodable",
              topic: part.topic,
              id: MessageId.format(message.id),
              why: truncate(cause.message)
            }
          })
        )
      })
    )
  }

  receiveAll(max = TAKE): Effect.Effect<NonEmptyReadonlyArray<Message<A>>, PulsarError> {
    return Effect.flatMap(this.#next(max), (messages) =>
      messages.length > 0
        ? Effect.succeed(messages as unknown as NonEmptyReadonlyArray<Message<A>>)
        : Effect.fail(closed("the topic has ended")))
  }

  get receive(): Effect.Effect<Message<A>, PulsarError> {
    return Effect.map(this.receiveAll(1), ([message]) => message)
  }

  receiveWithin(time: Duration.Input, max = TAKE): Effect.Effect<ReadonlyArray<Message<A>>, PulsarError> {
    return Effect.map(Effect.timeoutOption(this.receiveAll(max), time), Option.getOrElse(() => []))
  }

  get stream(): Stream.Stream<Message<A>, PulsarError> {
    return Stream.fromEffectRepeat(Effect.suspend(() => this.#next(TAKE))).pipe(
      Stream.takeWhile((messages) => messages.length > 0),
      Stream.flattenIterable,
      Stream.catch((error) => this.#closed && error.reason._tag === "Closed" ? Stream.empty : Stream.fail(error))
    )
  }

  // -------------------------------------------------------------------------------------------------------------------------------
  // Acknowledging

  #partOf(topic: string | undefined): ConsumerPart | undefined {
    if (topic === undefined) return this.#order.length === 1 ? this.#order[0] : undefined
    return this.#parts.get(TopicName.normalize(topic) ?? topic)?.part
  }

  ack(id: MessageId.MessageId, topic?: string): Effect.Effect<void, PulsarError> {
    return Effect.suspend(() => {
      const part = this.#partOf(topic)
      if (part === undefined) {
        return invalid("a consumer of several topics needs to know which of them a position is on")
      }
      if (!part.slot.ackId(part.now(), id)) {
        return invalid(`position ${MessageId.format(id)} has no such place in its batch`)
      }
      part.acked()
      return Effect.void
    })
  }

  ackUpTo(message: Message<A>): Effect.Effect<void, PulsarError> {
    return Effect.suspend(() => {
      if (message.part.slot.isSharedType) return invalid("a shared subscription has no order to acknowledge up to")
      message.part.slot.ackUpTo(message.part.now(), message.id)
      message.part.acked()
      return Effect.void
    })
  }

  readonly flushAcks: Effect.Effect<void, PulsarError> = Effect.suspend(() =>
    Effect.forEach(this.#order, (part) => part.confirm, { concurrency: "unbounded", discard: true })
  )

  nack(message: Message<A>, delay?: Duration.Input): Effect.Effect<void> {
    return Effect.sync(() => message.part.nack(message.id, delay === undefined ? undefined : toMillis(delay)))
  }

  readonly redeliverAll: Effect.Effect<void> = Effect.sync(() => {
    for (const part of this.#order) part.redeliver(undefined)
  })

  // -------------------------------------------------------------------------------------------------------------------------------
  // Letters

  /** How often a message was tried: by the broker's count, or by that of its trips over the retry topic. */
  #deliveries(message: ReceivedMessage): number {
    const trips = message.properties.find(([name]) => name === "RECONSUMETIMES")?.[1]
    return Math.max(message.redeliveryCount, trips === undefined ? 0 : Number(trips) || 0)
  }

  #letter(topic: string): Effect.Effect<Producer.Producer<Uint8Array>, PulsarError> {
    return Effect.suspend(() => {
      const known = this.#letters.get(topic)
      if (known !== undefined) return known
      const internals = this.#internals
      return Effect.cached(
        Producer.make({ topic, batching: false, chunking: true }).pipe(
          Effect.provideService(PulsarClient, PulsarClient.of({ internals } as PulsarClient["Service"])),
          Scope.provide(this.#scope)
        )
      ).pipe(Effect.flatMap((producer) => {
        this.#letters.set(topic, producer)
        return Effect.tapError(producer, () => Effect.sync(() => this.#letters.delete(topic)))
      }))
    })
  }

  #copy(message: ReceivedMessage, part: ConsumerPart, extra: Readonly<Record<string, string>>): Producer.SendOptions {
    const original = Object.fromEntries(message.properties)
    return {
      ...(message.key === undefined ? {} : message.keyIsBase64
        ? { keyBytes: Buffer.from(message.key, "base64") }
        : { key: message.key }),
      orderingKey: message.orderingKey,
      eventTime: message.eventTime,
      properties: {
        ...original,
        REAL_TOPIC: original["REAL_TOPIC"] ?? part.topic,
        REAL_SUBSCRIPTION: this.subscription,
        ORIGIN_MESSAGE_ID: original["ORIGIN_MESSAGE_ID"] ?? MessageId.format(message.id),
        ...extra
      }
    }
  }

  /** Puts a message aside; only what is stored there is acknowledged here. */
  #bury(part: ConsumerPart, message: ReceivedMessage): Effect.Effect<void, PulsarError> {
    const base = firstTopic(this.#options) ?? part.topic
    const topic = this.#options.deadLetter?.topic ?? `${base}-${this.subscription}-DLQ`
    return this.#letter(topic).pipe(
      Effect.flatMap((producer) => producer.send(message.payload, this.#copy(message, part, {}))),
      Effect.flatMap(() =>
        Effect.sync(() => {
          part.slot.ack(part.now(), message)
          part.acked()
        })
      ),
      Effect.catch((error) =>
        Effect.andThen(
          Effect.logWarning("pulsar: a message could not be put aside; it will come again", {
            topic,
            why: error.message
          }),
          Effect.sync(() => part.nack(message.id))
        )
      )
    )
  }

  reconsumeLater(message: Message<A>, delay: Duration.Input): Effect.Effect<void, PulsarError | SendError> {
    return Effect.gen({ self: this }, function*() {
      const topic = yield* retryTopicOf(this.#options)
      const times = (Number(message.properties["RECONSUMETIMES"] ?? 0) || 0) + 1
      const producer = yield* this.#letter(topic)
      const wait = toMillis(delay)
      yield* producer.send(message.received.payload, {
        ...this.#copy(message.received, message.part, { RECONSUMETIMES: `${times}`, DELAY_TIME: `${wait}` }),
        deliverAfter: wait
      })
      message.ackUnsafe()
    })
  }

  // -------------------------------------------------------------------------------------------------------------------------------
  // Position and life

  seek(to: MessageId.MessageId | number | "earliest" | "latest"): Effect.Effect<void, PulsarError> {
    const target = to === "earliest" ? MessageId.earliest : to === "latest" ? MessageId.latest : to
    return Effect.suspend(() =>
      Effect.forEach(
        this.#order,
        (part) => Producer.withinOperation(this.#internals, "seeking", part.seek(target)),
        { concurrency: "unbounded", discard: true }
      )
    )
  }

  readonly pause: Effect.Effect<void> = Effect.sync(() => {
    for (const part of this.#order) part.setPaused(true)
  })

  readonly resume: Effect.Effect<void> = Effect.sync(() => {
    for (const part of this.#order) part.setPaused(false)
  })

  #last(part: ConsumerPart): Effect.Effect<MessageId.MessageId, PulsarError> {
    return Producer.withinOperation(
      this.#internals,
      "asking for the last message",
      Effect.map(part.lastMessageId, (reply) => idOf(reply.getLastMessageIdResponse!.lastMessageId!))
    )
  }

  get lastMessageId(): Effect.Effect<MessageId.MessageId, PulsarError> {
    return Effect.suspend(() => this.#last(this.#order[0]!))
  }

  hasMessageAfter(id: MessageId.MessageId): Effect.Effect<boolean, PulsarError> {
    return Effect.map(
      Effect.forEach(this.#order, (part) => this.#last(part)),
      (ids) =>
        ids.some((last) =>
          last.entry >= 0n && MessageId.compare({ ...last, partition: id.partition }, id) > 0 &&
          // A position without place is that of the whole entry.
          !(id.batchIndex < 0 && last.ledger === id.ledger && last.entry === id.entry)
        )
    )
  }

  unsubscribe(force = false): Effect.Effect<void, PulsarError> {
    return Effect.suspend(() =>
      Effect.forEach(this.#order, (part) => part.unsubscribe(force), { concurrency: "unbounded", discard: true })
    )
  }

  readonly topics: Effect.Effect<ReadonlyArray<string>> = Effect.sync(() => this.#order.map(({ topic }) => topic))
  readonly isConnected: Effect.Effect<boolean> = Effect.sync(() =>
    this.#order.every(({ slot }) => slot.state === "ready")
  )

  readonly stats: Effect.Effect<ConsumerStats> = Effect.sync(() => {
    const sum = { received: 0, bytes: 0, acked: 0, nacked: 0, dropped: 0, redelivered: 0, queued: 0, permits: 0 }
    for (const { slot } of this.#order) {
      sum.received += slot.totals.received
      sum.bytes += slot.totals.bytes
      sum.acked += slot.totals.acked
      sum.nacked += slot.totals.nacked
      sum.dropped += slot.totals.dropped
      sum.redelivered += slot.totals.redelivered
      sum.queued += slot.queued
      sum.permits += slot.balance
    }
    return { ...sum, stalls: this.#stalls }
  })

  readonly close: Effect.Effect<void> = Effect.suspend(() => {
    this.#closed = true
    this.#changed.openUnsafe()
    return Effect.forEach([...this.#parts.values()], ({ scope }) => Scope.close(scope, Exit.void), {
      concurrency: "unbounded",
      discard: true
    })
  })
}

const idOf = (data: {
  readonly ledgerId: bigint
  readonly entryId: bigint
  readonly partition: number
  readonly batchIndex: number
  readonly batchSize: number
}): MessageId.MessageId =>
  MessageId.make(
    BigInt.asIntN(64, data.ledgerId),
    BigInt.asIntN(64, data.entryId),
    data.partition,
    data.batchIndex,
    data.batchSize
  )
