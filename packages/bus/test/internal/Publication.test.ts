import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, References } from "effect"
import { TestClock } from "effect/testing"
import { JsonLines } from "../../src/core/JsonLines.ts"
import { assertSettled, numbered, open } from "../support/openBus.ts"
import { refuse, type ScriptedAdapter } from "../support/ScriptedAdapter.ts"

/** An adapter whose first call hangs until `release`. */
const held = () => {
  let release: () => void = () => {}
  const released = new Promise<void>((resolve) => {
    release = resolve
  })
  return {
    release: () => release(),
    onAppend: (_: unknown, call: number) => call === 1 ? Effect.promise(() => released) : Effect.void
  }
}

/** With fewer steps between two yields a fiber makes no progress at all. */
const MIN_OPS = 6

describe("one event", () => {
  it.effect("is validated when asked for, on the short way too", () =>
    Effect.gen(function*() {
      const { bus } = yield* open()
      const { reason } = yield* Effect.flip(bus.publishRaw(`{"a":`, { validate: true }))
      assert.strictEqual(reason._tag, "Serialization")
      assert.strictEqual((yield* bus.stats).accepted, 0)
    }))

  it.effect("names the shard that was full, and every refusal is counted", () =>
    Effect.gen(function*() {
      const { bus } = yield* open({ shards: 8, capacity: 1024, capacityBytes: 10, backpressure: "dropNewest" }, {
        onAppend: () => Effect.never
      })
      // The second of the same content finds the ring of its shard full.
      const receipt = yield* bus.publishRaw("full up now")
      assert.notStrictEqual(receipt.shard, 0)
      assert.deepStrictEqual((yield* Effect.flip(bus.publishRaw("full up now"))).reason, {
        _tag: "Backpressure",
        shard: receipt.shard
      })
      assert.isFalse(bus.offerUnsafe("full up now"))
      assert.strictEqual((yield* bus.stats).rejected, 2)
    }))

  it.effect("refused as too large by offerUnsafe is counted too", () =>
    Effect.gen(function*() {
      const { bus } = yield* open({ maxEventBytes: 10 })
      assert.isFalse(bus.offerUnsafe("x".repeat(11)))
      assert.strictEqual((yield* bus.stats).rejected, 1)
    }))
})

describe("waiting for room", () => {
  it.effect("does not wait for the age or the number of a batch", () =>
    Effect.gen(function*() {
      const { adapter, bus } = yield* open({
        shards: 1,
        capacity: 1024,
        batch: { minSize: 5000, maxDelay: 60_000 }
      })
      const all = yield* Effect.forkChild(bus.publishAllRaw(numbered(3000)), { startImmediately: true })
      for (let i = 0; i < 100; i++) yield* Effect.yieldNow
      assert.strictEqual((yield* Fiber.join(all)).accepted, 3000)
      assert.isAbove(adapter.events.length, 1900)
    }))

  it.effect("a full ring is not held back in the modes that refuse either", () =>
    Effect.gen(function*() {
      for (const backpressure of ["dropNewest", "dropOldest", "failProducer"] as const) {
        const { adapter, bus } = yield* open({
          shards: 1,
          capacity: 1024,
          backpressure,
          batch: { minSize: 5000, maxDelay: 60_000 }
        })
        yield* bus.publishAllRaw(numbered(1023))
        yield* Effect.exit(bus.publishRaw("one more"))
        for (let i = 0; i < 100; i++) yield* Effect.yieldNow
        assert.isAbove(adapter.events.length, 1000, backpressure)
      }
    }))

  it.effect("a fiber that yields between finding no room and queueing is neither forgotten nor in the way", () =>
    Effect.gen(function*() {
      for (let ops = MIN_OPS; ops < 60; ops++) {
        const { adapter, bus, close } = yield* open({ shards: 1, capacity: 1024, batch: { maxDelay: 1 } })
        yield* bus.publishAllRaw(numbered(1023))
        const late = yield* Effect.forkChild(
          bus.publishRaw("late").pipe(Effect.provideService(References.MaxOpsBeforeYield, ops)),
          { startImmediately: true }
        )
        yield* TestClock.adjust("1 second")
        assert.isDefined(late.pollUnsafe(), `hangs with a yield after ${ops} steps`)
        assert.isTrue(bus.offerUnsafe("next"))
        yield* close
        assert.strictEqual(adapter.texts.filter((text) => text === "late").length, 1)
      }
    }))

  it.effect("nor when the bus closes in that moment", () =>
    Effect.gen(function*() {
      for (let ops = MIN_OPS; ops < 60; ops++) {
        const { bus, close } = yield* open({ shards: 1, capacity: 1024, batch: { maxDelay: 1 } })
        yield* bus.publishAllRaw(numbered(1023))
        const late = yield* Effect.forkChild(
          Effect.exit(bus.publishRaw("late")).pipe(Effect.provideService(References.MaxOpsBeforeYield, ops)),
          { startImmediately: true }
        )
        yield* close
        yield* TestClock.adjust("1 minute")
        assert.isDefined(late.pollUnsafe(), `hangs with a yield after ${ops} steps`)
        yield* assertSettled(bus)
      }
    }))

  it.effect("says how much of a call was accepted before the bus closed", () =>
    Effect.gen(function*() {
      const { bus } = yield* open({ shards: 1, capacity: 1024, shutdownTimeout: "1 second" }, {
        onAppend: () => Effect.never
      })
      const call = yield* Effect.forkChild(Effect.flip(bus.publishAllRaw(numbered(2000))), { startImmediately: true })
      yield* Effect.forkChild(bus.shutdown, { startImmediately: true })
      assert.deepStrictEqual((yield* Fiber.join(call)).reason, {
        _tag: "ShuttingDown",
        accepted: (yield* bus.stats).accepted
      })
    }))
})

describe("lines", () => {
  it.effect("routed for another number of shards are routed again", () =>
    Effect.gen(function*() {
      const lines = numbered(50)
      const one = yield* open({ shards: 2 })
      const two = yield* open({ shards: 2 })
      yield* one.bus.publishLines(new JsonLines().push(new TextEncoder().encode(`${lines.join("\n")}\n`), 16))
      yield* two.bus.publishAllRaw(lines)
      yield* one.bus.flush
      yield* two.bus.flush
      const places = (adapter: ScriptedAdapter) =>
        adapter.events.map(({ shard, text }) => `${shard} ${text}`).toSorted()
      assert.deepStrictEqual(places(one.adapter), places(two.adapter))
    }))
})

describe("a call that goes on to wait", () => {
  it.effect("does not say that all of it was accepted when some was refused", () =>
    Effect.gen(function*() {
      const { bus } = yield* open({ shards: 1, capacity: 1024, backpressure: "dropNewest" })
      let accepted = 0
      const summary = yield* bus.publishAllRaw(numbered(2000), {
        until: "durable",
        onAccepted: () => accepted++,
        producer: { name: "till", sequence: 1 }
      })
      assert.deepStrictEqual([summary.accepted, summary.rejected, accepted], [1023, 977, 0])
      const rest = yield* bus.publishAllRaw(numbered(977, 1023), {
        until: "durable",
        onAccepted: () => accepted++,
        producer: { name: "till", sequence: 1024 }
      })
      assert.deepStrictEqual([rest.accepted, accepted], [977, 1])
    }))
})

describe("a duplicate that is to be durable", () => {
  it.effect("does not answer for the events of others", () =>
    Effect.gen(function*() {
      const { bus } = yield* open({
        shards: 1,
        capacity: 1024,
        backpressure: "dropOldest",
        shutdownTimeout: "1 second"
      }, {
        onAppend: (_, call) => call === 1 ? Effect.void : Effect.never
      })
      const till = { producer: { name: "till", sequence: 1 }, until: "durable" } as const
      yield* bus.publishRaw("mine", till)
      yield* bus.publishAllRaw(numbered(1023))
      yield* TestClock.adjust("10 millis")
      yield* bus.publishAllRaw(numbered(1023))
      const again = yield* Effect.forkChild(Effect.exit(bus.publishRaw("mine", till)), { startImmediately: true })
      for (let i = 0; i < 50; i++) bus.offerUnsafe("x")
      for (let i = 0; i < 10; i++) yield* Effect.yieldNow
      assert.strictEqual(again.pollUnsafe()?._tag, "Success")
      assert.isTrue((yield* Fiber.join(again))._tag === "Success")
    }))

  it.effect("waits while the first one is under way, and shares its fate", () =>
    Effect.gen(function*() {
      for (const outcome of ["stored", "failed"] as const) {
        const { bus } = yield* open({ shards: 1, batch: { maxSize: 1, minSize: 1 } }, {
          onAppend: (batch) =>
            Effect.andThen(
              Effect.sleep("1 second"),
              outcome === "failed" && batch.sequenceStart === 1 ? refuse("Fatal") : Effect.void
            )
        })
        const till = { producer: { name: "till", sequence: 1 }, until: "durable" } as const
        yield* bus.publishRaw("another")
        const first = yield* Effect.forkChild(Effect.exit(bus.publishRaw("mine", till)), { startImmediately: true })
        const second = yield* Effect.forkChild(Effect.exit(bus.publishRaw("mine", till)), { startImmediately: true })
        yield* bus.publishRaw("another")
        yield* TestClock.adjust("1500 millis")
        assert.isUndefined(second.pollUnsafe())
        yield* TestClock.adjust("10 seconds")
        const expected = outcome === "stored" ? "Success" : "Failure"
        assert.strictEqual((yield* Fiber.join(first))._tag, expected)
        assert.strictEqual((yield* Fiber.join(second))._tag, expected)
      }
    }))
})

describe("a named producer", () => {
  it.effect("that is forgotten while a call of it waits does not double its events", () =>
    Effect.gen(function*() {
      const { onAppend, release } = held()
      const { adapter, bus } = yield* open({ shards: 1, capacity: 1024, maxProducers: 1 }, { onAppend })
      yield* bus.publishRaw("first")
      yield* TestClock.adjust("10 millis")
      yield* bus.publishAllRaw(numbered(1023))
      // Waits for room with its first event, so that nothing of it is under way.
      const waiting = yield* Effect.forkChild(
        bus.publishAllRaw(["a", "b"], { producer: { name: "till", sequence: 1 } }),
        {
          startImmediately: true
        }
      )
      const other = yield* Effect.forkChild(bus.publishRaw("other", { producer: { name: "other", sequence: 1 } }), {
        startImmediately: true
      })
      const again = yield* Effect.forkChild(
        bus.publishAllRaw(["a", "b"], { producer: { name: "till", sequence: 1 } }),
        {
          startImmediately: true
        }
      )
      release()
      yield* Fiber.joinAll([waiting, other, again])
      yield* bus.flush
      assert.deepStrictEqual(adapter.texts.filter((text) => text === "a" || text === "b" || text === "other"), [
        "a",
        "b",
        "other"
      ])
    }))

  it.effect("that lost events is not forgotten before it closed the gap, while idle ones can be", () =>
    Effect.gen(function*() {
      const { adapter, bus } = yield* open({ shards: 2, maxProducers: 2, batch: { maxSize: 10, minSize: 1 } }, {
        onAppend: (batch, call) => call === 1 && batch.shard === 0 ? refuse("Fatal") : Effect.void
      })
      const failed = yield* Effect.flip(
        bus.publishAllRaw(numbered(20), { producer: { name: "till", sequence: 1 }, until: "durable" })
      )
      assert.strictEqual(failed.reason._tag, "NotStored")
      for (const name of ["a", "b", "c"]) {
        yield* bus.publishRaw("1", { producer: { name, sequence: 1 }, until: "durable" })
      }
      // Right behind the last event that was stored, and past the gap.
      const sequence = 1 +
        Math.max(...[...adapter.marks.values()].map((mark) => mark.producer === "till" ? mark.sequence : 0))
      const { reason } = yield* Effect.flip(bus.publishRaw("next", { producer: { name: "till", sequence } }))
      assert.strictEqual(reason._tag, "SequenceGap")
    }))

  it.effect("loses each event once, also those that were stale already", () =>
    Effect.gen(function*() {
      // Batch 2 of the producer fails; the third contains what is stale and an event of somebody else, and fails as well.
      const { bus } = yield* open({ shards: 1, batch: { maxSize: 10, minSize: 1 } }, {
        onAppend: (_, call) => Effect.andThen(Effect.sleep("10 millis"), call <= 2 ? refuse("Fatal") : Effect.void)
      })
      const first = yield* Effect.forkChild(
        Effect.flip(
          bus.publishAllRaw(numbered(15), { producer: { name: "till", sequence: 1 }, until: "durable" })
        ),
        { startImmediately: true }
      )
      yield* bus.publishRaw("other")
      yield* TestClock.adjust("1 second")
      const { reason } = yield* Fiber.join(first)
      assert.strictEqual(reason._tag === "NotStored" && reason.count, 15)
      yield* assertSettled(bus)
    }))

  it.effect("resends what is stored under failProducer without needing room for it", () =>
    Effect.gen(function*() {
      const { bus } = yield* open({ shards: 1, capacity: 1024, backpressure: "failProducer" })
      const till = (sequence: number) => ({ producer: { name: "till", sequence }, until: "durable" } as const)
      yield* bus.publishAllRaw(numbered(1000), till(1))
      yield* bus.publishAllRaw(numbered(1000, 1000), till(1001))
      assert.deepStrictEqual(yield* bus.publishAllRaw(numbered(2010), till(1)), {
        accepted: 10,
        duplicates: 2000,
        rejected: 0,
        tooLarge: 0
      })
    }))

  it.effect("may not number past the safe integers", () =>
    Effect.gen(function*() {
      const { bus } = yield* open({}, {
        marks: [{ producer: "till", shards: 0, shard: 0, sequence: Number.MAX_SAFE_INTEGER - 2 }]
      })
      const error = yield* Effect.flip(
        bus.publishAllRaw(["1", "2", "3"], { producer: { name: "till", sequence: Number.MAX_SAFE_INTEGER - 1 } })
      )
      assert.strictEqual(error.reason._tag, "InvalidProducer")
    }))
})
