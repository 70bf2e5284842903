/** The broker's side of one connection, by hand: reads what a connection transmits and answers with frames. */
import { assert } from "@effect/vitest"
import { Connection, type ConnectionOptions } from "../../src/Connection.ts"
import type { ConnectionEvent } from "../../src/connection/Events.ts"
import { ConsumerSlot } from "../../src/connection/ConsumerSlot.ts"
import type { ConsumerSpec } from "../../src/connection/ConsumerSpec.ts"
import { ProducerSlot } from "../../src/connection/ProducerSlot.ts"
import type { ProducerSpec } from "../../src/connection/ProducerSpec.ts"
import type { SendOutcome } from "../../src/connection/SendEntry.ts"
import { ProtoWriter } from "../../src/internal/ProtoWriter.ts"
import * as Commands from "../../src/wire/Commands.ts"
import * as Frame from "../../src/wire/Frame.ts"
import type { BaseCommand } from "../../src/wire/gen/PulsarApi_pb.ts"
import * as Metadata from "../../src/wire/Metadata.ts"

export { Connection } from "../../src/Connection.ts"
export const Type = Commands.Type

export const bytes = (text: string) => new TextEncoder().encode(text)

export interface Seen {
  readonly type: number
  readonly command: BaseCommand
  readonly metadata: Metadata.MessageMetadata | undefined
  readonly payload: Uint8Array
}

export class Harness {
  readonly connection: Connection
  readonly events: Array<ConnectionEvent> = []
  #decoder = new Frame.FrameDecoder()

  constructor(options: Partial<ConnectionOptions> = {}) {
    this.connection = new Connection(options)
  }

  /** What the connection transmits, frame by frame. */
  seen(): Array<Seen> {
    const frames: Array<Seen> = []
    for (;;) {
      const segments = this.connection.pollTransmit()
      if (segments.length === 0) break
      for (const segment of segments) this.#decoder.push(segment.slice())
      while (this.#decoder.next()) {
        const { buffer, commandEnd, commandStart, frameEnd } = this.#decoder
        const command = Commands.decode(buffer.slice(commandStart, commandEnd))
        let metadata: Metadata.MessageMetadata | undefined
        let payload = new Uint8Array(0)
        if (frameEnd > commandEnd) {
          const section = Frame.readPayload(buffer, commandEnd, frameEnd)
          assert.strictEqual(section.computed, section.expected)
          metadata = Metadata.read(buffer, section.metadataStart, section.metadataEnd)
          payload = buffer.slice(section.metadataEnd, section.payloadEnd)
        }
        frames.push({ type: command.type, command, metadata, payload })
      }
    }
    return frames
  }

  types(): Array<number> {
    return this.seen().map(({ type }) => type)
  }

  say(now: number, command: Commands.CommandInit): void {
    this.connection.handleBytes(now, Commands.encode(command))
    this.drain()
  }

  /** Takes the events, and completes what is done. */
  drain(): Array<ConnectionEvent> {
    const fresh: Array<ConnectionEvent> = []
    for (let event = this.connection.pollEvent(); event !== undefined; event = this.connection.pollEvent()) {
      if (event._tag === "SendDone" || event._tag === "RequestDone") event.complete()
      fresh.push(event)
    }
    this.events.push(...fresh)
    return fresh
  }

  tags(): Array<string> {
    this.drain()
    return this.events.map(({ _tag }) => _tag)
  }

  tick(now: number): void {
    this.connection.handleTimeout(now)
    this.drain()
  }

  connect(now = 0, maxMessageSize = 0): this {
    this.connection.begin(now, { method: "none", data: undefined })
    this.seen()
    this.say(now, { type: Type.CONNECTED, connected: { serverVersion: "test", protocolVersion: 21, maxMessageSize } })
    return this
  }

  openProducer(slot: ProducerSlot, now = 0, lastSequenceId = -1n): void {
    this.connection.producers.open(now, slot)
    this.attach(slot, now, lastSequenceId)
  }

  /** Answers the open request of a producer. */
  attach(slot: ProducerSlot, now = 0, lastSequenceId = -1n): void {
    this.say(now, {
      type: Type.PRODUCER_SUCCESS,
      producerSuccess: { requestId: BigInt(slot.openRequest!), producerName: slot.name ?? "given", lastSequenceId }
    })
  }

  receipt(producerId: number, sequenceId: number, highest = 0n, entry = BigInt(sequenceId), now = 0): void {
    this.say(now, {
      type: Type.SEND_RECEIPT,
      sendReceipt: {
        producerId: BigInt(producerId),
        sequenceId: BigInt(sequenceId),
        highestSequenceId: highest,
        messageId: { ledgerId: 1n, entryId: entry }
      }
    })
  }

  subscribe(slot: ConsumerSlot, now = 0): void {
    this.connection.consumers.subscribe(now, slot)
    this.say(now, { type: Type.SUCCESS, success: { requestId: BigInt(slot.openRequest!) } })
  }

  deliver(
    consumerId: number,
    entry: number,
    payload: Uint8Array,
    metadata: Partial<Metadata.MessageMetadata> = {},
    extra: { redeliveryCount?: number; ackSet?: Array<bigint>; consumerEpoch?: bigint } = {},
    now = 0,
    corrupt = false
  ): void {
    const command = Commands.encodeBare({
      type: Type.MESSAGE,
      message: { consumerId: BigInt(consumerId), messageId: { ledgerId: 1n, entryId: BigInt(entry) }, ...extra }
    })
    const writer = new ProtoWriter()
    Metadata.write(writer, { ...Metadata.empty(), producerName: "p", ...metadata })
    const segments = Frame.encodePayload(command, writer.copy(), payload, 0, payload.length)
    if (corrupt) segments[0] = segments[0]!.map((byte, index) => (index === segments[0]!.length - 1 ? byte ^ 1 : byte))
    for (const segment of segments) this.connection.handleBytes(now, segment.slice())
    this.drain()
  }
}

export const producerSpec = (overrides: Partial<ProducerSpec> = {}): ProducerSpec => ({
  topic: "persistent://public/default/t",
  name: undefined,
  accessMode: 0,
  properties: [],
  schema: undefined,
  initialSequenceId: undefined,
  initialSubscription: undefined,
  batching: undefined,
  chunking: false,
  compression: "none",
  sendTimeout: 30_000,
  maxPending: 1000,
  chunkSeed: "seed",
  ...overrides
})

export const producer = (overrides: Partial<ProducerSpec> = {}, id = 7) =>
  new ProducerSlot(id, producerSpec(overrides), Frame.DEFAULT_MAX_MESSAGE_SIZE)

export const consumer = (overrides: Partial<ConsumerSpec> = {}, id = 3) =>
  new ConsumerSlot(id, {
    topic: "persistent://public/default/t",
    subscription: "s",
    type: "exclusive",
    name: undefined,
    durable: true,
    initialPosition: "earliest",
    startMessageId: undefined,
    startRollback: 0,
    readCompacted: false,
    priorityLevel: undefined,
    properties: [],
    subscriptionProperties: [],
    schema: undefined,
    keyShared: undefined,
    forceTopicCreation: true,
    replicateSubscriptionState: false,
    receiverQueue: 10,
    ackTimeout: 0,
    ackGroupTime: 100,
    batchIndexAck: false,
    chunks: { maxPending: 10, expireAfter: 60_000, maxBytes: 1 << 20 },
    autoAckOldestChunk: false,
    stallTimeout: 0,
    ...overrides
  })

/** Collects what becomes of sends: `index → outcome`. */
export class Outcomes {
  readonly seen: Array<{ readonly index: number; readonly outcome: SendOutcome; readonly batchIndex: number }> = []
  readonly onSend = (outcome: SendOutcome, first: number, count: number, batchIndex: number): void => {
    for (let at = 0; at < count; at++) {
      this.seen.push({ index: first + at, outcome, batchIndex: batchIndex < 0 ? -1 : batchIndex + at })
    }
  }
  get tags(): Array<string> {
    return this.seen.map(({ index, outcome }) => `${index}:${outcome._tag}`)
  }
}
