/**
 * What can go wrong with one link. None of it ends a stable conduit: it asks its source for another link.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"

/**
 * Why a link, or the attempt to get one, failed.
 *
 * - `Open`: the transport could not be opened.
 * - `Io`: the transport failed while in use.
 * - `Ended`: the peer ended the link, or it was cut between payloads.
 * - `PartialPayload`: the link ended in the middle of a prefix or a payload.
 * - `PayloadTooLarge`: a payload, or the length announced for one, is over the link's limit.
 * - `TextMessage`: a WebSocket peer sent text where only binary is allowed.
 * - `Timeout`: a step of opening or greeting took too long; `step` names it.
 * - `Rejected`: the peer refused the transport mode or the session.
 * - `Protocol`: the peer's prologue, handshake or hello is malformed; five such links in a row end the conduit.
 * - `Silent`: keepalive went unanswered.
 * - `Kicked`: the link was dropped on request, or replaced by a newer one.
 * - `Overflow`: the receive queue is over its hard limit on a transport that cannot pause.
 * - `Exhausted`: the source has no more links to give.
 *
 * @category errors
 * @since 0.1.0
 */
export type LinkErrorReason =
  | { readonly _tag: "Open"; readonly cause: unknown }
  | { readonly _tag: "Io"; readonly cause: unknown }
  | { readonly _tag: "Ended" }
  | { readonly _tag: "PartialPayload" }
  | { readonly _tag: "PayloadTooLarge"; readonly limit: number }
  | { readonly _tag: "TextMessage" }
  | { readonly _tag: "Timeout"; readonly step: "open" | "prologue" | "handshake" | "hello" }
  | { readonly _tag: "Rejected"; readonly why: string }
  | { readonly _tag: "Protocol"; readonly detail: string }
  | { readonly _tag: "Silent"; readonly millis: number }
  | { readonly _tag: "Kicked"; readonly why: string }
  | { readonly _tag: "Overflow" }
  | { readonly _tag: "Exhausted" }

/**
 * A link failed; `reason` says how.
 *
 * @category errors
 * @since 0.1.0
 */
export class LinkError extends Data.TaggedError("LinkError")<{
  readonly reason: LinkErrorReason
  /** Which link, for example `tcp 127.0.0.1:4000`. */
  readonly link: string
}> {
  override get message(): string {
    const { reason } = this
    const detail = "cause" in reason
      ? `: ${reason.cause instanceof Error ? reason.cause.message : String(reason.cause)}`
      : "detail" in reason
      ? `: ${reason.detail}`
      : "why" in reason
      ? `: ${reason.why}`
      : "step" in reason
      ? `: ${reason.step}`
      : ""
    return `${this.link}: ${reason._tag}${detail}`
  }
}

/**
 * Makes a `LinkError`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (link: string, reason: LinkErrorReason): LinkError => new LinkError({ link, reason })
