/**
 * Where a message is: ledger and entry, the partition of its topic, and its place in a batch.
 *
 * @since 0.1.0
 */
import { ProtoReader } from "../internal/ProtoReader.ts"
import { ProtoWriter } from "../internal/ProtoWriter.ts"
import { WireFormatError } from "./WireFormatError.ts"

/**
 * A position in a topic. Ledger and entry are signed 64-bit numbers; -1 stands for "none" in `partition` and `batchIndex`.
 *
 * @category models
 * @since 0.1.0
 */
export interface MessageId {
  readonly ledger: bigint
  readonly entry: bigint
  /** Partition of the topic, -1 for a topic without partitions. */
  readonly partition: number
  /** Place in the batch, from 0; -1 for a message outside a batch. */
  readonly batchIndex: number
  /** Messages in the batch; 0 for a message outside a batch. */
  readonly batchSize: number
  /** For a message sent in chunks: the position of its first chunk; the position itself is the last chunk's. */
  readonly firstChunk?: MessageId | undefined
}

const LATEST = 0x7fffffffffffffffn

/** @category constructors @since 0.1.0 */
export const make = (
  ledger: bigint,
  entry: bigint,
  partition = -1,
  batchIndex = -1,
  batchSize = 0,
  firstChunk?: MessageId
): MessageId =>
  firstChunk === undefined
    ? { ledger, entry, partition, batchIndex, batchSize }
    : { ledger, entry, partition, batchIndex, batchSize, firstChunk }

/** Before the first message of a topic. @category constants @since 0.1.0 */
export const earliest: MessageId = make(-1n, -1n)

/** After the last message of a topic. @category constants @since 0.1.0 */
export const latest: MessageId = make(LATEST, LATEST)

const compareNumbers = (a: bigint | number, b: bigint | number): number => a < b ? -1 : a > b ? 1 : 0

/**
 * Order of two positions: ledger, entry, partition, place in the batch. Negative when `a` comes first.
 *
 * @category combinators
 * @since 0.1.0
 */
export const compare = (a: MessageId, b: MessageId): number =>
  compareNumbers(a.ledger, b.ledger) || compareNumbers(a.entry, b.entry) || a.partition - b.partition ||
  a.batchIndex - b.batchIndex

/** Whether `a` lies strictly after `b`. @category combinators @since 0.1.0 */
export const isAfter = (a: MessageId, b: MessageId): boolean => compare(a, b) > 0

/** All five fields equal. @category combinators @since 0.1.0 */
export const equals = (a: MessageId, b: MessageId): boolean => compare(a, b) === 0 && a.batchSize === b.batchSize

/** `ledger:entry:partition:batchIndex`. @category combinators @since 0.1.0 */
export const format = (id: MessageId): string => `${id.ledger}:${id.entry}:${id.partition}:${id.batchIndex}`

const FORMAT = /^(-?\d{1,19}):(-?\d{1,19}):(-?\d{1,10}):(-?\d{1,10})$/

/** Reads what {@link format} writes, `undefined` for anything else. @category combinators @since 0.1.0 */
export const parse = (text: string): MessageId | undefined => {
  const match = FORMAT.exec(text)
  return match === null
    ? undefined
    : make(BigInt(match[1]!), BigInt(match[2]!), Number(match[3]), Number(match[4]))
}

/** The id of the entry that holds a message: without place and size. @category combinators @since 0.1.0 */
export const entryOf = (id: MessageId): MessageId =>
  id.batchIndex === -1 && id.batchSize === 0 ? id : make(id.ledger, id.entry, id.partition)

/**
 * Writes the `MessageIdData` fields; partition, place and batch size are always written, as brokers expect.
 * `ackSet` has a bit per message of the batch, 1 = not yet acknowledged.
 *
 * @category codecs
 * @since 0.1.0
 */
export const write = (writer: ProtoWriter, id: MessageId, ackSet?: ReadonlyArray<bigint>): void => {
  writer.int64Field(1, id.ledger)
  writer.int64Field(2, id.entry)
  writer.intField(3, id.partition)
  writer.intField(4, id.batchIndex)
  if (ackSet !== undefined) { for (const word of ackSet) writer.int64Field(5, word) }
  writer.intField(6, id.batchSize)
  if (id.firstChunk !== undefined) {
    writer.varint((7 << 3) | 2)
    writer.ensure(1)
    const at = writer.position++
    write(writer, id.firstChunk)
    writer.closeLength(at)
  }
}

/** Reads the `MessageIdData` in `[reader.position, end)`, and its ack set. @category codecs @since 0.1.0 */
export const read = (reader: ProtoReader, end: number, ackSet?: Array<bigint>): MessageId => {
  const limit = reader.end
  reader.end = end
  let ledger: bigint | undefined
  let entry: bigint | undefined
  let partition = -1
  let batchIndex = -1
  let batchSize = 0
  let firstChunk: MessageId | undefined
  while (reader.position < end) {
    const tag = reader.varint()
    switch (tag) {
      case 8:
        ledger = reader.int64()
        break
      case 16:
        entry = reader.int64()
        break
      case 24:
        partition = reader.int32()
        break
      case 32:
        batchIndex = reader.int32()
        break
      case 40: {
        const word = reader.int64()
        ackSet?.push(word)
        break
      }
      case 42: {
        const packed = reader.delimited()
        while (reader.position < packed) {
          const word = reader.int64()
          ackSet?.push(word)
        }
        break
      }
      case 48:
        batchSize = reader.int32()
        break
      case 58:
        firstChunk = read(reader, reader.delimited())
        break
      default:
        reader.skip(tag & 7)
    }
  }
  reader.end = limit
  if (ledger === undefined || entry === undefined) {
    throw new WireFormatError("MissingField", "a message id without ledger or entry")
  }
  return make(ledger, entry, partition, batchIndex, batchSize, firstChunk)
}

/** The byte form of the protocol, for storing a position. @category codecs @since 0.1.0 */
export const toBytes = (id: MessageId): Uint8Array => {
  const writer = new ProtoWriter(64)
  write(writer, id)
  return writer.copy()
}

/** Reads {@link toBytes}; fails with `WireFormatError`. @category codecs @since 0.1.0 */
export const fromBytes = (bytes: Uint8Array): MessageId => read(new ProtoReader(bytes), bytes.length)
