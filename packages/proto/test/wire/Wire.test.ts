import { create, fromBinary, isFieldSet, toBinary } from "@bufbuild/protobuf"
import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { ProtoReader } from "../../src/internal/ProtoReader.ts"
import { ProtoWriter } from "../../src/internal/ProtoWriter.ts"
import * as Commands from "../../src/wire/Commands.ts"
import * as Api from "../../src/wire/gen/PulsarApi_pb.ts"
import * as MessageId from "../../src/wire/MessageId.ts"
import * as Metadata from "../../src/wire/Metadata.ts"

const pattern = (length: number, seed = 7) => {
  const bytes = new Uint8Array(length)
  let state = seed
  for (let index = 0; index < length; index++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    bytes[index] = state >>> 16
  }
  return bytes
}

const Uint53 = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }))
const Int64 = Schema.BigInt.check(Schema.isBetweenBigInt({ minimum: -(2n ** 63n), maximum: 2n ** 63n - 1n }))
const Int32 = Schema.Int.check(Schema.isBetween({ minimum: -(2 ** 31), maximum: 2 ** 31 - 1 }))

describe("varints", () => {
  it("round-trip at every boundary", () => {
    const values = [
      0,
      1,
      127,
      128,
      16_383,
      16_384,
      2 ** 28 - 1,
      2 ** 28,
      2 ** 31,
      2 ** 32,
      2 ** 35,
      2 ** 49,
      2 ** 53 - 1
    ]
    for (const value of values) {
      const writer = new ProtoWriter(1)
      writer.varint(value)
      assert.strictEqual(new ProtoReader(writer.view()).varint(), value)
    }
    for (const value of [0n, -1n, -(2n ** 63n), 2n ** 63n - 1n, 2n ** 53n, 2n ** 32n, 4_294_967_295n, -2n]) {
      const writer = new ProtoWriter(1)
      writer.varint64(value)
      assert.strictEqual(new ProtoReader(writer.view()).int64(), value)
    }
  })

  it.prop("read what they wrote", { unsigned: Uint53, wide: Int64, narrow: Int32 }, ({ narrow, unsigned, wide }) => {
    const writer = new ProtoWriter(1)
    writer.varint(unsigned)
    writer.varint64(wide)
    writer.varint64(BigInt(narrow))
    const reader = new ProtoReader(writer.view())
    return reader.varint() === unsigned && reader.int64() === wide && reader.int32() === narrow
  }, { arbitrary: { runs: 500, size: 2 ** 40 } })

  it("refuses one that never ends, and one that is cut", () => {
    assert.throws(() => new ProtoReader(new Uint8Array(11).fill(0x80)).varint(), /longer than ten/)
    assert.throws(() => new ProtoReader(Uint8Array.of(0x80)).varint(), /ends inside/)
    assert.throws(() => new ProtoReader(Uint8Array.of(0x80, 0x80)).varint(), /ends inside/)
    assert.throws(() => new ProtoReader(Uint8Array.of(5, 1)).bytes(), /ends inside/)
  })
})

const Words = Schema.Array(Int64).check(Schema.isMaxLength(6))
const IdSchema = Schema.Struct({ ledger: Int64, entry: Int64, partition: Int32, batchIndex: Int32, batchSize: Int32 })

describe("MessageId", () => {
  it.prop("is the generated MessageIdData", { id: IdSchema, words: Words }, ({ id, words }) => {
    const writer = new ProtoWriter(8)
    MessageId.write(writer, id, words)
    const generated = fromBinary(Api.MessageIdDataSchema, writer.copy())
    const ackSet: Array<bigint> = []
    const back = MessageId.read(new ProtoReader(toBinary(Api.MessageIdDataSchema, generated)), writer.position, ackSet)
    return BigInt.asIntN(64, generated.ledgerId) === id.ledger && generated.batchIndex === id.batchIndex &&
      MessageId.equals(back, id) && ackSet.every((word, index) => word === words[index]) &&
      ackSet.length === words.length
  }, { arbitrary: { runs: 300, size: 2 ** 40 } })

  it("orders earliest before everything and latest after it", () => {
    const id = MessageId.make(5n, 0n)
    assert.isTrue(MessageId.isAfter(id, MessageId.earliest))
    assert.isTrue(MessageId.isAfter(MessageId.latest, id))
    assert.isTrue(MessageId.isAfter(MessageId.make(5n, 0n, -1, 1, 2), MessageId.make(5n, 0n, -1, 0, 2)))
    assert.isFalse(MessageId.isAfter(id, id))
  })

  it("survives text and bytes, the first chunk included", () => {
    const id = MessageId.make(9n, 4n, 2, -1, 0, MessageId.make(9n, 1n, 2))
    assert.deepStrictEqual(MessageId.fromBytes(MessageId.toBytes(id)), id)
    assert.deepStrictEqual(MessageId.parse("9:4:2:-1"), MessageId.make(9n, 4n, 2))
    assert.strictEqual(MessageId.format(id), "9:4:2:-1")
    assert.isUndefined(MessageId.parse("9:4"))
    assert.throws(() => MessageId.fromBytes(Uint8Array.of(8, 1)), /without ledger or entry/)
  })
})

const Text = Schema.String.check(Schema.makeFilter((text: string) => text.isWellFormed()))
const Bytes = Schema.Uint8Array
const Pairs = Schema.Array(Schema.Tuple([Text, Text]))
const MetadataSchema = Schema.Struct({
  producerName: Text,
  sequenceId: Uint53,
  publishTime: Uint53,
  properties: Pairs,
  partitionKey: Schema.UndefinedOr(Text),
  replicateTo: Schema.Array(Text),
  compression: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 4 })),
  uncompressedSize: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 2 ** 32 - 1 })),
  batchSize: Schema.UndefinedOr(Int32),
  eventTime: Uint53,
  schemaVersion: Schema.UndefinedOr(Bytes),
  partitionKeyB64: Schema.Boolean,
  orderingKey: Schema.UndefinedOr(Bytes),
  deliverAtTime: Schema.UndefinedOr(Uint53),
  uuid: Schema.UndefinedOr(Text),
  chunkId: Schema.UndefinedOr(Int32),
  nullValue: Schema.Boolean
})

describe("Metadata", () => {
  it.prop("is the generated MessageMetadata", { sample: MetadataSchema }, ({ sample }) => {
    const metadata: Metadata.MessageMetadata = { ...Metadata.empty(), ...sample, sequenceId: BigInt(sample.sequenceId) }
    const writer = new ProtoWriter(8)
    Metadata.write(writer, metadata)
    const generated = fromBinary(Api.MessageMetadataSchema, writer.copy())
    const field = Api.MessageMetadataSchema.field
    assert.strictEqual(generated.producerName, metadata.producerName)
    assert.strictEqual(generated.sequenceId, metadata.sequenceId)
    assert.strictEqual(Number(generated.publishTime), metadata.publishTime)
    assert.strictEqual(isFieldSet(generated, field.numMessagesInBatch), metadata.batchSize !== undefined)
    assert.strictEqual(isFieldSet(generated, field.partitionKey), metadata.partitionKey !== undefined)
    assert.deepStrictEqual(generated.properties.map(({ key, value }) => [key, value] as const), [
      ...metadata.properties
    ])
    assert.deepStrictEqual(Metadata.read(toBinary(Api.MessageMetadataSchema, generated)), metadata)
    return true
  }, { arbitrary: { runs: 300, size: 60 } })

  it("keeps long strings, many pairs and bytes beyond one length byte", () => {
    const metadata = {
      ...Metadata.empty(),
      producerName: "ü".repeat(300),
      sequenceId: 2n ** 63n,
      properties: Array.from({ length: 50 }, (_, index) => [`key-${index}`, "v".repeat(index * 10)] as const),
      encryptionKeys: [{ name: "k", value: pattern(200), metadata: [["a", "b"]] as const }],
      compactedIndexes: [1, 2, 300]
    }
    const writer = new ProtoWriter(8)
    Metadata.write(writer, metadata)
    assert.deepStrictEqual(Metadata.read(writer.copy()), metadata)
    const generated = fromBinary(Api.MessageMetadataSchema, writer.copy())
    assert.strictEqual(generated.sequenceId, 2n ** 63n)
    assert.strictEqual(generated.encryptionKeys[0]!.value.length, 200)
  })

  it("refuses what lacks a required field, and every truncation", () => {
    const writer = new ProtoWriter(8)
    Metadata.write(writer, {
      ...Metadata.empty(),
      producerName: "p",
      partitionKey: "key",
      sequenceId: 9n,
      publishTime: 7
    })
    const whole = writer.copy()
    for (let length = 0; length < whole.length; length++) {
      try {
        Metadata.read(whole.subarray(0, length))
      } catch (error) {
        assert.strictEqual((error as { _tag?: string })._tag, "WireFormatError", `${length}`)
        continue
      }
      // A cut between fields after the required ones is a message with fewer fields.
      assert.isAbove(length, 6)
    }
  })

  it("tells a batch of one from a plain message by presence", () => {
    const writer = new ProtoWriter(8)
    Metadata.write(writer, { ...Metadata.empty(), batchSize: 1 })
    assert.strictEqual(Metadata.read(writer.copy()).batchSize, 1)
    writer.reset()
    Metadata.write(writer, Metadata.empty())
    assert.isUndefined(Metadata.read(writer.copy()).batchSize)
  })
})

describe("Commands", () => {
  it("PING and PONG are the bytes of the protocol and of the generated code", () => {
    assert.deepStrictEqual(Commands.encode({ type: Commands.Type.PING, ping: {} }), Commands.ping())
    assert.deepStrictEqual(Commands.encode({ type: Commands.Type.PONG, pong: {} }), Commands.pong())
  })

  it.prop("SEND is the generated CommandSend", { producerId: Uint53, sequence: Uint53, count: Int32 }, (sample) => {
    const send: Commands.Send = {
      producerId: sample.producerId,
      sequenceId: BigInt(sample.sequence),
      numMessages: Math.min(Math.abs(sample.count), 2 ** 31 - 1),
      highestSequenceId: sample.count % 2 === 0 ? undefined : BigInt(sample.sequence),
      isChunk: sample.count % 3 === 0,
      txnLeast: undefined,
      txnMost: undefined
    }
    const writer = new ProtoWriter(8)
    Commands.writeSend(writer, send)
    const generated = Commands.decode(writer.copy())
    assert.strictEqual(generated.type, Commands.Type.SEND)
    assert.strictEqual(Number(generated.send!.producerId), send.producerId)
    assert.strictEqual(generated.send!.numMessages, send.numMessages)
    const again = toBinary(Api.BaseCommandSchema, generated)
    assert.deepStrictEqual(Commands.readSend(again, 0, again.length), send)
    return true
  }, { arbitrary: { runs: 200, size: 2 ** 40 } })

  it.prop("MESSAGE, SEND_RECEIPT, ACK and FLOW agree with the generated code", {
    id: IdSchema,
    n: Uint53,
    words: Words
  }, ({ id, n, words }) => {
    const data = create(Api.MessageIdDataSchema, {
      ledgerId: BigInt.asUintN(64, id.ledger),
      entryId: BigInt.asUintN(64, id.entry),
      partition: id.partition,
      batchIndex: id.batchIndex,
      batchSize: id.batchSize
    })
    const message = Commands.encodeBare({
      type: Commands.Type.MESSAGE,
      message: { consumerId: BigInt(n), messageId: data, redeliveryCount: 3, ackSet: [...words], consumerEpoch: 4n }
    })
    const delivery = Commands.readDelivery(message, 0, message.length)
    assert.isTrue(MessageId.equals(delivery.messageId, id))
    assert.strictEqual(delivery.consumerId, n)
    assert.deepStrictEqual(delivery.ackSet ?? [], words)
    const receipt = Commands.encodeBare({
      type: Commands.Type.SEND_RECEIPT,
      sendReceipt: { producerId: 1n, sequenceId: BigInt(n), messageId: data, highestSequenceId: 2n ** 64n - 1n }
    })
    const read = Commands.readSendReceipt(receipt, 0, receipt.length)
    assert.strictEqual(read.sequenceId, n)
    assert.isAbove(read.highestSequenceId, Number.MAX_SAFE_INTEGER)
    assert.isTrue(MessageId.equals(read.messageId!, id))
    const ack = Commands.encodeAck({
      consumerId: n,
      cumulative: false,
      positions: [{ id, ackSet: words }, { id, ackSet: undefined }],
      properties: [["a", -5n]],
      requestId: 8
    })
    const decoded = Commands.decode(ack.subarray(8)).ack!
    assert.strictEqual(Number(decoded.consumerId), n)
    assert.deepStrictEqual(decoded.messageId[0]!.ackSet, words)
    assert.strictEqual(BigInt.asIntN(64, decoded.messageId[1]!.entryId), id.entry)
    assert.strictEqual(decoded.requestId, 8n)
    const flow = Commands.decode(Commands.encodeFlow(n, 500).subarray(8)).flow!
    assert.deepStrictEqual([Number(flow.consumerId), flow.messagePermits], [n, 500])
    return true
  }, { arbitrary: { runs: 200, size: 2 ** 40 } })

  it("names an unknown command and one without a type", () => {
    assert.throws(() => Commands.peekType(Uint8Array.of(8, 69), 0, 2), /command 69 does not exist/)
    assert.throws(() => Commands.peekType(Uint8Array.of(8, 0x80, 4), 0, 3), /does not exist/)
    assert.throws(() => Commands.peekType(Uint8Array.of(), 0, 0), /without its type/)
    assert.strictEqual(Commands.peekType(Uint8Array.of(0x92, 1, 0, 8, 0x12), 0, 5), Commands.Type.PING)
  })
})
