/** A consumer over its topics and partitions. */
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import * as Option from "effect/Option"
import type * as Pull from "effect/Pull"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { type ConnectionEvent, type ConsumerSpec, type ReceivedMessage, TopicName, truncate } from "@perigee/proto"
import { MessageId } from "@perigee/proto/wire"
import type { BatchReceiveOptions, Consumer, ConsumerOptions, ConsumerStats } from "../Consumer.ts"
import { Message, Raw } from "../Message.ts"
import type { Internals } from "../PulsarClient.ts"
import { closed, invalid, PulsarError, type SendError } from "../PulsarError.ts"
import * as PulsarSchema from "../PulsarSchema.ts"
import { ConsumerPart } from "./ConsumerPart.ts"
import { isPattern } from "./ConsumerTopics.ts"
import { idOf } from "./idOf.ts"
import { LatencyHistogram } from "./LatencyHistogram.ts"
import { Letters } from "./Letters.ts"
import { MessageOrigin } from "./MessageOrigin.ts"
import { toMillis } from "./options.ts"
import * as RateMeter from "./RateMeter.ts"
import { reasonOfSilence } from "./reasonOfSilence.ts"
import { withinOperation } from "./withinOperation.ts"

const TAKE = 1000
const TOPIC_NOT_FOUND = 11

export class ConsumerImpl<A> implements Consumer<A> {
  readonly subscription: string
  readonly #internals: Internals
  readonly #options: ConsumerOptions<A>
  readonly #spec: ConsumerSpec
  readonly #scope: Scope.Scope
  readonly #schema: PulsarSchema.PulsarSchema<A>
  readonly #parts = new Map<string, { readonly part: ConsumerPart; readonly scope: Scope.Closeable }>()
  #order: Array<ConsumerPart> = []
  readonly #kept = new Set<string>()
  #turn = 0
  readonly #changed = Latch.makeUnsafe(false)
  #closed = false
  readonly #nackDelay: number
  readonly #letters: Letters
  /** Values are payloads as they are. */
  readonly #isRaw: boolean
  /** Messages are handed out as they come: raw, and none is a dead letter. */
  readonly #isPlain: boolean

  constructor(internals: Internals, options: ConsumerOptions<A>, spec: ConsumerSpec, scope: Scope.Scope) {
    this.#internals = internals
    this.#options = options
    this.#spec = spec
    this.#scope = scope
    this.subscription = options.subscription
    this.#schema = options.schema ?? (PulsarSchema.bytes as unknown as PulsarSchema.PulsarSchema<A>)
    this.#isRaw = this.#schema === (PulsarSchema.bytes as unknown)
    this.#isPlain = this.#isRaw && options.deadLetter === undefined
    this.#nackDelay = toMillis(options.nackDelay ?? "60 seconds")
    this.#letters = new Letters(internals, options, scope)
  }

  get hasPartitions(): boolean {
    return this.#order.some(({ topic }) => TopicName.partitionOf(topic) >= 0)
  }

  /** Subscribes to a topic that belongs to it whatever a pattern says, and makes it if need be. */
  keep(topic: string): Effect.Effect<void, PulsarError> {
    return Effect.suspend(() => {
      this.#kept.add(topic)
      return this.add(topic, true)
    })
  }

  /** Subscribes to one more topic. */
  add(topic: string, wait: boolean): Effect.Effect<void, PulsarError> {
    return Effect.gen({ self: this }, function*() {
      if (this.#parts.has(topic) || this.#closed) return
      const part = new ConsumerPart(
        this.#internals,
        { ...this.#spec, topic, forceTopicCreation: this.#spec.forceTopicCreation || this.#kept.has(topic) },
        this.#nackDelay,
        () => this.#changed.openUnsafe(),
        (from, event) => this.#heard(from, event)
      )
      const scope = yield* Scope.fork(this.#scope)
      this.#parts.set(topic, { part, scope })
      this.#order = [...this.#order, part]
      yield* Scope.addFinalizer(scope, part.close(this.#internals.core.settings.operationTimeout))
      yield* Effect.forkIn(part.attachment.run, scope)
      if (wait) yield* Effect.catchIf(part.attachment.ready, (error) => this.#isGone(error), () => Effect.void)
    })
  }

  /** Follows the topics there are: new ones are added, and with `remove` those that are gone are left. */
  reconcile(topics: ReadonlyArray<string>, remove: boolean): Effect.Effect<void, PulsarError> {
    return Effect.gen({ self: this }, function*() {
      const wanted = new Set(topics)
      if (remove) {
        for (const [topic, { part, scope }] of this.#parts) {
          // One that was gone and is back begins anew.
          if (this.#kept.has(topic) || (wanted.has(topic) && part.failure === undefined)) continue
          this.#parts.delete(topic)
          this.#order = this.#order.filter((part) => part.topic !== topic)
          yield* Scope.close(scope, Exit.void)
        }
      }
      yield* Effect.forEach(wanted, (topic) => this.add(topic, false), { discard: true })
    })
  }

  /** A topic of a pattern that is not there any more is no failure of the consumer. */
  #isGone({ reason }: PulsarError): boolean {
    return isPattern(this.#options) && reason._tag === "Refused" && reason.code === TOPIC_NOT_FOUND
  }

  #heard(part: ConsumerPart, event: ConnectionEvent): void {
    switch (event._tag) {
      case "ConsumerStalled":
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

  /** A silence is asked about, and only one that the broker has no good reason for is ended: by subscribing again, in place. */
  #unstall(part: ConsumerPart, silence: number): Effect.Effect<void> {
    return Effect.flatMap(
      reasonOfSilence(part),
      (reason) =>
        reason === undefined || !part.slot.isSilent ? Effect.void : Effect.andThen(
          Effect.logWarning("pulsar: a consumer with permits hears nothing; subscribing again", {
            topic: part.topic,
            silence: Math.round(silence),
            reason
          }),
          Effect.sync(() => part.resubscribe())
        )
    ).pipe(Effect.ignore)
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
    const failed = this.#order.find(({ failure }) => failure !== undefined && !this.#isGone(failure))
    if (failed !== undefined) return failed.failure
    return !isPattern(this.#options) && this.#order.length > 0 &&
        this.#order.every(({ slot }) => slot.state === "closed")
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
      const tired = this.#options.deadLetter === undefined
        ? []
        : messages.filter((message) => this.#letters.isTired(message))
      if (tired.length === 0 && this.#isRaw) {
        return Effect.succeed(messages.map((message) => new Message<A>(Raw, message, part)))
      }
      const fresh = tired.length === 0 ? messages : messages.filter((message) => !tired.includes(message))
      const bury = Effect.forEach(tired, (message) => this.#letters.bury(part, message), { discard: true })
      const decode = Effect.forEach(fresh, (message) => this.#decode(part, message))
      return Effect.flatMap(Effect.andThen(bury, decode), (decoded) => {
        const kept = decoded.filter((message) => message !== undefined)
        return kept.length > 0 ? Effect.succeed(kept) : this.#next(max)
      })
    })
  }

  #decode(part: ConsumerPart, message: ReceivedMessage): Effect.Effect<Message<A> | undefined, PulsarError> {
    if (this.#isRaw) return Effect.succeed(new Message<A>(Raw, message, part))
    return this.#schema.decode(message.payload, new MessageOrigin(this.#internals, part.topic, message)).pipe(
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

  receiveAll(max = TAKE): Effect.Effect<Arr.NonEmptyReadonlyArray<Message<A>>, PulsarError> {
    return Effect.flatMap(this.#next(max), (messages) =>
      messages.length > 0
        ? Effect.succeed(messages as unknown as Arr.NonEmptyReadonlyArray<Message<A>>)
        : Effect.fail(closed("the topic has ended")))
  }

  /** What is at hand is handed out without further effects: a loop over this is how most programs consume. */
  readonly receive: Effect.Effect<Message<A>, PulsarError> = Effect.suspend(() => {
    const taken = this.#isPlain ? this.#take(1) : undefined
    return taken === undefined
      ? Effect.map(this.receiveAll(1), ([message]) => message)
      : Effect.succeed(new Message<A>(Raw, taken.messages[0]!, taken.part))
  })

  receiveWithin(time: Duration.Input, max = TAKE): Effect.Effect<ReadonlyArray<Message<A>>, PulsarError> {
    return Effect.map(Effect.timeoutOption(this.receiveAll(max), time), Option.getOrElse(() => []))
  }

  receiveBatch(options: BatchReceiveOptions = {}): Effect.Effect<ReadonlyArray<Message<A>>, PulsarError> {
    const { maxBytes = 10 * 1024 * 1024, maxMessages = TAKE } = options
    const wait = toMillis(options.maxWait ?? "100 millis")
    const batch: Array<Message<A>> = []
    let bytes = 0
    // One at a time: a message that was taken is in the batch, whatever interrupts the wait for the next.
    const one = Effect.map(this.#next(1), ([message]) => {
      if (message === undefined) return false
      batch.push(message)
      bytes += message.received.payload.length
      return batch.length < maxMessages && bytes < maxBytes
    })
    const fill: Effect.Effect<void, PulsarError> = Effect.flatMap(one, (more) => more ? fill : Effect.void)
    return maxMessages < 1 || maxBytes < 1
      ? Effect.succeed([])
      : fill.pipe(
        Effect.timeoutOption(wait),
        // What was taken is handed out, though the consumer has ended meanwhile.
        Effect.catch((error) => batch.length > 0 ? Effect.succeed(undefined) : Effect.fail(error)),
        Effect.as(batch)
      )
  }

  get stream(): Stream.Stream<Message<A>, PulsarError> {
    const pull: Pull.Pull<Arr.NonEmptyReadonlyArray<Message<A>>, PulsarError> = Effect.matchEffect(this.#next(TAKE), {
      onFailure: (error) =>
        this.#closed && error.reason._tag === "Closed" ? Cause.done() : Effect.fail<PulsarError | Cause.Done>(error),
      onSuccess: (messages) => Arr.isReadonlyArrayNonEmpty(messages) ? Effect.succeed(messages) : Cause.done()
    })
    return Stream.fromPull(Effect.succeed(pull))
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

  ackAll(messages: ReadonlyArray<Message<A>>): Effect.Effect<void, PulsarError> {
    return Effect.suspend(() => {
      const parts = new Set<ConsumerPart>()
      for (const message of messages) {
        message.part.slot.ack(message.part.now(), message.received)
        parts.add(message.part)
      }
      return Effect.forEach(parts, (part) => part.confirm, { concurrency: "unbounded", discard: true })
    })
  }

  ackUpTo(message: Message<A>): Effect.Effect<void, PulsarError> {
    return Effect.suspend(() => {
      if (message.part.slot.isSharedType) return invalid("a shared subscription has no order to acknowledge up to")
      if (message.part.slot.state === "closed") {
        return message.part.failure ?? closed("the message's consumer is closed")
      }
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
  // Position and life

  seek(to: MessageId.MessageId | number | "earliest" | "latest"): Effect.Effect<void, PulsarError> {
    const target = to === "earliest" ? MessageId.earliest : to === "latest" ? MessageId.latest : to
    return Effect.suspend(() =>
      Effect.forEach(
        this.#order,
        (part) => withinOperation(this.#internals, "seeking", part.seek(target)),
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
    return withinOperation(
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

  reconsumeLater(message: Message<A>, delay: Duration.Input): Effect.Effect<void, PulsarError | SendError> {
    return this.#letters.later(message.part, message.received, delay)
  }

  readonly stats: Effect.Effect<ConsumerStats> = Effect.sync(() => {
    const waited = new LatencyHistogram()
    const sum = { received: 0, bytes: 0, acked: 0, nacked: 0, dropped: 0, redelivered: 0, queued: 0, permits: 0 }
    let stalls = 0
    for (const part of this.#order) {
      const { metrics, slot } = part
      stalls += part.stalls
      waited.merge(metrics.histogram)
      sum.received += slot.totals.received
      sum.bytes += slot.totals.bytes
      sum.acked += slot.totals.acked
      sum.nacked += slot.totals.nacked
      sum.dropped += slot.totals.dropped
      sum.redelivered += slot.totals.redelivered
      sum.queued += slot.queued
      sum.permits += Math.max(0, slot.balance)
    }
    return {
      ...sum,
      stalls,
      waited: waited.latency,
      rate: RateMeter.sum(this.#order.map(({ metrics }) => metrics.rate))
    }
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
