/**
 * What a connection tells its driver.
 *
 * @since 0.1.0
 */
import { Deque } from "../internal/Deque.ts"
import type { MessageId } from "../wire/MessageId.ts"
import type { SendEntry } from "./SendEntry.ts"
import type { PendingRequest } from "./Requests.ts"

/** An error that the broker reported: its number in `ServerError`, and its text cut to 256 characters. @category models @since 0.1.0 */
export interface BrokerFailure {
  readonly code: number
  readonly message: string
}

/** Code of a failure that no broker reported: the answer did not come in time. @category constants @since 0.1.0 */
export const NO_ANSWER = -1

/**
 * Everything a driver has to act on or may want to show.
 *
 * `RequestDone` and `SendDone` carry the outcome of something that was asked for: call `complete` on them, outside the connection.
 * `MessagesReady` comes with the first message after there were none: whoever leaves some in a `take` knows of them.
 *
 * @category models
 * @since 0.1.0
 */
export type ConnectionEvent =
  | PendingRequest
  | SendEntry
  | { readonly _tag: "Connected"; readonly serverVersion: string; readonly protocolVersion: number }
  | { readonly _tag: "AuthChallenge"; readonly method: string; readonly data: Uint8Array }
  | { readonly _tag: "ProducerReady"; readonly producerId: number }
  | { readonly _tag: "ProducerFailed"; readonly producerId: number; readonly failure: BrokerFailure }
  | { readonly _tag: "ProducerClosed"; readonly producerId: number; readonly assignedUrl: string | undefined }
  | { readonly _tag: "ConsumerReady"; readonly consumerId: number }
  | { readonly _tag: "ConsumerFailed"; readonly consumerId: number; readonly failure: BrokerFailure }
  | { readonly _tag: "ConsumerClosed"; readonly consumerId: number; readonly assignedUrl: string | undefined }
  | { readonly _tag: "MessagesReady"; readonly consumerId: number }
  | { readonly _tag: "MessageDropped"; readonly consumerId: number; readonly id: MessageId; readonly why: string }
  | { readonly _tag: "EndOfTopic"; readonly consumerId: number }
  | { readonly _tag: "ActiveChanged"; readonly consumerId: number; readonly active: boolean }
  | {
    readonly _tag: "ConsumerStalled"
    readonly consumerId: number
    readonly permits: number
    readonly silence: number
  }
  | {
    readonly _tag: "TopicListChanged"
    readonly watcherId: number
    readonly added: ReadonlyArray<string>
    readonly removed: ReadonlyArray<string>
    readonly hash: string
  }
  | {
    readonly _tag: "TopicMigrated"
    readonly resource: "producer" | "consumer"
    readonly id: number
    readonly url: string
  }
  | { readonly _tag: "RedirectRejected"; readonly url: string }
  | { readonly _tag: "ChecksumMismatch"; readonly expected: number; readonly computed: number }

/** Events that only inform; they are dropped, and counted, when nobody reads. */
const OBSERVATIONAL_LIMIT = 4096
const observational: ReadonlySet<string> = new Set([
  "MessageDropped",
  "ActiveChanged",
  "ConsumerStalled",
  "ChecksumMismatch",
  "RedirectRejected"
])

/** Cuts text of the other side before it is shown or kept. */
export const truncate = (text: string, limit = 256): string => {
  if (text.length <= limit) return text
  // Not between the halves of a surrogate pair.
  const unit = text.charCodeAt(limit - 1)
  return text.slice(0, unit >= 0xd800 && unit < 0xdc00 ? limit - 1 : limit)
}

/** The queue of events. */
export class Events {
  /** Informative events that were dropped because nobody read them. */
  dropped = 0
  readonly #queue = new Deque<ConnectionEvent>()

  get length(): number {
    return this.#queue.length
  }

  push(event: ConnectionEvent): void {
    if (this.#queue.length >= OBSERVATIONAL_LIMIT && observational.has(event._tag)) this.dropped++
    else this.#queue.push(event)
  }

  poll(): ConnectionEvent | undefined {
    return this.#queue.shift()
  }

  /** Forgets what belongs to a session that is gone; outcomes stay. */
  clear(): void {
    for (const event of this.#queue.drain()) {
      if (event._tag === "RequestDone" || event._tag === "SendDone") this.#queue.push(event)
    }
  }
}
