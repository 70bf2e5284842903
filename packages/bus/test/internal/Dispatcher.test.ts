import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { assertSettled, numbered, open } from "../support/openBus.ts"

describe("the age of a batch", () => {
  it.effect("is measured by waiting, not by timestamps ahead of the clock", () =>
    Effect.gen(function*() {
      // The store's last timestamp is an hour ahead: the clock was wrong then, or is now.
      const { adapter, bus } = yield* open({ shards: 1 }, { lastInsertionTs: BigInt(3_600_000_000_000) })
      yield* bus.publishRaw("1")
      yield* TestClock.adjust("10 millis")
      assert.deepStrictEqual(adapter.texts, ["1"])
    }))
})

describe("an adapter that throws", () => {
  it.effect("costs one batch, and so does a handler that throws", () =>
    Effect.gen(function*() {
      let calls = 0
      const { adapter, bus } = yield* open({
        shards: 1,
        onBatchFailed: () => {
          throw new Error("handler")
        }
      }, {
        onAppend: () => {
          if (calls++ === 0) throw new Error("adapter")
          return Effect.void
        }
      })
      const { reason } = yield* Effect.flip(bus.publish(1, { until: "durable" }))
      assert.strictEqual(reason._tag, "Unknown")
      yield* bus.publish(2, { until: "durable" })
      assert.deepStrictEqual(adapter.texts, ["2"])
      yield* assertSettled(bus)
    }))
})

describe("a shutdown", () => {
  it.effect("does not call stored what an adapter that cannot be interrupted still holds", () =>
    Effect.gen(function*() {
      const { bus } = yield* open({ shards: 1, shutdownTimeout: "5 seconds" }, {
        onAppend: () => Effect.uninterruptible(Effect.sleep("1 hour"))
      })
      const waiting = yield* Effect.forkChild(Effect.exit(bus.publishRaw("x", { until: "durable" })), {
        startImmediately: true
      })
      const closing = yield* Effect.forkChild(bus.shutdown)
      yield* TestClock.adjust("30 seconds")
      const report = closing.pollUnsafe()
      assert.isDefined(report)
      assert.deepStrictEqual(yield* Fiber.join(closing), { stranded: 1, lossy: true, flushError: null })
      const exit = yield* Fiber.join(waiting)
      assert.strictEqual(exit._tag, "Failure")
      yield* assertSettled(bus)
      yield* TestClock.adjust("2 hours")
      yield* assertSettled(bus)
    }))

  it.effect("is bounded as a whole, also when nothing of the adapter answers", () =>
    Effect.gen(function*() {
      const { bus } = yield* open({ shards: 2, shutdownTimeout: "5 seconds" }, {
        onAppend: () => Effect.never,
        onFlush: Effect.never
      })
      yield* bus.publishAllRaw(numbered(100), { producer: { name: "till", sequence: 1 } })
      const closing = yield* Effect.forkChild(bus.shutdown)
      yield* TestClock.adjust("10 seconds")
      assert.isDefined(closing.pollUnsafe())
      const report = yield* Fiber.join(closing)
      assert.strictEqual(report.flushError?.reason._tag, "Transient")
      assert.isTrue(yield* bus.isShutdown)
    }))
})
