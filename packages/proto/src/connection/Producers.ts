/**
 * The producers of a connection: opening, receipts, closing.
 *
 * @since 0.1.0
 */
import * as Commands from "../wire/Commands.ts"
import type { BaseCommand } from "../wire/gen/PulsarApi_pb.ts"
import { ProducerAccessMode, ServerError } from "../wire/gen/PulsarApi_pb.ts"
import { partitionOf } from "../TopicName.ts"
import { type BrokerFailure, NO_ANSWER, truncate } from "./Events.ts"
import type { ProducerSlot } from "./ProducerSlot.ts"
import type { PendingRequest } from "./Requests.ts"
import type { OnOutcome, Session } from "./Session.ts"

export class Producers {
  readonly #session: Session
  readonly #slots = new Map<number, ProducerSlot>()
  readonly #partitions = new Map<number, number>()

  constructor(session: Session) {
    this.#session = session
  }

  get slots(): Iterable<ProducerSlot> {
    return this.#slots.values()
  }

  get(id: number): ProducerSlot | undefined {
    return this.#slots.get(id)
  }

  /** Opens a producer, for the first time or again. The end is `ProducerReady` or `ProducerFailed`. */
  open(now: number, slot: ProducerSlot): void {
    if (slot.state === "closed") return
    this.#slots.set(slot.id, slot)
    this.#partitions.set(slot.id, partitionOf(slot.spec.topic))
    slot.state = "opening"
    slot.maxMessageSize = this.#session.maxMessageSize
    if (slot.hasAttached) slot.epoch++
    const { spec } = slot
    const request = this.#session.request(
      now,
      { _tag: "OpenProducer", producerId: slot.id },
      (requestId) => ({
        type: Commands.Type.PRODUCER,
        producer: {
          topic: spec.topic,
          producerId: BigInt(slot.id),
          requestId,
          ...(slot.name === undefined ? {} : { producerName: slot.name }),
          userProvidedProducerName: spec.name !== undefined,
          metadata: spec.properties.map(([key, value]) => ({ key, value })),
          producerAccessMode: spec.accessMode as ProducerAccessMode,
          ...(spec.schema === undefined ? {} : { schema: spec.schema }),
          ...(slot.epoch > 0 ? { epoch: BigInt(slot.epoch) } : {}),
          ...(slot.topicEpoch === undefined ? {} : { topicEpoch: slot.topicEpoch }),
          ...(spec.initialSubscription === undefined ? {} : { initialSubscriptionName: spec.initialSubscription })
        }
      }),
      () => undefined,
      spec.accessMode === ProducerAccessMode.WaitForExclusive ? Infinity : undefined
    )
    slot.openRequest = request.id
    if (request.outcome !== undefined) this.#failed(slot, { code: 0, message: "there is no session" })
  }

  /** PRODUCER_SUCCESS; answers to requests that were superseded are ignored. */
  opened(command: BaseCommand): void {
    const success = command.producerSuccess
    if (success === undefined) return
    const id = Number(success.requestId)
    const request = this.#session.requests.get(id)
    if (request?.kind._tag !== "OpenProducer") return
    const slot = this.#slots.get(request.kind.producerId)
    // Queued behind another exclusive producer: the same request is answered again when it is our turn.
    if (!success.producerReady && slot !== undefined) return
    this.#session.requests.settle(id, { _tag: "Reply", command })
    if (slot === undefined || slot.openRequest !== id) return
    slot.attached(
      success.producerName,
      success.lastSequenceId,
      success.schemaVersion,
      Object.hasOwn(success, "topicEpoch") ? success.topicEpoch : undefined
    )
    slot.maxMessageSize = this.#session.maxMessageSize
    this.#session.events.push({ _tag: "ProducerReady", producerId: slot.id })
  }

  /** The open request of a producer ended without success. */
  openFailed(now: number, producerId: number, requestId: number, failure: BrokerFailure): void {
    const slot = this.#slots.get(producerId)
    if (slot === undefined || slot.openRequest !== requestId) return
    // The broker may have registered it all the same: the name must not stay taken.
    if (failure.code === NO_ANSWER) this.#closeQuietly(now, slot.id)
    this.#failed(slot, failure)
  }

  #closeQuietly(now: number, id: number, onDone?: OnOutcome): PendingRequest {
    return this.#session.request(now, { _tag: "CloseProducer", producerId: id }, (requestId) => ({
      type: Commands.Type.CLOSE_PRODUCER,
      closeProducer: { producerId: BigInt(id), requestId }
    }), onDone)
  }

  #failed(slot: ProducerSlot, failure: BrokerFailure): void {
    slot.openRequest = undefined
    slot.state = "detached"
    this.#session.events.push({ _tag: "ProducerFailed", producerId: slot.id, failure })
  }

  receipt(receipt: Commands.SendReceipt): void {
    const slot = this.#slots.get(receipt.producerId)
    if (slot === undefined) return
    const { highestSequenceId: highest, sequenceId } = receipt
    const to = highest > sequenceId && highest <= Number.MAX_SAFE_INTEGER ? highest : sequenceId
    slot.receipt(
      sequenceId,
      Math.max(to, sequenceId),
      receipt.messageId,
      this.#partitions.get(slot.id) ?? -1,
      this.#session.events
    )
  }

  sendError({ sendError: error }: BaseCommand): void {
    if (error === undefined) return
    const slot = this.#slots.get(Number(error.producerId))
    if (slot === undefined) return
    const failure = { code: error.error, message: truncate(error.message) }
    if (error.error === ServerError.TopicTerminatedError) {
      slot.failAll("the topic is terminated", this.#session.events, failure)
      this.#session.events.push({ _tag: "ProducerFailed", producerId: slot.id, failure })
    } else slot.refused(Number(error.sequenceId), failure, this.#session.events)
  }

  /** The broker closed a producer; its sends wait until it is attached again. */
  closedByBroker({ closeProducer: close }: BaseCommand, tls: boolean): void {
    if (close === undefined) return
    const slot = this.#slots.get(Number(close.producerId))
    if (slot === undefined || slot.state === "closed") return
    slot.detach()
    const assigned = tls ? close.assignedBrokerServiceUrlTls : close.assignedBrokerServiceUrl
    this.#session.events.push({
      _tag: "ProducerClosed",
      producerId: slot.id,
      assignedUrl:
        assigned === "" || !Object.hasOwn(close, tls ? "assignedBrokerServiceUrlTls" : "assignedBrokerServiceUrl")
          ? undefined
          : assigned
    })
  }

  /** Closes a producer: what it has staged goes first. Without `onDone` nobody waits for the answer. */
  close(now: number, slot: ProducerSlot, onDone?: OnOutcome): PendingRequest | undefined {
    slot.flush()
    slot.stage((frame) => {
      this.#session.push(frame)
      return true
    })
    slot.state = "closed"
    this.#forget(slot.id)
    if (!this.#session.isConnected) return undefined
    return this.#closeQuietly(now, slot.id, onDone)
  }

  /** Ends everything a producer has pending, and the producer. */
  abort(slot: ProducerSlot, why: string): void {
    slot.failAll(why, this.#session.events)
    this.#forget(slot.id)
  }

  /** Lets go of a producer that moves to another connection, and tells the broker if it is still attached here. */
  release(id: number, now = 0): void {
    const slot = this.#slots.get(id)
    const attached = slot?.state === "ready" || slot?.state === "opening"
    slot?.detach()
    if (attached && this.#session.isConnected) this.#closeQuietly(now, id)
    this.#forget(id)
  }

  #forget(id: number): void {
    this.#slots.delete(id)
    this.#partitions.delete(id)
  }

  /** Frames of all producers whose turn it is, as many as `room` bytes take. */
  stage(room: number): void {
    if (!this.#session.isConnected) return
    let left = room
    const push = (frame: Uint8Array): boolean => {
      this.#session.push(frame)
      left -= frame.length
      return left > 0
    }
    for (const slot of this.#slots.values()) {
      slot.stage(push)
      if (left <= 0) return
    }
  }

  nextDeadline(): number {
    let deadline = Infinity
    for (const slot of this.#slots.values()) deadline = Math.min(deadline, slot.nextDeadline())
    return deadline
  }

  tick(now: number): void {
    for (const slot of this.#slots.values()) slot.tick(now, this.#session.events)
  }

  /** The session is gone: everyone is detached. The slots stay, so that their timeouts still count. */
  detach(): void {
    for (const slot of this.#slots.values()) slot.detach()
  }
}
