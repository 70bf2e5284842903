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
import type * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { Adapter } from "./Adapter.ts"
import type { Poller } from "./internal/Poller.ts"
import type { PollError } from "./Poll.ts"
export interface Wake {
  readonly version: () => number
  readonly changed: (seen: number) => Effect.Effect<void>
  readonly closed: () => boolean
}
export const make = (
  _p: Poller,
  _w: Wake,
  _a: Adapter["Service"],
  _o?: SubscribeOptions
): Stream.Stream<BusEvent, PollError> => Stream.empty
