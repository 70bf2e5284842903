/**
 * Why an operation of the client failed.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import { errorName, NO_ANSWER } from "@perigee/proto"

/**
 * - `InvalidOptions`: an option, an address or a topic name that makes no sense; nothing was tried.
 * - `Connect`: no broker could be reached, or the handshake did not finish.
 * - `Refused`: the broker said no, with the number and name of its error; `retryable` tells a passing trouble from a decision.
 * - `Authentication`: the credentials could not be obtained, or were not accepted.
 * - `Timeout`: no result within the operation's time; `last` is the newest trouble on the way.
 * - `SessionLost`: the connection broke while the answer was awaited; whether the broker acted is not known.
 * - `Closed`: the producer, consumer or client is closed.
 * - `Undecodable`: a message does not fit the schema.
 *
 * @category errors
 * @since 0.1.0
 */
export type PulsarErrorReason =
  | { readonly _tag: "InvalidOptions"; readonly why: string }
  | { readonly _tag: "Connect"; readonly address: string; readonly why: string }
  | {
    readonly _tag: "Refused"
    readonly code: number
    readonly name: string
    readonly message: string
    readonly retryable: boolean
  }
  | { readonly _tag: "Authentication"; readonly why: string }
  | { readonly _tag: "Timeout"; readonly operation: string; readonly last: PulsarError | undefined }
  | { readonly _tag: "SessionLost" }
  | { readonly _tag: "Closed"; readonly why: string }
  | { readonly _tag: "Undecodable"; readonly topic: string; readonly id: string; readonly why: string }

const describe = (reason: PulsarErrorReason): string => {
  switch (reason._tag) {
    case "InvalidOptions":
      return reason.why
    case "Connect":
      return `cannot connect to ${reason.address}: ${reason.why}`
    case "Refused":
      return `the broker refused: ${reason.name}: ${reason.message}`
    case "Authentication":
      return `authentication failed: ${reason.why}`
    case "Timeout":
      return `${reason.operation} took too long${reason.last === undefined ? "" : `; last: ${reason.last.message}`}`
    case "SessionLost":
      return "the connection broke before the answer came"
    case "Closed":
      return reason.why
    case "Undecodable":
      return `message ${reason.id} of ${reason.topic} does not fit the schema: ${reason.why}`
  }
}

/** @category errors @since 0.1.0 */
export class PulsarError extends Data.TaggedError("PulsarError")<{ readonly reason: PulsarErrorReason }> {
  override get message(): string {
    return describe(this.reason)
  }
}

/** Errors of a broker that pass: metadata, persistence, not ready, too many requests, quota, busy, no answer. */
const passing: ReadonlySet<number> = new Set([1, 2, 5, 6, 7, 8, 14, 16, NO_ANSWER, 0])

/** A broker's refusal as an error. */
export const refused = (failure: { readonly code: number; readonly message: string }): PulsarError =>
  failure.code === 3
    ? new PulsarError({ reason: { _tag: "Authentication", why: failure.message } })
    : new PulsarError({
      reason: {
        _tag: "Refused",
        code: failure.code,
        name: failure.code === NO_ANSWER ? "NoAnswer" : errorName(failure.code),
        message: failure.message,
        retryable: passing.has(failure.code)
      }
    })

export const invalid = (why: string): PulsarError => new PulsarError({ reason: { _tag: "InvalidOptions", why } })
export const closed = (why: string): PulsarError => new PulsarError({ reason: { _tag: "Closed", why } })

/** Whether trying again may help. */
export const isPassing = ({ reason }: PulsarError): boolean =>
  reason._tag === "Connect" || reason._tag === "SessionLost" || (reason._tag === "Refused" && reason.retryable)

/**
 * A send that did not end well.
 *
 * - `NotDone`: the message is not on the topic and will not be. Sending it again cannot duplicate it.
 * - `Unknown`: it was written to the broker and no answer came. It may be on the topic; deduplication tells.
 *
 * @category errors
 * @since 0.1.0
 */
export type SendErrorReason =
  | { readonly _tag: "NotDone"; readonly why: string; readonly code?: number | undefined }
  | { readonly _tag: "Unknown"; readonly why: string }

/** @category errors @since 0.1.0 */
export class SendError extends Data.TaggedError("SendError")<{
  readonly reason: SendErrorReason
  /** For `sendAll`: what became of each message. */
  readonly results?: ReadonlyArray<"done" | "notDone" | "unknown"> | undefined
}> {
  override get message(): string {
    return this.reason._tag === "NotDone"
      ? `not sent: ${this.reason.why}`
      : `it is unknown whether the message was stored: ${this.reason.why}`
  }
}
