import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { constants, deflateSync } from "node:zlib"
import * as Batch from "../../src/wire/Batch.ts"
import * as Chunk from "../../src/wire/Chunk.ts"
import * as Commands from "../../src/wire/Commands.ts"
import * as Compression from "../../src/wire/Compression.ts"
import * as Frame from "../../src/wire/Frame.ts"
import * as MessageId from "../../src/wire/MessageId.ts"
import * as Metadata from "../../src/wire/Metadata.ts"
import { ProtoWriter } from "../../src/internal/ProtoWriter.ts"

const join = (parts: ReadonlyArray<Uint8Array>) => {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}

const pattern = (length: number) => Uint8Array.from({ length }, (_, index) => (index * 31 + (index >> 8)) & 0xff)

const sendFrame = (payload: Uint8Array, headroom: number, brokerEntry?: Metadata.BrokerEntryMetadata) => {
  const command = new ProtoWriter()
  Commands.writeSend(command, {
    producerId: 1,
    sequenceId: 2n,
    numMessages: 1,
    highestSequenceId: undefined,
    isChunk: false,
    txnLeast: undefined,
    txnMost: undefined
  })
  const metadata = new ProtoWriter()
  Metadata.write(metadata, { ...Metadata.empty(), producerName: "p", publishTime: 5 })
  const memory = new Uint8Array(headroom + payload.length)
  memory.set(payload, headroom)
  return Frame.encodePayload(command.copy(), metadata.copy(), memory, headroom, memory.length, 0, brokerEntry)
}

const decodeAll = (decoder: Frame.FrameDecoder) => {
  const frames: Array<string> = []
  while (decoder.next()) {
    const type = Commands.peekType(decoder.buffer, decoder.commandStart, decoder.commandEnd)
    if (decoder.frameEnd === decoder.commandEnd) frames.push(`${type}`)
    else {
      const section = Frame.readPayload(decoder.buffer, decoder.commandEnd, decoder.frameEnd)
      const payload = decoder.buffer.subarray(section.metadataEnd, section.payloadEnd)
      frames.push(
        `${type}:${section.expected === section.computed}:${payload.length}:${
          payload.reduce((a, b) => (a * 33 + b) >>> 0, 0)
        }`
      )
    }
  }
  return frames
}

describe("frames", () => {
  it("come out the same however the stream is cut", () => {
    const stream = join([
      Commands.ping(),
      ...sendFrame(pattern(1000), Batch.HEADROOM),
      Commands.pong(),
      ...sendFrame(new Uint8Array(0), 0),
      ...sendFrame(pattern(70_000), Batch.HEADROOM, { brokerTimestamp: 12, index: 99n })
    ])
    const whole = new Frame.FrameDecoder()
    whole.push(stream.slice())
    const expected = decodeAll(whole)
    assert.strictEqual(expected.length, 5)
    assert.strictEqual(whole.buffered, 0)
    for (const size of [1, 2, 3, 7, 13, 100, 4096, 65_536]) {
      const decoder = new Frame.FrameDecoder()
      const frames: Array<string> = []
      for (let at = 0; at < stream.length; at += size) {
        decoder.push(stream.slice(at, at + size))
        frames.push(...decodeAll(decoder))
      }
      assert.deepStrictEqual(frames, expected, `chunks of ${size}`)
    }
  })

  it.prop(
    "come out the same when reads lie one behind the other in pieces of memory, in place but for those over an edge",
    {
      sizes: Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 300 }))).check(
        Schema.isMinLength(1),
        Schema.isMaxLength(40)
      ),
      reads: Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 900 }))).check(
        Schema.isMinLength(1)
      ),
      piece: Schema.Int.check(Schema.isBetween({ minimum: 16, maximum: 2000 }))
    },
    ({ piece, reads, sizes }) => {
      const stream = join(sizes.flatMap((size) => sendFrame(pattern(size), Batch.HEADROOM)))
      const whole = new Frame.FrameDecoder()
      whole.push(stream.slice())
      const expected = decodeAll(whole)
      const decoder = new Frame.FrameDecoder()
      const views: Array<readonly [view: Uint8Array, copy: Uint8Array]> = []
      const frames: Array<string> = []
      let memory = new Uint8Array(piece)
      let used = 0
      for (let at = 0, turn = 0; at < stream.length; turn++) {
        if (used === memory.length) {
          memory = new Uint8Array(piece)
          used = 0
        }
        const count = Math.min(reads[turn % reads.length]!, memory.length - used, stream.length - at)
        memory.set(stream.subarray(at, at + count), used)
        decoder.push(memory.subarray(used, used + count))
        used += count
        at += count
        while (decoder.next()) {
          const section = Frame.readPayload(decoder.buffer, decoder.commandEnd, decoder.frameEnd)
          const view = decoder.buffer.subarray(section.metadataEnd, section.payloadEnd)
          views.push([view, view.slice()])
          frames.push(`${section.expected === section.computed}:${view.length}`)
        }
      }
      assert.deepStrictEqual(frames, expected.map((line) => line.split(":").slice(1, 3).join(":")))
      for (const [view, copy] of views) assert.deepStrictEqual(view, copy)
      assert.strictEqual(decoder.buffered, 0)
    }
  )

  it("never write again into memory they handed out", () => {
    const stream = join([...sendFrame(pattern(50), 64), ...sendFrame(pattern(50), 64), ...sendFrame(pattern(50), 64)])
    const decoder = new Frame.FrameDecoder()
    const views: Array<Uint8Array> = []
    for (let at = 0; at < stream.length; at += 33) {
      decoder.push(stream.slice(at, at + 33))
      while (decoder.next()) {
        const section = Frame.readPayload(decoder.buffer, decoder.commandEnd, decoder.frameEnd)
        views.push(decoder.buffer.subarray(section.metadataEnd, section.payloadEnd))
      }
    }
    assert.strictEqual(views.length, 3)
    for (const view of views) assert.deepStrictEqual(Uint8Array.from(view), pattern(50))
  })

  it("in one segment or two are the same bytes", () => {
    const payload = pattern(500)
    const one = sendFrame(payload, Batch.HEADROOM)
    const two = sendFrame(payload, 3)
    assert.strictEqual(one.length, 1)
    assert.strictEqual(two.length, 2)
    assert.deepStrictEqual(join(one), join(two))
  })

  it("carry broker entry metadata", () => {
    const frame = join(sendFrame(pattern(10), 0, { brokerTimestamp: 123, index: 7n }))
    const decoder = new Frame.FrameDecoder()
    decoder.push(frame)
    assert.isTrue(decoder.next())
    const section = Frame.readPayload(decoder.buffer, decoder.commandEnd, decoder.frameEnd)
    assert.deepStrictEqual(section.brokerEntry, { brokerTimestamp: 123, index: 7n })
    assert.strictEqual(section.expected, section.computed)
    assert.strictEqual(Metadata.read(decoder.buffer, section.metadataStart, section.metadataEnd).producerName, "p")
  })

  it("with one flipped bit fail their checksum and leave the next frame alone", () => {
    const frame = join(sendFrame(pattern(100), 0))
    frame[frame.length - 5]! ^= 4
    const decoder = new Frame.FrameDecoder()
    decoder.push(join([frame, Commands.ping()]))
    assert.deepStrictEqual(decodeAll(decoder).map((line) => line.split(":")[1] ?? "simple"), ["false", "simple"])
  })

  it("are refused for lengths that lie", () => {
    const attempt = (bytes: ReadonlyArray<number>) => {
      const decoder = new Frame.FrameDecoder(1000)
      decoder.push(Uint8Array.from(bytes))
      return decoder.next()
    }
    assert.throws(() => attempt([0, 0, 0, 0]), /a frame of 0 bytes/)
    assert.throws(() => attempt([0, 0, 0x10, 0]), /the ceiling is 1000/)
    assert.throws(() => attempt([0xff, 0xff, 0xff, 0xff]), /4294967295/)
    assert.throws(() => attempt([0, 0, 0, 5, 0, 0, 0, 9, 1]), /a command of 9 bytes/)
    assert.isFalse(attempt([0, 0, 0, 9, 0, 0]))
  })

  it("are refused for a payload section that is cut or unmarked", () => {
    const read = (...bytes: ReadonlyArray<number>) => Frame.readPayload(Uint8Array.from(bytes), 0, bytes.length)
    assert.throws(() => read(1), /one byte/)
    assert.throws(() => read(0x0f, 1, 0, 0), /checksum mark/)
    assert.throws(() => read(0x0e, 1, 0, 0), /inside its checksum/)
    assert.throws(() => read(0x0e, 2, 0, 0, 0, 9, 1), /broker entry metadata claims 9/)
    assert.throws(() => read(0x0e, 2, 0, 0), /before the size/)
  })
})

const single = (payload: Uint8Array, key?: string): Metadata.SingleMetadata => ({
  properties: key === undefined ? [] : [["k", key]],
  partitionKey: key,
  payloadSize: payload.length,
  compactedOut: false,
  eventTime: 0,
  partitionKeyB64: false,
  orderingKey: undefined,
  sequenceId: 3n,
  nullValue: false,
  nullPartitionKey: false
})

describe("batches", () => {
  it("come back message by message, over more memory than one slab", () => {
    const builder = new Batch.BatchBuilder()
    const payloads = Array.from({ length: 500 }, (_, index) => pattern(index * 3))
    for (const [index, payload] of payloads.entries()) builder.add(single(payload, `key-${index}`), payload)
    const { end, memory, start } = builder.take()
    assert.isAtLeast(start, Batch.HEADROOM)
    const cursor = new Batch.BatchCursor(memory.slice(start, end), 500)
    for (const [index, payload] of payloads.entries()) {
      const member = cursor.next()!
      assert.strictEqual(member.single.partitionKey, `key-${index}`)
      assert.deepStrictEqual(cursor.bytes.slice(member.start, member.end), payload)
    }
    assert.isUndefined(cursor.next())
    assert.strictEqual(builder.count, 0)
  })

  it("taken one after another do not touch each other", () => {
    const builder = new Batch.BatchBuilder()
    const taken = Array.from({ length: 2000 }, (_, index) => {
      builder.put(pattern(100 + index))
      return builder.take()
    })
    for (const [index, { end, memory, start }] of taken.entries()) {
      assert.deepStrictEqual(memory.slice(start, end), pattern(100 + index))
    }
  })

  it("that are cut yield what is whole", () => {
    const builder = new Batch.BatchBuilder()
    for (let index = 0; index < 3; index++) builder.add(single(pattern(20)), pattern(20))
    const { end, memory, start } = builder.take()
    const whole = memory.slice(start, end)
    for (let length = 0; length < whole.length; length++) {
      const cursor = new Batch.BatchCursor(whole.subarray(0, length), 3)
      let count = 0
      while (cursor.next() !== undefined) count++
      assert.strictEqual(count, Math.floor(length / (whole.length / 3)))
    }
  })
})

describe("compression", () => {
  const samples = [
    new Uint8Array(0),
    Uint8Array.of(1),
    pattern(15),
    new Uint8Array(100_000),
    pattern(100_000),
    new TextEncoder().encode("abcabcabc".repeat(1000))
  ]
  it("gives back what it took, with every codec", () => {
    for (const name of ["none", "lz4", "zlib", "zstd", "snappy"] as const) {
      for (const sample of samples) {
        const packed = Compression.compress(name, sample)
        const back = Compression.decompress(Compression.toNumber(name), packed, sample.length, 1 << 20)
        assert.deepStrictEqual(Uint8Array.from(back), sample, `${name} of ${sample.length}`)
      }
    }
  })

  it("reads the block formats of other implementations", () => {
    // LZ4: token 0x1f = one literal and a match of 19 at offset 1, then a run of five literals.
    assert.deepStrictEqual(
      Uint8Array.from(Compression.decompress(1, Uint8Array.of(0x1f, 97, 1, 0, 0, 0x50, 97, 97, 97, 97, 97), 25, 100)),
      new Uint8Array(25).fill(97)
    )
    assert.deepStrictEqual(
      Uint8Array.from(Compression.decompress(4, Uint8Array.of(3, 8, 1, 2, 3), 3, 100)),
      Uint8Array.of(1, 2, 3)
    )
  })

  it("reads a ZLIB stream that was flushed and never ended, as Java's client writes it", () => {
    const sample = pattern(5000)
    const open = deflateSync(sample, { finishFlush: constants.Z_SYNC_FLUSH })
    assert.deepStrictEqual(Uint8Array.from(Compression.decompress(2, open, 5000, 5000)), sample)
    assert.throws(() => Compression.decompress(2, open.subarray(0, open.length >> 1), 5000, 5000), /instead of 5000/)
  })

  it("refuses a bomb, a wrong size, an unknown codec and broken bytes", () => {
    const zeros = new Uint8Array(1_000_000)
    for (const name of ["lz4", "zlib", "zstd", "snappy"] as const) {
      const number = Compression.toNumber(name)
      const packed = Compression.compress(name, zeros)
      assert.throws(() => Compression.decompress(number, packed, 1_000_000, 999_999), /ceiling/, name)
      assert.throws(() => Compression.decompress(number, packed, 10, 999_999), /./, name)
      assert.throws(() => Compression.decompress(number, packed, 1_000_001, 2_000_000), /./, name)
      for (let cut = 0; cut < packed.length; cut += Math.max(1, packed.length >> 6)) {
        // A frame may have said everything before its last bytes: then what comes out is right, never short.
        let out: Uint8Array | undefined
        try {
          out = Compression.decompress(number, packed.subarray(0, cut), 1_000_000, 2_000_000)
        } catch (error) {
          assert.strictEqual((error as { _tag?: string })._tag, "WireFormatError")
        }
        if (out !== undefined) {
          assert.isTrue(out.length === 1_000_000 && out.every((byte) => byte === 0), `${name} at ${cut}`)
        }
      }
    }
    assert.throws(() => Compression.decompress(9, zeros, 1, 100), /compression 9 does not exist/)
  })

  it("survives random bytes with a typed failure", () => {
    for (let seed = 1; seed < 400; seed++) {
      const noise = pattern(seed % 64).map((byte, index) => (byte * seed + index) & 0xff)
      for (const number of [1, 2, 3, 4]) {
        try {
          Compression.decompress(number, noise, seed % 100, 1000)
        } catch (error) {
          assert.strictEqual((error as { _tag?: string })._tag, "WireFormatError")
        }
      }
    }
  })
})

describe("chunks", () => {
  const chunk = (uuid: string, chunkId: number, total: number): Metadata.MessageMetadata => ({
    ...Metadata.empty(),
    uuid,
    chunkId,
    chunkCount: total,
    chunkTotalSize: 9
  })
  const id = (entry: number) => MessageId.make(1n, BigInt(entry))

  it("are cut without an empty tail", () => {
    assert.strictEqual(Chunk.chunkSize(5000), 3976)
    assert.strictEqual(Chunk.chunkSize(4096), 4096)
    assert.deepStrictEqual([0, 1, 10, 11, 20].map((bytes) => Chunk.chunkCount(bytes, 10)), [1, 1, 1, 2, 2])
  })

  it("come together in any order and know all their positions", () => {
    const assembler = new Chunk.ChunkAssembler()
    const nobody = () => assert.fail("nothing was abandoned")
    assert.strictEqual(assembler.add(0, chunk("a", 0, 3), id(0), Uint8Array.of(1), nobody)._tag, "Buffered")
    assert.strictEqual(assembler.add(0, chunk("b", 0, 2), id(1), Uint8Array.of(8), nobody)._tag, "Buffered")
    assert.strictEqual(assembler.add(0, chunk("a", 2, 3), id(2), Uint8Array.of(3), nobody)._tag, "Buffered")
    assert.deepInclude(assembler.add(0, chunk("a", 2, 3), id(2), Uint8Array.of(3), nobody), { why: "duplicate" })
    const result = assembler.add(0, chunk("a", 1, 3), id(3), Uint8Array.of(2), nobody)
    assert.strictEqual(result._tag, "Complete")
    if (result._tag === "Complete") {
      assert.deepStrictEqual(result.payload, Uint8Array.of(1, 2, 3))
      assert.deepStrictEqual(result.ids, [id(0), id(3), id(2)])
      assert.isUndefined(result.metadata.chunkCount)
    }
    assert.strictEqual(assembler.size, 1)
  })

  it("are bounded in number, age and size", () => {
    const given: Array<bigint> = []
    const onAbandoned = (ids: ReadonlyArray<MessageId.MessageId>) => given.push(ids[0]!.entry)
    const assembler = new Chunk.ChunkAssembler({ maxPending: 2, expireAfter: 100, maxBytes: 5 })
    assembler.add(0, chunk("a", 0, 9), id(0), Uint8Array.of(1), onAbandoned)
    assembler.add(10, chunk("b", 0, 9), id(1), Uint8Array.of(1), onAbandoned)
    assembler.add(20, chunk("c", 0, 9), id(2), Uint8Array.of(1), onAbandoned)
    assert.deepStrictEqual(given, [0n])
    assert.deepInclude(assembler.add(21, chunk("a", 1, 9), id(3), Uint8Array.of(1), onAbandoned), { why: "straggler" })
    assert.deepInclude(assembler.add(21, chunk("c", 1, 9), id(3), new Uint8Array(5), onAbandoned), { why: "tooLarge" })
    assert.strictEqual(assembler.nextDeadline(), 110)
    assembler.expire(109, onAbandoned)
    assert.strictEqual(assembler.size, 1)
    assembler.expire(110, onAbandoned)
    assert.deepStrictEqual(given, [0n, 2n, 1n])
    assert.strictEqual(assembler.size, 0)
    assert.deepInclude(assembler.add(0, chunk("d", 0, 20_000), id(1), Uint8Array.of(), onAbandoned), { why: "invalid" })
    assert.deepInclude(assembler.add(0, chunk("d", 3, 3), id(1), Uint8Array.of(), onAbandoned), { why: "invalid" })
    assert.deepInclude(assembler.add(0, chunk("d", -1, 3), id(1), Uint8Array.of(), onAbandoned), { why: "invalid" })
  })
})
