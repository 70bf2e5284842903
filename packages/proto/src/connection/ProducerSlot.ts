/**
 * One producer: its sequence, its open batches, and the entries that wait for a receipt. It outlives connections and moves between them.
 *
 * @since 0.1.0
 */
import { Deque } from "../internal/Deque.ts"
import * as MessageId from "../wire/MessageId.ts"
import { EntryEncoder } from "./EntryEncoder.ts"
import type { BrokerFailure, Events } from "./Events.ts"
import { OpenBatches } from "./OpenBatches.ts"
import type { EnqueueRefusal, ProducerSpec } from "./ProducerSpec.ts"
import type { OutgoingMessage, SendCompletion, SendEntry, SendOutcome } from "./SendEntry.ts"

/** @category models @since 0.1.0 */
export class ProducerSlot {
  readonly id: number
  readonly spec: ProducerSpec
  /** `ready`: the broker takes messages. `closed`: nothing is taken any more. */
  state: "detached" | "opening" | "ready" | "closed" = "detached"
  closedWhy = "the producer is closed"
  /** The name the broker knows. */
  name: string | undefined
  openRequest: number | undefined = undefined
  epoch = 0
  topicEpoch: bigint | undefined = undefined
  hasAttached = false
  /** Largest message the broker takes. */
  maxMessageSize: number
  /** Sequence id of the last message stored, -1 before the first. */
  lastPublished = -1
  /** Messages waiting for their receipt, the open batches included. */
  pendingMessages = 0
  pendingBytes = 0
  /** Totals since the start. */
  readonly totals = { messages: 0, bytes: 0, stored: 0, failed: 0, unknown: 0 }
  /** Hears of every entry that ends, for statistics. */
  onSettled: ((entry: SendEntry) => void) | undefined = undefined
  #next = 0
  /** Waiting for a receipt, in order; the first `#staged` were handed to the socket of this session. */
  readonly #entries = new Deque<SendEntry>()
  #staged = 0
  readonly #open: OpenBatches
  readonly #encoder: EntryEncoder

  constructor(id: number, spec: ProducerSpec, maxMessageSize: number) {
    this.id = id
    this.spec = spec
    this.name = spec.name
    this.#open = new OpenBatches(spec.batching?.byKey ?? false, spec.batching?.maxBytes ?? 0)
    this.#encoder = new EntryEncoder(id, spec)
    this.maxMessageSize = maxMessageSize
    if (spec.initialSequenceId !== undefined) {
      this.#next = spec.initialSequenceId
      this.lastPublished = spec.initialSequenceId - 1
    }
  }

  /** Version of the schema, as the broker numbers it. */
  get schemaVersion(): Uint8Array | undefined {
    return this.#encoder.schemaVersion
  }

  /** Sequence id of the last message taken, -1 before the first. */
  get lastSequenceId(): number {
    return this.#next - 1
  }

  /** Entries that wait for a receipt. */
  get entries(): number {
    return this.#entries.length
  }

  get hasUnsent(): boolean {
    return this.#staged < this.#entries.length
  }

  /** Nothing is waiting, not even in the open batch. */
  get isIdle(): boolean {
    return this.pendingMessages === 0
  }

  /** Whether a message joins a batch that others have begun: its times are those of the batch, nobody need look at a clock. */
  joins({ deliverAt, payload }: OutgoingMessage): boolean {
    return this.#open.count > 0 && !this.#open.byKey && deliverAt === undefined && !this.#overflows(payload.length)
  }

  /** Whether so many bytes more are too many for what is open. */
  #overflows(bytes: number): boolean {
    return this.#open.count > 0 && this.#open.byteLength + bytes > this.spec.batching!.maxBytes
  }

  /**
   * Takes a message, or says why not; `now` is the time of the timers, `wall` the publish time, neither of which matters for a message that
   * {@link ProducerSlot.joins}.
   */
  enqueue(
    now: number,
    wall: number,
    message: OutgoingMessage,
    completion: SendCompletion,
    index: number
  ): EnqueueRefusal | undefined {
    if (this.state === "closed") return { _tag: "Closed", why: this.closedWhy }
    if (this.pendingMessages >= this.spec.maxPending) return { _tag: "Full" }
    const sequence = message.sequenceId ?? this.#next
    if (message.sequenceId !== undefined && !(sequence >= this.#next && Number.isSafeInteger(sequence))) {
      return { _tag: "SequenceNotIncreasing", last: this.#next - 1, received: sequence }
    }
    const size = message.payload.length
    const batching = this.spec.batching
    const isBatched = batching !== undefined && message.deliverAt === undefined && size <= batching.maxBytes
    if (!isBatched && size > this.maxMessageSize && !this.spec.chunking && this.spec.compression === "none") {
      return { _tag: "TooLarge", bytes: size, limit: this.maxMessageSize }
    }
    if (!isBatched) {
      // What was submitted before goes out before.
      this.flush()
      const runs = [{ completion, first: index, count: 1 }]
      const entry = this.#encoder.single(now, wall, message, sequence, runs, this.maxMessageSize)
      if (typeof entry === "number") return { _tag: "TooLarge", bytes: entry, limit: this.maxMessageSize }
      this.#entries.push(entry)
    } else {
      if (this.#overflows(size)) this.flush()
      this.#open.add(now, wall, message, sequence, completion, index)
      if (this.#open.count >= batching.maxMessages || this.#open.byteLength >= batching.maxBytes) this.flush()
    }
    this.#next = sequence + 1
    this.pendingMessages++
    this.pendingBytes += size
    this.totals.messages++
    this.totals.bytes += size
    return undefined
  }

  /** Closes the open batches: each becomes an entry. */
  flush(): void {
    if (this.#open.count === 0) return
    for (const batch of this.#open.close()) this.#entries.push(this.#encoder.batch(batch, this.#open.byKey))
  }

  /** When the open batch has to go, or the oldest entry is given up. */
  nextDeadline(): number {
    let deadline = Infinity
    if (this.#open.count > 0) deadline = this.#open.since + this.spec.batching!.maxDelay
    if (this.spec.sendTimeout > 0) {
      const oldest = this.#entries.peek()
      const since = oldest === undefined ? (this.#open.count > 0 ? this.#open.since : Infinity) : oldest.since
      deadline = Math.min(deadline, since + this.spec.sendTimeout)
    }
    return deadline
  }

  /** Sends the batch that is due and gives up what waited too long. */
  tick(now: number, events: Events): void {
    const { sendTimeout } = this.spec
    // A batch that waits longer than its messages may is closed too, or its deadline would stay in the past.
    const patience = Math.min(this.spec.batching?.maxDelay ?? Infinity, sendTimeout > 0 ? sendTimeout : Infinity)
    if (this.#open.count > 0 && now >= this.#open.since + patience) this.flush()
    if (sendTimeout <= 0) return
    let oldest = this.#entries.peek()
    while (oldest !== undefined && oldest.since + sendTimeout <= now) {
      this.#entries.shift()
      if (this.#staged > 0) this.#staged--
      this.#settle(
        oldest,
        oldest.written
          ? { _tag: "Unknown", reason: { _tag: "Timeout" } }
          : { _tag: "NotStored", reason: { _tag: "Timeout" } },
        events
      )
      oldest = this.#entries.peek()
    }
  }

  /** Hands frames to `push` in order until it says no more; only while the broker takes them. */
  stage(push: (frame: Uint8Array) => boolean): void {
    if (this.state !== "ready") return
    if (this.#open.count > 0 && this.spec.batching!.maxDelay <= 0) this.flush()
    while (this.#staged < this.#entries.length) {
      const entry = this.#entries.at(this.#staged++)!
      entry.stagings++
      let more = true
      for (const frame of entry.frames) for (const segment of frame) more = push(segment)
      if (!more) return
    }
  }

  /** The session is gone: everything without a receipt will be sent again, in the same order, under the same ids. */
  detach(): void {
    this.#staged = 0
    this.openRequest = undefined
    if (this.state !== "closed") this.state = "detached"
    for (const entry of this.#entries) {
      entry.receipts = entry.frames.length
      entry.firstChunk = undefined
    }
  }

  /** The broker took the producer. */
  attached(
    name: string,
    lastSequenceId: bigint,
    schemaVersion: Uint8Array | undefined,
    topicEpoch: bigint | undefined
  ): void {
    this.name = name
    this.#encoder.name = name
    if (schemaVersion !== undefined && schemaVersion.length > 0) this.#encoder.schemaVersion = schemaVersion
    if (topicEpoch !== undefined) this.topicEpoch = topicEpoch
    const last = Number(lastSequenceId)
    if (!this.hasAttached && this.spec.initialSequenceId === undefined && last >= 0) {
      this.#next = last + 1
      this.lastPublished = last
    }
    this.hasAttached = true
    this.openRequest = undefined
    this.state = "ready"
  }

  /** A receipt for the sequence ids from `from` to `to`; unknown ones are ignored: they were given up before. */
  receipt(from: number, to: number, id: MessageId.MessageId | undefined, partition: number, events: Events): void {
    // In order is the rule: the front matches. Anything else is looked for among what was sent.
    let index = 0
    const front = this.#entries.peek()
    if (front !== undefined && front.sequenceId !== from) {
      while (index < this.#staged && this.#entries.at(index)!.sequenceId < from) index++
    }
    while (index < this.#staged) {
      const entry = this.#entries.at(index)!
      if (entry.sequenceId < from || entry.highest > to) return
      if (--entry.receipts > 0) {
        entry.firstChunk ??= id
        return
      }
      this.#entries.removeAt(index)
      this.#staged--
      const duplicate = id === undefined || id.ledger < 0n
      const stored = id === undefined || duplicate
        ? MessageId.make(-1n, -1n, partition)
        : MessageId.make(id.ledger, id.entry, id.partition >= 0 ? id.partition : partition, -1, 0, entry.firstChunk)
      if (entry.highest > this.lastPublished) this.lastPublished = entry.highest
      entry.recycle()
      this.#settle(entry, { _tag: "Stored", id: stored, duplicate, batchSize: entry.isBatch ? entry.count : 0 }, events)
      if (to === from) return
    }
  }

  /** The broker refused an entry. */
  refused(sequenceId: number, failure: BrokerFailure, events: Events): void {
    for (let index = 0; index < this.#staged; index++) {
      const entry = this.#entries.at(index)!
      if (entry.sequenceId !== sequenceId) continue
      this.#entries.removeAt(index)
      this.#staged--
      this.#settle(entry, { _tag: "NotStored", reason: { _tag: "Refused", failure } }, events)
      return
    }
  }

  /** Ends everything: what was written is unknown, what was not is not stored. */
  failAll(why: string, events: Events, failure?: BrokerFailure): void {
    this.flush()
    this.state = "closed"
    this.closedWhy = why
    this.#staged = 0
    for (const entry of this.#entries.drain()) {
      this.#settle(
        entry,
        entry.written
          ? { _tag: "Unknown", reason: { _tag: "Closed", why } }
          : {
            _tag: "NotStored",
            reason: failure === undefined ? { _tag: "Closed", why } : { _tag: "Refused", failure }
          },
        events
      )
    }
  }

  #settle(entry: SendEntry, outcome: SendOutcome, events: Events): void {
    entry.outcome = outcome
    this.pendingMessages -= entry.count
    this.pendingBytes -= entry.bytes
    if (outcome._tag === "Stored") this.totals.stored += entry.count
    else if (outcome._tag === "Unknown") this.totals.unknown += entry.count
    else this.totals.failed += entry.count
    events.push(entry)
    this.onSettled?.(entry)
  }
}
