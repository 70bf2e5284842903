/**
 * Turns messages and batches into the frames of their entries: metadata, compression, chunks, headers.
 */
import { ProtoWriter } from "../internal/ProtoWriter.ts"
import * as Slab from "../internal/Slab.ts"
import { BatchBuilder, type Built, HEADROOM } from "../wire/Batch.ts"
import * as Chunk from "../wire/Chunk.ts"
import * as Commands from "../wire/Commands.ts"
import * as Compression from "../wire/Compression.ts"
import { encodePayload } from "../wire/Frame.ts"
import * as Metadata from "../wire/Metadata.ts"
import type { ClosedBatch } from "./OpenBatches.ts"
import type { ProducerSpec } from "./ProducerSpec.ts"
import { type OutgoingMessage, type Run, SendEntry } from "./SendEntry.ts"

const commandWriter = new ProtoWriter(128)
const metadataWriter = new ProtoWriter(512)

/** Frames of one entry, each in segments. */
type Frames = ReadonlyArray<ReadonlyArray<Uint8Array>>

export class EntryEncoder {
  readonly #id: number
  readonly #spec: ProducerSpec
  readonly #builder = new BatchBuilder()
  #chunked = 0
  /** The name the broker knows. */
  name: string
  schemaVersion: Uint8Array | undefined = undefined

  constructor(id: number, spec: ProducerSpec) {
    this.#id = id
    this.#spec = spec
    this.name = spec.name ?? ""
  }

  /** The entry of a batch that is closed. */
  batch(batch: ClosedBatch, byKey: boolean): SendEntry {
    const { built, bytes, count, first, highest, lastPayload, lowest, publishTime, runs, since } = batch
    if (count === 1) {
      // A batch of one goes as a plain message: its payload is at the end, behind the prefix.
      const metadata = this.#metadata(first, lowest, publishTime)
      const frame = this.#payload(metadata, built, built.end - lastPayload, lowest, lowest, 1)
      return new SendEntry(this.#id, lowest, lowest, 1, false, bytes, since, [frame], runs, this.#claim(built))
    }
    // Numbers of batches by key lie among each other. The broker takes their last one for the whole of a batch, or it would see repeats.
    const sequence = byKey ? highest : lowest
    const metadata = Metadata.empty()
    metadata.producerName = this.name
    metadata.sequenceId = BigInt(sequence)
    if (!byKey) metadata.highestSequenceId = BigInt(highest)
    metadata.publishTime = publishTime
    metadata.batchSize = count
    metadata.schemaVersion = this.schemaVersion
    // Brokers choose the consumer of a Key_Shared subscription by what is written here, and look no further.
    if (first.key !== undefined) metadata.partitionKey = first.key
    if (first.keyIsBase64 === true) metadata.partitionKeyB64 = true
    if (first.orderingKey !== undefined) metadata.orderingKey = first.orderingKey
    if (first.replicateTo !== undefined) metadata.replicateTo = first.replicateTo
    const frame = this.#payload(metadata, built, built.start, sequence, highest, count)
    return new SendEntry(this.#id, sequence, highest, count, true, bytes, since, [frame], runs, this.#claim(built))
  }

  /** The entry of a message that travels alone, or how many bytes it has that the broker does not take. */
  single(
    now: number,
    wall: number,
    message: OutgoingMessage,
    sequence: number,
    runs: ReadonlyArray<Run>,
    maxMessageSize: number
  ): SendEntry | number {
    const metadata = this.#metadata(message, sequence, wall)
    const size = message.payload.length
    const entry = (frames: Frames, slab?: Slab.Slab) =>
      new SendEntry(this.#id, sequence, sequence, 1, false, size, now, frames, runs, slab)
    if (size <= maxMessageSize) {
      this.#builder.put(message.payload)
      const built = this.#builder.take()
      return entry([this.#payload(metadata, built, built.start, sequence, sequence, 1)], this.#claim(built))
    }
    const payload = this.#compress(metadata, message.payload)
    if (payload.length <= maxMessageSize) {
      return entry([this.#frame(metadata, payload, 0, payload.length, sequence, sequence, 1, false, true)])
    }
    if (!this.#spec.chunking) return payload.length
    const each = Chunk.chunkSize(maxMessageSize)
    const chunks = Chunk.chunkCount(payload.length, each)
    metadata.uuid = `${this.#spec.chunkSeed}-${this.#id}-${this.#chunked++}`
    metadata.chunkCount = chunks
    metadata.chunkTotalSize = payload.length
    const frames: Array<ReadonlyArray<Uint8Array>> = []
    for (let chunk = 0; chunk < chunks; chunk++) {
      metadata.chunkId = chunk
      const start = chunk * each
      const end = Math.min(start + each, payload.length)
      frames.push(this.#frame(metadata, payload, start, end, sequence, sequence, 1, true, false))
    }
    return entry(frames)
  }

  #metadata(message: OutgoingMessage, sequence: number, wall: number): Metadata.MessageMetadata {
    const metadata = Metadata.empty()
    metadata.producerName = this.name
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

  #compress(metadata: Metadata.MessageMetadata, payload: Uint8Array): Uint8Array {
    if (this.#spec.compression === "none") return payload
    metadata.compression = Compression.toNumber(this.#spec.compression)
    metadata.uncompressedSize = payload.length
    return Compression.compress(this.#spec.compression, payload)
  }

  /** The memory that an entry needs: what was compressed gives up where it was built. */
  #claim({ slab }: Built): Slab.Slab | undefined {
    if (this.#spec.compression === "none") return slab
    Slab.release(slab)
    return undefined
  }

  /** A frame over what was built, from `start` on: the header is written in front of it. */
  #payload(
    metadata: Metadata.MessageMetadata,
    { end, memory }: Built,
    start: number,
    sequence: number,
    highest: number,
    count: number
  ): ReadonlyArray<Uint8Array> {
    if (this.#spec.compression === "none") {
      return this.#frame(metadata, memory, start, end, sequence, highest, count, false, true)
    }
    const payload = this.#compress(metadata, memory.subarray(start, end))
    return this.#frame(metadata, payload, 0, payload.length, sequence, highest, count, false, true)
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
    inPlace: boolean
  ): ReadonlyArray<Uint8Array> {
    metadataWriter.reset()
    Metadata.write(metadataWriter, metadata)
    commandWriter.reset()
    Commands.writeSend(commandWriter, {
      producerId: this.#id,
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
