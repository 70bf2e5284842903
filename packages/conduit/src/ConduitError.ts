/**
 * What can go wrong with a conduit. Terminal reasons are sticky: every later operation fails the same way, and nothing
 * dials again.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import type { Violation } from "./core/ConduitState.ts"
import type { LinkError } from "./LinkError.ts"

/**
 * Why a conduit refused an operation, or ended.
 *
 * Terminal:
 * - `Closed`: this end closed it.
 * - `PeerClosed`: the other end closed it on purpose, and said so.
 * - `SessionLost`: the two ends no longer share a history. `rejected`: the acceptor does not know the resume key, because
 *   it restarted, expired the conduit or never issued the key. `peer-ahead`: the peer claims items that were never sent.
 *   `peer-behind`: the peer lacks items that are no longer kept. `expired`: retention ran out on this side.
 *   `unconfirmed` items are of unknown fate; everything confirmed was delivered.
 * - `Discontinuity`: the peer's numbers jumped, so items it sent are missing.
 * - `ProtocolViolation`: the peer broke the protocol in a way that no new link can mend.
 * - `Exhausted`: the reconnect policy gave up; `cause` is the last failure.
 * - `HandlerFailed`: the hub's handler of this conduit failed.
 * - `StoreFailed`: durable state could not be written. What was written before is kept: the next process resumes.
 *
 * Not terminal:
 * - `ItemTooLarge`: one item is over a limit; nothing was numbered.
 * - `WindowFull`: the replay window is full and the policy is to fail.
 * - `ItemEncode`, `ItemDecode`: the codec refused one item; a refused incoming item keeps its number and is not seen
 *   again.
 * - `DrainTimeout`: the peer had not confirmed everything when the drain's time was up; the conduit is closed.
 *
 * @category errors
 * @since 0.1.0
 */
export type ConduitErrorReason =
  | { readonly _tag: "Closed" }
  | { readonly _tag: "PeerClosed" }
  | {
    readonly _tag: "SessionLost"
    readonly why: "rejected" | "peer-ahead" | "peer-behind" | "expired" | "peer-aborted"
    readonly unconfirmed: number
  }
  | { readonly _tag: "Discontinuity"; readonly expected: number; readonly received: number }
  | { readonly _tag: "ProtocolViolation"; readonly violation: Violation | { readonly _tag: "RoleFlip" } }
  | { readonly _tag: "Exhausted"; readonly cause: LinkError }
  | { readonly _tag: "HandlerFailed"; readonly cause: unknown }
  | { readonly _tag: "StoreFailed"; readonly cause: unknown }
  | { readonly _tag: "ItemTooLarge"; readonly bytes: number; readonly limit: number }
  | { readonly _tag: "WindowFull"; readonly frames: number; readonly bytes: number }
  | { readonly _tag: "ItemEncode"; readonly cause: unknown }
  | { readonly _tag: "ItemDecode"; readonly cause: unknown; readonly seq: number }
  | { readonly _tag: "DrainTimeout"; readonly unconfirmed: number }

/**
 * A conduit refused an operation or ended; `reason` says why.
 *
 * @category errors
 * @since 0.1.0
 */
export class ConduitError extends Data.TaggedError("ConduitError")<{ readonly reason: ConduitErrorReason }> {
  override get message(): string {
    const { reason } = this
    switch (reason._tag) {
      case "SessionLost":
        return `session lost (${reason.why}); ${reason.unconfirmed} sent items are of unknown fate`
      case "Discontinuity":
        return `the peer's numbers jumped from ${reason.expected} to ${reason.received}`
      case "ProtocolViolation":
        return `protocol violation: ${JSON.stringify(reason.violation)}`
      case "Exhausted":
        return `no more links: ${reason.cause.message}`
      case "ItemTooLarge":
        return `an item of ${reason.bytes} bytes is over the limit of ${reason.limit}`
      case "WindowFull":
        return `the replay window is full: ${reason.frames} frames, ${reason.bytes} bytes`
      case "DrainTimeout":
        return `${reason.unconfirmed} items were not confirmed in time`
      default:
        return reason._tag
    }
  }
}

/**
 * Makes a `ConduitError`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (reason: ConduitErrorReason): ConduitError => new ConduitError({ reason })
