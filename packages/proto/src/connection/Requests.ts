/**
 * Requests that wait for an answer of the broker.
 *
 * @since 0.1.0
 */
import type { BaseCommand } from "../wire/gen/PulsarApi_pb.ts"
import type { BrokerFailure, Events } from "./Events.ts"

/**
 * - `Reply`: the answer.
 * - `Failed`: the broker refused.
 * - `SessionLost`: the connection broke; asking again on the next session is legitimate.
 * - `TimedOut`: no answer in time; whether the broker acted is not known.
 * - `Terminal`: nothing will ever answer.
 *
 * @category models
 * @since 0.1.0
 */
export type RequestOutcome =
  | { readonly _tag: "Reply"; readonly command: BaseCommand }
  | { readonly _tag: "Failed"; readonly failure: BrokerFailure }
  | { readonly _tag: "SessionLost" }
  | { readonly _tag: "TimedOut" }
  | { readonly _tag: "Terminal"; readonly reason: string }

/** What the connection itself does with an answer, beside handing it on. */
export type RequestKind =
  | { readonly _tag: "Plain" }
  | { readonly _tag: "OpenProducer"; readonly producerId: number }
  | { readonly _tag: "Subscribe"; readonly consumerId: number }
  | { readonly _tag: "Seek"; readonly consumerId: number }
  | { readonly _tag: "Ack"; readonly consumerId: number }
  | { readonly _tag: "Unsubscribe"; readonly consumerId: number }
  | { readonly _tag: "CloseProducer"; readonly producerId: number }
  | { readonly _tag: "CloseConsumer"; readonly consumerId: number }

/** A request and, once it is over, its outcome. @category models @since 0.1.0 */
export class PendingRequest {
  readonly _tag = "RequestDone"
  readonly id: number
  readonly kind: RequestKind
  readonly since: number
  readonly deadline: number
  outcome: RequestOutcome | undefined = undefined
  #onDone: ((outcome: RequestOutcome) => void) | undefined

  constructor(
    id: number,
    kind: RequestKind,
    now: number,
    timeout: number,
    onDone: ((outcome: RequestOutcome) => void) | undefined
  ) {
    this.id = id
    this.kind = kind
    this.since = now
    this.deadline = now + timeout
    this.#onDone = onDone
  }

  /** Nobody waits any longer. */
  abandon(): void {
    this.#onDone = undefined
  }

  get isWatched(): boolean {
    return this.#onDone !== undefined
  }

  /** Hands the outcome to whoever asked; does nothing a second time. */
  complete(): void {
    const onDone = this.#onDone
    this.#onDone = undefined
    if (this.outcome !== undefined) onDone?.(this.outcome)
  }
}

/** The table of requests: bounded, in the order they were made. */
export class Requests {
  readonly #pending = new Map<number, PendingRequest>()
  readonly #events: Events
  readonly #limit: number
  #next = 0

  constructor(events: Events, limit: number) {
    this.#events = events
    this.#limit = limit
  }

  get size(): number {
    return this.#pending.size
  }

  /** Registers a request; over the limit it is refused at once, with an outcome like any other. */
  add(
    kind: RequestKind,
    now: number,
    timeout: number,
    onDone: ((outcome: RequestOutcome) => void) | undefined
  ): PendingRequest {
    const request = new PendingRequest(this.#next++, kind, now, timeout, onDone)
    this.#pending.set(request.id, request)
    if (this.#pending.size > this.#limit) {
      this.settle(request.id, {
        _tag: "Failed",
        failure: { code: 0, message: `${this.#limit} requests are waiting already` }
      })
    }
    return request
  }

  get(id: number): PendingRequest | undefined {
    return this.#pending.get(id)
  }

  /** Ends a request; answers to unknown ones are ignored. */
  settle(id: number, outcome: RequestOutcome): PendingRequest | undefined {
    const request = this.#pending.get(id)
    if (request === undefined) return undefined
    this.#pending.delete(id)
    request.outcome = outcome
    if (request.isWatched) this.#events.push(request)
    return request
  }

  settleAll(outcome: RequestOutcome): void {
    for (const id of this.#pending.keys()) this.settle(id, outcome)
  }

  /** Ends the acknowledgements of one consumer. */
  settleAcks(consumerId: number, outcome: RequestOutcome): void {
    for (const [id, { kind }] of this.#pending) {
      if (kind._tag === "Ack" && kind.consumerId === consumerId) this.settle(id, outcome)
    }
  }

  nextDeadline(): number {
    let earliest = Infinity
    for (const { deadline } of this.#pending.values()) if (deadline < earliest) earliest = deadline
    return earliest
  }

  /** Requests that are overdue at `now`, removed and settled. */
  expire(now: number): Array<PendingRequest> {
    const expired: Array<PendingRequest> = []
    for (const [id, request] of this.#pending) {
      if (request.deadline <= now) {
        this.settle(id, { _tag: "TimedOut" })
        expired.push(request)
      }
    }
    return expired
  }
}
