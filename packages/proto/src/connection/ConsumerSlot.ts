/**
 * One consumer: what the broker delivered and nobody took yet, the permits, the acknowledgements, the redeliveries. It outlives connections.
 *
 * @since 0.1.0
 */
import { Deque } from "../internal/Deque.ts"
import { Lease, retain } from "../ReadMemory.ts"
import { ReceivedMessage } from "../ReceivedMessage.ts"
import { BatchCursor } from "../wire/Batch.ts"
import { ChunkAssembler } from "../wire/Chunk.ts"
import * as Commands from "../wire/Commands.ts"
import * as MessageId from "../wire/MessageId.ts"
import * as Metadata from "../wire/Metadata.ts"
import { Acks } from "./Acks.ts"
import type { ConsumerSpec } from "./ConsumerSpec.ts"
import { type Delivered, inflate, isOpen, openCount } from "./Delivered.ts"
import { type BrokerFailure, type Events, truncate } from "./Events.ts"
import { Redelivery } from "./Redelivery.ts"
import { StallWatch } from "./StallWatch.ts"

/** @category models @since 0.1.0 */
export class ConsumerSlot {
  readonly id: number
  readonly spec: ConsumerSpec
  state: "detached" | "opening" | "ready" | "seeking" | "closed" = "detached"
  openRequest: number | undefined = undefined
  hasAttached = false
  /** Where a consumer without a durable cursor starts when it attaches. */
  startMessageId: MessageId.MessageId | undefined
  paused = false
  endOfTopic = false
  /** Whether this is the one that gets messages, for failover; `undefined` before the broker said so. */
  isActive: boolean | undefined = undefined
  /** Grows with each "redeliver everything": deliveries from before are dropped. */
  epoch = 0
  /** Permits the broker still has; below 0 after a batch larger than what it had, as brokers count too. */
  balance = 0
  /** Messages waiting here. */
  queued = 0
  queuedBytes = 0
  readonly acks: Acks
  readonly unacked = new Redelivery()
  readonly refused = new Redelivery()
  readonly chunks: ChunkAssembler
  readonly totals = { received: 0, bytes: 0, acked: 0, nacked: 0, dropped: 0, redelivered: 0 }
  /** Position of the newest entry that came since the last attach or seek. */
  lastDelivered: MessageId.MessageId | undefined = undefined
  /** Hears how long an entry waited here when its first message is taken, for statistics. */
  onTaken: ((waited: number) => void) | undefined = undefined
  #consumed = 0
  #queue = new Deque<Delivered>()
  #notified = false
  readonly #stall: StallWatch

  constructor(id: number, spec: ConsumerSpec) {
    this.id = id
    this.spec = spec
    this.startMessageId = spec.startMessageId
    this.#stall = new StallWatch(spec.stallTimeout)
    this.acks = new Acks(spec.batchIndexAck, spec.ackGroupSize)
    this.chunks = new ChunkAssembler(spec.chunks)
  }

  /** Individual redelivery exists for these; the others get everything again. */
  get isSharedType(): boolean {
    return this.spec.type === "shared" || this.spec.type === "keyShared"
  }

  get hasMessages(): boolean {
    return this.#queue.length > 0
  }

  /** The next message is of a batch that others were taken of, and the time of taking it makes no difference. */
  get isWithinEntry(): boolean {
    return this.#queue.peek()?.cursor !== undefined && this.spec.ackTimeout <= 0
  }

  // -------------------------------------------------------------------------------------------------------------------------------
  // Permits

  /** The first grant after an attach: the whole queue, exactly once. */
  grantInitial(now: number, push: (frame: Uint8Array) => void): void {
    this.#consumed = 0
    this.balance = 0
    this.#stall.begin(now)
    // What is still here from before keeps its place in the queue.
    const permits = Math.max(1, this.spec.receiverQueue - this.queued)
    this.#grant(permits, push)
  }

  #grant(permits: number, push: (frame: Uint8Array) => void): void {
    if (permits <= 0) return
    this.balance += permits
    push(Commands.encodeFlow(this.id, permits))
  }

  /** Repays what was consumed once it is half the queue. */
  replenish(push: (frame: Uint8Array) => void): void {
    if (this.state !== "ready" || this.paused) return
    if (this.#consumed < Math.max(this.spec.receiverQueue >>> 1, 1)) return
    const permits = this.#consumed
    this.#consumed = 0
    this.#grant(permits, push)
  }

  // -------------------------------------------------------------------------------------------------------------------------------
  // Delivery

  /** A dispatch that nobody will take: it costs a permit like any other. */
  dropped(permits: number): void {
    this.balance -= permits
    this.#consumed += permits
    this.#stall.dispatched()
    this.totals.dropped += permits
  }

  deliver(
    now: number,
    delivery: Commands.Delivery,
    metadata: Metadata.MessageMetadata,
    payload: Uint8Array,
    brokerEntry: Metadata.BrokerEntryMetadata | undefined,
    events: Events,
    push: (frame: Uint8Array) => void
  ): void {
    const permits = metadata.batchSize === undefined ? 1 : openCount(delivery.ackSet, metadata.batchSize)
    if (this.state !== "ready") return
    if (delivery.consumerEpoch !== undefined && delivery.consumerEpoch < this.epoch) {
      this.dropped(permits)
      this.replenish(push)
      return
    }
    this.#stall.dispatched()
    this.balance -= permits
    const position = delivery.messageId
    if (this.lastDelivered === undefined || MessageId.compare(position, this.lastDelivered) > 0) {
      this.lastDelivered = position
    }
    // Markers of replicated subscriptions are for brokers.
    if (metadata.markerType !== undefined && metadata.markerType >= 10 && metadata.markerType <= 13) {
      this.#consumed += permits
      this.replenish(push)
      return
    }
    let lease: Lease | undefined
    let id = delivery.messageId
    let chunks: ReadonlyArray<MessageId.MessageId> | undefined
    let whole = metadata
    let bytes = payload
    if (metadata.chunkCount !== undefined && metadata.chunkId !== undefined && metadata.chunkCount > 1) {
      retain(payload)
      const result = this.chunks.add(now, metadata, id, payload, (ids) => this.#abandoned(now, ids))
      if (result._tag !== "Complete") {
        this.#consumed++
        if (result._tag === "Dropped") {
          this.totals.dropped++
          events.push({ _tag: "MessageDropped", consumerId: this.id, id, why: `chunk: ${result.why}` })
        }
        this.replenish(push)
        return
      }
      whole = result.metadata
      bytes = result.payload
      chunks = result.ids
      id = { ...id, firstChunk: result.ids[0] }
    } else if (this.spec.reuseMemory === true) {
      lease = new Lease(payload)
      whole = Metadata.detached(metadata)
    } else retain(payload)
    this.#queue.push({
      id,
      metadata: whole,
      payload: bytes,
      redeliveryCount: delivery.redeliveryCount,
      brokerEntry,
      ackSet: delivery.ackSet,
      chunks,
      arrivedAt: now,
      permits,
      lease,
      repaid: 0,
      cursor: undefined
    })
    this.queued += permits
    this.queuedBytes += bytes.length
    if (!this.#notified) {
      this.#notified = true
      events.push({ _tag: "MessagesReady", consumerId: this.id })
    }
  }

  /** Takes up to `max` messages, in order; each repays its permit. */
  take(
    now: number,
    max: number,
    maxMessageSize: number,
    events: Events,
    push: (frame: Uint8Array) => void
  ): Array<ReceivedMessage> {
    const taken: Array<ReceivedMessage> = []
    while (taken.length < max) {
      const entry = this.#queue.peek()
      if (entry === undefined) break
      const size = entry.metadata.batchSize
      if (size === undefined) {
        this.#queue.shift()
        this.#leave(1, entry.payload.length)
        this.onTaken?.(now - entry.arrivedAt)
        const payload = this.#inflate(entry, maxMessageSize, events)
        if (payload !== undefined) {
          taken.push(ReceivedMessage.ofEntry(entry, payload))
          this.totals.received++
          this.totals.bytes += payload.length
        }
        entry.lease?.leave()
        continue
      }
      if (entry.cursor === undefined) {
        this.onTaken?.(now - entry.arrivedAt)
        const payload = this.#inflate(entry, maxMessageSize, events)
        if (payload === undefined) {
          this.#queue.shift()
          entry.lease?.leave()
          this.#leave(entry.permits, entry.payload.length)
          continue
        }
        entry.cursor = new BatchCursor(payload, size)
        this.#known(entry, size)
      }
      this.#members(entry, entry.cursor, size, max, taken, events)
    }
    if (this.spec.ackTimeout > 0) {
      for (const message of taken) this.unacked.set(this.#tracking(message.id), now + this.spec.ackTimeout, true)
    }
    // Whoever left some knows of them: what is announced next is the first message after none.
    if (this.#queue.length === 0) this.#notified = false
    this.replenish(push)
    return taken
  }

  /** What the broker knows to be acknowledged stays so: a set that says "up to here" is about the rest of its batch too. */
  #known({ ackSet, id }: Delivered, size: number): void {
    if (ackSet === undefined) return
    const acks = this.acks.track(id, size)
    for (let index = 0; index < size; index++) if (!isOpen(ackSet, index)) acks.clear(index)
  }

  #members(
    entry: Delivered,
    cursor: BatchCursor,
    size: number,
    max: number,
    taken: Array<ReceivedMessage>,
    events: Events
  ): void {
    const acks = this.acks.track(entry.id, size)
    while (taken.length < max) {
      let message: ReceivedMessage | undefined
      try {
        if (cursor.step()) {
          message = ReceivedMessage.ofBatch(entry, cursor, acks)
          // What can be malformed is read here, where it can be reported.
          if (cursor.hasProperties) void message.single
        }
      } catch (error) {
        message = undefined
        this.#report(entry.id, error, events)
      }
      if (message === undefined) {
        // Whole, or cut: what is missing was never there, its permits are repaid.
        this.#queue.shift()
        entry.lease?.leave()
        this.#leave(entry.permits - entry.repaid, entry.payload.length)
        return
      }
      const { batchIndex } = message
      if (entry.ackSet !== undefined && !isOpen(entry.ackSet, batchIndex)) {
        message.forget()
        continue
      }
      entry.repaid++
      this.#leave(1, 0)
      if (cursor.isCompactedOut) {
        acks.clear(batchIndex)
        message.forget()
        continue
      }
      taken.push(message)
      this.totals.received++
      this.totals.bytes += cursor.end - cursor.start
      if (cursor.index === size) {
        this.#queue.shift()
        entry.lease?.leave()
        this.#leave(0, entry.payload.length)
        return
      }
    }
  }

  #leave(messages: number, bytes: number): void {
    this.queued -= messages
    this.queuedBytes -= bytes
    this.#consumed += messages
  }

  #inflate(entry: Delivered, maxMessageSize: number, events: Events): Uint8Array | undefined {
    try {
      return inflate(entry, entry.chunks === undefined ? maxMessageSize : this.spec.chunks.maxBytes)
    } catch (error) {
      this.#report(entry.id, error, events)
      this.totals.dropped += entry.permits
      return undefined
    }
  }

  #report(id: MessageId.MessageId, error: unknown, events: Events): void {
    events.push({
      _tag: "MessageDropped",
      consumerId: this.id,
      id,
      why: truncate(error instanceof Error ? error.message : "unreadable")
    })
  }

  #abandoned(now: number, ids: ReadonlyArray<MessageId.MessageId>): void {
    if (!this.spec.autoAckOldestChunk) return
    for (const id of ids) this.acks.individual(now, id)
  }

  /** What the ack timeout counts by: the entry, which is what can be redelivered. */
  #tracking(id: MessageId.MessageId): MessageId.MessageId {
    return MessageId.entryOf(id)
  }

  // -------------------------------------------------------------------------------------------------------------------------------
  // Acknowledgement and redelivery

  /** Acknowledges one message; `false` when its position makes no sense. With `reuseMemory` its bytes are gone. */
  ack(now: number, message: ReceivedMessage): boolean {
    message.forget()
    if (this.spec.ackTimeout > 0) this.unacked.delete(this.#tracking(message.id))
    this.totals.acked++
    if (message.batch !== undefined) return this.acks.member(now, message.batch, message.batchIndex)
    if (message.chunks !== undefined) {
      for (const id of message.chunks) this.acks.individual(now, id)
      return true
    }
    return this.acks.individual(now, message.id)
  }

  ackId(now: number, id: MessageId.MessageId): boolean {
    if (this.spec.ackTimeout > 0) this.unacked.delete(this.#tracking(id))
    this.refused.delete(MessageId.entryOf(id))
    this.totals.acked++
    return this.acks.individual(now, id)
  }

  ackUpTo(now: number, id: MessageId.MessageId): boolean {
    this.unacked.deleteUpTo(id)
    this.totals.acked++
    return this.acks.cumulative(now, id)
  }

  /** Asks for a message again at `at`. */
  nack(id: MessageId.MessageId, at: number): void {
    const entry = MessageId.entryOf(id)
    this.unacked.delete(entry)
    this.totals.nacked++
    this.refused.set(entry, at, false)
  }

  /** Drops what waits here, as if it had been consumed: everything unacknowledged will come again. */
  redeliverAll(push: (frame: Uint8Array) => void): void {
    this.#consumed += this.queued
    this.#queue.clear()
    this.#notified = false
    this.queued = 0
    this.queuedBytes = 0
    this.unacked.clear()
    this.refused.clear()
    this.chunks.clear()
    this.lastDelivered = undefined
    if (!this.isSharedType) this.epoch++
    this.replenish(push)
  }

  /** Forgets what is queued and what is tracked: the broker will deliver it again. */
  clear(): void {
    this.#queue.clear()
    this.#notified = false
    this.queued = 0
    this.queuedBytes = 0
    this.balance = 0
    this.lastDelivered = undefined
    this.#consumed = 0
    this.unacked.clear()
    this.refused.clear()
    this.chunks.clear()
  }

  /** The session is gone. What waits here will come again, so it is dropped; what was handed out can still be acknowledged. */
  detach(): void {
    this.clear()
    this.openRequest = undefined
    this.isActive = undefined
    if (this.state !== "closed") this.state = "detached"
  }

  // -------------------------------------------------------------------------------------------------------------------------------
  // Time

  /** Permits are out, nothing is here, and nothing says why nothing comes. */
  get isSilent(): boolean {
    return this.state === "ready" && this.balance > 0 && this.#queue.length === 0 && !this.paused && !this.endOfTopic
  }

  nextDeadline(): number {
    let deadline = Math.min(this.unacked.deadline, this.refused.deadline, this.chunks.nextDeadline() ?? Infinity)
    const since = this.acks.since
    if (since !== undefined && this.state === "ready") {
      deadline = Math.min(deadline, this.acks.isFull ? since : since + this.spec.ackGroupTime)
    }
    return this.isSilent ? Math.min(deadline, this.#stall.deadline) : deadline
  }

  /** Positions to ask for again at `now`. */
  due(now: number): Array<MessageId.MessageId> {
    const ids = [...this.refused.take(now), ...this.unacked.take(now)]
    return ids.length > 1 ? ids.sort(MessageId.compare) : ids
  }

  expireChunks(now: number): void {
    this.chunks.expire(now, (ids) => this.#abandoned(now, ids))
  }

  /** Reports a silence once an episode: any dispatch begins a new one. */
  checkStall(now: number, events: Events): void {
    const silence = this.#stall.check(now, this.isSilent)
    if (silence === undefined) return
    events.push({ _tag: "ConsumerStalled", consumerId: this.id, permits: this.balance, silence })
  }

  /** A refusal that ends the consumer. */
  failure: BrokerFailure | undefined = undefined
}
