/** What became of messages, in the words of the API. */
import * as Effect from "effect/Effect"
import type { EnqueueRefusal, SendCompletion, SendOutcome } from "@perigee/proto"
import { MessageId } from "@perigee/proto/wire"
import type { Receipt } from "../Producer.ts"
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

const receiptOf = (outcome: Extract<SendOutcome, { readonly _tag: "Stored" }>, batchIndex: number): Receipt => {
  const { duplicate, id } = outcome
  return {
    duplicate,
    id: batchIndex < 0 ? id : MessageId.make(id.ledger, id.entry, id.partition, batchIndex, outcome.batchSize)
  }
}

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
    this.resume(
      outcome._tag === "Stored"
        ? Effect.succeed(receiptOf(outcome, batchIndex))
        : Effect.fail(new SendError({ reason: toReason(outcome) }))
    )
  }
}

/** Many sends, one completion. */
export class Many {
  readonly receipts: Array<Receipt | undefined>
  readonly sizes: Uint32Array
  readonly results: Array<"done" | "notDone" | "unknown">
  left: number
  failure: SendErrorReason | undefined = undefined
  onDone: () => void = () => undefined
  constructor(count: number) {
    this.receipts = Array.from<Receipt | undefined>({ length: count })
    this.results = Array.from<"notDone">({ length: count }).fill("notDone")
    this.sizes = new Uint32Array(count)
    this.left = count
  }
  /** The completion for messages of one part. */
  on(part: ProducerPart): SendCompletion {
    return {
      onSend: (outcome, first, count, batchIndex) => {
        let bytes = 0
        for (let at = 0; at < count; at++) {
          const index = first + at
          bytes += this.sizes[index]!
          if (outcome._tag === "Stored") {
            this.receipts[index] = receiptOf(outcome, batchIndex < 0 ? -1 : batchIndex + at)
            this.results[index] = "done"
          } else this.results[index] = outcome._tag === "Unknown" ? "unknown" : "notDone"
        }
        // The worst that happened is what the caller has to think about.
        if (outcome._tag === "Unknown" || (outcome._tag === "NotStored" && this.failure === undefined)) {
          this.failure = toReason(outcome)
        }
        part.released(bytes)
        this.settle(count)
      }
    }
  }
  settle(count: number): void {
    this.left -= count
    if (this.left === 0) this.onDone()
  }
}
