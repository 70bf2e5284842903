/** How often and where producers and consumers attach when several things go wrong at once. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import { Consumer, Producer } from "../../src/index.ts"
import { TestBroker } from "../../src/testing/index.ts"
import { bytes, layer, text } from "../support/client.ts"

const pass = (millis: number) =>
  Effect.gen(function*() {
    for (let at = 0; at < millis; at += 50) yield* TestClock.adjust(50)
  })

describe("attaching again", () => {
  it.effect("happens once, though the connection breaks while the topic's new place is looked up", () =>
    Effect.gen(function*() {
      const broker = yield* TestBroker
      const consumer = yield* Consumer.make({ topic: "t", subscription: "s", initialPosition: "earliest" })
      const producer = yield* Producer.make({ topic: "t", batching: false })
      // The topic is unloaded, and the lookup for its new place takes its time …
      yield* broker.fault({ command: "LOOKUP", times: 2, action: { _tag: "Delay", millis: 1000 } })
      yield* broker.unload("t")
      yield* pass(500)
      // … in which the connection breaks.
      yield* broker.disconnect()
      const before = yield* broker.faultsCaught
      yield* broker.fault({ command: "SUBSCRIBE", times: Infinity, action: { _tag: "Delay", millis: 0 } })
      yield* broker.fault({ command: "PRODUCER", times: Infinity, action: { _tag: "Delay", millis: 0 } })
      yield* pass(5000)
      assert.isTrue(yield* consumer.isConnected)
      assert.strictEqual((yield* broker.faultsCaught) - before, 2, "one SUBSCRIBE and one PRODUCER")
      const sending = yield* Effect.forkChild(
        Effect.forEach(["a", "b", "c"], (value) => producer.send(bytes(value))),
        { startImmediately: true }
      )
      yield* pass(200)
      assert.isDefined(sending.pollUnsafe())
      assert.deepStrictEqual((yield* consumer.receiveAll()).map(({ value }) => text(value)), ["a", "b", "c"])
    }).pipe(Effect.provide(layer())))
})

describe("a clock of fractions", () => {
  it.effect("does not trouble the testing broker", () =>
    Effect.gen(function*() {
      yield* TestClock.adjust("1234.567 millis")
      const producer = yield* Producer.make({ topic: "t", batching: false })
      const consumer = yield* Consumer.make({ topic: "t", subscription: "s", initialPosition: "earliest" })
      yield* producer.send(bytes("x"))
      const message = yield* consumer.receive
      assert.isTrue(Number.isInteger(message.brokerTimestamp))
    }).pipe(Effect.provide(layer())))
})
