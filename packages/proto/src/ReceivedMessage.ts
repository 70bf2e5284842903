/**
 * A message as it came: its payload is a view of the bytes received, everything else is read when asked for.
 *
 * @since 0.1.0
 */
import type { BatchAcks } from "./connection/Acks.ts"
import * as MessageId from "./wire/MessageId.ts"
import type { BrokerEntryMetadata, MessageMetadata, Properties, SingleMetadata } from "./wire/Metadata.ts"

/** @category models @since 0.1.0 */
export class ReceivedMessage {
  /** The payload, decompressed. A view: copy it to keep it longer than the work on the message. */
  readonly payload: Uint8Array
  readonly metadata: MessageMetadata
  /** What is particular to the message within its batch. */
  readonly single: SingleMetadata | undefined
  /** How often the broker delivered the message before, 0 at first. */
  readonly redeliveryCount: number
  /** When and as which message of the topic the broker stored the entry, if it says so. */
  readonly brokerEntry: BrokerEntryMetadata | undefined
  /** Positions of all chunks of a message that came in chunks. */
  readonly chunks: ReadonlyArray<MessageId.MessageId> | undefined
  readonly batch: BatchAcks | undefined
  readonly #entry: MessageId.MessageId
  readonly #index: number
  readonly #size: number
  #id: MessageId.MessageId | undefined

  constructor(
    payload: Uint8Array,
    metadata: MessageMetadata,
    single: SingleMetadata | undefined,
    redeliveryCount: number,
    brokerEntry: BrokerEntryMetadata | undefined,
    chunks: ReadonlyArray<MessageId.MessageId> | undefined,
    batch: BatchAcks | undefined,
    entry: MessageId.MessageId,
    index: number,
    size: number
  ) {
    this.payload = payload
    this.metadata = metadata
    this.single = single
    this.redeliveryCount = redeliveryCount
    this.brokerEntry = brokerEntry
    this.chunks = chunks
    this.batch = batch
    this.#entry = entry
    this.#index = index
    this.#size = size
  }

  /** Where the message is. */
  get id(): MessageId.MessageId {
    return this.#id ??= this.#index < 0
      ? this.#entry
      : MessageId.make(this.#entry.ledger, this.#entry.entry, this.#entry.partition, this.#index, this.#size)
  }

  /** Place in the batch, -1 outside one. */
  get batchIndex(): number {
    return this.#index
  }

  get key(): string | undefined {
    return this.single === undefined ? this.metadata.partitionKey : this.single.partitionKey
  }

  /** Whether the key is base64 of bytes. */
  get keyIsBase64(): boolean {
    return this.single === undefined ? this.metadata.partitionKeyB64 : this.single.partitionKeyB64
  }

  get orderingKey(): Uint8Array | undefined {
    return this.single === undefined ? this.metadata.orderingKey : this.single.orderingKey
  }

  get properties(): Properties {
    return this.single === undefined ? this.metadata.properties : this.single.properties
  }

  /** Milliseconds since the epoch, 0 when unset. */
  get eventTime(): number {
    return this.single === undefined ? this.metadata.eventTime : this.single.eventTime
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
    return this.single === undefined ? this.metadata.nullValue : this.single.nullValue
  }

  /** Cluster the message was replicated from. */
  get replicatedFrom(): string | undefined {
    return this.metadata.replicatedFrom
  }
}
