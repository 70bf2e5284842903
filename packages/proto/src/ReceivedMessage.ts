/**
 * A message as it came: its payload is a view of the bytes received, everything else is read when asked for.
 *
 * @since 0.1.0
 */
import type { BatchAcks } from "./connection/Acks.ts"
import type { Lease } from "./ReadMemory.ts"
import type { BatchCursor } from "./wire/Batch.ts"
import * as MessageId from "./wire/MessageId.ts"
import {
  type BrokerEntryMetadata,
  type MessageMetadata,
  type Properties,
  readSingle,
  type SingleMetadata
} from "./wire/Metadata.ts"

/** What the messages of an entry have in common. @category models @since 0.1.0 */
export interface ReceivedEntry {
  readonly id: MessageId.MessageId
  readonly metadata: MessageMetadata
  readonly redeliveryCount: number
  readonly brokerEntry: BrokerEntryMetadata | undefined
  readonly chunks: ReadonlyArray<MessageId.MessageId> | undefined
  /** The messages' share in memory that is used again when they are acknowledged; `undefined` when it is theirs for good. */
  readonly lease: Lease | undefined
}

/** Something of a message was read after it was acknowledged, when its memory is used again. @category errors @since 0.1.0 */
export class MemoryReused extends Error {
  constructor() {
    super("the bytes of a message are gone once it is acknowledged: its consumer uses their memory again")
    this.name = "MemoryReused"
  }
}

/** @category models @since 0.1.0 */
export class ReceivedMessage {
  readonly metadata: MessageMetadata
  /** How often the broker delivered the message before, 0 at first. */
  readonly redeliveryCount: number
  /** When and as which message of the topic the broker stored the entry, if it says so. */
  readonly brokerEntry: BrokerEntryMetadata | undefined
  /** Positions of all chunks of a message that came in chunks. */
  readonly chunks: ReadonlyArray<MessageId.MessageId> | undefined
  readonly batch: BatchAcks | undefined
  readonly #entry: MessageId.MessageId
  readonly #index: number
  readonly #bytes: Uint8Array
  readonly #singleStart: number
  readonly #start: number
  readonly #end: number
  #id: MessageId.MessageId | undefined = undefined
  #single: SingleMetadata | undefined = undefined
  #payload: Uint8Array | undefined = undefined
  #lease: Lease | undefined
  #isForgotten = false

  private constructor(
    entry: ReceivedEntry,
    bytes: Uint8Array,
    singleStart: number,
    start: number,
    end: number,
    batch: BatchAcks | undefined,
    index: number
  ) {
    this.metadata = entry.metadata
    this.redeliveryCount = entry.redeliveryCount
    this.brokerEntry = entry.brokerEntry
    this.chunks = entry.chunks
    this.batch = batch
    this.#entry = entry.id
    this.#index = index
    this.#bytes = bytes
    this.#singleStart = singleStart
    this.#start = start
    this.#end = end
    this.#lease = entry.lease
    entry.lease?.join()
  }

  /** The one message of an entry, its payload decompressed. */
  static ofEntry(entry: ReceivedEntry, payload: Uint8Array): ReceivedMessage {
    return new ReceivedMessage(entry, payload, -1, 0, payload.length, undefined, -1)
  }

  /** The message of a batch that `cursor` has stepped to. */
  static ofBatch(entry: ReceivedEntry, cursor: BatchCursor, batch: BatchAcks): ReceivedMessage {
    return new ReceivedMessage(
      entry,
      cursor.bytes,
      cursor.singleStart,
      cursor.start,
      cursor.end,
      batch,
      cursor.index - 1
    )
  }

  /** Gives up the message's share in memory that is used again, if it is such memory: from now on reading what was in it throws `MemoryReused`. */
  forget(): void {
    if (this.#lease === undefined) return
    this.#lease.leave()
    this.#lease = undefined
    this.#isForgotten = true
  }

  #check(): void {
    if (this.#isForgotten) throw new MemoryReused()
  }

  /** The payload, decompressed. A view: copy it to keep it longer than the work on the message. */
  get payload(): Uint8Array {
    this.#check()
    return this.#payload ??= this.#bytes.subarray(this.#start, this.#end)
  }

  /** What is particular to the message within its batch. */
  get single(): SingleMetadata | undefined {
    this.#check()
    return this.#singleStart < 0
      ? undefined
      : this.#single ??= readSingle(this.#bytes, this.#singleStart, this.#start)
  }

  /** Where the message is. */
  get id(): MessageId.MessageId {
    return this.#id ??= this.#index < 0
      ? this.#entry
      : MessageId.make(this.#entry.ledger, this.#entry.entry, this.#entry.partition, this.#index, this.batch!.size)
  }

  /** Place in the batch, -1 outside one. */
  get batchIndex(): number {
    return this.#index
  }

  get key(): string | undefined {
    return (this.single ?? this.metadata).partitionKey
  }

  /** Whether the key is base64 of bytes. */
  get keyIsBase64(): boolean {
    return (this.single ?? this.metadata).partitionKeyB64
  }

  get orderingKey(): Uint8Array | undefined {
    const { orderingKey } = this.single ?? this.metadata
    return this.#lease === undefined ? orderingKey : orderingKey?.slice()
  }

  get properties(): Properties {
    return (this.single ?? this.metadata).properties
  }

  /** Milliseconds since the epoch, 0 when unset. */
  get eventTime(): number {
    return (this.single ?? this.metadata).eventTime
  }

  /** When the producer sent it, milliseconds since the epoch. */
  get publishTime(): number {
    return this.metadata.publishTime
  }

  get producerName(): string {
    return this.metadata.producerName
  }

  get sequenceId(): bigint {
    return this.single?.sequenceId ?? this.metadata.sequenceId + BigInt(this.#index < 0 ? 0 : this.#index)
  }

  get schemaVersion(): Uint8Array | undefined {
    return this.metadata.schemaVersion
  }

  /** The message has no value: it deletes its key. */
  get isNull(): boolean {
    return (this.single ?? this.metadata).nullValue
  }

  /** Cluster the message was replicated from. */
  get replicatedFrom(): string | undefined {
    return this.metadata.replicatedFrom
  }
}
