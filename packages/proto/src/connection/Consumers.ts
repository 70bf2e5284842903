/**
 * The consumers of a connection: subscribing, deliveries, acknowledgements, seeking, closing.
 *
 * @since 0.1.0
 */
import type { ReceivedMessage } from "../ReceivedMessage.ts"
import * as Commands from "../wire/Commands.ts"
import { readPayload } from "../wire/Frame.ts"
import type { BaseCommand } from "../wire/gen/PulsarApi_pb.ts"
import { CommandSubscribe_InitialPosition, CommandSubscribe_SubType, KeySharedMode } from "../wire/gen/PulsarApi_pb.ts"
import type * as MessageId from "../wire/MessageId.ts"
import * as Metadata from "../wire/Metadata.ts"
import type { ConsumerSlot } from "./ConsumerSlot.ts"
import { type BrokerFailure, NO_ANSWER } from "./Events.ts"
import type { PendingRequest } from "./Requests.ts"
import type { OnOutcome, Session } from "./Session.ts"

const types = {
  exclusive: CommandSubscribe_SubType.Exclusive,
  shared: CommandSubscribe_SubType.Shared,
  failover: CommandSubscribe_SubType.Failover,
  keyShared: CommandSubscribe_SubType.Key_Shared
}

const wireId = (id: MessageId.MessageId) => ({
  ledgerId: BigInt.asUintN(64, id.ledger),
  entryId: BigInt.asUintN(64, id.entry),
  partition: id.partition,
  batchIndex: id.batchIndex,
  batchSize: id.batchSize
})

const pairs = (properties: Metadata.Properties) => properties.map(([key, value]) => ({ key, value }))

export class Consumers {
  readonly #session: Session
  readonly #slots = new Map<number, ConsumerSlot>()

  constructor(session: Session) {
    this.#session = session
  }

  get slots(): Iterable<ConsumerSlot> {
    return this.#slots.values()
  }

  get(id: number): ConsumerSlot | undefined {
    return this.#slots.get(id)
  }

  /** Subscribes, for the first time or again. The end is `ConsumerReady` or `ConsumerFailed`. */
  subscribe(now: number, slot: ConsumerSlot): void {
    if (slot.state === "closed") return
    // The broker answers a repeated SUBSCRIBE and changes nothing: what it delivers in between would be dropped here and come again only with
    // the next session. So the earlier consumer is closed first; the broker then starts over.
    if (this.#slots.get(slot.id) === slot && (slot.state === "ready" || slot.state === "opening")) {
      this.#leave(now, slot)
    }
    this.#slots.set(slot.id, slot)
    slot.state = "opening"
    const { spec } = slot
    // A durable cursor that was attached once knows better than the client where to go on.
    const start = spec.durable && slot.hasAttached ? undefined : slot.startMessageId
    const request = this.#session.request(now, { _tag: "Subscribe", consumerId: slot.id }, (requestId) => ({
      type: Commands.Type.SUBSCRIBE,
      subscribe: {
        topic: spec.topic,
        subscription: spec.subscription,
        subType: types[spec.type],
        consumerId: BigInt(slot.id),
        requestId,
        ...(spec.name === undefined ? {} : { consumerName: spec.name }),
        ...(spec.priorityLevel === undefined ? {} : { priorityLevel: spec.priorityLevel }),
        durable: spec.durable,
        ...(start === undefined ? {} : { startMessageId: wireId(start) }),
        metadata: pairs(spec.properties),
        readCompacted: spec.readCompacted,
        ...(spec.schema === undefined ? {} : { schema: spec.schema }),
        initialPosition: spec.initialPosition === "earliest"
          ? CommandSubscribe_InitialPosition.Earliest
          : CommandSubscribe_InitialPosition.Latest,
        ...(spec.replicateSubscriptionState ? { replicateSubscriptionState: true } : {}),
        forceTopicCreation: spec.forceTopicCreation,
        ...(spec.startRollback > 0 && !slot.hasAttached
          ? { startMessageRollbackDurationSec: BigInt(Math.floor(spec.startRollback)) }
          : {}),
        ...(spec.type !== "keyShared" ? {} : {
          keySharedMeta: {
            keySharedMode: spec.keyShared?.sticky === undefined ? KeySharedMode.AUTO_SPLIT : KeySharedMode.STICKY,
            hashRanges: (spec.keyShared?.sticky ?? []).map(([from, to]) => ({ start: from, end: to })),
            allowOutOfOrderDelivery: spec.keyShared?.allowOutOfOrder ?? false
          }
        }),
        subscriptionProperties: pairs(spec.subscriptionProperties),
        ...(slot.isSharedType ? {} : { consumerEpoch: BigInt(slot.epoch) })
      }
    }), () => undefined)
    slot.openRequest = request.id
    if (request.outcome !== undefined) this.#failed(slot, { code: 0, message: "there is no session" })
  }

  /** Leaves and comes back on the same session: what is unacknowledged is delivered again. */
  resubscribe(now: number, slot: ConsumerSlot): void {
    this.#leave(now, slot)
    this.subscribe(now, slot)
  }

  #leave(now: number, slot: ConsumerSlot): void {
    this.flushAcks(now, slot)
    this.#session.requests.settleAcks(slot.id, { _tag: "SessionLost" })
    if (this.#session.isConnected) this.#closeQuietly(now, slot.id)
    slot.detach()
  }

  /** The SUCCESS of a subscribe: permits go out now, earlier ones would be ignored. */
  subscribed(now: number, consumerId: number, requestId: number): void {
    const slot = this.#slots.get(consumerId)
    if (slot === undefined || slot.openRequest !== requestId || slot.state === "closed") return
    slot.openRequest = undefined
    slot.hasAttached = true
    slot.state = "ready"
    if (!slot.paused) slot.grantInitial(now, this.#session.push)
    this.#session.events.push({ _tag: "ConsumerReady", consumerId })
  }

  subscribeFailed(now: number, consumerId: number, requestId: number, failure: BrokerFailure): void {
    const slot = this.#slots.get(consumerId)
    if (slot === undefined || slot.openRequest !== requestId) return
    if (failure.code === NO_ANSWER) this.#closeQuietly(now, consumerId)
    this.#failed(slot, failure)
  }

  #closeQuietly(now: number, id: number, onDone?: OnOutcome): PendingRequest {
    return this.#session.request(now, { _tag: "CloseConsumer", consumerId: id }, (requestId) => ({
      type: Commands.Type.CLOSE_CONSUMER,
      closeConsumer: { consumerId: BigInt(id), requestId }
    }), onDone)
  }

  #failed(slot: ConsumerSlot, failure: BrokerFailure): void {
    slot.openRequest = undefined
    if (slot.state !== "closed") slot.state = "detached"
    this.#session.events.push({ _tag: "ConsumerFailed", consumerId: slot.id, failure })
  }

  /** A MESSAGE frame: command in `[start, commandEnd)`, payload section behind it. */
  message(now: number, bytes: Uint8Array, start: number, commandEnd: number, frameEnd: number): void {
    const delivery = Commands.readDelivery(bytes, start, commandEnd)
    const slot = this.#slots.get(delivery.consumerId)
    const section = readPayload(bytes, commandEnd, frameEnd)
    if (section.expected !== section.computed) {
      this.#session.events.push({
        _tag: "ChecksumMismatch",
        expected: section.expected ?? 0,
        computed: section.computed
      })
      // The message stays unacknowledged; its permit does not stay lost. Whoever acknowledges up to a later one has to know of it.
      if (slot !== undefined && slot.state === "ready") {
        this.#session.events.push({
          _tag: "MessageDropped",
          consumerId: slot.id,
          id: delivery.messageId,
          why: "its checksum is wrong"
        })
        slot.dropped(1)
        slot.replenish(this.#session.push)
      }
      return
    }
    if (slot === undefined) return
    const metadata = Metadata.read(bytes, section.metadataStart, section.metadataEnd)
    const payload = bytes.subarray(section.metadataEnd, section.payloadEnd)
    slot.deliver(now, delivery, metadata, payload, section.brokerEntry, this.#session.events, this.#session.push)
  }

  take(now: number, slot: ConsumerSlot, max: number): Array<ReceivedMessage> {
    return slot.take(now, max, this.#session.maxMessageSize, this.#session.events, this.#session.push)
  }

  /** Sends what was acknowledged. With `onDone` the broker answers; otherwise nobody hears. */
  flushAcks(now: number, slot: ConsumerSlot, onDone?: OnOutcome): void {
    if (!this.#session.isConnected || slot.state !== "ready") {
      if (onDone !== undefined) {
        this.#session.requests.settle(this.#session.requests.add({ _tag: "Plain" }, now, 0, onDone).id, {
          _tag: "SessionLost"
        })
      }
      return
    }
    const commands = slot.acks.take()
    for (const [index, command] of commands.entries()) {
      let requestId: number | undefined
      if (onDone !== undefined && index === commands.length - 1) {
        requestId =
          this.#session.requests.add({ _tag: "Ack", consumerId: slot.id }, now, this.#session.operationTimeout, onDone)
            .id
      }
      this.#session.push(Commands.encodeAck({ consumerId: slot.id, requestId, ...command }))
    }
    if (commands.length === 0 && onDone !== undefined) {
      // Nothing is left to say: an empty acknowledgement is no command. The last one was answered or needs no answer.
      const request = this.#session.requests.add({ _tag: "Plain" }, now, 0, onDone)
      this.#session.requests.settle(request.id, {
        _tag: "Reply",
        command: Commands.decode(Uint8Array.of(8, Commands.Type.SUCCESS))
      })
    }
  }

  /** Asks for messages again: these, or all that are not acknowledged. */
  redeliver(slot: ConsumerSlot, ids: ReadonlyArray<MessageId.MessageId> | undefined): void {
    if (slot.state !== "ready" || !this.#session.isConnected) return
    const individual = ids !== undefined && slot.isSharedType
    if (!individual) slot.redeliverAll(this.#session.push)
    slot.totals.redelivered += ids?.length ?? 0
    this.#session.send({
      type: Commands.Type.REDELIVER_UNACKNOWLEDGED_MESSAGES,
      redeliverUnacknowledgedMessages: {
        consumerId: BigInt(slot.id),
        messageIds: individual ? ids.map(wireId) : [],
        ...(slot.isSharedType ? {} : { consumerEpoch: BigInt(slot.epoch) })
      }
    })
  }

  pause(slot: ConsumerSlot): void {
    slot.paused = true
  }

  resume(now: number, slot: ConsumerSlot): void {
    if (!slot.paused) return
    slot.paused = false
    if (slot.state !== "ready") return
    if (slot.balance <= 0 && slot.queued === 0) slot.grantInitial(now, this.#session.push)
    else slot.replenish(this.#session.push)
  }

  /** Moves the cursor. Arrivals are dropped until the consumer is subscribed again; the end is `ConsumerReady` or `onDone` with a failure. */
  seek(now: number, slot: ConsumerSlot, to: MessageId.MessageId | number, onDone: OnOutcome): PendingRequest {
    slot.state = "seeking"
    slot.clear()
    slot.acks.clear()
    slot.endOfTopic = false
    if (!slot.spec.durable && typeof to !== "number") slot.startMessageId = to
    return this.#session.request(now, { _tag: "Seek", consumerId: slot.id }, (requestId) => ({
      type: Commands.Type.SEEK,
      seek: {
        consumerId: BigInt(slot.id),
        requestId,
        ...(typeof to === "number" ? { messagePublishTime: BigInt(Math.trunc(to)) } : { messageId: wireId(to) })
      }
    }), onDone)
  }

  /** The broker moved the cursor and detached the consumer, or did neither. */
  sought(now: number, consumerId: number, moved: boolean): void {
    const slot = this.#slots.get(consumerId)
    if (slot === undefined || slot.state !== "seeking") return
    if (moved) return this.subscribe(now, slot)
    slot.state = "ready"
    if (!slot.paused) slot.grantInitial(now, this.#session.push)
  }

  lastMessageId(now: number, slot: ConsumerSlot, onDone: OnOutcome): PendingRequest {
    return this.#session.request(now, { _tag: "Plain" }, (requestId) => ({
      type: Commands.Type.GET_LAST_MESSAGE_ID,
      getLastMessageId: { consumerId: BigInt(slot.id), requestId }
    }), onDone)
  }

  /** What the broker knows of the consumer: the permits it has for it, and whether it holds it back. */
  stats(now: number, slot: ConsumerSlot, onDone: OnOutcome): PendingRequest {
    return this.#session.request(now, { _tag: "Plain" }, (requestId) => ({
      type: Commands.Type.CONSUMER_STATS,
      consumerStats: { consumerId: BigInt(slot.id), requestId }
    }), onDone)
  }

  unsubscribe(now: number, slot: ConsumerSlot, force: boolean, onDone: OnOutcome): PendingRequest {
    return this.#session.request(now, { _tag: "Unsubscribe", consumerId: slot.id }, (requestId) => ({
      type: Commands.Type.UNSUBSCRIBE,
      unsubscribe: { consumerId: BigInt(slot.id), requestId, ...(force ? { force } : {}) }
    }), onDone)
  }

  unsubscribed(consumerId: number): void {
    const slot = this.#slots.get(consumerId)
    if (slot !== undefined) slot.state = "closed"
    this.#slots.delete(consumerId)
  }

  /** Closes a consumer: its acknowledgements go first. Without `onDone` nobody waits for the answer. */
  close(now: number, slot: ConsumerSlot, onDone?: OnOutcome): PendingRequest | undefined {
    if (slot.state === "ready") this.flushAcks(now, slot)
    slot.state = "closed"
    slot.clear()
    this.#slots.delete(slot.id)
    if (!this.#session.isConnected) return undefined
    return this.#closeQuietly(now, slot.id, onDone)
  }

  /** The broker closed a consumer; while it seeks that is how the broker begins. */
  closedByBroker({ closeConsumer: close }: BaseCommand, tls: boolean): void {
    if (close === undefined) return
    const slot = this.#slots.get(Number(close.consumerId))
    if (slot === undefined || slot.state === "closed" || slot.state === "seeking") return
    this.#session.requests.settleAcks(slot.id, { _tag: "SessionLost" })
    slot.detach()
    const field = tls ? "assignedBrokerServiceUrlTls" : "assignedBrokerServiceUrl"
    const assigned = Object.hasOwn(close, field) && close[field] !== "" ? close[field] : undefined
    this.#session.events.push({ _tag: "ConsumerClosed", consumerId: slot.id, assignedUrl: assigned })
  }

  endOfTopic({ reachedEndOfTopic: end }: BaseCommand): void {
    const slot = end === undefined ? undefined : this.#slots.get(Number(end.consumerId))
    if (slot === undefined || slot.endOfTopic) return
    slot.endOfTopic = true
    this.#session.events.push({ _tag: "EndOfTopic", consumerId: slot.id })
  }

  activeChanged(now: number, { activeConsumerChange: change }: BaseCommand): void {
    const slot = change === undefined ? undefined : this.#slots.get(Number(change.consumerId))
    if (slot === undefined) return
    const active = change!.isActive
    slot.isActive = active
    // A standby may come in with nothing granted; then its turn begins with the first grant.
    if (active && slot.state === "ready" && slot.balance <= 0 && slot.queued === 0 && !slot.paused) {
      slot.grantInitial(now, this.#session.push)
    }
    this.#session.events.push({ _tag: "ActiveChanged", consumerId: slot.id, active })
  }

  /** Lets go of a consumer that moves to another connection, and tells the broker if it is still attached here. */
  release(id: number, now = 0): void {
    const slot = this.#slots.get(id)
    if (slot?.state === "ready" || slot?.state === "opening") this.#leave(now, slot)
    else slot?.detach()
    this.#slots.delete(id)
  }

  nextDeadline(): number {
    let deadline = Infinity
    for (const slot of this.#slots.values()) deadline = Math.min(deadline, slot.nextDeadline())
    return deadline
  }

  tick(now: number): void {
    for (const slot of this.#slots.values()) {
      slot.expireChunks(now)
      const due = slot.due(now)
      if (due.length > 0) this.redeliver(slot, due)
      const since = slot.acks.since
      if (
        since !== undefined && slot.state === "ready" && (slot.acks.isFull || now >= since + slot.spec.ackGroupTime)
      ) {
        this.flushAcks(now, slot)
      }
      slot.checkStall(now, this.#session.events)
    }
  }

  detach(): void {
    for (const slot of this.#slots.values()) slot.detach()
  }
}
