/**
 * The event bus: publish, poll, subscribe, flush, shut down.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Stream from "effect/Stream"
import type { Adapter, AdapterError } from "./Adapter.ts"
import type { BusConfigError, EventBusOptions } from "./BusConfig.ts"
import type { LineBatch } from "./core/JsonLines.ts"
import { make } from "./internal/makeEventBus.ts"
import type { PollError, PollRequest, PollResponse } from "./Poll.ts"
import type { IdentityError } from "./ProducerIdentity.ts"
import type { PublishError } from "./PublishError.ts"
import type { BusEvent, SubscribeOptions } from "./Subscription.ts"

/** @category models @since 0.1.0 */
export interface PublishOptions {
  /**
   * Events with the same key go to the same shard, in order. Default: the shard is chosen by the payload's hash. A call of many takes one key
   * for all, or a list with a key for each.
   */
  readonly key?: string | ReadonlyArray<string> | undefined
  /** Refuse the whole call unless every payload is one JSON document (RFC 8259, strict UTF-8, nested at most 128 deep). Default false. */
  readonly validate?: boolean | undefined
  /** Channel name, kept beside the payload. At most 255 UTF-8 bytes; at most 65,535 distinct names in the life of a bus. */
  readonly channel?: string | undefined
  /** When the effect ends: once the ring has the event (default), or once the adapter has it with the durability it claims. */
  readonly until?: "accepted" | "durable" | undefined
  /** Called once the ring has every event of a call that goes on to wait for `durable`: the sender may submit its next events. */
  readonly onAccepted?: (() => void) | undefined
  /**
   * Idempotent publishing: a caller that names itself and numbers its events from 1 without gaps gets each stored exactly once, however
   * often it submits them and whoever restarts in between. `sequence` is the number of the first event of the call.
   */
  readonly producer?: { readonly name: string; readonly sequence: number } | undefined
}

/** @category models @since 0.1.0 */
export interface Receipt {
  readonly shard: number
  /** Nanoseconds since the Unix epoch; 0 for a duplicate. */
  readonly insertionTs: bigint
  /** True when this event of a named producer had been accepted before; it was not stored again. */
  readonly duplicate: boolean
}

/**
 * What became of the events of one call: `accepted + duplicates + rejected + tooLarge` is their number.
 *
 * @category models
 * @since 0.1.0
 */
export interface PublishSummary {
  readonly accepted: number
  readonly duplicates: number
  /** Refused under the backpressure mode; with a named producer a call stops at the first refusal, and the rest counts here. */
  readonly rejected: number
  /** Too large for the bus. */
  readonly tooLarge: number
}

/** @category models @since 0.1.0 */
export interface BusStats {
  /** Events that entered a ring. At quiescence `accepted = dispatched + evicted + failed + stranded`. */
  readonly accepted: number
  /** Refused: full ring, or too large. Never accepted. */
  readonly rejected: number
  /** Refused because no shard could be chosen. */
  readonly unrouted: number
  /** Events of named producers that had been accepted before. */
  readonly duplicates: number
  /** Dropped from a ring by newer ones under `dropOldest`. */
  readonly evicted: number
  /** In batches that the adapter finally refused. */
  readonly failed: number
  /** Given up by a shutdown that ran out of time. */
  readonly stranded: number
  /** Stored by the adapter. */
  readonly dispatched: number
  readonly batchesDispatched: number
  readonly batchesFailed: number
  readonly retries: number
  /** `rejected + evicted + failed + stranded`: the one number to alert on. */
  readonly dropped: number
  /** Accepted and not yet settled. */
  readonly pending: number
  readonly pendingBytes: number
}

/** @category models @since 0.1.0 */
export interface ShardStats {
  readonly shard: number
  readonly accepted: number
  readonly rejected: number
  readonly evicted: number
  readonly failed: number
  readonly stranded: number
  readonly dispatched: number
  readonly batchesDispatched: number
  readonly queued: number
  readonly queuedBytes: number
  /** Batch size that the shard aims for at present. */
  readonly targetBatchSize: number
}

/** @category models @since 0.1.0 */
export interface FlushReport {
  /** Whether everything accepted before the call was settled, and the adapter flushed, within the time allowed. */
  readonly complete: boolean
  /** Events accepted before the call and still unsettled. */
  readonly outstanding: number
}

/** @category models @since 0.1.0 */
export interface ShutdownReport {
  /** Accepted events that were given up: 0 unless the adapter failed or hung. */
  readonly stranded: number
  /** Whether any accepted event was given up by the shutdown itself. */
  readonly lossy: boolean
  /** What the adapter's last flush failed with. */
  readonly flushError: AdapterError | null
}

/**
 * A sharded, backpressured event bus over an {@link Adapter}.
 *
 * Publishing is synchronous up to the ring of one shard; a worker a shard cuts batches and hands them to the adapter; consumers read
 * through the adapter, never from the ring.
 *
 * @category services
 * @since 0.1.0
 */
export class EventBus extends Context.Service<EventBus, {
  /** Publishes a value as compact JSON. */
  readonly publish: (value: unknown, options?: PublishOptions) => Effect.Effect<Receipt, PublishError>
  /** Publishes bytes, or the UTF-8 of a text, as they are. */
  readonly publishRaw: (payload: Uint8Array | string, options?: PublishOptions) => Effect.Effect<Receipt, PublishError>
  /** Publishes values in order; with `producer`, value `i` has number `sequence + i`. */
  readonly publishAll: (
    values: ReadonlyArray<unknown>,
    options?: PublishOptions
  ) => Effect.Effect<PublishSummary, PublishError>
  readonly publishAllRaw: (
    payloads: ReadonlyArray<Uint8Array | string>,
    options?: PublishOptions
  ) => Effect.Effect<PublishSummary, PublishError>
  /** Publishes the validated lines of an NDJSON chunk (see `JsonLines`), in order, without an object a line. */
  readonly publishLines: (lines: LineBatch, options?: PublishOptions) => Effect.Effect<PublishSummary, PublishError>
  /**
   * Publishes from synchronous code; false when refused for any reason. Never throws, never waits (`suspend` refuses too). While the shard is
   * busy, up to 16 events in a row may share a reading of the clock; their timestamps still differ and keep their order.
   */
  readonly offerUnsafe: (payload: Uint8Array | string) => boolean
  /** One page of stored events from several shards. */
  readonly poll: (request: PollRequest) => Effect.Effect<PollResponse, PollError>
  /** Stored events, then live ones; ends when the bus has shut down and everything stored was delivered. */
  readonly subscribe: (options?: SubscribeOptions) => Stream.Stream<BusEvent, PollError>
  /** Sequence number of the last event stored of a named producer without a gap before it, 0 for an unknown one. */
  readonly lastSequence: (producer: string) => Effect.Effect<number, AdapterError>
  /** Waits until everything accepted before the call is settled and the adapter has flushed. */
  readonly flush: Effect.Effect<FlushReport, AdapterError>
  /** Stops accepting, drains, flushes. Idempotent; concurrent callers get the same report. */
  readonly shutdown: Effect.Effect<ShutdownReport>
  readonly isShutdown: Effect.Effect<boolean>
  readonly stats: Effect.Effect<BusStats>
  readonly shardStats: Effect.Effect<ReadonlyArray<ShardStats>>
  /** Events in rings, not counting those in a batch under way. */
  readonly pendingInRings: Effect.Effect<number>
  readonly shards: number
  readonly isHealthy: Effect.Effect<boolean>
}>()("@perigee/bus/EventBus") {
  /**
   * A bus over the {@link Adapter} in the environment. Building it fails when an option is out of bounds, when the adapter promises less than
   * `atLeast`, or when its identity cannot be had. Closing its scope shuts it down.
   */
  static readonly layer = (
    options: EventBusOptions = {}
  ): Layer.Layer<EventBus, BusConfigError | IdentityError, Adapter> => Layer.effect(EventBus, make(options))

  /** The same with options read from the `ConfigProvider` of the environment. */
  static readonly layerConfig = (
    options: Config.Wrap<Omit<EventBusOptions, "identity" | "onBatchFailed">>,
    rest: Pick<EventBusOptions, "identity" | "onBatchFailed"> = {}
  ): Layer.Layer<EventBus, BusConfigError | IdentityError | Config.ConfigError, Adapter> =>
    Layer.effect(EventBus, Effect.flatMap(Config.unwrap(options), (read) => make({ ...read, ...rest })))
}
