/**
 * One producer: its sequence, its open batch, and the entries that wait for a receipt. It outlives connections and moves between them.
 *
 * @since 0.1.0
 */
import { Deque } from "../internal/Deque.ts"
import { ProtoWriter } from "../internal/ProtoWriter.ts"
import { BatchBuilder, HEADROOM } from "../wire/Batch.ts"
import * as Chunk from "../wire/Chunk.ts"
import * as Commands from "../wire/Commands.ts"
import * as Compression from "../wire/Compression.ts"
import { encodePayload } from "../wire/Frame.ts"
import type { Schema } from "../wire/gen/PulsarApi_pb.ts"
import * as MessageId from "../wire/MessageId.ts"
import * as Metadata from "../wire/Metadata.ts"
import type { BrokerFailure, Events } from "./Events.ts"

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

interface Run {
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
  /** Frames, each in segments. */
  readonly frames: ReadonlyArray<ReadonlyArray<Uint8Array>>
  readonly runs: ReadonlyArray<Run>
  /** Receipts to come: one a chunk. */
  receipts: number
  /** Whether any of it was handed to a socket. */
  written = false
  firstChunk: MessageId.MessageId | undefined = undefined
  outcome: SendOutcome | undefined = undefined

  constructor(
    producerId: number,
    sequenceId: number,
    highest: number,
    count: number,
    isBatch: boolean,
    bytes: number,
    since: number,
    frames: ReadonlyArray<ReadonlyArray<Uint8Array>>,
    runs: ReadonlyArray<Run>
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

/** All times in milliseconds. @category models @since 0.1.0 */
export interface ProducerSpec {
  readonly topic: string
  /** Default: the broker gives one. */
  readonly name: string | undefined
  /** `Shared` 0, `Exclusive` 1, `WaitForExclusive` 2, `ExclusiveWithFencing` 3. */
  readonly accessMode: number
  readonly properties: Metadata.Properties
  readonly schema: Schema | undefined
  readonly initialSequenceId: number | undefined
  readonly initialSubscription: string | undefined
  readonly batching: {
    readonly maxMessages: number
    readonly maxBytes: number
    readonly maxDelay: number
  } | undefined
  readonly chunking: boolean
  readonly compression: Compression.Compression
  /** 0 for none. */
  readonly sendTimeout: number
  /** Messages that may wait for their receipt. */
  readonly maxPending: number
  /** Random text that tells chunked messages of this producer from those of others. */
  readonly chunkSeed: string
}

/** Why a message was not taken. @category models @since 0.1.0 */
export type EnqueueRefusal =
  | { readonly _tag: "Full" }
  | { readonly _tag: "Closed"; readonly why: string }
  | { readonly _tag: "TooLarge"; readonly bytes: number; readonly limit: number }
  | { readonly _tag: "SequenceNotIncreasing"; readonly last: number; readonly received: number }

const commandWriter = new ProtoWriter(128)
const metadataWriter = new ProtoWriter(512)

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
  schemaVersion: Uint8Array | undefined = undefined
  /** Largest message the broker takes. */
  maxMessageSize: number
  /** Sequence id of the last message stored, -1 before the first. */
  lastPublished = -1
  /** Messages waiting for their receipt, the open batch included. */
  pendingMessages = 0
  pendingBytes = 0
  /** Totals since the start. */
  readonly totals = { messages: 0, bytes: 0, stored: 0, failed: 0, unknown: 0 }
  #next = 0
  /** Waiting for a receipt, in order; the first `#staged` were handed to the socket of this session. */
  readonly #entries = new Deque<SendEntry>()
  #staged = 0
  readonly #builder = new BatchBuilder()
  #runs: Array<Run> = []
  #first: OutgoingMessage | undefined = undefined
  #firstSequence = 0
  #lastSequence = 0
  #lastPayload = 0
  #batchSince = 0
  #batchPublishTime = 0
  #batchBytes = 0
  #chunked = 0

  constructor(id: number, spec: ProducerSpec, maxMessageSize: number) {
    this.id = id
    this.spec = spec
    this.name = spec.name
    this.maxMessageSize = maxMessageSize
    if (spec.initialSequenceId !== undefined) {
      this.#next = spec.initialSequenceId
      this.lastPublished = spec.initialSequenceId - 1
    }
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

  /** Takes a message, or says why not; `now` is the time of the timers, `wall` the publish time. */
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
    if (sequence < this.#next && message.sequenceId !== undefined) {
      return { _tag: "SequenceNotIncreasing", last: this.#next - 1, received: sequence }
    }
    const size = message.payload.length
    const batching = this.spec.batching
    const joins = batching !== undefined && message.deliverAt === undefined && size <= batching.maxBytes
    if (!joins && size > this.maxMessageSize && !this.spec.chunking && this.spec.compression === "none") {
      return { _tag: "TooLarge", bytes: size, limit: this.maxMessageSize }
    }
    if (!joins) {
      // What was submitted before goes out before.
      this.flush()
      const refusal = this.#single(now, wall, message, sequence, completion, index)
      if (refusal !== undefined) return refusal
    } else {
      if (this.#builder.count > 0 && this.#builder.byteLength + size > batching.maxBytes) this.flush()
      this.#join(now, wall, message, sequence, completion, index)
      if (this.#builder.count >= batching.maxMessages || this.#builder.byteLength >= batching.maxBytes) this.flush()
    }
    this.#next = sequence + 1
    this.pendingMessages++
    this.pendingBytes += size
    this.totals.messages++
    this.totals.bytes += size
    return undefined
  }

  /** Closes the open batch: it becomes an entry. */
  flush(): void {
    const count = this.#builder.count
    if (count === 0) return
    const first = this.#first!
    const runs = this.#runs
    const since = this.#batchSince
    const bytes = this.#batchBytes
    const { end, memory, start } = this.#builder.take()
    this.#runs = []
    this.#first = undefined
    this.#batchBytes = 0
    if (count === 1) {
      // A batch of one goes as a plain message: its payload is at the end, behind the prefix.
      const from = end - this.#lastPayload
      const metadata = this.#metadata(first, this.#firstSequence, this.#batchPublishTime)
      this.#entry(metadata, memory, from, end, this.#firstSequence, this.#firstSequence, 1, false, since, runs, bytes)
      return
    }
    const metadata = Metadata.empty()
    metadata.producerName = this.name ?? ""
    metadata.sequenceId = BigInt(this.#firstSequence)
    metadata.highestSequenceId = BigInt(this.#lastSequence)
    metadata.publishTime = this.#batchPublishTime
    metadata.batchSize = count
    metadata.schemaVersion = this.schemaVersion
    if (first.replicateTo !== undefined) metadata.replicateTo = first.replicateTo
    this.#entry(metadata, memory, start, end, this.#firstSequence, this.#lastSequence, count, true, since, runs, bytes)
  }

  /** When the open batch has to go, or the oldest entry is given up. */
  nextDeadline(): number {
    let deadline = Infinity
    if (this.#builder.count > 0) deadline = this.#batchSince + this.spec.batching!.maxDelay
    if (this.spec.sendTimeout > 0) {
      const oldest = this.#entries.peek()
      const since = oldest === undefined ? (this.#builder.count > 0 ? this.#batchSince : Infinity) : oldest.since
      deadline = Math.min(deadline, since + this.spec.sendTimeout)
    }
    return deadline
  }

  /** Sends the batch that is due and gives up what waited too long. */
  tick(now: number, events: Events): void {
    if (this.#builder.count > 0 && now >= this.#batchSince + this.spec.batching!.maxDelay) this.flush()
    if (this.spec.sendTimeout <= 0) return
    let oldest = this.#entries.peek()
    while (oldest !== undefined && oldest.since + this.spec.sendTimeout <= now) {
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
    if (this.#builder.count > 0 && this.spec.batching!.maxDelay <= 0) this.flush()
    while (this.#staged < this.#entries.length) {
      const entry = this.#entries.at(this.#staged++)!
      entry.written = true
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
    if (schemaVersion !== undefined && schemaVersion.length > 0) this.schemaVersion = schemaVersion
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
  }

  #metadata(message: OutgoingMessage, sequence: number, wall: number): Metadata.MessageMetadata {
    const metadata = Metadata.empty()
    metadata.producerName = this.name ?? ""
    metadata.sequenceId = BigInt(sequence)
    metadata.publishTime = wall
    if (message.key !== undefined) metadata.partitionKey = message.key
    if (message.keyIsBase64 === true) metadata.partitionKeyB64 = true
    if (message.orderingKey !== undefined) metadata.orderingKey = message.orderingKey
    if (message.eventTime !== undefined) metadata.eventTime = message.eventTime
    if (message.properties !== undefined) metadata.properties = message.properties
    if (message.deliverAt !== undefined) metadata.deliverAtTime = message.deliverAt
    if (message.isNull === true) metadata.nullValue = true
    if (message.replicateTo !== undefined) metadata.replicateTo = message.replicateTo
    metadata.schemaVersion = this.schemaVersion
    return metadata
  }

  #join(
    now: number,
    wall: number,
    message: OutgoingMessage,
    sequence: number,
    completion: SendCompletion,
    index: number
  ): void {
    if (this.#builder.count === 0) {
      this.#first = message
      this.#firstSequence = sequence
      this.#batchSince = now
      this.#batchPublishTime = wall
    }
    this.#builder.add({
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
    this.#batchBytes += message.payload.length
    this.#lastSequence = sequence
    this.#lastPayload = message.payload.length
    const last = this.#runs.at(-1)
    if (last !== undefined && last.completion === completion && last.first + last.count === index) last.count++
    else this.#runs.push({ completion, first: index, count: 1 })
  }

  #single(
    now: number,
    wall: number,
    message: OutgoingMessage,
    sequence: number,
    completion: SendCompletion,
    index: number
  ): EnqueueRefusal | undefined {
    const metadata = this.#metadata(message, sequence, wall)
    const runs = [{ completion, first: index, count: 1 }]
    const size = message.payload.length
    if (size <= this.maxMessageSize) {
      this.#builder.put(message.payload)
      const { end, memory, start } = this.#builder.take()
      this.#entry(metadata, memory, start, end, sequence, sequence, 1, false, now, runs, size)
      return undefined
    }
    const payload = this.#compress(metadata, message.payload)
    if (payload.length <= this.maxMessageSize) {
      const frame = this.#frame(metadata, payload, 0, payload.length, sequence, sequence, 1, false)
      this.#entries.push(new SendEntry(this.id, sequence, sequence, 1, false, size, now, [frame], runs))
      return undefined
    }
    if (!this.spec.chunking) return { _tag: "TooLarge", bytes: payload.length, limit: this.maxMessageSize }
    const each = Chunk.chunkSize(this.maxMessageSize)
    const chunks = Chunk.chunkCount(payload.length, each)
    metadata.uuid = `${this.spec.chunkSeed}-${this.id}-${this.#chunked++}`
    metadata.chunkCount = chunks
    metadata.chunkTotalSize = payload.length
    const frames: Array<Array<Uint8Array>> = []
    for (let chunk = 0; chunk < chunks; chunk++) {
      metadata.chunkId = chunk
      const start = chunk * each
      frames.push(
        this.#frame(
          metadata,
          payload,
          start,
          Math.min(start + each, payload.length),
          sequence,
          sequence,
          1,
          true,
          false
        )
      )
    }
    this.#entries.push(new SendEntry(this.id, sequence, sequence, 1, false, size, now, frames, runs))
    return undefined
  }

  #compress(metadata: Metadata.MessageMetadata, payload: Uint8Array): Uint8Array {
    if (this.spec.compression === "none") return payload
    metadata.compression = Compression.toNumber(this.spec.compression)
    metadata.uncompressedSize = payload.length
    return Compression.compress(this.spec.compression, payload)
  }

  #entry(
    metadata: Metadata.MessageMetadata,
    memory: Uint8Array,
    start: number,
    end: number,
    sequence: number,
    highest: number,
    count: number,
    isBatch: boolean,
    since: number,
    runs: ReadonlyArray<Run>,
    bytes: number
  ): void {
    const compressed = this.spec.compression !== "none"
    const payload = compressed ? this.#compress(metadata, memory.subarray(start, end)) : memory
    const frame = this.#frame(
      metadata,
      payload,
      compressed ? 0 : start,
      compressed ? payload.length : end,
      sequence,
      highest,
      count,
      false
    )
    this.#entries.push(new SendEntry(this.id, sequence, highest, count, isBatch, bytes, since, [frame], runs))
  }

  #frame(
    metadata: Metadata.MessageMetadata,
    memory: Uint8Array,
    start: number,
    end: number,
    sequence: number,
    highest: number,
    count: number,
    isChunk: boolean,
    inPlace = true
  ): Array<Uint8Array> {
    metadataWriter.reset()
    Metadata.write(metadataWriter, metadata)
    commandWriter.reset()
    Commands.writeSend(commandWriter, {
      producerId: this.id,
      sequenceId: BigInt(sequence),
      numMessages: count,
      highestSequenceId: highest > sequence ? BigInt(highest) : undefined,
      isChunk,
      txnLeast: undefined,
      txnMost: undefined
    })
    const command = commandWriter.view()
    const head = metadataWriter.view()
    // Pieces of a shared buffer have room of their own in front; a payload of its own, or a chunk of one, gets its header apart.
    return inPlace
      ? encodePayload(command, head, memory, start, end, Math.max(0, start - HEADROOM))
      : encodePayload(command, head, memory, start, end, start)
  }
}
