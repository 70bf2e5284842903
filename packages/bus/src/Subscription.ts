/**
 * Live reading: a stream over polls, woken by the bus.
 *
 * @since 0.1.0
 */
import type { StoredEvent } from "./Event.ts"
import type { Filter } from "./Filter.ts"

/**
 * A stored event with the cursor to come back to just after it.
 *
 * @category models
 * @since 0.1.0
 */
export interface BusEvent extends StoredEvent {
  /** Computed on access. */
  readonly cursor: string
}

/** @category models @since 0.1.0 */
export interface SubscribeOptions {
  /** `beginning` (default): the oldest kept event. `end`: only what is stored after the subscription started. Or a cursor. */
  readonly from?: "beginning" | "end" | { readonly cursor: string } | undefined
  readonly filter?: Filter | undefined
  readonly channel?: string | undefined
  readonly shards?: ReadonlyArray<number> | undefined
  /** Most events of one chunk. Default 1,000. */
  readonly chunkSize?: number | undefined
}
