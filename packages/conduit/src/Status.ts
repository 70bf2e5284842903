/**
 * Where a conduit stands with its link.
 *
 * @since 0.1.0
 */
import type { ConduitError } from "./ConduitError.ts"
import type { LinkError } from "./LinkError.ts"

/**
 * - `Connecting`: no link yet.
 * - `Connected`: the first link is up.
 * - `Reconnecting`: the link is gone because of `cause`; `attempt` counts from 1. An acceptor waits here for its peer.
 * - `Resumed`: a new link is up; `replayed` frames went over it again.
 * - `Lost`: ended by `error`; terminal.
 * - `Closed`: ended on purpose by either side; terminal.
 *
 * @category models
 * @since 0.1.0
 */
export type Status =
  | { readonly _tag: "Connecting" }
  | { readonly _tag: "Connected"; readonly link: string }
  | { readonly _tag: "Reconnecting"; readonly attempt: number; readonly cause: LinkError }
  | { readonly _tag: "Resumed"; readonly link: string; readonly replayed: number; readonly generation: number }
  | { readonly _tag: "Lost"; readonly error: ConduitError }
  | { readonly _tag: "Closed" }

/**
 * What a conduit has done and holds. Counts are since it was made; nothing in here is secret.
 *
 * @category models
 * @since 0.1.0
 */
export interface Metrics {
  readonly framesSent: number
  readonly framesReceived: number
  readonly bytesReceived: number
  /** Frames that arrived again and were dropped. */
  readonly duplicates: number
  /** Jumps in the peer's numbers that were tolerated. */
  readonly gaps: number
  readonly acksSent: number
  /** Frames sent again on a new link. */
  readonly replayed: number
  /** Number that the next item gets; after a durable restart, what the sender need not send again. */
  readonly nextSeq: number
  /** Links used so far. */
  readonly links: number
  /** Sent and not confirmed. */
  readonly windowFrames: number
  readonly windowBytes: number
  readonly windowHighWater: number
  /** Received and not taken. */
  readonly queuedItems: number
  readonly queuedBytes: number
  /** Senders that wait for room in the window. */
  readonly waitingSenders: number
}
