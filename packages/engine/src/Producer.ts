/**
 * Sending messages to a topic.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import {
  type EnqueueRefusal,
  type OutgoingMessage,
  type ProducerSpec,
  Routing,
  type SendCompletion,
  type SendOutcome,
  TopicName,
  truncate
} from "@perigee/proto"
import { type Compression, MessageId, type Metadata } from "@perigee/proto/wire"
import * as Lookup from "./driver/Lookup.ts"
import { ProducerPart } from "./internal/ProducerPart.ts"
import { type Internals, PulsarClient } from "./PulsarClient.ts"
import { invalid, PulsarError, SendError, type SendErrorReason } from "./PulsarError.ts"
import * as PulsarSchema from "./PulsarSchema.ts"

/** @category models @since 0.1.0 */
export interface BatchingOptions {
  /** Messages a batch, 2 to 100,000. Default 1,000. */
  readonly maxMessages?: number | undefined
  /** Bytes a batch, before compression. Default 131,072. */
  readonly maxBytes?: number | undefined
  /** How long the first message of a batch waits for company; 0 sends with the next turn of the connection. Default 1 millisecond. */
  readonly maxDelay?: Duration.Input | undefined
}

/** @category models @since 0.1.0 */
export interface ProducerOptions<A = Uint8Array> {
  readonly topic: string
  /** How values become payloads. Default `PulsarSchema.bytes`. */
  readonly schema?: PulsarSchema.PulsarSchema<A> | undefined
  /** Unique on the topic. Default: the broker gives one. Needed for deduplication across restarts. */
  readonly name?: string | undefined
  /** Who else may produce. `waitForExclusive` opens when its turn comes, however long that takes. Default `shared`. */
  readonly accessMode?: "shared" | "exclusive" | "waitForExclusive" | "exclusiveWithFencing" | undefined
  /** Default on; `false` sends every message as an entry of its own. */
  readonly batching?: BatchingOptions | false | undefined
  /** Split messages that are larger than the broker takes. Default `false`: they fail. */
  readonly chunking?: boolean | undefined
  /** Default `none`. A batch is compressed as a whole. */
  readonly compression?: Compression.Compression | undefined
  /** After how long a send without a receipt ends as unknown (or not done, if it was never written); 0 for never. Default 30 seconds. */
  readonly sendTimeout?: Duration.Input | undefined
  /** Messages without a receipt, for each partition. 1 to 1,000,000. Default 1,000. */
  readonly maxPending?: number | undefined
  /** What a send does when that many are pending. Default `wait`. */
  readonly whenFull?: "wait" | "fail" | undefined
  /** Sequence id of the first message. Default: one more than the broker's last for the name. */
  readonly initialSequenceId?: number | undefined
  /** Shown by the broker's statistics. */
  readonly properties?: Readonly<Record<string, string>> | undefined
  /** A subscription to create before the first message. */
  readonly initialSubscription?: string | undefined
  /** Which partition a message goes to. Default: by the Java hash of its key, without a key in turn. */
  readonly routing?: Routing.RoutingMode | undefined
  /** How often new partitions are looked for; 0 for never. Default 60 seconds. */
  readonly partitionsRefresh?: Duration.Input | undefined
}

/** What belongs to one message beside its value. @category models @since 0.1.0 */
export interface SendOptions {
  /** Chooses the partition, the Key_Shared consumer, and what compaction keeps. */
  readonly key?: string | undefined
  /** The key as bytes: sent as base64, as other clients do. */
  readonly keyBytes?: Uint8Array | undefined
  readonly orderingKey?: Uint8Array | undefined
  /** Milliseconds since the epoch. */
  readonly eventTime?: number | undefined
  readonly properties?: Readonly<Record<string, string>> | undefined
  /** Larger than every one before. */
  readonly sequenceId?: number | undefined
  /** Milliseconds since the epoch; Shared and Key_Shared consumers see the message then. */
  readonly deliverAt?: number | undefined
  /** Instead of `deliverAt`: from now. */
  readonly deliverAfter?: Duration.Input | undefined
  /** Clusters to replicate to; an empty list for none. */
  readonly replicateTo?: ReadonlyArray<string> | undefined
}

/** A message for `sendAll`. @category models @since 0.1.0 */
export interface Outgoing<A> extends SendOptions {
  readonly value: A
}

/** A stored message. @category models @since 0.1.0 */
export interface Receipt {
  /** Where it is; ledger and entry are -1 for a duplicate, whose place the broker does not tell. */
  readonly id: MessageId.MessageId
  /** The broker had it before, by its sequence id. */
  readonly duplicate: boolean
}

/** @category models @since 0.1.0 */
export interface ProducerStats {
  readonly messages: number
  readonly bytes: number
  readonly stored: number
  readonly notDone: number
  readonly unknown: number
  readonly pending: number
  readonly pendingBytes: number
}

/** @category models @since 0.1.0 */
export interface Producer<A> {
  readonly topic: string
  /** The name the broker knows; of the first partition, if there are several. */
  readonly name: Effect.Effect<string>
  readonly partitions: Effect.Effect<number>
  /** Whether it is attached to its broker, all partitions of it. */
  readonly isConnected: Effect.Effect<boolean>
  /** Sequence id of the last message that was stored, -1 before the first; the highest of all partitions. */
  readonly lastSequenceId: Effect.Effect<number>
  /**
   * Sends one message and waits for its receipt. Interrupting the wait does not take the message back.
   * Every send ends: with a receipt, as not done, or as unknown.
   */
  readonly send: (value: A, options?: SendOptions) => Effect.Effect<Receipt, SendError>
  /** Deletes a key: a message without a value, for compacted topics. */
  readonly sendNull: (key: string, options?: Omit<SendOptions, "key">) => Effect.Effect<Receipt, SendError>
  /**
   * Sends many at the cost of one: receipts in the order of the messages. Fails when any message was not stored; `results` of the error says
   * what became of each.
   */
  readonly sendAll: (messages: ReadonlyArray<Outgoing<A>>) => Effect.Effect<ReadonlyArray<Receipt>, SendError>
  /** Sends the open batches and waits until every message has its outcome. */
  readonly flush: Effect.Effect<void>
  readonly stats: Effect.Effect<ProducerStats>
  /** Flushes and leaves the broker, as the end of the scope does. */
  readonly close: Effect.Effect<void>
}

const modes = { shared: 0, exclusive: 1, waitForExclusive: 2, exclusiveWithFencing: 3 } as const

const notDone = (why: string, code?: number): SendErrorReason => ({ _tag: "NotDone", why, code })

const toReason = (outcome: Exclude<SendOutcome, { readonly _tag: "Stored" }>): SendErrorReason => {
  const { reason } = outcome
  if (outcome._tag === "Unknown") {
    return {
      _tag: "Unknown",
      why: reason._tag === "Timeout" ? "no receipt in time" : reason._tag === "Closed" ? reason.why : ""
    }
  }
  switch (outcome.reason._tag) {
    case "Timeout":
      return notDone("it could not be written in time")
    case "Closed":
      return notDone(outcome.reason.why)
    case "Refused":
      return notDone(outcome.reason.failure.message, outcome.reason.failure.code)
  }
}

const fromRefusal = (refusal: EnqueueRefusal): SendErrorReason => {
  switch (refusal._tag) {
    case "Full":
      return notDone("too many messages wait for their receipt")
    case "Closed":
      return notDone(refusal.why)
    case "TooLarge":
      return notDone(`${refusal.bytes} bytes are more than the broker's ${refusal.limit}; chunking splits them`)
    case "SequenceNotIncreasing":
      return notDone(`sequence id ${refusal.received} is not above ${refusal.last}`)
  }
}

const receiptOf = (outcome: Extract<SendOutcome, { readonly _tag: "Stored" }>, batchIndex: number): Receipt => {
  const { duplicate, id } = outcome
  return {
    duplicate,
    id: batchIndex < 0 ? id : MessageId.make(id.ledger, id.entry, id.partition, batchIndex, outcome.batchSize)
  }
}

/** One send: its own completion. */
class Single implements SendCompletion {
  readonly part: ProducerPart
  readonly bytes: number
  readonly resume: (effect: Effect.Effect<Receipt, SendError>) => void
  constructor(part: ProducerPart, bytes: number, resume: (effect: Effect.Effect<Receipt, SendError>) => void) {
    this.part = part
    this.bytes = bytes
    this.resume = resume
  }
  onSend(outcome: SendOutcome, _first: number, _count: number, batchIndex: number): void {
    this.part.released(this.bytes)
    this.resume(
      outcome._tag === "Stored"
        ? Effect.succeed(receiptOf(outcome, batchIndex))
        : Effect.fail(new SendError({ reason: toReason(outcome) }))
    )
  }
}

/** Many sends, one completion. */
class Many {
  readonly receipts: Array<Receipt | undefined>
  readonly sizes: Uint32Array
  readonly results: Array<"done" | "notDone" | "unknown">
  left: number
  failure: SendErrorReason | undefined = undefined
  onDone: () => void = () => undefined
  constructor(count: number) {
    this.receipts = Array.from<Receipt | undefined>({ length: count })
    this.results = Array.from<"notDone">({ length: count }).fill("notDone")
    this.sizes = new Uint32Array(count)
    this.left = count
  }
  /** The completion for messages of one part. */
  on(part: ProducerPart): SendCompletion {
    return {
      onSend: (outcome, first, count, batchIndex) => {
        let bytes = 0
        for (let at = 0; at < count; at++) {
          const index = first + at
          bytes += this.sizes[index]!
          if (outcome._tag === "Stored") {
            this.receipts[index] = receiptOf(outcome, batchIndex < 0 ? -1 : batchIndex + at)
            this.results[index] = "done"
          } else this.results[index] = outcome._tag === "Unknown" ? "unknown" : "notDone"
        }
        // The worst that happened is what the caller has to think about.
        if (outcome._tag === "Unknown" || (outcome._tag === "NotStored" && this.failure === undefined)) {
          this.failure = toReason(outcome)
        }
        part.released(bytes)
        this.settle(count)
      }
    }
  }
  settle(count: number): void {
    this.left -= count
    if (this.left === 0) this.onDone()
  }
}

const noProperties: Metadata.Properties = []

const check = (condition: boolean, why: string): Effect.Effect<void, PulsarError> =>
  condition ? Effect.void : Effect.fail(invalid(why))

const within = (value: number | undefined, low: number, high: number): boolean =>
  value === undefined || (Number.isInteger(value) && value >= low && value <= high)

const toMillis = (input: Duration.Input): number => Duration.toMillis(Duration.fromInputUnsafe(input))

/**
 * Opens a producer, of all partitions of the topic if it has any; it is flushed and closed with the scope.
 *
 * Fails when the broker refuses, or when it takes longer than the client's `operationTimeout`. Once open, it comes back by itself after every
 * loss of the connection, with everything that has no receipt, in order.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <A = Uint8Array>(
  options: ProducerOptions<A>
): Effect.Effect<Producer<A>, PulsarError, PulsarClient | Scope.Scope> =>
  Effect.gen(function*() {
    const { internals } = yield* PulsarClient
    if (internals.memory.mode === "fail" && options.whenFull === undefined) options = { ...options, whenFull: "fail" }
    const topic = TopicName.normalize(options.topic)
    if (topic === undefined) return yield* invalid(`${JSON.stringify(truncate(options.topic, 120))} is no topic name`)
    const { batching } = options
    yield* check(within(options.maxPending, 1, 1_000_000), "maxPending is a whole number from 1 to 1,000,000")
    yield* check(
      within(options.initialSequenceId, 0, Number.MAX_SAFE_INTEGER),
      "initialSequenceId is a whole number from 0"
    )
    if (typeof batching === "object") {
      yield* check(within(batching.maxMessages, 2, 100_000), "batching.maxMessages is a whole number from 2 to 100,000")
      yield* check(within(batching.maxBytes, 1, 64 << 20), "batching.maxBytes is a whole number from 1 to 67,108,864")
    }
    const seed = yield* Random.nextIntBetween(0, 0x7fffffff)
    const other = yield* Random.nextIntBetween(0, 0x7fffffff)
    const spec: ProducerSpec = {
      topic,
      name: options.name,
      accessMode: modes[options.accessMode ?? "shared"],
      properties: Object.entries(options.properties ?? {}),
      schema: PulsarSchema.toWire(options.schema?.definition),
      initialSequenceId: options.initialSequenceId,
      initialSubscription: options.initialSubscription,
      batching: batching === false ? undefined : {
        maxMessages: batching?.maxMessages ?? 1000,
        maxBytes: batching?.maxBytes ?? 131_072,
        maxDelay: toMillis(batching?.maxDelay ?? 1)
      },
      chunking: options.chunking ?? false,
      compression: options.compression ?? "none",
      sendTimeout: toMillis(options.sendTimeout ?? "30 seconds"),
      maxPending: options.maxPending ?? 1000,
      chunkSeed: `${seed.toString(36)}${other.toString(36)}`
    }
    const open = Effect.fnUntraced(function*(name: string) {
      const part = new ProducerPart(internals, { ...spec, topic: name })
      yield* Effect.addFinalizer(() => part.close(internals.core.settings.operationTimeout))
      yield* Effect.forkScoped(part.attachment.run)
      yield* spec.accessMode === modes.waitForExclusive ? part.attachment.readyEventually : part.attachment.ready
      return part
    })
    const count = yield* withinOperation(internals, "asking for partitions", Lookup.partitions(internals.pool, topic))
    const names = count === 0 ? [topic] : Array.from({ length: count }, (_, index) => TopicName.partition(topic, index))
    const parts = yield* Effect.forEach(names, open, { concurrency: 8 })
    const refresh = toMillis(options.partitionsRefresh ?? "60 seconds")
    if (count > 0 && refresh > 0) {
      yield* Lookup.partitions(internals.pool, topic).pipe(
        Effect.flatMap((now) =>
          Effect.forEach(
            Array.from(
              { length: Math.max(0, now - parts.length) },
              (_, index) => TopicName.partition(topic, parts.length + index)
            ),
            (name) => Effect.map(open(name), (part) => void parts.push(part)),
            { discard: true }
          )
        ),
        Effect.ignore,
        Effect.delay(refresh),
        Effect.repeat(Schedule.forever),
        Effect.forkScoped
      )
    }
    return new ProducerImpl(internals, topic, parts, options)
  })

/** One budget over an operation that asks the broker, retried while the trouble passes. */
export const withinOperation = <A>(
  { core }: Internals,
  operation: string,
  effect: Effect.Effect<A, PulsarError>
): Effect.Effect<A, PulsarError> => {
  let last: PulsarError | undefined
  return effect.pipe(
    Effect.tapError((error) => Effect.sync(() => void (last = error))),
    Effect.retry({
      schedule: Schedule.exponential("100 millis").pipe(Schedule.upTo({ times: 20 })),
      while: ({ reason }) =>
        reason._tag === "Connect" || reason._tag === "SessionLost" || (reason._tag === "Refused" && reason.retryable)
    }),
    Effect.timeoutOrElse({
      duration: core.settings.operationTimeout,
      orElse: () => Effect.fail(new PulsarError({ reason: { _tag: "Timeout", operation, last } }))
    })
  )
}

class ProducerImpl<A> implements Producer<A> {
  readonly topic: string
  readonly #core: Internals["core"]
  readonly #parts: Array<ProducerPart>
  readonly #router: Routing.Router
  readonly #schema: PulsarSchema.PulsarSchema<A>
  readonly #wait: boolean

  constructor(internals: Internals, topic: string, parts: Array<ProducerPart>, options: ProducerOptions<A>) {
    this.#core = internals.core
    this.topic = topic
    this.#parts = parts
    this.#router = new Routing.Router(options.routing ?? { _tag: "keyOrRoundRobin", hash: "java" })
    this.#schema = options.schema ?? (PulsarSchema.bytes as unknown as PulsarSchema.PulsarSchema<A>)
    this.#wait = (options.whenFull ?? "wait") === "wait"
  }

  readonly name: Effect.Effect<string> = Effect.sync(() => this.#parts[0]!.slot.name ?? "")
  readonly partitions: Effect.Effect<number> = Effect.sync(() => this.#parts.length)
  readonly isConnected: Effect.Effect<boolean> = Effect.sync(() =>
    this.#parts.every(({ attachment, slot }) => attachment.isAttached && slot.state === "ready")
  )
  readonly lastSequenceId: Effect.Effect<number> = Effect.sync(() =>
    this.#parts.reduce((last, { slot }) => Math.max(last, slot.lastPublished), -1)
  )
  readonly flush: Effect.Effect<void> = Effect.suspend(() =>
    Effect.forEach(this.#parts, (part) => part.flush, { concurrency: "unbounded", discard: true })
  )
  readonly close: Effect.Effect<void> = Effect.suspend(() =>
    Effect.forEach(this.#parts, (part) => part.close(this.#core.settings.operationTimeout), {
      concurrency: "unbounded",
      discard: true
    })
  )
  readonly stats: Effect.Effect<ProducerStats> = Effect.sync(() => {
    const sum = { messages: 0, bytes: 0, stored: 0, notDone: 0, unknown: 0, pending: 0, pendingBytes: 0 }
    for (const { slot } of this.#parts) {
      sum.messages += slot.totals.messages
      sum.bytes += slot.totals.bytes
      sum.stored += slot.totals.stored
      sum.notDone += slot.totals.failed
      sum.unknown += slot.totals.unknown
      sum.pending += slot.pendingMessages
      sum.pendingBytes += slot.pendingBytes
    }
    return sum
  })

  send(value: A, options: SendOptions = {}): Effect.Effect<Receipt, SendError> {
    return Effect.flatMap(this.#encode(value), (payload) => this.#send(this.#outgoing(payload, options, false)))
  }

  sendNull(key: string, options: Omit<SendOptions, "key"> = {}): Effect.Effect<Receipt, SendError> {
    return Effect.suspend(() => this.#send(this.#outgoing(new Uint8Array(0), { ...options, key }, true)))
  }

  sendAll(messages: ReadonlyArray<Outgoing<A>>): Effect.Effect<ReadonlyArray<Receipt>, SendError> {
    if (messages.length === 0) return Effect.succeed([])
    const raw = this.#schema === (PulsarSchema.bytes as unknown)
    const payloads = raw
      ? Effect.succeed(messages.map(({ value }) => value as unknown as Uint8Array))
      : Effect.forEach(messages, ({ value }) => this.#encode(value))
    return Effect.flatMap(payloads, (payloads) => this.#sendAll(messages, payloads))
  }

  #encode(value: A): Effect.Effect<Uint8Array, SendError> {
    if (this.#schema === (PulsarSchema.bytes as unknown)) return Effect.succeed(value as unknown as Uint8Array)
    return Effect.mapError(
      this.#schema.encode(value),
      (error) => new SendError({ reason: notDone(`the value does not fit the schema: ${error.message}`) })
    )
  }

  #outgoing(payload: Uint8Array, options: SendOptions, isNull: boolean): OutgoingMessage {
    return {
      payload,
      key: options.keyBytes === undefined ? options.key : Buffer.from(options.keyBytes).toString("base64"),
      keyIsBase64: options.keyBytes !== undefined,
      orderingKey: options.orderingKey,
      eventTime: options.eventTime,
      properties: options.properties === undefined ? noProperties : Object.entries(options.properties),
      sequenceId: options.sequenceId,
      deliverAt: options.deliverAfter === undefined
        ? options.deliverAt
        : this.#core.wall() + toMillis(options.deliverAfter),
      isNull,
      replicateTo: options.replicateTo === undefined
        ? undefined
        : options.replicateTo.length === 0
        ? ["__local__"]
        : options.replicateTo
    }
  }

  #part(message: OutgoingMessage): ProducerPart {
    const { length } = this.#parts
    return length === 1 ? this.#parts[0]! : this.#parts[this.#router.route(message.key, length)]!
  }

  #send(message: OutgoingMessage): Effect.Effect<Receipt, SendError> {
    const part = this.#part(message)
    return this.#submit(part, message)
  }

  #submit(part: ProducerPart, message: OutgoingMessage): Effect.Effect<Receipt, SendError> {
    return Effect.callback<Receipt, SendError>((resume) => {
      const { now, wall } = this.#core
      const refusal = part.enqueue(now(), wall(), message, new Single(part, message.payload.length, resume), 0)
      if (refusal === undefined) part.notify()
      else if (refusal._tag === "Full" && this.#wait) {
        resume(Effect.flatMap(part.room(message.payload.length), () => this.#submit(part, message)))
      } else resume(Effect.fail(new SendError({ reason: fromRefusal(refusal) })))
    })
  }

  #sendAll(
    messages: ReadonlyArray<Outgoing<A>>,
    payloads: ReadonlyArray<Uint8Array>
  ): Effect.Effect<ReadonlyArray<Receipt>, SendError> {
    const many = new Many(messages.length)
    const completions = new Map<ProducerPart, SendCompletion>()
    const { now, wall } = this.#core
    let index = 0
    let waiting: { readonly part: ProducerPart; readonly message: OutgoingMessage } | undefined
    /** Submits as many as there is room for; gives the part that is full. */
    const advance = (): ProducerPart | undefined => {
      const at = now()
      const published = wall()
      const touched = new Set<ProducerPart>()
      let full: ProducerPart | undefined
      while (index < messages.length) {
        const message = waiting?.message ?? this.#outgoing(payloads[index]!, messages[index]!, false)
        const part = waiting?.part ?? this.#part(message)
        waiting = undefined
        let completion = completions.get(part)
        if (completion === undefined) completions.set(part, completion = many.on(part))
        many.sizes[index] = message.payload.length
        const refusal = part.enqueue(at, published, message, completion, index)
        if (refusal === undefined) touched.add(part)
        else if (refusal._tag === "Full" && this.#wait) {
          waiting = { part, message }
          full = part
          // Stop-and-wait would follow if what is open did not go out now.
          part.slot.flush()
          touched.add(part)
          break
        } else {
          many.failure ??= fromRefusal(refusal)
          many.settle(1)
        }
        index++
      }
      for (const part of touched) part.notify()
      return full
    }
    const submit: Effect.Effect<void> = Effect.suspend(() => {
      const full = advance()
      return full === undefined ? Effect.void : Effect.flatMap(full.room(waiting!.message.payload.length), () => submit)
    })
    const wait = Effect.callback<void>((resume) => {
      if (many.left === 0) return resume(Effect.void)
      many.onDone = () => resume(Effect.void)
    })
    return submit.pipe(
      Effect.andThen(wait),
      Effect.flatMap(() =>
        many.failure === undefined
          ? Effect.succeed(many.receipts as ReadonlyArray<Receipt>)
          : Effect.fail(new SendError({ reason: many.failure, results: many.results }))
      )
    )
  }
}
