import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Stream } from "effect"
import { TestClock } from "effect/testing"
import { Consumer, Producer, PulsarClient } from "../../src/index.ts"
import { TestBroker } from "../../src/testing/index.ts"
import { bytes, layer, text } from "../support/client.ts"

describe("a message", () => {
  it.effect("goes in and comes out", () =>
    Effect.gen(function*() {
      const consumer = yield* Consumer.make({ topic: "t", subscription: "s", initialPosition: "earliest" })
      const producer = yield* Producer.make({ topic: "t", batching: false })
      const receipt = yield* producer.send(bytes("hello"), { key: "k", properties: { a: "b" }, eventTime: 5 })
      assert.isFalse(receipt.duplicate)
      const message = yield* consumer.receive
      assert.strictEqual(text(message.value), "hello")
      assert.deepStrictEqual([message.key, message.properties, message.eventTime], ["k", { a: "b" }, 5])
      assert.strictEqual(message.id.entry, receipt.id.entry)
      yield* message.ackConfirmed
      const stats = yield* (yield* TestBroker).stats("t")
      assert.strictEqual(stats.subscriptions["s"]!.backlog, 0)
      assert.strictEqual((yield* (yield* PulsarClient).connections).length, 1)
    }).pipe(Effect.provide(layer())))

  it.effect("may be one of many: batches, sendAll, a stream", () =>
    Effect.gen(function*() {
      const producer = yield* Producer.make({ topic: "t", batching: { maxDelay: 0 }, compression: "zstd" })
      const values = Array.from({ length: 5000 }, (_, index) => ({ value: bytes(`m${index}`) }))
      const receipts = yield* producer.sendAll(values)
      assert.strictEqual(receipts.length, 5000)
      assert.isAbove(receipts[1]!.id.batchIndex, -1)
      const consumer = yield* Consumer.make({ topic: "t", subscription: "s", initialPosition: "earliest" })
      const seen = yield* consumer.stream.pipe(
        Stream.tap((message) => message.ack),
        Stream.map((message) => text(message.value)),
        Stream.take(5000),
        Stream.runCollect
      )
      assert.deepStrictEqual(seen, values.map(({ value }) => text(value)))
      yield* consumer.flushAcks
      assert.strictEqual((yield* (yield* TestBroker).stats("t")).subscriptions["s"]!.backlog, 0)
    }).pipe(Effect.provide(layer())))

  it.effect("that is alone in its batch leaves after the delay", () =>
    Effect.gen(function*() {
      const producer = yield* Producer.make({ topic: "t" })
      const fiber = yield* Effect.forkChild(producer.send(bytes("x")), { startImmediately: true })
      yield* TestClock.adjust("1 millis")
      assert.strictEqual((yield* Fiber.join(fiber)).id.batchIndex, -1)
    }).pipe(Effect.provide(layer())))
})
