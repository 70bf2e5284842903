import { assert, describe, it } from "@effect/vitest"
import { BatchCursor } from "../../src/wire/Batch.ts"
import * as Compression from "../../src/wire/Compression.ts"
import { bytes, Harness, Outcomes, producer, Type } from "../support/Broker.ts"

const send = (
  slot: ReturnType<typeof producer>,
  outcomes: Outcomes,
  index: number,
  text = `m${index}`,
  now = 0,
  extra = {}
) => slot.enqueue(now, 1000 + now, { payload: bytes(text), ...extra }, outcomes, index)

describe("opening", () => {
  it("learns its name and goes on after the broker's last sequence id", () => {
    const harness = new Harness().connect()
    const slot = producer()
    harness.openProducer(slot, 0, 41n)
    assert.strictEqual(slot.name, "given")
    assert.strictEqual(slot.lastPublished, 41)
    const outcomes = new Outcomes()
    harness.seen()
    assert.isUndefined(send(slot, outcomes, 0))
    const [frame] = harness.seen()
    assert.strictEqual(frame!.command.send!.sequenceId, 42n)
    assert.strictEqual(frame!.metadata!.producerName, "given")
    assert.strictEqual(frame!.metadata!.publishTime, 1000)
  })

  it("waits for its turn when the broker says so", () => {
    const harness = new Harness().connect()
    const slot = producer({ accessMode: 2 })
    harness.connection.producers.open(0, slot)
    const requestId = BigInt(slot.openRequest!)
    const success = { requestId, producerName: "w" }
    harness.say(0, { type: Type.PRODUCER_SUCCESS, producerSuccess: { ...success, producerReady: false } })
    harness.tick(1_000_000)
    assert.strictEqual(slot.state, "opening")
    harness.say(0, { type: Type.PRODUCER_SUCCESS, producerSuccess: success })
    assert.strictEqual(slot.state, "ready")
  })

  it("reports a refusal, ignores answers to superseded requests, and frees the name after silence", () => {
    const harness = new Harness({ operationTimeout: 100, keepalive: 0 }).connect()
    const slot = producer()
    harness.connection.producers.open(0, slot)
    const stale = slot.openRequest!
    harness.say(0, { type: Type.ERROR, error: { requestId: BigInt(stale), error: 16, message: "busy" } })
    assert.deepInclude(harness.events.at(-1), { _tag: "ProducerFailed", failure: { code: 16, message: "busy" } })
    harness.connection.producers.open(0, slot)
    harness.say(0, { type: Type.PRODUCER_SUCCESS, producerSuccess: { requestId: BigInt(stale), producerName: "x" } })
    assert.strictEqual(slot.state, "opening")
    harness.seen()
    harness.tick(100)
    assert.deepInclude(harness.events.at(-1), { _tag: "ProducerFailed" })
    assert.deepStrictEqual(harness.types(), [Type.CLOSE_PRODUCER])
    assert.strictEqual(slot.state, "detached")
  })
})

describe("sending", () => {
  it("settles each send by its receipt, out of order too, and ignores strangers", () => {
    const harness = new Harness().connect()
    const slot = producer()
    harness.openProducer(slot)
    const outcomes = new Outcomes()
    for (let index = 0; index < 4; index++) send(slot, outcomes, index)
    harness.seen()
    harness.receipt(7, 2)
    harness.receipt(7, 99)
    harness.receipt(8, 0)
    harness.receipt(7, 0)
    harness.receipt(7, 0)
    harness.receipt(7, 1)
    assert.deepStrictEqual(outcomes.tags, ["2:Stored", "0:Stored", "1:Stored"])
    assert.strictEqual(slot.pendingMessages, 1)
    assert.strictEqual(slot.lastPublished, 2)
  })

  it("resolves a range, and takes the sentinel for a single one", () => {
    const harness = new Harness().connect()
    const slot = producer()
    harness.openProducer(slot)
    const outcomes = new Outcomes()
    for (let index = 0; index < 5; index++) send(slot, outcomes, index)
    harness.seen()
    harness.receipt(7, 0, 2n ** 64n - 1n)
    assert.deepStrictEqual(outcomes.tags, ["0:Stored"])
    harness.receipt(7, 1, 3n)
    assert.deepStrictEqual(outcomes.tags, ["0:Stored", "1:Stored", "2:Stored", "3:Stored"])
  })

  it("says when the broker had a message before", () => {
    const harness = new Harness().connect()
    const slot = producer()
    harness.openProducer(slot)
    const outcomes = new Outcomes()
    send(slot, outcomes, 0)
    harness.seen()
    harness.say(0, {
      type: Type.SEND_RECEIPT,
      sendReceipt: { producerId: 7n, sequenceId: 0n, messageId: { ledgerId: 2n ** 64n - 1n, entryId: 2n ** 64n - 1n } }
    })
    assert.deepInclude(outcomes.seen[0]!.outcome, { _tag: "Stored", duplicate: true })
  })

  it("is refused beyond the window, beyond the size, backwards, and after the end", () => {
    const harness = new Harness().connect(0, 1000)
    const slot = producer({ maxPending: 2 })
    harness.openProducer(slot)
    const outcomes = new Outcomes()
    assert.deepInclude(send(slot, outcomes, 0, "x".repeat(1001)), { _tag: "TooLarge", limit: 1000 })
    send(slot, outcomes, 0, "a", 0, { sequenceId: 10 })
    assert.deepInclude(send(slot, outcomes, 1, "a", 0, { sequenceId: 10 }), { _tag: "SequenceNotIncreasing", last: 10 })
    for (const sequenceId of [NaN, 11.5, 2 ** 53, -1]) {
      assert.deepInclude(send(slot, outcomes, 1, "a", 0, { sequenceId }), { _tag: "SequenceNotIncreasing", last: 10 })
    }
    send(slot, outcomes, 1)
    assert.deepInclude(send(slot, outcomes, 2), { _tag: "Full" })
    harness.seen()
    harness.say(0, { type: Type.SEND_ERROR, sendError: { producerId: 7n, sequenceId: 10n, error: 2, message: "no" } })
    assert.deepInclude(outcomes.seen[0]!.outcome, { _tag: "NotStored" })
    harness.say(0, {
      type: Type.SEND_ERROR,
      sendError: { producerId: 7n, sequenceId: 11n, error: 15, message: "terminated" }
    })
    assert.deepStrictEqual(outcomes.tags, ["0:NotStored", "1:Unknown"])
    assert.deepInclude(send(slot, outcomes, 3), { _tag: "Closed" })
  })

  it("times out where it was submitted: unknown when written, not stored when never written", () => {
    const harness = new Harness({ keepalive: 0 }).connect()
    const slot = producer({ sendTimeout: 1000 })
    harness.openProducer(slot)
    const outcomes = new Outcomes()
    send(slot, outcomes, 0, "a", 0)
    harness.seen()
    send(slot, outcomes, 1, "b", 500)
    assert.strictEqual(harness.connection.pollTimeout(), 1000)
    harness.tick(999)
    assert.deepStrictEqual(outcomes.tags, [])
    harness.tick(1000)
    harness.tick(1500)
    assert.deepStrictEqual(outcomes.tags, ["0:Unknown", "1:NotStored"])
    assert.strictEqual(slot.pendingMessages, 0)
    assert.strictEqual(slot.pendingBytes, 0)
    harness.receipt(7, 0)
    assert.strictEqual(outcomes.seen.length, 2)
  })
})

describe("batches", () => {
  const batching = { maxMessages: 3, maxBytes: 1000, maxDelay: 10 }

  it("fill up by number and carry the range of sequence ids", () => {
    const harness = new Harness().connect()
    const slot = producer({ batching })
    harness.openProducer(slot)
    harness.seen()
    const outcomes = new Outcomes()
    for (let index = 0; index < 3; index++) send(slot, outcomes, index, `m${index}`, 0, { key: `k${index}` })
    const [frame] = harness.seen()
    assert.deepInclude(frame!.command.send!, { sequenceId: 0n, highestSequenceId: 2n, numMessages: 3 })
    assert.strictEqual(frame!.metadata!.batchSize, 3)
    const cursor = new BatchCursor(frame!.payload, 3)
    for (let index = 0; index < 3; index++) {
      const member = cursor.next()!
      assert.strictEqual(member.single.partitionKey, `k${index}`)
      assert.strictEqual(member.single.sequenceId, BigInt(index))
      assert.strictEqual(new TextDecoder().decode(cursor.bytes.subarray(member.start, member.end)), `m${index}`)
    }
    harness.receipt(7, 0, 2n)
    assert.deepStrictEqual(outcomes.seen.map(({ batchIndex, index }) => [index, batchIndex]), [[0, 0], [1, 1], [2, 2]])
    assert.strictEqual(slot.pendingBytes, 0)
  })

  it("leave after their delay; one of one goes as a plain message", () => {
    const harness = new Harness().connect()
    const slot = producer({ batching })
    harness.openProducer(slot)
    harness.seen()
    const outcomes = new Outcomes()
    send(slot, outcomes, 0, "alone", 5, { key: "k", properties: [["a", "b"]] })
    assert.deepStrictEqual(harness.seen(), [])
    assert.strictEqual(harness.connection.pollTimeout(), 15)
    harness.tick(15)
    const [frame] = harness.seen()
    assert.isUndefined(frame!.metadata!.batchSize)
    assert.strictEqual(frame!.metadata!.partitionKey, "k")
    assert.deepStrictEqual(frame!.metadata!.properties, [["a", "b"]])
    assert.strictEqual(new TextDecoder().decode(frame!.payload), "alone")
    harness.receipt(7, 0)
    assert.strictEqual(outcomes.seen[0]!.batchIndex, -1)
  })

  it("go before a message that cannot join: order and ids only rise", () => {
    const harness = new Harness().connect()
    const slot = producer({ batching })
    harness.openProducer(slot)
    harness.seen()
    const outcomes = new Outcomes()
    send(slot, outcomes, 0)
    send(slot, outcomes, 1, "late", 0, { deliverAt: 99_999 })
    send(slot, outcomes, 2, "x".repeat(2000))
    const frames = harness.seen()
    assert.deepStrictEqual(frames.map(({ command }) => command.send!.sequenceId), [0n, 1n, 2n])
    assert.strictEqual(frames[1]!.metadata!.deliverAtTime, 99_999)
    assert.isUndefined(frames[1]!.metadata!.batchSize)
  })

  it("are compressed as a whole", () => {
    const harness = new Harness().connect()
    for (const compression of ["lz4", "zlib", "zstd", "snappy"] as const) {
      const slot = producer({ batching, compression })
      harness.openProducer(slot)
      harness.seen()
      for (let index = 0; index < 3; index++) send(slot, new Outcomes(), index, "abc".repeat(50))
      const [frame] = harness.seen()
      const size = frame!.metadata!.uncompressedSize
      const whole = Compression.decompress(frame!.metadata!.compression, frame!.payload, size, 100_000)
      assert.strictEqual(new BatchCursor(whole, 3).next()!.single.payloadSize, 150)
      assert.isBelow(frame!.payload.length, size)
    }
  })
})

describe("chunks", () => {
  it("share one sequence id; the last receipt settles the send", () => {
    const harness = new Harness().connect(0, 5000)
    const slot = producer({ chunking: true })
    harness.openProducer(slot)
    harness.seen()
    const outcomes = new Outcomes()
    send(slot, outcomes, 0, "x".repeat(3976 * 2 + 1))
    const frames = harness.seen()
    assert.deepStrictEqual(frames.map(({ payload }) => payload.length), [3976, 3976, 1])
    assert.deepStrictEqual(frames.map(({ metadata }) => metadata!.chunkId), [0, 1, 2])
    assert.strictEqual(new Set(frames.map(({ metadata }) => metadata!.uuid)).size, 1)
    assert.isTrue(frames.every(({ command }) => command.send!.sequenceId === 0n && command.send!.isChunk))
    harness.receipt(7, 0, 0n, 10n)
    harness.receipt(7, 0, 0n, 11n)
    assert.deepStrictEqual(outcomes.tags, [])
    harness.receipt(7, 0, 0n, 12n)
    const outcome = outcomes.seen[0]!.outcome
    assert.strictEqual(outcome._tag, "Stored")
    if (outcome._tag === "Stored") assert.deepStrictEqual([outcome.id.entry, outcome.id.firstChunk!.entry], [12n, 10n])
  })
})

describe("a lost session", () => {
  it("is followed by everything without a receipt: same order, same ids, same batches, after the attach", () => {
    const harness = new Harness().connect()
    const slot = producer({ batching: { maxMessages: 2, maxBytes: 1000, maxDelay: 10 } })
    harness.openProducer(slot)
    harness.seen()
    const outcomes = new Outcomes()
    for (let index = 0; index < 6; index++) send(slot, outcomes, index)
    const first = harness.seen()
    harness.receipt(7, 0, 1n)
    harness.connection.disconnected("gone")
    harness.connection.reset()
    // A second loss before the replay changes nothing.
    harness.connection.reset()
    send(slot, outcomes, 6)
    send(slot, outcomes, 7)
    harness.connect()
    assert.deepStrictEqual(harness.types(), [])
    harness.connection.producers.open(0, slot)
    const [open] = harness.seen()
    assert.deepInclude(open!.command.producer!, { producerName: "given", userProvidedProducerName: false, epoch: 1n })
    harness.attach(slot, 0, 1n)
    const second = harness.seen()
    assert.deepStrictEqual(second.map(({ command }) => command.send!.sequenceId), [2n, 4n, 6n])
    assert.deepStrictEqual(second[0]!.payload, first[1]!.payload)
    for (const sequence of [2, 4, 6]) harness.receipt(7, sequence, BigInt(sequence + 1))
    assert.deepStrictEqual(outcomes.tags, Array.from({ length: 8 }, (_, index) => `${index}:Stored`))
  })

  it("does not stop the clock of a send", () => {
    const harness = new Harness({ keepalive: 0 }).connect()
    const slot = producer({ sendTimeout: 1000 })
    harness.openProducer(slot)
    const outcomes = new Outcomes()
    send(slot, outcomes, 0)
    harness.seen()
    harness.connection.disconnected("gone")
    harness.connection.reset()
    harness.tick(1000)
    assert.deepStrictEqual(outcomes.tags, ["0:Unknown"])
  })

  it("that never comes back ends every send, once", () => {
    const harness = new Harness().connect()
    const slot = producer({ batching: { maxMessages: 10, maxBytes: 1000, maxDelay: 10 } })
    harness.openProducer(slot)
    const outcomes = new Outcomes()
    send(slot, outcomes, 0)
    slot.flush()
    harness.seen()
    send(slot, outcomes, 1)
    harness.connection.terminate("no broker")
    harness.drain()
    harness.connection.terminate("no broker")
    harness.drain()
    assert.deepStrictEqual(outcomes.tags, ["0:Unknown", "1:NotStored"])
    assert.isTrue(slot.isIdle)
  })
})

describe("closing", () => {
  it("lets what is staged go first", () => {
    const harness = new Harness().connect()
    const slot = producer({ batching: { maxMessages: 10, maxBytes: 1000, maxDelay: 10 } })
    harness.openProducer(slot)
    harness.seen()
    send(slot, new Outcomes(), 0)
    harness.connection.producers.close(0, slot)
    assert.deepStrictEqual(harness.types(), [Type.SEND, Type.CLOSE_PRODUCER])
  })

  it("by the broker keeps the sends for the next attach", () => {
    const harness = new Harness().connect()
    const slot = producer()
    harness.openProducer(slot)
    const outcomes = new Outcomes()
    send(slot, outcomes, 0)
    harness.seen()
    harness.say(0, {
      type: Type.CLOSE_PRODUCER,
      closeProducer: { producerId: 7n, requestId: 0n, assignedBrokerServiceUrl: "pulsar://b:1" }
    })
    assert.deepInclude(harness.events.at(-1), { _tag: "ProducerClosed", assignedUrl: "pulsar://b:1" })
    send(slot, outcomes, 1)
    assert.deepStrictEqual(harness.types(), [])
    harness.connection.producers.open(0, slot)
    harness.attach(slot)
    assert.deepStrictEqual(
      harness.seen().filter(({ type }) => type === Type.SEND).map(({ command }) => command.send!.sequenceId),
      [0n, 1n]
    )
  })
})

describe("batches by key", () => {
  it("hold a key each, go in the order of their last messages under that number, and settle apart", () => {
    const harness = new Harness().connect()
    const slot = producer({ batching: { maxMessages: 5, maxBytes: 100_000, maxDelay: 10, byKey: true } })
    harness.openProducer(slot)
    const outcomes = new Outcomes()
    harness.seen()
    for (const [index, key] of ["a", "b", "b", "a", undefined].entries()) {
      send(slot, outcomes, index, `${index}`, 0, { key })
    }
    const frames = harness.seen()
    assert.deepStrictEqual(
      frames.map(({ command, metadata }) => [
        metadata!.partitionKey,
        Number(command.send!.sequenceId),
        command.send!.numMessages,
        Number(metadata!.sequenceId),
        metadata!.highestSequenceId
      ]),
      [["b", 2, 2, 2, undefined], ["a", 3, 2, 3, undefined], [undefined, 4, 1, 4, undefined]]
    )
    const cursor = new BatchCursor(frames[1]!.payload, 2)
    assert.deepStrictEqual([cursor.next()!.single.sequenceId, cursor.next()!.single.sequenceId], [0n, 3n])
    harness.receipt(7, 3)
    assert.deepStrictEqual(outcomes.tags, ["0:Stored", "3:Stored"])
    assert.deepStrictEqual(outcomes.seen.map(({ batchIndex }) => batchIndex), [0, 1])
    harness.receipt(7, 2)
    harness.receipt(7, 4)
    assert.strictEqual(slot.pendingMessages, 0)
    assert.strictEqual(slot.lastPublished, 4)
  })

  it("tell the ordering key, a key of bytes and a key of text apart, and the limits count them together", () => {
    const harness = new Harness().connect()
    const slot = producer({ batching: { maxMessages: 4, maxBytes: 100_000, maxDelay: 10, byKey: true } })
    harness.openProducer(slot)
    const outcomes = new Outcomes()
    harness.seen()
    send(slot, outcomes, 0, "0", 0, { key: "YQ==" })
    send(slot, outcomes, 1, "1", 0, { key: "YQ==", keyIsBase64: true })
    send(slot, outcomes, 2, "2", 0, { key: "YQ==", orderingKey: Uint8Array.of(1) })
    assert.lengthOf(harness.seen(), 0)
    send(slot, outcomes, 3, "3", 0, { key: "other", orderingKey: Uint8Array.of(1) })
    const frames = harness.seen()
    assert.deepStrictEqual(frames.map(({ command }) => command.send!.numMessages), [1, 1, 2])
    assert.deepStrictEqual(frames[2]!.metadata!.orderingKey, Uint8Array.of(1))
  })
})

describe("a batch that may wait longer than its messages", () => {
  it("is closed when they are due, and given up in time", () => {
    const harness = new Harness({ keepalive: 0 }).connect()
    const slot = producer({ sendTimeout: 100, batching: { maxMessages: 9, maxBytes: 100_000, maxDelay: 1000 } })
    harness.openProducer(slot)
    const outcomes = new Outcomes()
    send(slot, outcomes, 0)
    assert.strictEqual(harness.connection.pollTimeout(), 100)
    harness.tick(100)
    assert.deepStrictEqual(outcomes.tags, ["0:NotStored"])
    assert.strictEqual(harness.connection.pollTimeout(), Infinity)
  })
})
