/**
 * The options of a bus, their defaults and their bounds.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { AdapterError } from "./Adapter.ts"
import type { Batch } from "./Batch.ts"
import { type BatchConfig, standard } from "./core/Batcher.ts"
import type { Backpressure } from "./core/Intake.ts"
import type { Durability } from "./Durability.ts"
import type { IdentityError, ProducerIdentity } from "./ProducerIdentity.ts"

/**
 * An option out of bounds. The message names it.
 *
 * @category errors
 * @since 0.1.0
 */
export class BusConfigError
  extends Data.TaggedError("BusConfigError")<{ readonly option: string; readonly problem: string }>
{
  override get message(): string {
    return `invalid configuration: ${this.option} ${this.problem}`
  }
}

/**
 * How a bus is built. Every option has a default.
 *
 * @category models
 * @since 0.1.0
 */
export interface EventBusOptions {
  /**
   * Number of shards, 1 … 65,535. Default 4. The same key, or the same content, goes to the same shard for as long as this number stays: a bus
   * that has to keep per-key order over a change of it drains first.
   */
  readonly shards?: number | undefined
  /** Events that one shard queues at most, plus one: a power of two, 1,024 … 2^30. Default 1,048,576. Storage grows with use. */
  readonly capacity?: number | undefined
  /** Payload bytes that one shard queues at most. Default 64 MiB. */
  readonly capacityBytes?: number | undefined
  /** Largest payload in bytes, 1 … 67,108,864. Default 1 MiB. */
  readonly maxEventBytes?: number | undefined
  /** What happens when a shard's queue is full. Default `suspend`. */
  readonly backpressure?: Backpressure | undefined
  /** When batches are cut; see `BatchConfig`. Default: 1,000 … 10,000 events or 10 ms, at once when somebody waits. */
  readonly batch?: Partial<BatchConfig> | undefined
  /** The weakest durability that will do. A bus over an adapter that promises less is not built. Default `memory`. */
  readonly atLeast?: Durability | undefined
  /** How long one call of the adapter may take. Default 30 seconds. */
  readonly adapterTimeout?: Duration.Input | undefined
  /** How often a batch is sent again after a retryable error, 0 … ∞. Default 8, about 13 seconds. */
  readonly retries?: number | undefined
  /**
   * How long a shutdown may take to drain and flush. Default 30 seconds. When an adapter has not answered by then, up to three seconds more:
   * one each to let go of its batches, to save marks and to flush.
   */
  readonly shutdownTimeout?: Duration.Input | undefined
  /** Named producers remembered, 1 … 1,000,000; others are looked up in the store again. Default 10,000. */
  readonly maxProducers?: number | undefined
  /** Who the bus is to its store. Default `ProducerIdentity.ephemeral`; `ProducerIdentity.file(path)` outlives restarts. */
  readonly identity?: Effect.Effect<ProducerIdentity, IdentityError, Scope.Scope> | undefined
  /**
   * Called with every batch that was given up, before its memory is released: the place for a dead letter. Its shard waits for it, up to
   * `adapterTimeout`; then it is interrupted.
   */
  readonly onBatchFailed?: ((failure: BatchFailure) => Effect.Effect<void>) | undefined
}

/** A batch that was given up. Its memory is valid until the handler's effect ends. @category models @since 0.1.0 */
export interface BatchFailure {
  readonly batch: Batch
  readonly error: AdapterError
  /** How often it was sent. */
  readonly attempts: number
  /** Whether the last answer never came, so that the batch may be stored all the same. */
  readonly unknown: boolean
}

/** The options after validation. */
export interface Settings {
  readonly shards: number
  readonly capacity: number
  readonly capacityBytes: number
  readonly maxEventBytes: number
  readonly backpressure: Backpressure
  readonly batch: BatchConfig
  readonly atLeast: Durability
  readonly adapterTimeout: Duration.Duration
  readonly retries: number
  readonly shutdownTimeout: Duration.Duration
  readonly maxProducers: number
}

const modes: ReadonlyArray<string> = ["suspend", "dropOldest", "dropNewest", "failProducer"] satisfies ReadonlyArray<
  Backpressure
>
const claims: ReadonlyArray<string> = ["memory", "os", "fsync", "quorum"] satisfies ReadonlyArray<Durability>

/**
 * Applies the defaults and checks the bounds; throws a {@link BusConfigError}.
 *
 * @internal
 */
export const validate = (options: EventBusOptions): Settings => {
  const whole = (option: string, value: number, low: number, high: number): number => {
    if (!Number.isInteger(value) || value < low || value > high) {
      throw new BusConfigError({ option, problem: `must be a whole number from ${low} to ${high}, not ${value}` })
    }
    return value
  }
  const oneOf = <A extends string>(option: string, value: A, known: ReadonlyArray<string>): A => {
    if (!known.includes(value)) {
      throw new BusConfigError({ option, problem: `must be one of ${known.join(", ")}, not ${String(value)}` })
    }
    return value
  }
  const positive = (option: string, input: Duration.Input): Duration.Duration => {
    const duration = Duration.fromInputUnsafe(input)
    if (!Duration.isGreaterThan(duration, Duration.zero)) {
      throw new BusConfigError({ option, problem: "must be longer than zero" })
    }
    return duration
  }
  const capacity = whole("capacity", options.capacity ?? 1_048_576, 1024, 2 ** 30)
  if ((capacity & (capacity - 1)) !== 0) {
    throw new BusConfigError({ option: "capacity", problem: `must be a power of two, not ${capacity}` })
  }
  const maxEventBytes = whole("maxEventBytes", options.maxEventBytes ?? 1_048_576, 1, 67_108_864)
  const retries = options.retries ?? 8
  if (retries !== Number.POSITIVE_INFINITY) whole("retries", retries, 0, Number.MAX_SAFE_INTEGER)
  const given = { ...standard, ...options.batch }
  const batch: BatchConfig = {
    minSize: whole("batch.minSize", given.minSize, 1, 1_000_000),
    maxSize: whole("batch.maxSize", given.maxSize, 1, 1_000_000),
    maxDelay: whole("batch.maxDelay", given.maxDelay, 1, 86_400_000),
    adaptive: given.adaptive,
    velocityWindow: given.adaptive
      ? whole("batch.velocityWindow", given.velocityWindow, 1, 86_400_000)
      : given.velocityWindow
  }
  if (batch.maxSize < batch.minSize) {
    throw new BusConfigError({ option: "batch.maxSize", problem: "must be at least batch.minSize" })
  }
  return {
    shards: whole("shards", options.shards ?? 4, 1, 65_535),
    capacity,
    capacityBytes: whole("capacityBytes", options.capacityBytes ?? 64 * 1024 * 1024, 1, Number.MAX_SAFE_INTEGER),
    maxEventBytes,
    backpressure: oneOf("backpressure", options.backpressure ?? "suspend", modes),
    batch,
    atLeast: oneOf("atLeast", options.atLeast ?? "memory", claims),
    adapterTimeout: positive("adapterTimeout", options.adapterTimeout ?? "30 seconds"),
    retries,
    shutdownTimeout: positive("shutdownTimeout", options.shutdownTimeout ?? "30 seconds"),
    maxProducers: whole("maxProducers", options.maxProducers ?? 10_000, 1, 1_000_000)
  }
}
