/**
 * One client connection: frames in, frames out, and what the client has attached. Each command is handled by the file of its concern in `handlers/`.
 */
import { Api, Commands, Frame, Metadata, ProtoWriter, WireFormatError } from "@perigee/proto/wire"
import type { Cluster, Node } from "./Cluster.ts"
import type { Consumer } from "./Consumer.ts"
import { type ErrorCode, fail, type Failure } from "./Failure.ts"
import type { FaultAction } from "./Faults.ts"
import * as Connecting from "./handlers/Connecting.ts"
import * as Consuming from "./handlers/Consuming.ts"
import * as Finding from "./handlers/Finding.ts"
import * as Producing from "./handlers/Producing.ts"
import * as SchemaRequests from "./handlers/SchemaRequests.ts"
import type { Delivery, Outlet, Redirect } from "./Outlet.ts"
import type { Subscription } from "./Subscription.ts"
import type { Producer, Topic } from "./Topic.ts"
import * as TopicName from "./TopicName.ts"
import type { Watcher } from "./Watchers.ts"

export interface AttachedProducer {
  readonly topic: Topic
  readonly producer: Producer
}

export interface AttachedConsumer {
  readonly topic: Topic
  readonly subscription: Subscription
  readonly consumer: Consumer
}

/** The request id that means "none" on the wire. */
const NO_REQUEST = 0xffff_ffff_ffff_ffffn

/** Producers closed by the broker, whose late messages are ignored instead of ending the connection. */
const REMEMBERED = 256

export class Session implements Outlet {
  readonly cluster: Cluster
  readonly node: Node
  readonly id: number
  state: "new" | "connected" | "closed" = "new"
  supportsPartialProducer = false
  supportsBrokerEntryMetadata = false
  readonly producers = new Map<number, AttachedProducer>()
  readonly consumers = new Map<number, AttachedConsumer>()
  readonly watchers = new Map<bigint, Watcher>()
  readonly #decoder: Frame.FrameDecoder
  #closedProducers: Array<number> = []
  #outbox: Array<Uint8Array> = []
  #outboxBytes = 0
  /** Called when the outbox has something, or the session closed. */
  onWork: () => void = () => {}

  constructor(cluster: Cluster, node: Node, id: number) {
    this.cluster = cluster
    this.node = node
    this.id = id
    this.#decoder = new Frame.FrameDecoder(cluster.limits.maxMessageSize + Frame.FRAME_PADDING)
  }

  // Bytes.

  /** Takes what the client wrote; a stream beyond repair closes the session. */
  receive(bytes: Uint8Array, now: number): void {
    if (this.state === "closed") return
    this.cluster.now = Math.max(this.cluster.now, now)
    try {
      this.#decoder.push(bytes)
      while (this.#decoder.next()) {
        this.#frame(this.#decoder.buffer, this.#decoder.commandStart, this.#decoder.commandEnd, this.#decoder.frameEnd)
        if (this.isClosed) return
      }
    } catch (cause) {
      if (!(cause instanceof WireFormatError)) throw cause
      this.abort()
    }
  }

  /** What waits to be written, and forgets it. */
  take(): ReadonlyArray<Uint8Array> {
    const taken = this.#outbox
    this.#outbox = []
    this.#outboxBytes = 0
    return taken
  }

  get isClosed(): boolean {
    return this.state === "closed"
  }

  get outboxBytes(): number {
    return this.#outboxBytes
  }

  get writable(): boolean {
    return !this.isClosed && this.#outboxBytes < this.cluster.limits.maxOutbox
  }

  /** Goes on with what stopped because too much waited. */
  drained(now: number): void {
    for (const { subscription } of this.consumers.values()) subscription.dispatch(now)
  }

  /** Ends the session: what it attached is gone, what waits to be written is still written. */
  close(): void {
    if (this.state === "closed") return
    this.state = "closed"
    this.node.sessions.delete(this)
    for (const watcher of this.watchers.values()) this.cluster.watchers.delete(watcher)
    const consumers = [...this.consumers.values()]
    const producers = [...this.producers.values()]
    this.consumers.clear()
    this.producers.clear()
    this.watchers.clear()
    for (const { consumer, subscription, topic } of consumers) {
      subscription.detach(consumer)
      topic.release(subscription)
      subscription.dispatch(this.cluster.now)
    }
    for (const { producer, topic } of producers) topic.detachProducer(producer)
    this.onWork()
  }

  /** Ends the session at once; nothing more is written. */
  abort(): void {
    this.#outbox = []
    this.#outboxBytes = 0
    this.close()
  }

  // In.

  #frame(buffer: Uint8Array, start: number, commandEnd: number, end: number): void {
    const type = Commands.peekType(buffer, start, commandEnd)
    if (type === Commands.Type.SEND) {
      const send = Commands.readSend(buffer, start, commandEnd)
      const topic = this.producers.get(send.producerId)?.topic.name
      // The decoder's memory is shared by many frames; what is stored is only this one.
      const section = buffer.slice(commandEnd, end)
      this.#guarded(type, topic, () => Producing.send(this, send, section), (failure) => {
        this.#sendError(send.producerId, send.sequenceId, failure)
      })
      return
    }
    const command = Commands.decode(buffer.subarray(start, commandEnd))
    this.#guarded(
      type,
      this.#topicOf(command),
      () => this.#handle(command),
      (failure) => this.#refuse(command, failure)
    )
  }

  #guarded(type: number, topic: string | undefined, handle: () => void, reject: (failure: Failure) => void): void {
    const fault = this.cluster.faults.intercept("inbound", type, topic)
    switch (fault?._tag) {
      case undefined:
      case "Corrupt":
        return handle()
      case "Drop":
        return
      case "Disconnect":
        return this.abort()
      case "Duplicate":
        handle()
        return handle()
      case "Delay":
        return this.cluster.after(fault.millis, () => {
          if (!this.isClosed) handle()
        })
      case "Reject":
        return reject(fail(fault.code, fault.message ?? `${fault.code} on request`))
    }
  }

  #topicOf(command: Api.BaseCommand): string | undefined {
    const named = command.producer ?? command.subscribe ?? command.lookupTopic ?? command.partitionMetadata ??
      command.getSchema ??
      command.getOrCreateSchema
    if (named !== undefined) return TopicName.normalise(named.topic)
    const consumer = command.ack ?? command.flow ?? command.seek ?? command.unsubscribe ?? command.closeConsumer ??
      command.getLastMessageId ?? command.redeliverUnacknowledgedMessages
    if (consumer !== undefined) return this.consumers.get(Number(consumer.consumerId))?.topic.name
    return command.closeProducer === undefined
      ? undefined
      : this.producers.get(Number(command.closeProducer.producerId))?.topic.name
  }

  #handle(command: Api.BaseCommand): void {
    if (
      this.state === "new" && command.type !== Commands.Type.CONNECT && command.type !== Commands.Type.AUTH_RESPONSE
    ) {
      return this.abort()
    }
    if (command.connect !== undefined) Connecting.connect(this, command.connect)
    else if (command.authResponse !== undefined) Connecting.authResponse(this, command.authResponse)
    else if (command.ping !== undefined) this.reply({ type: Commands.Type.PONG, pong: {} })
    else if (command.lookupTopic !== undefined) Finding.lookup(this, command.lookupTopic)
    else if (command.partitionMetadata !== undefined) Finding.partitions(this, command.partitionMetadata)
    else if (command.getTopicsOfNamespace !== undefined) Finding.topicsOfNamespace(this, command.getTopicsOfNamespace)
    else if (command.watchTopicList !== undefined) Finding.watch(this, command.watchTopicList)
    else if (command.watchTopicListClose !== undefined) Finding.unwatch(this, command.watchTopicListClose)
    else if (command.producer !== undefined) Producing.open(this, command.producer)
    else if (command.closeProducer !== undefined) Producing.close(this, command.closeProducer)
    else if (command.subscribe !== undefined) Consuming.subscribe(this, command.subscribe)
    else if (command.flow !== undefined) Consuming.flow(this, command.flow)
    else if (command.ack !== undefined) Consuming.acknowledge(this, command.ack)
    else if (command.redeliverUnacknowledgedMessages !== undefined) {
      Consuming.redeliver(this, command.redeliverUnacknowledgedMessages)
    } else if (command.seek !== undefined) Consuming.seek(this, command.seek)
    else if (command.unsubscribe !== undefined) Consuming.unsubscribe(this, command.unsubscribe)
    else if (command.closeConsumer !== undefined) Consuming.close(this, command.closeConsumer)
    else if (command.getLastMessageId !== undefined) Consuming.lastMessageId(this, command.getLastMessageId)
    else if (command.consumerStats !== undefined) Consuming.stats(this, command.consumerStats)
    else if (command.getSchema !== undefined) SchemaRequests.get(this, command.getSchema)
    else if (command.getOrCreateSchema !== undefined) SchemaRequests.getOrCreate(this, command.getOrCreateSchema)
    else if (command.pong === undefined) {
      this.#refuse(command, fail("NotAllowedError", "this broker does not know the command"))
    }
  }

  /** Answers a request with an error, in the form that its kind has. */
  #refuse(command: Api.BaseCommand, failure: Failure): void {
    const { message } = failure
    const error = Api.ServerError[failure.code]
    const { ack, getOrCreateSchema, getSchema, lookupTopic, partitionMetadata } = command
    if (command.connect !== undefined) {
      this.error(NO_REQUEST, failure)
      this.close()
    } else if (lookupTopic !== undefined) Finding.lookupFailed(this, lookupTopic.requestId, failure)
    else if (partitionMetadata !== undefined) {
      this.reply({
        type: Commands.Type.PARTITIONED_METADATA_RESPONSE,
        partitionMetadataResponse: {
          requestId: partitionMetadata.requestId,
          response: Api.CommandPartitionedTopicMetadataResponse_LookupType.Failed,
          error,
          message
        }
      })
    } else if (getSchema !== undefined) {
      this.reply({
        type: Commands.Type.GET_SCHEMA_RESPONSE,
        getSchemaResponse: { requestId: getSchema.requestId, errorCode: error, errorMessage: message }
      })
    } else if (getOrCreateSchema !== undefined) {
      this.reply({
        type: Commands.Type.GET_OR_CREATE_SCHEMA_RESPONSE,
        getOrCreateSchemaResponse: { requestId: getOrCreateSchema.requestId, errorCode: error, errorMessage: message }
      })
    } else if (ack !== undefined) {
      if (Object.hasOwn(ack, "requestId")) {
        this.reply({
          type: Commands.Type.ACK_RESPONSE,
          ackResponse: { consumerId: ack.consumerId, requestId: ack.requestId, error, message }
        })
      }
    } else {
      const requestId = Object.values(command as object).map(requestIdOf).find((id) => id !== undefined)
      if (requestId !== undefined) this.error(requestId, failure)
    }
  }

  // Out.

  reply(command: Commands.CommandInit & { readonly type: Commands.Type }, topic?: string): void {
    this.#emit(command.type, Commands.encode(command), topic)
  }

  success(requestId: bigint): void {
    this.reply({ type: Commands.Type.SUCCESS, success: { requestId } })
  }

  error(requestId: bigint, { code, message }: Failure): void {
    this.reply({ type: Commands.Type.ERROR, error: { requestId, error: Api.ServerError[code as ErrorCode], message } })
  }

  #sendError(producerId: number, sequenceId: bigint, { code, message }: Failure): void {
    this.reply({
      type: Commands.Type.SEND_ERROR,
      sendError: { producerId: BigInt(producerId), sequenceId, error: Api.ServerError[code], message }
    }, this.producers.get(producerId)?.topic.name)
  }

  sendError(producerId: number, sequenceId: bigint, failure: Failure): void {
    this.#sendError(producerId, sequenceId, failure)
  }

  #emit(type: number, frame: Uint8Array, topic: string | undefined): void {
    const fault = this.cluster.faults.intercept("outbound", type, topic)
    if (fault === undefined) return this.#push(frame)
    this.#emitFaulty(fault, frame)
  }

  #emitFaulty(fault: FaultAction, frame: Uint8Array): void {
    switch (fault._tag) {
      case "Drop":
      case "Reject":
        return
      case "Disconnect":
        return this.abort()
      case "Duplicate":
        this.#push(frame)
        return this.#push(frame)
      case "Delay":
        return this.cluster.after(fault.millis, () => this.#push(frame))
      case "Corrupt": {
        const bent = frame.slice()
        bent[bent.length - 1]! ^= 1
        return this.#push(bent)
      }
    }
  }

  #push(frame: Uint8Array): void {
    if (this.isClosed) return
    this.#outbox.push(frame)
    this.#outboxBytes += frame.length
    // A client that asks for more than it reads is not kept.
    if (this.#outboxBytes > 8 * this.cluster.limits.maxOutbox) return this.abort()
    this.onWork()
  }

  // What topics ask of it.

  deliver(delivery: Delivery): void {
    const { entry } = delivery
    const command = Commands.encodeBare({
      type: Commands.Type.MESSAGE,
      message: {
        consumerId: BigInt(delivery.consumerId),
        messageId: { ledgerId: BigInt(entry.ledger), entryId: BigInt(entry.entry), partition: delivery.partition },
        redeliveryCount: delivery.redeliveryCount,
        ackSet: (delivery.ackSet ?? []).map((word) => BigInt.asIntN(64, word)),
        ...(delivery.consumerEpoch === undefined ? {} : { consumerEpoch: delivery.consumerEpoch })
      }
    })
    let broker = new Uint8Array(0)
    if (this.supportsBrokerEntryMetadata) {
      const writer = new ProtoWriter(32)
      Metadata.writeBrokerEntry(writer, { brokerTimestamp: entry.storedAt, index: BigInt(entry.lastMessage) })
      broker = new Uint8Array(6 + writer.view().length)
      broker.set([0x0e, 0x02])
      new DataView(broker.buffer).setUint32(2, writer.view().length)
      broker.set(writer.view(), 6)
    }
    const frame = new Uint8Array(8 + command.length + broker.length + entry.section.length)
    const view = new DataView(frame.buffer)
    view.setUint32(0, frame.length - 4)
    view.setUint32(4, command.length)
    frame.set(command, 8)
    frame.set(broker, 8 + command.length)
    frame.set(entry.section, 8 + command.length + broker.length)
    this.#emit(Commands.Type.MESSAGE, frame, this.consumers.get(delivery.consumerId)?.topic.name)
  }

  activeChange(consumerId: number, active: boolean): void {
    this.reply({
      type: Commands.Type.ACTIVE_CONSUMER_CHANGE,
      activeConsumerChange: { consumerId: BigInt(consumerId), isActive: active }
    })
  }

  endOfTopic(consumerId: number): void {
    this.reply({ type: Commands.Type.REACHED_END_OF_TOPIC, reachedEndOfTopic: { consumerId: BigInt(consumerId) } })
  }

  closeConsumer(consumerId: number, redirect: Redirect | undefined): void {
    if (!this.consumers.delete(consumerId)) return
    this.reply({
      type: Commands.Type.CLOSE_CONSUMER,
      closeConsumer: { consumerId: BigInt(consumerId), requestId: NO_REQUEST, ...assigned(redirect) }
    })
  }

  closeProducer(producerId: number, redirect: Redirect | undefined): void {
    if (!this.forgetProducer(producerId)) return
    this.reply({
      type: Commands.Type.CLOSE_PRODUCER,
      closeProducer: { producerId: BigInt(producerId), requestId: NO_REQUEST, ...assigned(redirect) }
    })
  }

  fenceProducer(producerId: number): void {
    this.producers.delete(producerId)
  }

  migrated(resource: "producer" | "consumer", id: number, redirect: Redirect): void {
    this.reply({
      type: Commands.Type.TOPIC_MIGRATED,
      topicMigrated: {
        resourceId: BigInt(id),
        resourceType: resource === "producer"
          ? Api.CommandTopicMigrated_ResourceType.Producer
          : Api.CommandTopicMigrated_ResourceType.Consumer,
        brokerServiceUrl: redirect.serviceUrl
      }
    })
  }

  forgetProducer(producerId: number): boolean {
    if (!this.producers.delete(producerId)) return false
    this.#closedProducers.push(producerId)
    if (this.#closedProducers.length > REMEMBERED) this.#closedProducers.shift()
    return true
  }

  wasClosed(producerId: number): boolean {
    return this.#closedProducers.includes(producerId)
  }
}

const requestIdOf = (part: unknown): bigint | undefined =>
  typeof part === "object" && part !== null && "requestId" in part && typeof part.requestId === "bigint"
    ? part.requestId
    : undefined

const assigned = (redirect: Redirect | undefined) =>
  redirect === undefined ? {} : { assignedBrokerServiceUrl: redirect.serviceUrl }
