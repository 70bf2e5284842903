/**
 * The port between a bus and the store that keeps its events.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import type * as Effect from "effect/Effect"
import type { Batch, ProducerMark } from "./Batch.ts"
import type { Durability } from "./Durability.ts"
import type { StoredEvent } from "./Event.ts"

/**
 * Why an adapter could not do what it was asked.
 *
 * | reason | meaning | retried by the bus |
 * | --- | --- | --- |
 * | `Transient` | may pass on its own: a time-out, a busy or restarting server | yes |
 * | `Backpressure` | the store asks for a pause | yes |
 * | `Full` | no room left on the device or under the store's quota | yes |
 * | `Connection` | the store cannot be reached, for a temporary or permanent cause | no |
 * | `Fatal` | will not pass: permission, corruption, an unusable configuration | no |
 * | `Serialization` | a batch or a stored record cannot be encoded or decoded | no |
 * | `InvalidPosition` | a position that this shard never handed out | no |
 * | `Shutdown` | the adapter was closed | no |
 *
 * @category errors
 * @since 0.1.0
 */
export type AdapterErrorReason =
  | { readonly _tag: "Transient"; readonly message: string; readonly cause?: unknown }
  | { readonly _tag: "Backpressure"; readonly message: string; readonly cause?: unknown }
  | { readonly _tag: "Full"; readonly message: string; readonly cause?: unknown }
  | { readonly _tag: "Connection"; readonly message: string; readonly cause?: unknown }
  | { readonly _tag: "Fatal"; readonly message: string; readonly cause?: unknown }
  | { readonly _tag: "Serialization"; readonly message: string; readonly cause?: unknown }
  | { readonly _tag: "InvalidPosition"; readonly message: string; readonly cause?: unknown }
  | { readonly _tag: "Shutdown"; readonly message: string; readonly cause?: unknown }

/**
 * Failure of an adapter, with its tagged `reason`.
 *
 * @category errors
 * @since 0.1.0
 */
export class AdapterError extends Data.TaggedError("AdapterError")<{
  /** Name of the adapter. */
  readonly adapter: string
  readonly reason: AdapterErrorReason
}> {
  override get message(): string {
    return `${this.adapter}: ${this.reason._tag}: ${this.reason.message}`
  }

  /** Whether the bus sends the same batch again: `Transient`, `Backpressure` and `Full`. */
  get isRetryable(): boolean {
    return this.reason._tag === "Transient" || this.reason._tag === "Backpressure" || this.reason._tag === "Full"
  }

  get isFatal(): boolean {
    return this.reason._tag === "Fatal"
  }

  get isShutdown(): boolean {
    return this.reason._tag === "Shutdown"
  }
}

/**
 * Builds an {@link AdapterError}.
 *
 * @category constructors
 * @since 0.1.0
 */
export const adapterError = (
  adapter: string,
  tag: AdapterErrorReason["_tag"],
  message: string,
  cause?: unknown
): AdapterError => new AdapterError({ adapter, reason: { _tag: tag, message, cause } })

/**
 * Consecutive events of one shard.
 *
 * @category models
 * @since 0.1.0
 */
export interface ShardPage {
  /** In stored order, at most as many as were asked for. */
  readonly events: ReadonlyArray<StoredEvent>
  /** Position of the last entry consumed, unreadable ones included; null when nothing was. The next poll continues after it. */
  readonly nextId: string | null
  /** Whether entries after `nextId` were there when the page was read. */
  readonly hasMore: boolean
}

/**
 * A store of events, as the bus sees it. Building one opens it and its scope closes it: a bus never closes an adapter.
 *
 * The laws (run them with `@perigee/bus/conformance`):
 * - `append` is all or nothing to its caller, keeps the order of a shard, and is idempotent: a batch whose identity (nonce, shard,
 *   sequenceStart) was stored before succeeds without storing it again, also after a restart of the store's owner. When it succeeds, the
 *   events and the batch's producer marks are as safe as `durability` says. The bus has one `append` a shard in flight at most, and
 *   may run those of several shards together; it may interrupt one at any time, which leaves open whether it was stored.
 * - `poll` returns events strictly after a position, in stored order; every event exactly once when pages are followed by `nextId`.
 *   It never waits for a running `append`.
 * - After the adapter's scope has closed, every call fails with `Shutdown`.
 *
 * @category services
 * @since 0.1.0
 */
export class Adapter extends Context.Service<Adapter, {
  readonly name: string
  readonly durability: Durability
  /** Identity of the stored data, carried in cursors so that one store's cursor is refused by another; null when the store has none. */
  readonly storeId: string | null
  /** Highest insertion timestamp in the store when it was opened (0 when empty): a bus stamps later ones only. */
  readonly lastInsertionTs: bigint
  readonly append: (batch: Batch) => Effect.Effect<void, AdapterError>
  /** Makes everything accepted so far durable. */
  readonly flush: Effect.Effect<void, AdapterError>
  /** Events of `shard` after position `after` (null: from the oldest kept), at most `limit` ≥ 1. An unknown shard is an empty one. */
  readonly poll: (shard: number, after: string | null, limit: number) => Effect.Effect<ShardPage, AdapterError>
  /** Position of the last event of every shard that ever held one, whatever the bus's present shard count. */
  readonly tails: Effect.Effect<ReadonlyMap<number, string>, AdapterError>
  /**
   * What is stored of a named producer: its marks under every shard count it was used with. Answers only after every `append` begun before,
   * an interrupted one too, has taken effect or can no longer do so: what it says is the whole truth.
   */
  readonly producerMarks: (producer: string) => Effect.Effect<ReadonlyArray<ProducerMark>, AdapterError>
  /** Stores marks without events, as safe as `append` would. A mark never goes back. */
  readonly saveMarks: (marks: ReadonlyArray<ProducerMark>) => Effect.Effect<void, AdapterError>
  readonly isHealthy: Effect.Effect<boolean>
}>()("@perigee/bus/Adapter") {}

/**
 * Replaces the user name and password of a connection address, for logs and errors: everything between `://` and the last `@` of the
 * authority, which ends at `/`, `?` or `#`. Text without user information is returned as it is.
 *
 * @category combinators
 * @since 0.1.0
 */
export const redactUrl = (url: string): string => {
  const scheme = url.indexOf("://")
  if (scheme === -1) return url
  const from = scheme + 3
  let end = from
  while (end < url.length && url[end] !== "/" && url[end] !== "?" && url[end] !== "#") end++
  const at = url.lastIndexOf("@", end - 1)
  return at < from ? url : `${url.slice(0, from)}[REDACTED]${url.slice(at)}`
}
