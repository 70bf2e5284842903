import { assert, describe, it } from "@effect/vitest"
import type { ConsumerSlot } from "../src/connection/ConsumerSlot.ts"
import { ProtoWriter } from "../src/internal/ProtoWriter.ts"
import * as ReadMemory from "../src/ReadMemory.ts"
import { MemoryReused, type ReceivedMessage } from "../src/ReceivedMessage.ts"
import { BatchBuilder } from "../src/wire/Batch.ts"
import * as Commands from "../src/wire/Commands.ts"
import * as Frame from "../src/wire/Frame.ts"
import * as Metadata from "../src/wire/Metadata.ts"
import { bytes, consumer, Harness, Type } from "./support/Broker.ts"
import { dice } from "./support/Dice.ts"

/** Reads as a transport does: into pieces, one chunk behind the other, each with its share. */
class Reader {
  /** Pieces that were read into a second time. */
  again = 0
  readonly #known = new Set<ArrayBuffer>()
  #piece = this.#acquire()
  #at = 0

  #acquire(): Uint8Array<ArrayBuffer> {
    const piece = ReadMemory.acquire(ReadMemory.PIECE)
    if (this.#known.has(piece.buffer)) this.again++
    this.#known.add(piece.buffer)
    // Whoever still reads what was here finds out.
    piece.fill(0xee)
    return piece
  }

  chunk(stream: Uint8Array): Uint8Array {
    if (this.#piece.length - this.#at < stream.length) {
      ReadMemory.release(this.#piece)
      this.#piece = this.#acquire()
      this.#at = 0
    }
    this.#piece.set(stream, this.#at)
    const chunk = this.#piece.subarray(this.#at, this.#at + stream.length)
    this.#at += stream.length
    ReadMemory.send(chunk)
    return chunk
  }
}

const entryFrame = (
  consumerId: number,
  entry: number,
  payloads: ReadonlyArray<Uint8Array>,
  isBatch = true
): Uint8Array => {
  const builder = new BatchBuilder()
  if (isBatch) { for (const payload of payloads) builder.addPlain(entry, payload) }
  else builder.put(payloads[0]!)
  const { end, memory, start } = builder.take()
  const writer = new ProtoWriter()
  Metadata.write(writer, {
    ...Metadata.empty(),
    producerName: "p",
    batchSize: isBatch ? payloads.length : undefined,
    schemaVersion: bytes(`version ${entry}`)
  })
  const command = Commands.encodeBare({
    type: Type.MESSAGE,
    message: { consumerId: BigInt(consumerId), messageId: { ledgerId: 1n, entryId: BigInt(entry) } }
  })
  return Buffer.concat(Frame.encodePayload(command, writer.view(), memory, start, end, start))
}

const REUSING = 3
const KEEPING = 4

const subscribed = () => {
  const harness = new Harness().connect()
  const reusing = consumer({ reuseMemory: true, receiverQueue: 1000 }, REUSING)
  const keeping = consumer({ receiverQueue: 1000 }, KEEPING)
  harness.subscribe(reusing)
  harness.subscribe(keeping)
  return { harness, keeping, reusing }
}

const text = (message: ReceivedMessage) => new TextDecoder().decode(message.payload)

describe("the memory that a connection reads into", () => {
  /** Two do not fit into a piece. */
  const fill = new Uint8Array(600 * 1024)

  /** Reads so much that what comes next is in another piece, and gives the piece that was read into. */
  const nextPiece = (harness: Harness, reader: Reader) => {
    // To a consumer that nobody knows: nothing of it is kept.
    const chunk = reader.chunk(entryFrame(99, 0, [fill], false))
    harness.connection.handleBytes(0, chunk)
    return chunk.buffer
  }

  it("is read into again once every message of an entry is acknowledged", () => {
    const { harness, reusing } = subscribed()
    const reader = new Reader()
    const chunk = reader.chunk(entryFrame(REUSING, 1, [bytes("a"), bytes("b")]))
    harness.connection.handleBytes(0, chunk)
    const [a, b] = harness.connection.consumers.take(0, reusing, 10) as [ReceivedMessage, ReceivedMessage]
    assert.strictEqual(text(a), "a")
    reusing.ack(0, a)
    assert.throws(() => a.payload, MemoryReused)
    assert.throws(() => a.key, MemoryReused)
    assert.strictEqual(new TextDecoder().decode(a.schemaVersion), "version 1")
    assert.strictEqual(a.batchIndex, 0)
    // The first still has room where the two messages are.
    assert.strictEqual(nextPiece(harness, reader), chunk.buffer)
    for (let round = 0; round < 20; round++) assert.notStrictEqual(nextPiece(harness, reader), chunk.buffer)
    assert.strictEqual(text(b), "b")
    reusing.ack(0, b)
    // A second acknowledgement gives up nothing more.
    reusing.ack(0, a)
    const later = Array.from({ length: 20 }, () => nextPiece(harness, reader))
    assert.include(later, chunk.buffer)
  })

  it("stays when its chunks were cut up on their way, or come twice", () => {
    const { harness, reusing } = subscribed()
    const reader = new Reader()
    const cut = reader.chunk(entryFrame(REUSING, 1, [bytes("a")], false))
    for (const part of [cut.subarray(0, 20), cut.subarray(20)]) harness.connection.handleBytes(0, part)
    const twice = reader.chunk(Commands.encode({ type: Type.PONG, pong: {} }))
    harness.connection.handleBytes(0, twice)
    harness.connection.handleBytes(0, twice)
    const [message] = harness.connection.consumers.take(0, reusing, 10) as [ReceivedMessage]
    for (let round = 0; round < 20; round++) nextPiece(harness, reader)
    assert.strictEqual(text(message), "a")
    reusing.ack(0, message)
    for (let round = 0; round < 20; round++) assert.notStrictEqual(nextPiece(harness, reader), cut.buffer)
  })

  it("stays with consumers that did not ask for that", () => {
    const { harness, keeping } = subscribed()
    const reader = new Reader()
    harness.connection.handleBytes(0, reader.chunk(entryFrame(KEEPING, 1, [bytes("a"), bytes("b")])))
    const [a, b] = harness.connection.consumers.take(0, keeping, 10) as [ReceivedMessage, ReceivedMessage]
    keeping.ack(0, a)
    keeping.ack(0, b)
    for (let round = 0; round < 20; round++) nextPiece(harness, reader)
    assert.strictEqual(text(a) + text(b), "ab")
    assert.strictEqual(new TextDecoder().decode(a.schemaVersion), "version 1")
  })

  it("stays when messages are dropped or refused: nobody knows who looks at them", () => {
    const { harness, reusing } = subscribed()
    const reader = new Reader()
    harness.connection.handleBytes(0, reader.chunk(entryFrame(REUSING, 1, [bytes("a"), bytes("b")])))
    const [a, b] = harness.connection.consumers.take(0, reusing, 10) as [ReceivedMessage, ReceivedMessage]
    reusing.nack(a.id, 100)
    harness.connection.reset()
    reusing.ack(0, b)
    for (let round = 0; round < 20; round++) nextPiece(harness, reader)
    assert.strictEqual(text(a), "a")
  })

  it.each([1, 2, 3, 4, 5, 6])("is never written while somebody reads it (seed %i)", (seed) => {
    const roll = dice(seed)
    const { harness, keeping, reusing } = subscribed()
    const reader = new Reader()
    const expected = new Map<string, Uint8Array>()
    const held: Array<{ readonly slot: ConsumerSlot; readonly message: ReceivedMessage }> = []
    const kept: Array<ReceivedMessage> = []
    const check = (slot: ConsumerSlot, message: ReceivedMessage) => {
      const wanted = expected.get(`${slot.id}:${message.id.entry}:${Math.max(0, message.batchIndex)}`)!
      assert.isTrue(Buffer.from(message.payload).equals(wanted))
      assert.strictEqual(new TextDecoder().decode(message.schemaVersion), `version ${message.id.entry}`)
    }
    let stream: Uint8Array<ArrayBuffer> = new Uint8Array(0)
    for (let entry = 0; entry < 700; entry++) {
      const id = roll(40) === 0 ? KEEPING : REUSING
      const isBatch = roll(4) > 0
      const payloads = Array.from({ length: isBatch ? 1 + roll(40) : 1 }, (_, index) => {
        const payload = new Uint8Array(roll(roll(10) === 0 ? 60_000 : 3000)).fill(roll(256))
        expected.set(`${id}:${entry}:${index}`, payload)
        return payload
      })
      const frames: Array<Uint8Array> = [stream, entryFrame(id, entry, payloads, isBatch)]
      if (roll(20) === 0) frames.push(Commands.encode({ type: Type.PING, ping: {} }))
      stream = new Uint8Array(Buffer.concat(frames))
      // What has come so far, cut anywhere; chunks may wait before the connection gets them.
      const waiting: Array<Uint8Array> = []
      while (stream.length > 0 && roll(6) > 0) {
        const length = Math.min(stream.length, 1 + roll(roll(3) === 0 ? 20 : 65_536))
        waiting.push(reader.chunk(stream.subarray(0, length)))
        stream = stream.subarray(length)
      }
      for (const chunk of waiting) harness.connection.handleBytes(0, chunk)
      for (const slot of [reusing, keeping]) {
        for (const message of harness.connection.consumers.take(0, slot, roll(60))) {
          if (slot === keeping) kept.push(message)
          else if (roll(300) === 0) slot.nack(message.id, 0)
          else held.push({ slot, message })
        }
      }
      while (held.length > roll(120)) {
        const at = roll(4) === 0 ? roll(held.length) : 0
        const [{ message, slot }] = held.splice(at, 1) as [typeof held[number]]
        check(slot, message)
        slot.ack(0, message)
      }
      harness.drain()
    }
    for (const { message, slot } of held) check(slot, message)
    for (const message of kept) check(keeping, message)
    assert.isAbove(kept.length, 10)
    assert.isAbove(reader.again, 3)
  })
})
