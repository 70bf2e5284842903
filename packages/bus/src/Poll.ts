/**
 * Requests for pages of stored events, and the pages.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import type { AdapterError } from "./Adapter.ts"
import type { StoredEvent } from "./Event.ts"
import type { Filter } from "./Filter.ts"

/** @category models @since 0.1.0 */
export interface PollRequest {
  /** Most events of the page; 0 gives an empty page without asking the adapter. */
  readonly limit: number
  /** Where to go on: `nextCursor` of an earlier page, or an event's cursor. Default: the beginning. */
  readonly cursor?: string | undefined
  readonly filter?: Filter | undefined
  /** `shards` (default): stored order inside a shard, shards interleaved fairly. `insertionTs`: by insertion timestamp over all shards. */
  readonly order?: "shards" | "insertionTs" | undefined
  /** Only these shards. Default: every shard that holds events. */
  readonly shards?: ReadonlyArray<number> | undefined
  readonly channel?: string | undefined
}

/** @category models @since 0.1.0 */
export interface PollResponse {
  readonly events: ReadonlyArray<StoredEvent>
  /** Cursor for the next page; the request's own when nothing moved, null when there was none. */
  readonly nextCursor: string | null
  /** Whether more can probably be read now. */
  readonly hasMore: boolean
  /** The per-shard fetch was held to 10,000. */
  readonly truncatedAtPerShardCap: boolean
  /** Shards that claimed more although the poll as a whole advanced nothing. */
  readonly stalledShards: ReadonlyArray<number>
  /** Shards that could not be read. */
  readonly failedShards: ReadonlyArray<{ readonly shard: number; readonly error: AdapterError }>
  /** Entries that a filter could not judge because their payload is not JSON. */
  readonly unreadable: number
}

/** @category errors @since 0.1.0 */
export type PollErrorReason =
  | { readonly _tag: "Adapter"; readonly cause: AdapterError }
  | { readonly _tag: "InvalidCursor"; readonly message: string }
  | { readonly _tag: "InvalidFilter"; readonly message: string }
  | { readonly _tag: "InvalidRequest"; readonly message: string }

/** @category errors @since 0.1.0 */
export class PollError extends Data.TaggedError("PollError")<{ readonly reason: PollErrorReason }> {
  override get message(): string {
    return this.reason._tag === "Adapter" ? this.reason.cause.message : this.reason.message
  }
}
