import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { assertSettled, numbered, open } from "../support/openBus.ts"
import { refuse, ScriptedAdapter } from "../support/ScriptedAdapter.ts"

const producer = (sequence: number, name = "till") => ({ producer: { name, sequence }, until: "durable" } as const)

describe("a producer that names itself and numbers its events", () => {
  it.effect("has each stored once, however often it sends them", () =>
    Effect.gen(function*() {
      const { adapter, bus } = yield* open()
      const events = numbered(100)
      assert.deepStrictEqual(yield* bus.publishAllRaw(events, producer(1)), {
        accepted: 100,
        duplicates: 0,
        rejected: 0,
        tooLarge: 0
      })
      assert.deepStrictEqual(yield* bus.publishAllRaw(events, producer(1)), {
        accepted: 0,
        duplicates: 100,
        rejected: 0,
        tooLarge: 0
      })
      assert.deepStrictEqual(yield* bus.publishAllRaw([...events.slice(90), ...numbered(10, 100)], producer(91)), {
        accepted: 10,
        duplicates: 10,
        rejected: 0,
        tooLarge: 0
      })
      assert.strictEqual(new Set(adapter.texts).size, 110)
      assert.strictEqual(adapter.texts.length, 110)
      assert.strictEqual(yield* bus.lastSequence("till"), 110)
      assert.isTrue((yield* bus.publishRaw(events[0]!, producer(1))).duplicate)
      const stats = yield* assertSettled(bus)
      assert.deepStrictEqual([stats.accepted, stats.duplicates], [110, 111])
    }))

  it.effect("two names do not know each other", () =>
    Effect.gen(function*() {
      const { adapter, bus } = yield* open()
      yield* bus.publishRaw("1", producer(1, "a"))
      yield* bus.publishRaw("1", producer(1, "b"))
      assert.deepStrictEqual(adapter.texts, ["1", "1"])
    }))

  it.effect("goes on over a restart, also with another number of shards", () =>
    Effect.gen(function*() {
      const store = new ScriptedAdapter()
      const events = numbered(300)
      for (const [round, shards] of [2, 5, 5, 1].entries()) {
        const { bus, close } = yield* open({ shards }, store)
        // It lost track of its acknowledgements and sends everything again, and fifty more.
        yield* bus.publishAllRaw(events.slice(0, 50 * (round + 1)), producer(1))
        yield* close
      }
      assert.deepStrictEqual(store.texts.toSorted(), events.slice(0, 200).toSorted())
    }))

  it.effect("after a clean shutdown goes on exactly where it was", () =>
    Effect.gen(function*() {
      const store = new ScriptedAdapter()
      const first = yield* open({ shards: 4 }, store)
      yield* first.bus.publishAllRaw(numbered(100), producer(1))
      assert.strictEqual(yield* first.bus.lastSequence("till"), 100)
      yield* first.close
      const second = yield* open({ shards: 4 }, store)
      assert.strictEqual(yield* second.bus.lastSequence("till"), 100)
    }))

  it.effect("is told of gaps and of nonsense", () =>
    Effect.gen(function*() {
      const { bus } = yield* open()
      assert.deepStrictEqual((yield* Effect.flip(bus.publishRaw("1", producer(2)))).reason, {
        _tag: "SequenceGap",
        producer: "till",
        expected: 1,
        received: 2
      })
      for (const bad of [0, -1, 1.5, Number.NaN, 2 ** 53]) {
        assert.strictEqual((yield* Effect.flip(bus.publishRaw("1", producer(bad)))).reason._tag, "InvalidProducer")
      }
      assert.strictEqual((yield* Effect.flip(bus.publishRaw("1", producer(1, "")))).reason._tag, "InvalidProducer")
    }))

  it.effect("after a loss has to close the gap, and then loses and doubles nothing", () =>
    Effect.gen(function*() {
      // The third batch of shard 0 is refused for good; batches behind it must not be stored before it is sent again.
      let refused = 0
      const { adapter, bus } = yield* open({ shards: 2, batch: { maxSize: 10, minSize: 1 } }, {
        onAppend: (batch) =>
          batch.shard === 0 && batch.sequenceStart === 20 && refused++ === 0
            ? refuse("Fatal")
            : Effect.sleep("1 millis")
      })
      const events = numbered(200)
      const first = yield* Effect.forkChild(Effect.flip(bus.publishAllRaw(events, producer(1))), {
        startImmediately: true
      })
      yield* TestClock.adjust("1 second")
      const { reason } = yield* Fiber.join(first)
      assert.strictEqual(reason._tag === "NotStored" && reason.why, "failed")
      const prefix = yield* bus.lastSequence("till")
      assert.isBelow(prefix, 200)
      assert.strictEqual((yield* Effect.flip(bus.publishRaw("x", producer(201)))).reason._tag, "SequenceGap")
      const second = yield* Effect.forkChild(bus.publishAllRaw(events.slice(prefix), producer(prefix + 1)), {
        startImmediately: true
      })
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(second)
      assert.deepStrictEqual(adapter.texts.toSorted(), events.toSorted())
      for (const shard of [0, 1]) {
        const order = adapter.events.filter((event) => event.shard === shard).map((event) =>
          JSON.parse(event.text).i as number
        )
        assert.deepStrictEqual(order, order.toSorted((a, b) => a - b))
      }
      yield* assertSettled(bus)
    }))

  it.effect("after an answer that never came, what is stored is asked of the store", () =>
    Effect.gen(function*() {
      const store: ScriptedAdapter = new ScriptedAdapter({
        // The first batch is stored, but nobody hears of it.
        onAppend: (batch, call) =>
          call === 1 ? Effect.andThen(Effect.sync(() => store.store(batch)), Effect.never) : Effect.void
      })
      const { bus } = yield* open({ shards: 1, retries: 0, adapterTimeout: "1 second" }, store)
      const events = numbered(20)
      const first = yield* Effect.forkChild(Effect.flip(bus.publishAllRaw(events, producer(1))), {
        startImmediately: true
      })
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual((yield* Fiber.join(first)).reason._tag, "Unknown")
      assert.deepStrictEqual(yield* bus.publishAllRaw(events, producer(1)), {
        accepted: 0,
        duplicates: 20,
        rejected: 0,
        tooLarge: 0
      })
      assert.strictEqual(store.events.length, 20)
    }))

  it.effect("is never evicted by others", () =>
    Effect.gen(function*() {
      const { bus } = yield* open({
        shards: 1,
        capacity: 1024,
        backpressure: "dropOldest",
        shutdownTimeout: "1 second"
      }, {
        onAppend: () => Effect.never
      })
      yield* bus.publishRaw("0")
      yield* TestClock.adjust("10 millis")
      yield* bus.publishAllRaw(numbered(1023), { producer: { name: "till", sequence: 1 } })
      assert.strictEqual((yield* Effect.flip(bus.publishRaw("x"))).reason._tag, "Backpressure")
      assert.strictEqual((yield* bus.stats).evicted, 0)
    }))

  it.effect("when the store does not say how far it got, nothing is published, and it may try again", () =>
    Effect.gen(function*() {
      let answers = false
      const { adapter, bus } = yield* open({}, {
        onProducerMarks: () => Effect.suspend(() => answers ? Effect.void : refuse("Transient"))
      })
      const { reason } = yield* Effect.flip(bus.publishRaw("1", producer(1)))
      assert.strictEqual(reason._tag === "ProducerUnavailable" && reason.producer, "till")
      assert.strictEqual((yield* assertSettled(bus)).accepted, 0)
      answers = true
      yield* bus.publishRaw("1", producer(1))
      assert.deepStrictEqual(adapter.texts, ["1"])
    }))

  it.effect("does not wait while the store looks another one up; two calls of one share a look-up", () =>
    Effect.gen(function*() {
      const asked: Array<string> = []
      const { adapter, bus } = yield* open({}, {
        onProducerMarks: (name) =>
          Effect.suspend(() => {
            asked.push(name)
            return name === "slow" ? Effect.sleep("5 seconds") : Effect.void
          })
      })
      const slow = yield* Effect.forkChild(
        Effect.all([bus.publishRaw("1", producer(1, "slow")), bus.publishRaw("1", producer(1, "slow"))], {
          concurrency: "unbounded"
        }),
        { startImmediately: true }
      )
      yield* bus.publishRaw("2", producer(1, "quick"))
      assert.deepStrictEqual(adapter.texts, ["2"])
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual((yield* Fiber.join(slow)).map(({ duplicate }) => duplicate), [false, true])
      assert.deepStrictEqual(asked, ["slow", "quick"])
    }))

  it.effect("is refused by a bus that has shut down, known or not", () =>
    Effect.gen(function*() {
      const { bus } = yield* open()
      yield* bus.publishRaw("1", producer(1))
      yield* bus.shutdown
      for (const name of ["till", "stranger"]) {
        assert.strictEqual((yield* Effect.flip(bus.publishRaw("2", producer(2, name)))).reason._tag, "ShuttingDown")
      }
    }))

  it.effect.each([
    { what: "fails", onSaveMarks: refuse("Transient") },
    { what: "dies", onSaveMarks: Effect.die("out of order") },
    { what: "hangs", onSaveMarks: Effect.never }
  ])(
    "a store that $what when the last marks are saved holds no shutdown up",
    ({ onSaveMarks }) =>
      Effect.gen(function*() {
        const { adapter, bus } = yield* open({ shutdownTimeout: "5 seconds" }, { onSaveMarks })
        yield* bus.publishAllRaw(numbered(10), { producer: { name: "till", sequence: 1 } })
        const closing = yield* Effect.forkChild(bus.shutdown, { startImmediately: true })
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual(yield* Fiber.join(closing), { stranded: 0, lossy: false, flushError: null })
        assert.strictEqual(adapter.events.length, 10)
      })
  )
})
