/**
 * What a producer sends, what becomes of it, and the entries it travels in.
 *
 * @since 0.1.0
 */
import * as Slab from "../internal/Slab.ts"
import type * as MessageId from "../wire/MessageId.ts"
import type * as Metadata from "../wire/Metadata.ts"
import type { BrokerFailure } from "./Events.ts"

/** What a producer sends. @category models @since 0.1.0 */
export interface OutgoingMessage {
  readonly payload: Uint8Array
  /** Chooses the partition, the Key_Shared consumer, and what compaction keeps. */
  readonly key?: string | undefined
  /** The key is base64 of bytes. Default false. */
  readonly keyIsBase64?: boolean | undefined
  /** Takes the place of the key for Key_Shared. */
  readonly orderingKey?: Uint8Array | undefined
  /** Milliseconds since the epoch, 0 for none. */
  readonly eventTime?: number | undefined
  readonly properties?: Metadata.Properties | undefined
  /** For deduplication across restarts; each larger than the one before. Default: the next number. */
  readonly sequenceId?: number | undefined
  /** Milliseconds since the epoch: Shared and Key_Shared consumers see the message then. */
  readonly deliverAt?: number | undefined
  /** No value: deletes the key when the topic is compacted. Default false. */
  readonly isNull?: boolean | undefined
  /** Clusters to replicate to. Default: those of the namespace. */
  readonly replicateTo?: ReadonlyArray<string> | undefined
}

/** What became of a send. @category models @since 0.1.0 */
export type SendOutcome =
  /** The broker has the entry. `duplicate`: it had had it before, and its position is not known. */
  | {
    readonly _tag: "Stored"
    readonly id: MessageId.MessageId
    readonly duplicate: boolean
    readonly batchSize: number
  }
  /** It is not on the topic and never will be. */
  | { readonly _tag: "NotStored"; readonly reason: NotStoredReason }
  /** It was written to the broker and no answer came: it may be on the topic. */
  | { readonly _tag: "Unknown"; readonly reason: UnknownReason }

/** @category models @since 0.1.0 */
export type NotStoredReason =
  | { readonly _tag: "Refused"; readonly failure: BrokerFailure }
  | { readonly _tag: "Closed"; readonly why: string }
  | { readonly _tag: "Timeout" }

/** @category models @since 0.1.0 */
export type UnknownReason =
  | { readonly _tag: "Closed"; readonly why: string }
  | { readonly _tag: "Timeout" }

/** Told once for each run of messages that went into one entry. @category models @since 0.1.0 */
export interface SendCompletion {
  /** `count` messages of the submission from `first` on ended; the first of them is message `batchIndex` of the entry, -1 outside a batch. */
  readonly onSend: (outcome: SendOutcome, first: number, count: number, batchIndex: number) => void
}

/** Messages of one submission that follow each other in an entry. */
export interface Run {
  readonly completion: SendCompletion
  readonly first: number
  count: number
}

/** An entry on its way: one message, one batch, or one message in chunks. @category models @since 0.1.0 */
export class SendEntry {
  readonly _tag = "SendDone"
  readonly producerId: number
  readonly sequenceId: number
  readonly highest: number
  readonly count: number
  readonly isBatch: boolean
  readonly bytes: number
  /** When the first of its messages was submitted: the send timeout counts from here, across reconnects. */
  readonly since: number
  /** Frames, each in segments; none once their memory is given up. */
  frames: ReadonlyArray<ReadonlyArray<Uint8Array>>
  readonly runs: ReadonlyArray<Run>
  /** Receipts to come: one a chunk. */
  receipts: number
  /** How often it was put into the outbox of a session. */
  stagings = 0
  firstChunk: MessageId.MessageId | undefined = undefined
  outcome: SendOutcome | undefined = undefined
  /** What the frames are in. */
  #slab: Slab.Slab | undefined

  constructor(
    producerId: number,
    sequenceId: number,
    highest: number,
    count: number,
    isBatch: boolean,
    bytes: number,
    since: number,
    frames: ReadonlyArray<ReadonlyArray<Uint8Array>>,
    runs: ReadonlyArray<Run>,
    slab: Slab.Slab | undefined
  ) {
    this.producerId = producerId
    this.sequenceId = sequenceId
    this.highest = highest
    this.count = count
    this.isBatch = isBatch
    this.bytes = bytes
    this.since = since
    this.frames = frames
    this.runs = runs
    this.receipts = frames.length
    this.#slab = slab
  }

  /** Whether any of it was handed to a socket. */
  get written(): boolean {
    return this.stagings > 0
  }

  /**
   * The broker has confirmed it. Of an entry that was written once, it has then read every byte: the memory may be written again. An earlier socket may
   * still have to write what was sent before on it.
   */
  recycle(): void {
    if (this.#slab !== undefined && this.stagings === 1) {
      this.frames = []
      Slab.release(this.#slab)
    }
    this.#slab = undefined
  }

  /** Tells everyone whose messages are in the entry. */
  complete(): void {
    const outcome = this.outcome
    if (outcome === undefined) return
    let at = this.isBatch ? 0 : -1
    for (const { completion, count, first } of this.runs) {
      completion.onSend(outcome, first, count, at)
      if (this.isBatch) at += count
    }
  }
}
