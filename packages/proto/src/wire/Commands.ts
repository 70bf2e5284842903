/**
 * Commands as bytes. Those of the hot path (SEND, MESSAGE, SEND_RECEIPT, ACK, FLOW) are written and read by hand; all others go through the
 * generated messages.
 *
 * @since 0.1.0
 */
import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf"
import { ProtoReader } from "../internal/ProtoReader.ts"
import { ProtoWriter } from "../internal/ProtoWriter.ts"
import { encodeCommand } from "./Frame.ts"
import { type BaseCommand, BaseCommand_Type, BaseCommandSchema } from "./gen/PulsarApi_pb.ts"
import * as MessageId from "./MessageId.ts"
import { WireFormatError } from "./WireFormatError.ts"

/** Numbers of the commands. @category constants @since 0.1.0 */
export const Type = BaseCommand_Type
/** @category models @since 0.1.0 */
export type Type = BaseCommand_Type

/** A command with its type, as the generated code takes it. @category models @since 0.1.0 */
export type CommandInit = MessageInitShape<typeof BaseCommandSchema>

/** A simple command as a frame. @category codecs @since 0.1.0 */
export const encode = (command: CommandInit): Uint8Array =>
  encodeCommand(toBinary(BaseCommandSchema, create(BaseCommandSchema, command)))

/** The bytes of a command without its frame. @category codecs @since 0.1.0 */
export const encodeBare = (command: CommandInit): Uint8Array =>
  toBinary(BaseCommandSchema, create(BaseCommandSchema, command))

/** Reads any command; fails with `WireFormatError`. @category codecs @since 0.1.0 */
export const decode = (bytes: Uint8Array): BaseCommand => {
  try {
    return fromBinary(BaseCommandSchema, bytes)
  } catch (cause) {
    throw new WireFormatError("Truncated", `a command that is not protobuf: ${String(cause).slice(0, 120)}`)
  }
}

/** Number of the command in `[start, end)`, without reading the rest. @category codecs @since 0.1.0 */
export const peekType = (bytes: Uint8Array, start: number, end: number): number => {
  if (end - start >= 2 && bytes[start] === 8 && bytes[start + 1]! < 0x80) return known(bytes[start + 1]!)
  const reader = new ProtoReader(bytes, start, end)
  while (reader.position < end) {
    const tag = reader.varint()
    if (tag === 8) return known(reader.varint())
    reader.skip(tag & 7)
  }
  throw new WireFormatError("MissingField", "a command without its type")
}

const numbers: ReadonlySet<number> = new Set(Object.values(BaseCommand_Type))

const known = (type: number): number => {
  if (!numbers.has(type)) throw new WireFormatError("UnknownCommand", `command ${type} does not exist`)
  return type
}

/** The reader at the message of a hot command, or a failure. */
const inside = (reader: ProtoReader, field: number): number => {
  const limit = reader.end
  while (reader.position < limit) {
    const tag = reader.varint()
    if (tag === ((field << 3) | 2)) return reader.delimited()
    reader.skip(tag & 7)
  }
  throw new WireFormatError("MissingField", `a command of type ${field} without its message`)
}

// ---------------------------------------------------------------------------------------------------------------------------------
// SEND

/** `CommandSend`. @category models @since 0.1.0 */
export interface Send {
  readonly producerId: number
  readonly sequenceId: bigint
  readonly numMessages: number
  readonly highestSequenceId: bigint | undefined
  readonly isChunk: boolean
  readonly txnLeast: bigint | undefined
  readonly txnMost: bigint | undefined
}

/** @category codecs @since 0.1.0 */
export const writeSend = (writer: ProtoWriter, send: Send): void => {
  writer.uintField(1, Type.SEND)
  writer.varint((Type.SEND << 3) | 2)
  writer.ensure(1)
  const at = writer.position++
  writer.uintField(1, send.producerId)
  writer.int64Field(2, send.sequenceId)
  if (send.numMessages !== 1) writer.uintField(3, send.numMessages)
  if (send.txnLeast !== undefined) writer.int64Field(4, send.txnLeast)
  if (send.txnMost !== undefined) writer.int64Field(5, send.txnMost)
  if (send.highestSequenceId !== undefined) writer.int64Field(6, send.highestSequenceId)
  if (send.isChunk) writer.boolField(7, true)
  writer.closeLength(at)
}

/** Reads a SEND command, as a broker does. @category codecs @since 0.1.0 */
export const readSend = (bytes: Uint8Array, start: number, end: number): Send => {
  const reader = new ProtoReader(bytes, start, end)
  const limit = inside(reader, Type.SEND)
  let producerId = -1
  let sequenceId: bigint | undefined
  let numMessages = 1
  let highestSequenceId: bigint | undefined
  let isChunk = false
  let txnLeast: bigint | undefined
  let txnMost: bigint | undefined
  while (reader.position < limit) {
    const tag = reader.varint()
    if (tag === 8) producerId = reader.varint()
    else if (tag === 16) sequenceId = BigInt.asUintN(64, reader.int64())
    else if (tag === 24) numMessages = reader.int32()
    else if (tag === 32) txnLeast = BigInt.asUintN(64, reader.int64())
    else if (tag === 40) txnMost = BigInt.asUintN(64, reader.int64())
    else if (tag === 48) highestSequenceId = BigInt.asUintN(64, reader.int64())
    else if (tag === 56) isChunk = reader.bool()
    else reader.skip(tag & 7)
  }
  if (producerId < 0 || sequenceId === undefined) throw new WireFormatError("MissingField", "a SEND without ids")
  return { producerId, sequenceId, numMessages, highestSequenceId, isChunk, txnLeast, txnMost }
}

// ---------------------------------------------------------------------------------------------------------------------------------
// SEND_RECEIPT

/** `CommandSendReceipt`; sequence ids beyond 2^53 come out rounded, which a client's own never are. @category models @since 0.1.0 */
export interface SendReceipt {
  readonly producerId: number
  readonly sequenceId: number
  readonly highestSequenceId: number
  readonly messageId: MessageId.MessageId | undefined
}

/** @category codecs @since 0.1.0 */
export const readSendReceipt = (bytes: Uint8Array, start: number, end: number): SendReceipt => {
  const reader = new ProtoReader(bytes, start, end)
  const limit = inside(reader, Type.SEND_RECEIPT)
  let producerId = -1
  let sequenceId = -1
  let highestSequenceId = 0
  let messageId: MessageId.MessageId | undefined
  while (reader.position < limit) {
    const tag = reader.varint()
    if (tag === 8) producerId = reader.varint()
    else if (tag === 16) sequenceId = reader.varint()
    else if (tag === 26) messageId = MessageId.read(reader, reader.delimited())
    else if (tag === 32) highestSequenceId = reader.varint()
    else reader.skip(tag & 7)
  }
  if (producerId < 0 || sequenceId < 0) throw new WireFormatError("MissingField", "a SEND_RECEIPT without ids")
  return { producerId, sequenceId, highestSequenceId, messageId }
}

// ---------------------------------------------------------------------------------------------------------------------------------
// MESSAGE

/** `CommandMessage`. @category models @since 0.1.0 */
export interface Delivery {
  readonly consumerId: number
  readonly messageId: MessageId.MessageId
  readonly redeliveryCount: number
  /** A bit per message of the batch, 1 = not yet acknowledged; `undefined` = all are open. */
  readonly ackSet: ReadonlyArray<bigint> | undefined
  readonly consumerEpoch: number | undefined
}

/** @category codecs @since 0.1.0 */
export const readDelivery = (bytes: Uint8Array, start: number, end: number): Delivery => {
  const reader = new ProtoReader(bytes, start, end)
  const limit = inside(reader, Type.MESSAGE)
  let consumerId = -1
  let messageId: MessageId.MessageId | undefined
  let redeliveryCount = 0
  let ackSet: Array<bigint> | undefined
  let consumerEpoch: number | undefined
  while (reader.position < limit) {
    const tag = reader.varint()
    switch (tag) {
      case 8:
        consumerId = reader.varint()
        break
      case 18:
        messageId = MessageId.read(reader, reader.delimited())
        break
      case 24:
        redeliveryCount = reader.varint()
        break
      case 32:
        ;(ackSet ??= []).push(reader.int64())
        break
      case 34: {
        const packed = reader.delimited()
        while (reader.position < packed) (ackSet ??= []).push(reader.int64())
        break
      }
      case 40:
        consumerEpoch = reader.varint()
        break
      default:
        reader.skip(tag & 7)
    }
  }
  if (consumerId < 0 || messageId === undefined) throw new WireFormatError("MissingField", "a MESSAGE without ids")
  return { consumerId, messageId, redeliveryCount, ackSet, consumerEpoch }
}

// ---------------------------------------------------------------------------------------------------------------------------------
// ACK and FLOW

/** One position to acknowledge; `ackSet` has a bit per message of its batch that stays open. @category models @since 0.1.0 */
export interface AckPosition {
  readonly id: MessageId.MessageId
  readonly ackSet: ReadonlyArray<bigint> | undefined
}

/** `CommandAck`. @category models @since 0.1.0 */
export interface Ack {
  readonly consumerId: number
  readonly cumulative: boolean
  readonly positions: ReadonlyArray<AckPosition>
  readonly properties?: ReadonlyArray<readonly [string, bigint]> | undefined
  /** With an id the broker answers. */
  readonly requestId: number | undefined
}

/** @category codecs @since 0.1.0 */
export const writeAck = (writer: ProtoWriter, ack: Ack): void => {
  writer.uintField(1, Type.ACK)
  writer.varint((Type.ACK << 3) | 2)
  writer.ensure(1)
  const at = writer.position++
  writer.uintField(1, ack.consumerId)
  writer.uintField(2, ack.cumulative ? 1 : 0)
  for (const { ackSet, id } of ack.positions) {
    writer.varint((3 << 3) | 2)
    writer.ensure(1)
    const inner = writer.position++
    MessageId.write(writer, id, ackSet)
    writer.closeLength(inner)
  }
  if (ack.properties !== undefined) {
    for (const [key, value] of ack.properties) {
      writer.varint((5 << 3) | 2)
      writer.ensure(1)
      const inner = writer.position++
      writer.stringField(1, key)
      writer.int64Field(2, value)
      writer.closeLength(inner)
    }
  }
  if (ack.requestId !== undefined) writer.uintField(8, ack.requestId)
  writer.closeLength(at)
}

/** An ACK as a frame. @category codecs @since 0.1.0 */
export const encodeAck = (ack: Ack): Uint8Array => {
  const writer = new ProtoWriter(64 + 32 * ack.positions.length)
  writeAck(writer, ack)
  return encodeCommand(writer.view())
}

/** A FLOW as a frame: `permits` more messages may come. @category codecs @since 0.1.0 */
export const encodeFlow = (consumerId: number, permits: number): Uint8Array => {
  const writer = new ProtoWriter(32)
  writer.uintField(1, Type.FLOW)
  writer.varint((Type.FLOW << 3) | 2)
  writer.ensure(1)
  const at = writer.position++
  writer.uintField(1, consumerId)
  writer.uintField(2, permits)
  writer.closeLength(at)
  return encodeCommand(writer.view())
}

/** PING, 13 bytes. @category constants @since 0.1.0 */
export const ping = (): Uint8Array => Uint8Array.of(0, 0, 0, 9, 0, 0, 0, 5, 8, 0x12, 0x92, 1, 0)

/** PONG, 13 bytes. @category constants @since 0.1.0 */
export const pong = (): Uint8Array => Uint8Array.of(0, 0, 0, 9, 0, 0, 0, 5, 8, 0x13, 0x9a, 1, 0)
