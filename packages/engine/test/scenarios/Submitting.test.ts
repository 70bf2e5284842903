/** Sending without waiting for the receipt. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { Producer } from "../../src/index.ts"
import { TestBroker } from "../../src/testing/index.ts"
import { bytes, layer, text } from "../support/client.ts"

const delayReceipts = Effect.flatMap(
  TestBroker,
  (broker) => broker.fault({ command: "SEND_RECEIPT", times: Infinity, action: { _tag: "Delay", millis: 1000 } })
)

describe("a submission", () => {
  it.effect("is through when it is taken; its receipt can be waited for, by several and again", () =>
    Effect.gen(function*() {
      const broker = yield* TestBroker
      const producer = yield* Producer.make({ topic: "t" })
      yield* delayReceipts
      const submitted = yield* Effect.forEach(["a", "b", "c"], (each) => producer.submit(bytes(each)))
      const flushing = yield* Effect.forkChild(producer.flush, { startImmediately: true })
      const asking = yield* Effect.forkChild(
        Effect.all([submitted[1]!.receipt, submitted[1]!.receipt], { concurrency: 2 }),
        { startImmediately: true }
      )
      const leaving = yield* Effect.forkChild(submitted[1]!.receipt, { startImmediately: true })
      yield* Fiber.interrupt(leaving)
      assert.isUndefined(asking.pollUnsafe())
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.join(flushing)
      const [first, second] = yield* Fiber.join(asking)
      assert.strictEqual(first, second)
      assert.deepStrictEqual(first.id, (yield* submitted[1]!.receipt).id)
      assert.deepStrictEqual([first.id.batchIndex, first.id.batchSize, first.duplicate], [1, 3, false])
      assert.strictEqual((yield* producer.stats).stored, 3)
      assert.strictEqual((yield* broker.stored("t")).length, 1)
    }).pipe(Effect.provide(layer())))

  it.effect("waits for room, in order, and can be interrupted there", () =>
    Effect.gen(function*() {
      const broker = yield* TestBroker
      const producer = yield* Producer.make({ topic: "t", batching: false, maxPending: 2 })
      yield* delayReceipts
      const all = yield* Effect.forkChild(
        Effect.forEach(["a", "b", "c", "d", "e"], (each) => producer.submit(bytes(each))),
        { startImmediately: true }
      )
      const late = yield* Effect.forkChild(producer.submit(bytes("never")), { startImmediately: true })
      assert.strictEqual((yield* producer.stats).pending, 2)
      yield* Fiber.interrupt(late)
      yield* Effect.repeat(TestClock.adjust("1 second"), { times: 5 })
      yield* Effect.forEach(yield* Fiber.join(all), ({ receipt }) => receipt)
      const stored = (yield* broker.stored("t")).map(({ payload }) => text(payload))
      assert.deepStrictEqual(stored, ["a", "b", "c", "d", "e"])
    }).pipe(Effect.provide(layer())))

  it.effect("that is not taken fails at once; one that was taken and not stored says so in its receipt", () =>
    Effect.gen(function*() {
      const producer = yield* Producer.make({ topic: "t", batching: false, maxPending: 1, whenFull: "fail" })
      yield* delayReceipts
      const taken = yield* producer.submit(bytes("a"))
      assert.strictEqual((yield* Effect.flip(producer.submit(bytes("b")))).reason._tag, "NotDone")
      yield* TestClock.adjust("2 seconds")
      yield* taken.receipt
      const impatient = yield* Producer.make({ topic: "u", batching: false, sendTimeout: "500 millis" })
      const unanswered = yield* impatient.submit(bytes("a"))
      yield* Effect.repeat(TestClock.adjust("500 millis"), { times: 4 })
      assert.strictEqual((yield* Effect.flip(unanswered.receipt)).reason._tag, "Unknown")
      assert.strictEqual((yield* impatient.stats).unknown, 1)
    }).pipe(Effect.provide(layer())))
})
