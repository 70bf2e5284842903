/**
 * The metadata of an entry, of a message inside a batch, and of the broker: written and read by hand because there is one per message.
 *
 * The generated messages say the same; a property test holds the two together.
 *
 * @since 0.1.0
 */
import { ProtoReader } from "../internal/ProtoReader.ts"
import type { ProtoWriter } from "../internal/ProtoWriter.ts"
import { WireFormatError } from "./WireFormatError.ts"

/** Name and value pairs of a message, in order. @category models @since 0.1.0 */
export type Properties = ReadonlyArray<readonly [name: string, value: string]>

const noProperties: Properties = []

/** @category models @since 0.1.0 */
export interface EncryptionKey {
  readonly name: string
  readonly value: Uint8Array
  readonly metadata: Properties
}

/**
 * `MessageMetadata`: what a producer says of an entry. `undefined` is "not present"; times are milliseconds since the epoch.
 *
 * @category models
 * @since 0.1.0
 */
export interface MessageMetadata {
  producerName: string
  sequenceId: bigint
  publishTime: number
  properties: Properties
  replicatedFrom: string | undefined
  partitionKey: string | undefined
  replicateTo: ReadonlyArray<string>
  /** Number of the codec, 0 for none. */
  compression: number
  uncompressedSize: number
  /** Present exactly for a batch, whose payload then has a prefix a message: presence decides, not the value. */
  batchSize: number | undefined
  /** 0 when unset. */
  eventTime: number
  encryptionKeys: ReadonlyArray<EncryptionKey>
  encryptionAlgorithm: string | undefined
  encryptionParam: Uint8Array | undefined
  schemaVersion: Uint8Array | undefined
  partitionKeyB64: boolean
  orderingKey: Uint8Array | undefined
  deliverAtTime: number | undefined
  markerType: number | undefined
  txnLeast: bigint | undefined
  txnMost: bigint | undefined
  highestSequenceId: bigint | undefined
  nullValue: boolean
  uuid: string | undefined
  chunkCount: number | undefined
  chunkTotalSize: number | undefined
  chunkId: number | undefined
  nullPartitionKey: boolean
  compactedIndexes: ReadonlyArray<number>
}

/** Metadata with nothing in it. @category constructors @since 0.1.0 */
export const empty = (): MessageMetadata => ({
  producerName: "",
  sequenceId: 0n,
  publishTime: 0,
  properties: noProperties,
  replicatedFrom: undefined,
  partitionKey: undefined,
  replicateTo: [],
  compression: 0,
  uncompressedSize: 0,
  batchSize: undefined,
  eventTime: 0,
  encryptionKeys: [],
  encryptionAlgorithm: undefined,
  encryptionParam: undefined,
  schemaVersion: undefined,
  partitionKeyB64: false,
  orderingKey: undefined,
  deliverAtTime: undefined,
  markerType: undefined,
  txnLeast: undefined,
  txnMost: undefined,
  highestSequenceId: undefined,
  nullValue: false,
  uuid: undefined,
  chunkCount: undefined,
  chunkTotalSize: undefined,
  chunkId: undefined,
  nullPartitionKey: false,
  compactedIndexes: []
})

/** The same with bytes of its own, for when those it was read from are written over. @category combinators @since 0.1.0 */
export const detached = (metadata: MessageMetadata): MessageMetadata => {
  const { encryptionKeys, encryptionParam, orderingKey, schemaVersion } = metadata
  if (
    encryptionKeys.length === 0 && encryptionParam === undefined && orderingKey === undefined &&
    schemaVersion === undefined
  ) return metadata
  return {
    ...metadata,
    encryptionKeys: encryptionKeys.map((key) => ({ ...key, value: key.value.slice() })),
    encryptionParam: encryptionParam?.slice(),
    orderingKey: orderingKey?.slice(),
    schemaVersion: schemaVersion?.slice()
  }
}

/** @category codecs @since 0.1.0 */
export const write = (writer: ProtoWriter, metadata: MessageMetadata): void => {
  writer.stringField(1, metadata.producerName)
  writer.int64Field(2, metadata.sequenceId)
  writer.uintField(3, metadata.publishTime)
  for (const [name, value] of metadata.properties) writer.pairField(4, name, value)
  if (metadata.replicatedFrom !== undefined) writer.stringField(5, metadata.replicatedFrom)
  if (metadata.partitionKey !== undefined) writer.stringField(6, metadata.partitionKey)
  for (const cluster of metadata.replicateTo) writer.stringField(7, cluster)
  if (metadata.compression !== 0) writer.uintField(8, metadata.compression)
  if (metadata.uncompressedSize !== 0) writer.uintField(9, metadata.uncompressedSize)
  if (metadata.batchSize !== undefined) writer.intField(11, metadata.batchSize)
  if (metadata.eventTime !== 0) writer.uintField(12, metadata.eventTime)
  for (const key of metadata.encryptionKeys) {
    writer.varint((13 << 3) | 2)
    writer.ensure(1)
    const at = writer.position++
    writer.stringField(1, key.name)
    writer.bytesField(2, key.value)
    for (const [name, value] of key.metadata) writer.pairField(3, name, value)
    writer.closeLength(at)
  }
  if (metadata.encryptionAlgorithm !== undefined) writer.stringField(14, metadata.encryptionAlgorithm)
  if (metadata.encryptionParam !== undefined) writer.bytesField(15, metadata.encryptionParam)
  if (metadata.schemaVersion !== undefined) writer.bytesField(16, metadata.schemaVersion)
  if (metadata.partitionKeyB64) writer.boolField(17, true)
  if (metadata.orderingKey !== undefined) writer.bytesField(18, metadata.orderingKey)
  if (metadata.deliverAtTime !== undefined) writer.int64Field(19, BigInt(metadata.deliverAtTime))
  if (metadata.markerType !== undefined) writer.intField(20, metadata.markerType)
  if (metadata.txnLeast !== undefined) writer.int64Field(22, metadata.txnLeast)
  if (metadata.txnMost !== undefined) writer.int64Field(23, metadata.txnMost)
  if (metadata.highestSequenceId !== undefined) writer.int64Field(24, metadata.highestSequenceId)
  if (metadata.nullValue) writer.boolField(25, true)
  if (metadata.uuid !== undefined) writer.stringField(26, metadata.uuid)
  if (metadata.chunkCount !== undefined) writer.intField(27, metadata.chunkCount)
  if (metadata.chunkTotalSize !== undefined) writer.intField(28, metadata.chunkTotalSize)
  if (metadata.chunkId !== undefined) writer.intField(29, metadata.chunkId)
  if (metadata.nullPartitionKey) writer.boolField(30, true)
  for (const index of metadata.compactedIndexes) writer.intField(31, index)
}

const readKey = (reader: ProtoReader, end: number): EncryptionKey => {
  let name = ""
  let value: Uint8Array = new Uint8Array(0)
  const metadata: Array<readonly [string, string]> = []
  while (reader.position < end) {
    const tag = reader.varint()
    if (tag === 10) name = reader.string()
    else if (tag === 18) value = reader.bytes()
    else if (tag === 26) metadata.push(reader.pair())
    else reader.skip(tag & 7)
  }
  return { name, value, metadata }
}

/** Reads the metadata in `[start, end)`; fails with `WireFormatError`. @category codecs @since 0.1.0 */
export const read = (bytes: Uint8Array, start = 0, end = bytes.length): MessageMetadata => {
  const reader = new ProtoReader(bytes, start, end)
  const m = empty()
  let required = 0
  let properties: Array<readonly [string, string]> | undefined
  while (reader.position < end) {
    const tag = reader.varint()
    switch (tag) {
      case 10:
        m.producerName = reader.string()
        required |= 1
        break
      case 16:
        m.sequenceId = BigInt.asUintN(64, reader.int64())
        required |= 2
        break
      case 24:
        m.publishTime = reader.varint()
        required |= 4
        break
      case 34:
        if (properties === undefined) m.properties = properties = []
        properties.push(reader.pair())
        break
      case 42:
        m.replicatedFrom = reader.string()
        break
      case 50:
        m.partitionKey = reader.string()
        break
      case 58:
        m.replicateTo = [...m.replicateTo, reader.string()]
        break
      case 64:
        m.compression = reader.varint()
        break
      case 72:
        m.uncompressedSize = reader.varint()
        break
      case 88:
        m.batchSize = reader.int32()
        break
      case 96:
        m.eventTime = reader.varint()
        break
      case 106:
        m.encryptionKeys = [...m.encryptionKeys, readKey(reader, reader.delimited())]
        break
      case 114:
        m.encryptionAlgorithm = reader.string()
        break
      case 122:
        m.encryptionParam = reader.bytes()
        break
      case 130:
        m.schemaVersion = reader.bytes()
        break
      case 136:
        m.partitionKeyB64 = reader.bool()
        break
      case 146:
        m.orderingKey = reader.bytes()
        break
      case 152:
        m.deliverAtTime = Number(reader.int64())
        break
      case 160:
        m.markerType = reader.int32()
        break
      case 176:
        m.txnLeast = BigInt.asUintN(64, reader.int64())
        break
      case 184:
        m.txnMost = BigInt.asUintN(64, reader.int64())
        break
      case 192:
        m.highestSequenceId = BigInt.asUintN(64, reader.int64())
        break
      case 200:
        m.nullValue = reader.bool()
        break
      case 210:
        m.uuid = reader.string()
        break
      case 216:
        m.chunkCount = reader.int32()
        break
      case 224:
        m.chunkTotalSize = reader.int32()
        break
      case 232:
        m.chunkId = reader.int32()
        break
      case 240:
        m.nullPartitionKey = reader.bool()
        break
      case 248:
        m.compactedIndexes = [...m.compactedIndexes, reader.int32()]
        break
      default:
        reader.skip(tag & 7)
    }
  }
  if (required !== 7) {
    throw new WireFormatError("MissingField", "message metadata without producer, sequence id or publish time")
  }
  return m
}

/** `SingleMessageMetadata`: what is particular to one message of a batch. @category models @since 0.1.0 */
export interface SingleMetadata {
  properties: Properties
  partitionKey: string | undefined
  payloadSize: number
  compactedOut: boolean
  eventTime: number
  partitionKeyB64: boolean
  orderingKey: Uint8Array | undefined
  sequenceId: bigint | undefined
  nullValue: boolean
  nullPartitionKey: boolean
}

/** @category codecs @since 0.1.0 */
export const writeSingle = (writer: ProtoWriter, single: SingleMetadata): void => {
  for (const [name, value] of single.properties) writer.pairField(1, name, value)
  if (single.partitionKey !== undefined) writer.stringField(2, single.partitionKey)
  writer.intField(3, single.payloadSize)
  if (single.compactedOut) writer.boolField(4, true)
  if (single.eventTime !== 0) writer.uintField(5, single.eventTime)
  if (single.partitionKeyB64) writer.boolField(6, true)
  if (single.orderingKey !== undefined) writer.bytesField(7, single.orderingKey)
  if (single.sequenceId !== undefined) writer.int64Field(8, single.sequenceId)
  if (single.nullValue) writer.boolField(9, true)
  if (single.nullPartitionKey) writer.boolField(10, true)
}

/** Reads the single metadata in `[start, end)`; fails with `WireFormatError`. @category codecs @since 0.1.0 */
export const readSingle = (bytes: Uint8Array, start = 0, end = bytes.length): SingleMetadata => {
  const reader = new ProtoReader(bytes, start, end)
  const m: SingleMetadata = {
    properties: noProperties,
    partitionKey: undefined,
    payloadSize: -1,
    compactedOut: false,
    eventTime: 0,
    partitionKeyB64: false,
    orderingKey: undefined,
    sequenceId: undefined,
    nullValue: false,
    nullPartitionKey: false
  }
  let properties: Array<readonly [string, string]> | undefined
  while (reader.position < end) {
    const tag = reader.varint()
    switch (tag) {
      case 10:
        if (properties === undefined) m.properties = properties = []
        properties.push(reader.pair())
        break
      case 18:
        m.partitionKey = reader.string()
        break
      case 24:
        m.payloadSize = reader.int32()
        break
      case 32:
        m.compactedOut = reader.bool()
        break
      case 40:
        m.eventTime = reader.varint()
        break
      case 48:
        m.partitionKeyB64 = reader.bool()
        break
      case 58:
        m.orderingKey = reader.bytes()
        break
      case 64:
        m.sequenceId = BigInt.asUintN(64, reader.int64())
        break
      case 72:
        m.nullValue = reader.bool()
        break
      case 80:
        m.nullPartitionKey = reader.bool()
        break
      default:
        reader.skip(tag & 7)
    }
  }
  if (m.payloadSize < 0) throw new WireFormatError("MissingField", "a message of a batch without its size")
  return m
}

/** `BrokerEntryMetadata` (PIP-90). @category models @since 0.1.0 */
export interface BrokerEntryMetadata {
  /** When the broker stored the entry, milliseconds since the epoch. */
  readonly brokerTimestamp: number | undefined
  /** Index of the last message of the entry in its topic, from 0. */
  readonly index: bigint | undefined
}

/** @category codecs @since 0.1.0 */
export const readBrokerEntry = (bytes: Uint8Array, start: number, end: number): BrokerEntryMetadata => {
  const reader = new ProtoReader(bytes, start, end)
  let brokerTimestamp: number | undefined
  let index: bigint | undefined
  while (reader.position < end) {
    const tag = reader.varint()
    if (tag === 8) brokerTimestamp = reader.varint()
    else if (tag === 16) index = reader.int64()
    else reader.skip(tag & 7)
  }
  return { brokerTimestamp, index }
}

/** @category codecs @since 0.1.0 */
export const writeBrokerEntry = (writer: ProtoWriter, metadata: BrokerEntryMetadata): void => {
  if (metadata.brokerTimestamp !== undefined) writer.uintField(1, metadata.brokerTimestamp)
  if (metadata.index !== undefined) writer.int64Field(2, metadata.index)
}
