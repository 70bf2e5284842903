/** What became of messages, in the words of the API. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { EnqueueRefusal, SendCompletion, SendOutcome } from "@perigee/proto"
import { MessageId } from "@perigee/proto/wire"
import type { Receipt, Submitted } from "../Producer.ts"
import { SendError, type SendErrorReason } from "../PulsarError.ts"
import type { ProducerPart } from "./ProducerPart.ts"

export const notDone = (why: string, code?: number): SendErrorReason => ({ _tag: "NotDone", why, code })

/** Why a send did not end well. */
const toReason = (outcome: Exclude<SendOutcome, { readonly _tag: "Stored" }>): SendErrorReason => {
  const { reason } = outcome
  if (outcome._tag === "Unknown") {
    return {
      _tag: "Unknown",
      why: reason._tag === "Timeout" ? "no receipt in time" : reason._tag === "Closed" ? reason.why : ""
    }
  }
  switch (outcome.reason._tag) {
    case "Timeout":
      return notDone("it could not be written in time")
    case "Closed":
      return notDone(outcome.reason.why)
    case "Refused":
      return notDone(outcome.reason.failure.message, outcome.reason.failure.code)
  }
}

/** Why a message was not taken. */
export const fromRefusal = (refusal: EnqueueRefusal): SendErrorReason => {
  switch (refusal._tag) {
    case "Full":
      return notDone("too many messages wait for their receipt")
    case "Closed":
      return notDone(refusal.why)
    case "TooLarge":
      return notDone(`${refusal.bytes} bytes are more than the broker's ${refusal.limit}; chunking splits them`)
    case "SequenceNotIncreasing":
      return notDone(`sequence id ${refusal.received} is not above ${refusal.last}`)
  }
}

class StoredReceipt implements Receipt {
  readonly #outcome: Extract<SendOutcome, { readonly _tag: "Stored" }>
  readonly #batchIndex: number

  constructor(outcome: Extract<SendOutcome, { readonly _tag: "Stored" }>, batchIndex: number) {
    this.#outcome = outcome
    this.#batchIndex = batchIndex
  }

  get id(): MessageId.MessageId {
    const { batchSize, id } = this.#outcome
    return this.#batchIndex < 0
      ? id
      : MessageId.make(id.ledger, id.entry, id.partition, this.#batchIndex, batchSize)
  }

  get duplicate(): boolean {
    return this.#outcome.duplicate
  }
}

const exitOf = (outcome: SendOutcome, batchIndex: number): Exit.Exit<Receipt, SendError> =>
  outcome._tag === "Stored"
    ? Exit.succeed(new StoredReceipt(outcome, batchIndex))
    : Exit.fail(new SendError({ reason: toReason(outcome) }))

/** One send: its own completion. */
export class Single implements SendCompletion {
  readonly part: ProducerPart
  readonly bytes: number
  readonly resume: (effect: Effect.Effect<Receipt, SendError>) => void

  constructor(part: ProducerPart, bytes: number, resume: (effect: Effect.Effect<Receipt, SendError>) => void) {
    this.part = part
    this.bytes = bytes
    this.resume = resume
  }

  onSend(outcome: SendOutcome, _first: number, _count: number, batchIndex: number): void {
    this.part.released(this.bytes)
    this.resume(exitOf(outcome, batchIndex))
  }
}

/** One send that nobody may be waiting for. */
export class Pending implements SendCompletion, Submitted {
  readonly #part: ProducerPart
  readonly #bytes: number
  #exit: Exit.Exit<Receipt, SendError> | undefined = undefined
  #waiting: Set<(effect: Effect.Effect<Receipt, SendError>) => void> | undefined = undefined

  constructor(part: ProducerPart, bytes: number) {
    this.#part = part
    this.#bytes = bytes
  }

  onSend(outcome: SendOutcome, _first: number, _count: number, batchIndex: number): void {
    this.#part.released(this.#bytes)
    this.#exit = exitOf(outcome, batchIndex)
    if (this.#waiting !== undefined) { for (const resume of this.#waiting) resume(this.#exit) }
    this.#waiting = undefined
  }

  get receipt(): Effect.Effect<Receipt, SendError> {
    return Effect.callback((resume) => {
      if (this.#exit !== undefined) return resume(this.#exit)
      this.#waiting ??= new Set()
      this.#waiting.add(resume)
      return Effect.sync(() => void this.#waiting?.delete(resume))
    })
  }
}

interface PartCompletion extends SendCompletion {
  readonly part: ProducerPart
}

/** Many sends, one completion. */
export class Many {
  /** Of those that were stored. */
  readonly receipts: Array<Receipt> = []
  readonly sizes: Uint32Array
  /** By message: 1 when it was stored, 2 when that is unknown. */
  readonly #outcomes: Uint8Array
  readonly #completions = new Map<ProducerPart, PartCompletion>()
  #last: PartCompletion | undefined = undefined
  #left: number
  failure: SendErrorReason | undefined = undefined
  #resume: ((effect: Effect.Effect<void>) => void) | undefined = undefined

  constructor(count: number) {
    this.receipts.length = count
    this.sizes = new Uint32Array(count)
    this.#outcomes = new Uint8Array(count)
    this.#left = count
  }

  get results(): ReadonlyArray<"done" | "notDone" | "unknown"> {
    const words = ["notDone", "done", "unknown"] as const
    return Array.from(this.#outcomes, (outcome) => words[outcome]!)
  }

  /** The parts that messages went to. */
  get parts(): Iterable<ProducerPart> {
    return this.#completions.keys()
  }

  /** The completion for messages of one part. */
  on(part: ProducerPart): SendCompletion {
    // Mostly that of the message before.
    if (this.#last?.part === part) return this.#last
    const completion = this.#completions.get(part) ?? this.#completion(part)
    this.#completions.set(part, completion)
    return this.#last = completion
  }

  #completion(part: ProducerPart): PartCompletion {
    return {
      part,
      onSend: (outcome, first, count, batchIndex) => {
        let bytes = 0
        for (let index = first; index < first + count; index++) bytes += this.sizes[index]!
        if (outcome._tag === "Stored") {
          this.#outcomes.fill(1, first, first + count)
          for (let at = 0; at < count; at++) {
            this.receipts[first + at] = new StoredReceipt(outcome, batchIndex < 0 ? -1 : batchIndex + at)
          }
        } else {
          if (outcome._tag === "Unknown") this.#outcomes.fill(2, first, first + count)
          // The worst that happened is what the caller has to think about.
          if (outcome._tag === "Unknown" || this.failure === undefined) this.failure = toReason(outcome)
        }
        part.released(bytes)
        this.settle(count)
      }
    }
  }

  /** Until all have ended; for one to wait. */
  readonly ended: Effect.Effect<void> = Effect.callback((resume) => {
    if (this.#left === 0) return resume(Effect.void)
    // Not a closure of ours: one that is assigned where it is written is born in the old generation, where it keeps all it knows till a full collection.
    this.#resume = resume
  })

  settle(count: number): void {
    this.#left -= count
    if (this.#left === 0) this.#resume?.(Effect.void)
  }
}
