/**
 * Live reading: what a subscription is asked for and what it gives.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type { AdapterError } from "./Adapter.ts"
import type { StoredEvent } from "./Event.ts"
import type { Filter } from "./Filter.ts"

/**
 * A stored event with the cursor to come back to just after it.
 *
 * @category models
 * @since 0.1.0
 */
export interface BusEvent extends StoredEvent {
  /**
   * A subscription or poll that starts here gets exactly the events that this one would have got after this event. Computed on access;
   * throws a `CursorError` if it would exceed the length that a cursor may have.
   */
  readonly cursor: string
}

/**
 * What a subscription met besides events.
 *
 * @category models
 * @since 0.1.0
 */
export interface Diagnostics {
  /** Shards that could not be read this time. They are read again from where they were. */
  readonly failedShards: ReadonlyArray<{ readonly shard: number; readonly error: AdapterError }>
  /** Shards that claimed more although nothing came. */
  readonly stalledShards: ReadonlyArray<number>
  /** Entries that the filter could not judge because their payload is not JSON; they were passed over. */
  readonly unreadable: number
}

/**
 * How to follow the events. They come in stored order within a shard, the shards interleaved fairly; there is no order by timestamp here,
 * because whoever waits for the oldest of events still to come waits for ever.
 *
 * @category models
 * @since 0.1.0
 */
export interface SubscribeOptions {
  /** `beginning` (default): the oldest kept event. `end`: only what is stored after the subscription started. Or a cursor. */
  readonly from?: "beginning" | "end" | { readonly cursor: string } | undefined
  /** Narrows the channel, if one is given too: both have to let an event through. */
  readonly filter?: Filter | undefined
  readonly channel?: string | undefined
  readonly shards?: ReadonlyArray<number> | undefined
  /** Most events of one chunk. Default 1,000. */
  readonly chunkSize?: number | undefined
  /** Looks for events that other processes stored so often. Default: never; the bus itself wakes its subscribers without any polling. */
  readonly pollInterval?: Duration.Input | undefined
  /** How long reading is retried, with growing pauses, before an error of the adapter ends the stream. Default 1 minute. */
  readonly retryFor?: Duration.Input | undefined
  /** Told of every page that met something besides events. Default: a warning in the log. */
  readonly onDiagnostics?: ((diagnostics: Diagnostics) => Effect.Effect<void>) | undefined
}
