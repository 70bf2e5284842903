/**
 * Sending messages to a topic.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { type ProducerSpec, type Routing, TopicName, truncate } from "@perigee/proto"
import type { Compression, MessageId } from "@perigee/proto/wire"
import * as Lookup from "./driver/Lookup.ts"
import type { Latency } from "./internal/LatencyHistogram.ts"
import type { Rate } from "./internal/RateMeter.ts"
import { check, toMillis, within } from "./internal/options.ts"
import { ProducerImpl } from "./internal/ProducerImpl.ts"
import { ProducerPart } from "./internal/ProducerPart.ts"
import { withinOperation } from "./internal/withinOperation.ts"
import { PulsarClient } from "./PulsarClient.ts"
import { invalid, type PulsarError, type SendError } from "./PulsarError.ts"
import * as PulsarSchema from "./PulsarSchema.ts"

/** @category models @since 0.1.0 */
export interface BatchingOptions {
  /** Messages a batch, 2 to 100,000. Default 1,000. */
  readonly maxMessages?: number | undefined
  /** Bytes a batch, before compression. Default 131,072. */
  readonly maxBytes?: number | undefined
  /** How long the first message of a batch waits for company; 0 sends with the next turn of the connection. Default 1 millisecond. */
  readonly maxDelay?: Duration.Input | undefined
  /**
   * A batch for every key (the ordering key, else the key) instead of one for all: with Key_Shared subscriptions each key then reaches its
   * consumer. The limits are about all of them together. Numbers are then stored out of order among keys: after a crash, the broker's last number
   * says nothing of those below it. Default `false`.
   */
  readonly byKey?: boolean | undefined
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

/** A message that was taken, and is on its way. @category models @since 0.1.0 */
export interface Submitted {
  /** Waits for what becomes of it, as `send` does; may be asked more than once. */
  readonly receipt: Effect.Effect<Receipt, SendError>
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
  /** From the submission of an entry's first message to its receipt, milliseconds. */
  readonly latency: Latency
  /** Stored per second over the client's last whole `statsInterval`; 0 before the first has passed. */
  readonly rate: Rate
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
  /**
   * Takes one message and goes on without waiting for its receipt: the cheap way to send many messages from one fiber. Waits only for room.
   * Ask the result for its `receipt`, or `flush` and look at `stats`: nothing else will say that a message was not stored.
   */
  readonly submit: (value: A, options?: SendOptions) => Effect.Effect<Submitted, SendError>
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
        maxDelay: toMillis(batching?.maxDelay ?? 1),
        byKey: batching?.byKey ?? false
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
