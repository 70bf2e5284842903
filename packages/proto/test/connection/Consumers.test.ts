import { assert, describe, it } from "@effect/vitest"
import { BatchBuilder } from "../../src/wire/Batch.ts"
import * as MessageId from "../../src/wire/MessageId.ts"
import { bytes, consumer, Harness, Type } from "../support/Broker.ts"

const text = (payload: Uint8Array) => new TextDecoder().decode(payload)

const batch = (...texts: ReadonlyArray<string>) => {
  const builder = new BatchBuilder()
  for (const each of texts) {
    builder.add({
      properties: [],
      partitionKey: undefined,
      payloadSize: each.length,
      compactedOut: each === "out",
      eventTime: 0,
      partitionKeyB64: false,
      orderingKey: undefined,
      sequenceId: undefined,
      nullValue: false,
      nullPartitionKey: false
    }, bytes(each))
  }
  const { end, memory, start } = builder.take()
  return memory.slice(start, end)
}

const flows = (harness: Harness) =>
  harness.seen().filter(({ type }) => type === Type.FLOW).map(({ command }) => command.flow!.messagePermits)

describe("subscribing again", () => {
  it("on a session where it is subscribed closes the earlier consumer first: brokers answer a repeated SUBSCRIBE and change nothing", () => {
    const harness = new Harness().connect()
    const slot = consumer()
    harness.subscribe(slot)
    harness.deliver(3, 0, bytes("queued"))
    harness.seen()
    harness.connection.consumers.subscribe(0, slot)
    assert.deepStrictEqual(harness.types(), [Type.CLOSE_CONSUMER, Type.SUBSCRIBE])
    // What was on its way belongs to the consumer that was closed: the broker delivers it again.
    harness.deliver(3, 1, bytes("late"))
    assert.isFalse(slot.hasMessages)
    harness.say(0, { type: Type.SUCCESS, success: { requestId: BigInt(slot.openRequest!) } })
    assert.deepStrictEqual(flows(harness), [10])
    assert.strictEqual(slot.balance, 10)
    harness.deliver(3, 0, bytes("queued"))
    harness.deliver(3, 1, bytes("late"))
    const taken = harness.connection.consumers.take(0, slot, 10)
    assert.deepStrictEqual(taken.map(({ payload }) => text(payload)), ["queued", "late"])
  })

  it("before the first answer closes that one too, and heeds only the answer to the last", () => {
    const harness = new Harness().connect()
    const slot = consumer()
    harness.connection.consumers.subscribe(0, slot)
    const first = slot.openRequest!
    harness.seen()
    harness.connection.consumers.subscribe(0, slot)
    assert.deepStrictEqual(harness.types(), [Type.CLOSE_CONSUMER, Type.SUBSCRIBE])
    harness.say(0, { type: Type.SUCCESS, success: { requestId: BigInt(first) } })
    assert.strictEqual(slot.state, "opening")
    harness.say(0, { type: Type.SUCCESS, success: { requestId: BigInt(slot.openRequest!) } })
    assert.deepStrictEqual(flows(harness), [10])
  })
})

describe("permits", () => {
  it("are granted once after the subscribe, and repaid at half the queue", () => {
    const harness = new Harness().connect()
    const slot = consumer()
    harness.connection.consumers.subscribe(0, slot)
    assert.deepStrictEqual(harness.types(), [Type.SUBSCRIBE])
    harness.say(0, { type: Type.SUCCESS, success: { requestId: BigInt(slot.openRequest!) } })
    assert.deepStrictEqual(flows(harness), [10])
    for (let entry = 0; entry < 10; entry++) harness.deliver(3, entry, bytes(`m${entry}`))
    assert.strictEqual(slot.balance, 0)
    assert.deepStrictEqual(flows(harness), [])
    const messages = harness.connection.consumers.take(0, slot, 4)
    assert.deepStrictEqual(messages.map(({ payload }) => text(payload)), ["m0", "m1", "m2", "m3"])
    assert.deepStrictEqual(flows(harness), [])
    harness.connection.consumers.take(0, slot, 1)
    assert.deepStrictEqual(flows(harness), [5])
    assert.strictEqual(slot.balance, 5)
  })

  it("are conserved by batches, markers, old epochs, corrupt frames, chunks and broken compression", () => {
    const harness = new Harness().connect()
    const slot = consumer({ receiverQueue: 100 })
    harness.subscribe(slot)
    harness.seen()
    let granted = 100
    let spent = 0
    harness.deliver(3, 0, batch("a", "b", "c"), { batchSize: 3 })
    spent += 3
    harness.deliver(3, 1, bytes("marker"), { markerType: 13 })
    spent += 1
    harness.deliver(3, 2, bytes("x"), {}, {}, 0, true)
    spent += 1
    harness.deliver(3, 3, bytes("half"), { chunkCount: 3, chunkId: 0, uuid: "u" })
    spent += 1
    harness.deliver(3, 4, bytes("straggler"), { chunkCount: 3, chunkId: 1, uuid: "v" })
    spent += 1
    harness.deliver(3, 5, bytes("junk"), { compression: 1, uncompressedSize: 100 })
    spent += 1
    harness.deliver(3, 6, batch("d", "out", "e"), { batchSize: 3 }, { ackSet: [0b011n] })
    // One of the three is acknowledged already: brokers do not count it.
    spent += 2
    const taken = harness.connection.consumers.take(0, slot, 100)
    assert.deepStrictEqual(taken.map(({ payload }) => text(payload)), ["a", "b", "c", "d"])
    for (const permits of flows(harness)) granted += permits
    assert.strictEqual(slot.balance, granted - spent)
    // Half the queue consumed: everything that was spent is repaid, to the last one.
    for (let entry = 10; entry < 50; entry++) harness.deliver(3, entry, bytes("m"))
    spent += 40
    harness.connection.consumers.take(0, slot, 100)
    for (const permits of flows(harness)) granted += permits
    assert.strictEqual(granted, 100 + spent)
    assert.include(harness.tags(), "ChecksumMismatch")
    const dropped = harness.events.flatMap((event) => event._tag === "MessageDropped" ? [event] : [])
    assert.isAtLeast(dropped.length, 3)
    assert.deepInclude(dropped.map(({ id, why }) => [id.entry, why]), [2n, "its checksum is wrong"])
  })

  it("stop while paused", () => {
    const harness = new Harness().connect()
    const slot = consumer({ receiverQueue: 2 })
    harness.subscribe(slot)
    harness.seen()
    harness.connection.consumers.pause(slot)
    harness.deliver(3, 0, bytes("a"))
    harness.deliver(3, 1, bytes("b"))
    harness.connection.consumers.take(0, slot, 9)
    assert.deepStrictEqual(flows(harness), [])
    harness.connection.consumers.resume(0, slot)
    assert.deepStrictEqual(flows(harness), [2])
  })

  it("go to a standby that is promoted with nothing", () => {
    const harness = new Harness().connect()
    const slot = consumer({ type: "failover" })
    harness.subscribe(slot)
    harness.seen()
    harness.say(0, { type: Type.ACTIVE_CONSUMER_CHANGE, activeConsumerChange: { consumerId: 3n, isActive: true } })
    assert.deepStrictEqual(flows(harness), [])
    assert.isTrue(slot.isActive)
  })
})

describe("delivery", () => {
  it("announces messages once, until all of them were taken", () => {
    const harness = new Harness().connect()
    const slot = consumer()
    harness.subscribe(slot)
    for (let entry = 0; entry < 5; entry++) harness.deliver(3, entry, bytes("m"))
    assert.strictEqual(harness.tags().filter((tag) => tag === "MessagesReady").length, 1)
    harness.connection.consumers.take(0, slot, 2)
    harness.deliver(3, 5, bytes("m"))
    assert.strictEqual(harness.tags().filter((tag) => tag === "MessagesReady").length, 1)
    assert.strictEqual(harness.connection.consumers.take(0, slot, 100).length, 4)
    assert.strictEqual(harness.connection.consumers.take(0, slot, 100).length, 0)
    harness.deliver(3, 6, bytes("m"))
    assert.strictEqual(harness.tags().filter((tag) => tag === "MessagesReady").length, 2)
  })

  it("reads a batch of one by its mark, and takes it apart over several takes", () => {
    const harness = new Harness().connect()
    const slot = consumer()
    harness.subscribe(slot)
    harness.deliver(3, 0, batch("one"), { batchSize: 1 })
    harness.deliver(3, 1, batch("a", "b", "c"), { batchSize: 3 })
    const first = harness.connection.consumers.take(0, slot, 2)
    assert.deepStrictEqual(first.map(({ id, payload }) => [text(payload), id.batchIndex, id.batchSize]), [
      ["one", 0, 1],
      ["a", 0, 3]
    ])
    assert.deepStrictEqual(harness.connection.consumers.take(0, slot, 9).map(({ id }) => id.batchIndex), [1, 2])
    assert.strictEqual(slot.queued, 0)
  })

  it("puts chunks together and acknowledges each of them", () => {
    const harness = new Harness().connect()
    const slot = consumer()
    harness.subscribe(slot)
    harness.seen()
    harness.deliver(3, 0, bytes("he"), { chunkCount: 3, chunkId: 0, uuid: "u" })
    harness.deliver(3, 1, bytes("ll"), { chunkCount: 3, chunkId: 1, uuid: "u" })
    harness.deliver(3, 2, bytes("o"), { chunkCount: 3, chunkId: 2, uuid: "u" })
    const [message] = harness.connection.consumers.take(0, slot, 9)
    assert.strictEqual(text(message!.payload), "hello")
    assert.strictEqual(message!.id.firstChunk!.entry, 0n)
    slot.ack(0, message!)
    harness.tick(100)
    const ack = harness.seen().find(({ type }) => type === Type.ACK)!
    assert.deepStrictEqual(ack.command.ack!.messageId.map(({ entryId }) => entryId), [0n, 1n, 2n])
  })
})

describe("acknowledgement", () => {
  const setup = (overrides = {}) => {
    const harness = new Harness({ keepalive: 0 }).connect()
    const slot = consumer({ receiverQueue: 1000, ...overrides })
    harness.subscribe(slot)
    harness.seen()
    const acks = () =>
      harness.seen().filter(({ type }) => type === Type.ACK).map(({ command: { ack } }) => ({
        cumulative: ack!.ackType === 1,
        ids: ack!.messageId.map(({ ackSet, entryId }) =>
          ackSet.length === 0 ? `${entryId}` : `${entryId}/${ackSet.join(",")}`
        )
      }))
    return { harness, slot, acks }
  }

  it("is collected for its time, sorted, cumulative first", () => {
    const { acks, harness, slot } = setup()
    for (let entry = 0; entry < 6; entry++) harness.deliver(3, entry, bytes("m"))
    const messages = harness.connection.consumers.take(0, slot, 9)
    slot.ack(10, messages[5]!)
    slot.ack(20, messages[4]!)
    slot.ackUpTo(30, messages[1]!.id)
    slot.ackUpTo(31, messages[0]!.id)
    assert.strictEqual(harness.connection.pollTimeout(), 110)
    harness.tick(109)
    assert.deepStrictEqual(acks(), [])
    harness.tick(110)
    assert.deepStrictEqual(acks(), [{ cumulative: true, ids: ["1"] }, { cumulative: false, ids: ["4", "5"] }])
    assert.strictEqual(harness.connection.pollTimeout(), Infinity)
  })

  it("of a batch waits for all its messages, unless sets are on", () => {
    for (const batchIndexAck of [false, true]) {
      const { acks, harness, slot } = setup({ batchIndexAck, ackGroupTime: 0 })
      harness.deliver(3, 0, batch("a", "b", "c"), { batchSize: 3 })
      const messages = harness.connection.consumers.take(0, slot, 9)
      slot.ack(0, messages[1]!)
      harness.tick(0)
      assert.deepStrictEqual(acks(), batchIndexAck ? [{ cumulative: false, ids: ["0/5"] }] : [])
      slot.ack(0, messages[0]!)
      slot.ack(0, messages[0]!)
      slot.ack(0, messages[2]!)
      harness.tick(0)
      assert.deepStrictEqual(acks(), [{ cumulative: false, ids: ["0"] }])
      assert.strictEqual(slot.acks.tracked, 0)
    }
  })

  it("of an unknown batch counts the rest as open, never as done", () => {
    const { acks, harness, slot } = setup({ batchIndexAck: true, ackGroupTime: 0 })
    assert.isTrue(slot.ackId(0, MessageId.make(1n, 9n, -1, 2, 70)))
    harness.tick(0)
    assert.deepStrictEqual(acks(), [{ cumulative: false, ids: ["9/-5,63"] }])
    assert.isFalse(slot.ackId(0, MessageId.make(1n, 9n, -1, 70, 70)))
    assert.isFalse(slot.ackUpTo(0, MessageId.make(1n, 9n, -1, 70, 70)))
  })

  it("up to the middle of a batch leaves acknowledged what the broker says is, though nobody took it yet", () => {
    const harness = new Harness().connect()
    const slot = consumer({ batchIndexAck: true, ackGroupTime: 0 })
    harness.subscribe(slot)
    // The last of the four was acknowledged before.
    harness.deliver(3, 0, batch("a", "b", "c", "d"), { batchSize: 4 }, { ackSet: [0b0111n] })
    const [, second] = harness.connection.consumers.take(0, slot, 2)
    harness.seen()
    slot.ackUpTo(0, second!.id)
    harness.tick(0)
    const ack = harness.seen().find(({ type }) => type === Type.ACK)
    assert.deepStrictEqual(ack!.command.ack!.messageId[0]!.ackSet, [0b0100n])
  })

  it("up to the middle of a batch never covers its rest; trackers below go", () => {
    for (const [batchIndexAck, expected] of [[false, "1"], [true, "2/4"]] as const) {
      const { acks, harness, slot } = setup({ batchIndexAck, ackGroupTime: 0 })
      for (let entry = 0; entry < 3; entry++) harness.deliver(3, entry, batch("a", "b", "c"), { batchSize: 3 })
      const messages = harness.connection.consumers.take(0, slot, 9)
      assert.strictEqual(slot.acks.tracked, 3)
      slot.ackUpTo(0, messages[7]!.id)
      harness.tick(0)
      assert.deepStrictEqual(acks(), [{ cumulative: true, ids: [expected] }])
      assert.strictEqual(slot.acks.tracked, 1)
    }
  })

  it("asked to be confirmed ends with the broker's answer, its refusal, its silence, or the close of the consumer", () => {
    const { harness, slot } = setup()
    const outcomes: Array<string> = []
    const confirm = (entry: number) => {
      slot.ackId(0, MessageId.make(1n, BigInt(entry)))
      harness.connection.consumers.flushAcks(0, slot, (outcome) => outcomes.push(outcome._tag))
      return harness.seen().find(({ type }) => type === Type.ACK)!.command.ack!.requestId
    }
    harness.say(0, { type: Type.ACK_RESPONSE, ackResponse: { consumerId: 3n, requestId: confirm(0) } })
    harness.say(0, { type: Type.ACK_RESPONSE, ackResponse: { consumerId: 3n, requestId: confirm(1), error: 1 } })
    harness.say(0, { type: Type.ACK_RESPONSE, ackResponse: { consumerId: 3n, requestId: confirm(2), message: "no" } })
    confirm(3)
    harness.tick(30_000)
    confirm(4)
    harness.say(0, { type: Type.CLOSE_CONSUMER, closeConsumer: { consumerId: 3n, requestId: 0n } })
    assert.deepStrictEqual(outcomes, ["Reply", "Failed", "Failed", "TimedOut", "SessionLost"])
  })

  it("goes out before the consumer is closed", () => {
    const { harness, slot } = setup()
    slot.ackId(0, MessageId.make(1n, 1n))
    harness.connection.consumers.close(0, slot)
    assert.deepStrictEqual(harness.types(), [Type.ACK, Type.CLOSE_CONSUMER])
  })
})

describe("redelivery", () => {
  const redelivered = (harness: Harness) =>
    harness.seen().filter(({ type }) => type === Type.REDELIVER_UNACKNOWLEDGED_MESSAGES)
      .map(({ command }) => command.redeliverUnacknowledgedMessages!.messageIds.map(({ entryId }) => Number(entryId)))

  it("follows a refusal after its delay, sorted, once", () => {
    const harness = new Harness({ keepalive: 0 }).connect()
    const slot = consumer({ type: "shared", ackTimeout: 500 })
    harness.subscribe(slot)
    for (let entry = 0; entry < 3; entry++) harness.deliver(3, entry, bytes("m"))
    const messages = harness.connection.consumers.take(0, slot, 9)
    harness.seen()
    slot.nack(messages[2]!.id, 100)
    slot.nack(messages[0]!.id, 50)
    slot.nack(messages[0]!.id, 90)
    slot.ack(0, messages[1]!)
    harness.tick(99)
    assert.deepStrictEqual(redelivered(harness), [[0]])
    harness.tick(100)
    harness.tick(10_000)
    assert.deepStrictEqual(redelivered(harness), [[2]])
  })

  it("follows an ack timeout, never early, and not after an acknowledgement", () => {
    const harness = new Harness({ keepalive: 0 }).connect()
    const slot = consumer({ type: "shared", ackTimeout: 500 })
    harness.subscribe(slot)
    harness.deliver(3, 0, bytes("m"))
    harness.deliver(3, 1, bytes("m"))
    const [first] = harness.connection.consumers.take(0, slot, 1)
    harness.connection.consumers.take(400, slot, 1)
    slot.ack(0, first!)
    harness.seen()
    harness.tick(899)
    assert.deepStrictEqual(redelivered(harness), [])
    harness.tick(900)
    assert.deepStrictEqual(redelivered(harness), [[1]])
  })

  it("of an exclusive consumer is of everything; what was on its way is dropped by its epoch", () => {
    const harness = new Harness({ keepalive: 0 }).connect()
    const slot = consumer()
    harness.subscribe(slot)
    for (let entry = 0; entry < 4; entry++) harness.deliver(3, entry, bytes("m"))
    const [first] = harness.connection.consumers.take(0, slot, 1)
    harness.seen()
    slot.nack(first!.id, 10)
    harness.tick(10)
    assert.deepStrictEqual(redelivered(harness), [[]])
    assert.strictEqual(slot.queued, 0)
    harness.deliver(3, 4, bytes("old"), {}, { consumerEpoch: 0n })
    harness.deliver(3, 0, bytes("new"), {}, { consumerEpoch: 1n })
    assert.deepStrictEqual(harness.connection.consumers.take(0, slot, 9).map(({ payload }) => text(payload)), ["new"])
  })
})

describe("sessions and positions", () => {
  const start = MessageId.make(5n, 6n)
  it("a durable cursor decides after the first attach, a session's start stays its own", () => {
    for (const durable of [true, false]) {
      const harness = new Harness().connect()
      const slot = consumer({ durable, startMessageId: start })
      harness.subscribe(slot)
      const subscribe = () => harness.seen().find(({ type }) => type === Type.SUBSCRIBE)!.command.subscribe!
      assert.strictEqual(subscribe().startMessageId!.entryId, 6n)
      harness.connection.disconnected("gone")
      harness.connection.reset()
      assert.strictEqual(slot.balance, 0)
      harness.connect()
      harness.connection.consumers.subscribe(0, slot)
      assert.strictEqual(subscribe().startMessageId === undefined, durable)
    }
  })

  it("a seek drops what arrives, subscribes again, and grants once", () => {
    const harness = new Harness().connect()
    const slot = consumer()
    harness.subscribe(slot)
    harness.deliver(3, 0, bytes("before"))
    harness.seen()
    const outcomes: Array<string> = []
    harness.connection.consumers.seek(0, slot, MessageId.earliest, (outcome) => outcomes.push(outcome._tag))
    const [seek] = harness.seen()
    harness.deliver(3, 1, bytes("meanwhile"))
    harness.say(0, { type: Type.CLOSE_CONSUMER, closeConsumer: { consumerId: 3n, requestId: 0n } })
    harness.say(0, { type: Type.SUCCESS, success: { requestId: seek!.command.seek!.requestId } })
    const again = harness.seen()
    assert.deepStrictEqual(again.map(({ type }) => type), [Type.SUBSCRIBE])
    harness.say(0, { type: Type.SUCCESS, success: { requestId: again[0]!.command.subscribe!.requestId } })
    assert.deepStrictEqual(flows(harness), [10])
    assert.notInclude(harness.tags(), "ConsumerClosed")
    harness.deliver(3, 0, bytes("again"))
    assert.deepStrictEqual(harness.connection.consumers.take(0, slot, 9).map(({ payload }) => text(payload)), ["again"])
    assert.deepStrictEqual(outcomes, ["Reply"])
  })

  it("a seek that is refused lets the consumer go on", () => {
    const harness = new Harness().connect()
    const slot = consumer()
    harness.subscribe(slot)
    harness.seen()
    harness.connection.consumers.seek(0, slot, 5, () => undefined)
    const [seek] = harness.seen()
    harness.say(0, { type: Type.ERROR, error: { requestId: seek!.command.seek!.requestId, error: 1, message: "no" } })
    assert.strictEqual(slot.state, "ready")
    assert.deepStrictEqual(flows(harness), [10])
  })

  it("reports silence once an episode", () => {
    const harness = new Harness({ keepalive: 0 }).connect()
    const slot = consumer({ stallTimeout: 1000 })
    harness.subscribe(slot)
    const stalls = () => harness.events.filter(({ _tag }) => _tag === "ConsumerStalled")
    harness.tick(1000)
    harness.tick(5000)
    assert.deepInclude(stalls(), { _tag: "ConsumerStalled", consumerId: 3, permits: 10, silence: 1000 })
    assert.strictEqual(stalls().length, 1)
    assert.strictEqual(harness.connection.pollTimeout(), Infinity)
    harness.deliver(3, 0, bytes("m"), {}, {}, 6000)
    harness.connection.consumers.take(6000, slot, 9)
    harness.tick(6000)
    harness.tick(7000)
    assert.strictEqual(stalls().length, 2)
  })
})
