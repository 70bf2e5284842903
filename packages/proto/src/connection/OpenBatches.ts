/**
 * The batches of a producer that still take messages: one for all, or one for every key.
 */
import { BatchBuilder, type Built } from "../wire/Batch.ts"
import type { OutgoingMessage, Run, SendCompletion } from "./SendEntry.ts"

/** A batch that is closed: its bytes with room for a header in front, and what is known of its messages. */
export interface ClosedBatch {
  readonly built: Built
  readonly count: number
  /** Payload bytes, without the prefixes. */
  readonly bytes: number
  readonly first: OutgoingMessage
  readonly lowest: number
  readonly highest: number
  /** Bytes of the last payload, which is at the end. */
  readonly lastPayload: number
  readonly since: number
  readonly publishTime: number
  readonly runs: ReadonlyArray<Run>
}

/** Whether a message has nothing but a payload. */
const isPlain = (message: OutgoingMessage): boolean =>
  message.key === undefined && (message.properties === undefined || message.properties.length === 0) &&
  message.eventTime === undefined && message.orderingKey === undefined && message.isNull !== true

/** One batch being filled. */
class OpenBatch {
  readonly builder: BatchBuilder
  #runs: Array<Run> = []
  #first: OutgoingMessage | undefined = undefined
  #lowest = 0
  #highest = 0
  #lastPayload = 0
  #bytes = 0
  #since = 0
  #publishTime = 0

  constructor(builder: BatchBuilder) {
    this.builder = builder
  }

  add(
    now: number,
    wall: number,
    message: OutgoingMessage,
    sequence: number,
    completion: SendCompletion,
    index: number
  ): number {
    if (this.#first === undefined) {
      this.#first = message
      this.#lowest = sequence
      this.#since = now
      this.#publishTime = wall
    }
    const added = isPlain(message) ? this.builder.addPlain(sequence, message.payload) : this.builder.add({
      properties: message.properties ?? [],
      partitionKey: message.key,
      payloadSize: message.payload.length,
      compactedOut: false,
      eventTime: message.eventTime ?? 0,
      partitionKeyB64: message.keyIsBase64 === true,
      orderingKey: message.orderingKey,
      sequenceId: BigInt(sequence),
      nullValue: message.isNull === true,
      nullPartitionKey: false
    }, message.payload)
    this.#bytes += message.payload.length
    this.#highest = sequence
    this.#lastPayload = message.payload.length
    const last = this.#runs[this.#runs.length - 1]
    if (last !== undefined && last.completion === completion && last.first + last.count === index) last.count++
    else this.#runs.push({ completion, first: index, count: 1 })
    return added
  }

  close(): ClosedBatch {
    const { count } = this.builder
    const closed = {
      built: this.builder.take(),
      count,
      bytes: this.#bytes,
      first: this.#first!,
      lowest: this.#lowest,
      highest: this.#highest,
      lastPayload: this.#lastPayload,
      since: this.#since,
      publishTime: this.#publishTime,
      runs: this.#runs
    }
    this.#runs = []
    this.#first = undefined
    this.#bytes = 0
    return closed
  }
}

const NO_KEY = Symbol("no key")

const keyOf = ({ key, keyIsBase64, orderingKey }: OutgoingMessage): string | typeof NO_KEY =>
  orderingKey !== undefined
    ? `o${Array.from(orderingKey, (byte) => byte.toString(16).padStart(2, "0")).join("")}`
    : key === undefined
    ? NO_KEY
    : `${keyIsBase64 === true ? "b" : "k"}${key}`

export class OpenBatches {
  readonly byKey: boolean
  /** Messages inside, all batches together: that is what the limits are about. */
  count = 0
  /** Bytes inside, prefixes included. */
  byteLength = 0
  /** When the oldest message inside was submitted. */
  since = 0
  readonly #single: OpenBatch
  readonly #keyed = new Map<string | typeof NO_KEY, OpenBatch>()

  /** `maxBytes` of a batch. */
  constructor(byKey: boolean, maxBytes: number) {
    this.byKey = byKey
    // The limit is looked at before a message is added, without what precedes it in the batch.
    this.#single = new OpenBatch(new BatchBuilder(maxBytes + 64))
  }

  add(
    now: number,
    wall: number,
    message: OutgoingMessage,
    sequence: number,
    completion: SendCompletion,
    index: number
  ): void {
    if (this.count === 0) this.since = now
    let batch = this.#single
    if (this.byKey) {
      const key = keyOf(message)
      const known = this.#keyed.get(key)
      if (known !== undefined) batch = known
      else this.#keyed.set(key, batch = new OpenBatch(new BatchBuilder(0, false)))
    }
    this.count++
    this.byteLength += batch.add(now, wall, message, sequence, completion, index)
  }

  /** Closes all of them, in the order of their last messages: deduplication drops whatever comes below a number it has seen. */
  close(): ReadonlyArray<ClosedBatch> {
    if (this.count === 0) return []
    this.count = 0
    this.byteLength = 0
    if (!this.byKey) return [this.#single.close()]
    const closed = Array.from(this.#keyed.values(), (batch) => batch.close())
    this.#keyed.clear()
    return closed.sort((a, b) => a.highest - b.highest)
  }
}
