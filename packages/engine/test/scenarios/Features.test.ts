import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"
import {
  Consumer,
  MemoryReused,
  type Message,
  Producer,
  PulsarClient,
  PulsarSchema,
  Reader,
  TableView
} from "../../src/index.ts"
import { TestBroker } from "../../src/testing/index.ts"
import { bytes, layer, text } from "../support/client.ts"

const values = (messages: ReadonlyArray<Message<Uint8Array>>) => messages.map(({ value }) => text(value))

/** What comes while time passes. */
const within = <A, E, R>(effect: Effect.Effect<A, E, R>, millis = 5000) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(effect, { startImmediately: true })
    for (let at = 0; at < millis && fiber.pollUnsafe() === undefined; at += 50) yield* TestClock.adjust(50)
    return yield* Fiber.join(fiber)
  })

const tiring = (options: Pick<Consumer.ConsumerOptions, "deadLetter" | "reuseMemory">) =>
  Consumer.make({ topic: "t", subscription: "s", type: "shared", nackDelay: "1 second", ...options })

describe("consuming", () => {
  it.effect("refused messages come again after their delay; tired ones are put aside", () =>
    Effect.gen(function*() {
      const consumer = yield* tiring({ deadLetter: { maxRedeliveries: 2 } })
      const dead = yield* Consumer.make({ topic: "t-s-DLQ", subscription: "d", initialPosition: "earliest" })
      const producer = yield* Producer.make({ topic: "t", batching: false })
      yield* producer.send(bytes("bad"), { key: "k", properties: { a: "b" } })
      // As often as it may come again, and the first time.
      for (const count of [0, 1, 2]) {
        const message = yield* within(consumer.receive)
        assert.strictEqual(message.redeliveryCount, count)
        yield* message.nack
        yield* TestClock.adjust(999)
        assert.deepStrictEqual(yield* within(consumer.receiveWithin(0)), [])
        yield* TestClock.adjust(1)
      }
      const waiting = yield* Effect.forkChild(consumer.receive, { startImmediately: true })
      const letter = yield* within(dead.receive)
      assert.deepStrictEqual([text(letter.value), letter.key, letter.properties["a"]], ["bad", "k", "b"])
      assert.deepInclude(letter.properties, { REAL_TOPIC: "persistent://public/default/t", REAL_SUBSCRIPTION: "s" })
      yield* Fiber.interrupt(waiting)
      yield* TestClock.adjust(1000)
      assert.strictEqual((yield* (yield* TestBroker).stats("t")).subscriptions["s"]!.backlog, 0)
    }).pipe(Effect.provide(layer())))

  it.effect("of memory that is used again: what comes beside a dead letter is gone with its acknowledgement too", () =>
    Effect.gen(function*() {
      const consumer = yield* tiring({ deadLetter: { maxRedeliveries: 1 }, reuseMemory: true })
      const producer = yield* Producer.make({ topic: "t", batching: false })
      yield* producer.send(bytes("bad"))
      const bad = yield* within(consumer.receive)
      yield* bad.nack
      yield* TestClock.adjust(1000)
      yield* (yield* within(consumer.receive)).nack
      yield* TestClock.adjust(1000)
      yield* producer.send(bytes("good"))
      const [good, ...rest] = yield* within(consumer.receiveAll())
      assert.strictEqual(text(good.value), "good")
      assert.strictEqual(rest.length, 0)
      yield* good.ack
      assert.throws(() => good.value, MemoryReused)
      assert.throws(() => good.properties, MemoryReused)
      // A message that is not acknowledged stays readable, refused or not.
      assert.strictEqual(text(bad.value), "bad")
    }).pipe(Effect.provide(layer())))

  it.effect("an ack timeout brings back what was forgotten, never early", () =>
    Effect.gen(function*() {
      const consumer = yield* Consumer.make({ topic: "t", subscription: "s", type: "shared", ackTimeout: "2 seconds" })
      const producer = yield* Producer.make({ topic: "t", batching: false })
      yield* producer.send(bytes("a"))
      yield* producer.send(bytes("b"))
      const [a] = [yield* consumer.receive, yield* consumer.receive]
      yield* a.ack
      yield* TestClock.adjust(1999)
      assert.strictEqual((yield* consumer.stats).redelivered, 0)
      yield* TestClock.adjust(1)
      assert.strictEqual(text((yield* within(consumer.receive)).value), "b")
    }).pipe(Effect.provide(layer())))

  it.effect("seeks, cumulative acknowledgement, pause, end of the topic", () =>
    Effect.gen(function*() {
      const broker = yield* TestBroker
      const producer = yield* Producer.make({ topic: "t", batching: false })
      for (let index = 0; index < 5; index++) yield* producer.send(bytes(`${index}`))
      const consumer = yield* Consumer.make({ topic: "t", subscription: "s", initialPosition: "earliest" })
      const first = yield* consumer.stream.pipe(Stream.take(5), Stream.runCollect)
      yield* consumer.seek("earliest")
      assert.strictEqual(text((yield* within(consumer.receive)).value), "0")
      yield* consumer.seek(first[3]!.id)
      assert.deepStrictEqual(values(yield* within(consumer.stream.pipe(Stream.take(2), Stream.runCollect))), ["3", "4"])
      yield* consumer.ackUpTo(first[3]!)
      yield* consumer.flushAcks
      assert.strictEqual((yield* broker.stats("t")).subscriptions["s"]!.backlog, 1)
      yield* broker.terminate("t")
      yield* consumer.seek(first[4]!.id)
      // Brokers tell the end of a topic once everything is acknowledged.
      const rest = yield* within(consumer.stream.pipe(Stream.tap((message) => message.ack), Stream.runCollect))
      assert.deepStrictEqual(values(rest), ["4"])
      const error = yield* Effect.flip(producer.send(bytes("late")))
      assert.strictEqual(error.reason._tag, "NotDone")
    }).pipe(Effect.provide(layer())))

  it.effect("several topics, partitions and patterns, in turn", () =>
    Effect.gen(function*() {
      const broker = yield* TestBroker
      yield* broker.setPartitions("parts", 3)
      const producer = yield* Producer.make({ topic: "parts", batching: false })
      assert.strictEqual(yield* producer.partitions, 3)
      yield* producer.sendAll(Array.from({ length: 9 }, (_, index) => ({ value: bytes(`${index}`) })))
      const other = yield* Producer.make({ topic: "other", batching: false })
      yield* other.send(bytes("o"))
      const several = yield* Consumer.make({
        topic: ["parts", "other"],
        subscription: "s",
        initialPosition: "earliest"
      })
      assert.strictEqual((yield* several.topics).length, 4)
      const seen = yield* within(
        several.stream.pipe(Stream.take(10), Stream.tap((message) => message.ack), Stream.runCollect)
      )
      assert.deepStrictEqual(values(seen).sort(), ["0", "1", "2", "3", "4", "5", "6", "7", "8", "o"])
      const pattern = yield* Consumer.make({
        topic: { namespace: "public/default", pattern: /new-/ },
        subscription: "p",
        initialPosition: "earliest",
        topicsRefresh: "1 second"
      })
      assert.deepStrictEqual(yield* pattern.topics, [])
      const late = yield* Producer.make({ topic: "new-one", batching: false })
      yield* late.send(bytes("n"))
      assert.deepStrictEqual(values([yield* within(pattern.receive)]), ["n"])
    }).pipe(Effect.provide(layer())))

  it.effect("a reader and a table view", () =>
    Effect.gen(function*() {
      const producer = yield* Producer.make({ topic: "t", batching: false })
      for (let index = 0; index < 6; index++) yield* producer.send(bytes(`v${index}`), { key: `k${index % 2}` })
      const reader = yield* Reader.make({ topic: "t" })
      assert.strictEqual((yield* within(reader.untilNow.pipe(Stream.runCollect))).length, 6)
      assert.isFalse(yield* reader.hasNext)
      const table = yield* within(TableView.make({ topic: "t", schema: PulsarSchema.string }))
      assert.deepStrictEqual([...(yield* table.entries)].sort(), [["k0", "v4"], ["k1", "v5"]])
      yield* producer.sendNull("k0")
      yield* TestClock.adjust(100)
      assert.isUndefined(yield* table.get("k0"))
    }).pipe(Effect.provide(layer())))

  it.effect("values through a schema; what does not fit is named", () =>
    Effect.gen(function*() {
      const Order = PulsarSchema.json(Schema.Struct({ id: Schema.String, quantity: Schema.Int }))
      const orders = yield* Producer.make({ topic: "t", schema: Order, batching: false })
      const raw = yield* Producer.make({ topic: "t", batching: false })
      const consumer = yield* Consumer.make({ topic: "t", subscription: "s", schema: Order })
      yield* orders.send({ id: "a", quantity: 2 })
      assert.deepStrictEqual((yield* consumer.receive).value, { id: "a", quantity: 2 })
      yield* raw.send(bytes("{\"id\":1}"))
      const error = yield* Effect.flip(consumer.receive)
      assert.strictEqual(error.reason._tag, "Undecodable")
      const bad = yield* Effect.flip(orders.send({ id: "a", quantity: 1.5 }))
      assert.strictEqual(bad.reason._tag, "NotDone")
      yield* orders.send({ id: "b", quantity: 3 })
      assert.strictEqual((yield* consumer.receive).value.id, "b")
    }).pipe(Effect.provide(layer())))

  it.effect("a subscription that is taken, one that is deleted, chunks over the wire", () =>
    Effect.gen(function*() {
      const first = yield* Consumer.make({ topic: "t", subscription: "s" })
      const second = yield* within(Effect.flip(Consumer.make({ topic: "t", subscription: "s" })), 31_000)
      assert.include(second.message, "ConsumerBusy")
      yield* first.unsubscribe()
      assert.deepStrictEqual((yield* (yield* TestBroker).stats("t")).subscriptions, {})
      const producer = yield* Producer.make({ topic: "t", chunking: true, batching: false })
      const consumer = yield* Consumer.make({ topic: "t", subscription: "c", initialPosition: "earliest" })
      const large = Uint8Array.from({ length: 50_000 }, (_, index) => index & 0xff)
      const { id } = yield* producer.send(large)
      assert.isDefined(id.firstChunk)
      const message = yield* consumer.receive
      assert.deepStrictEqual(Uint8Array.from(message.value), large)
      yield* message.ackConfirmed
      assert.strictEqual((yield* (yield* TestBroker).stats("t")).subscriptions["c"]!.backlog, 0)
      assert.strictEqual((yield* (yield* PulsarClient).connections)[0]!.sessions, 1)
    }).pipe(Effect.provide(layer({}, { maxMessageSize: 10_000 }))))
})
