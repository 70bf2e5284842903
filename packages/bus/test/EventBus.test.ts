import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer } from "effect"
import { TestClock } from "effect/testing"
import { type Batch, forEach } from "../src/Batch.ts"
import { type EventBusOptions } from "../src/BusConfig.ts"
import { EventBus } from "../src/EventBus.ts"
import { assertSettled, numbered, open } from "./support/openBus.ts"
import { refuse, type Script, ScriptedAdapter } from "./support/ScriptedAdapter.ts"

describe("publishing", () => {
  it.effect("B05 B19 delivers everything accepted, in the order of each shard, by the end of a shutdown", () =>
    Effect.gen(function*() {
      const { adapter, bus } = yield* open()
      const published = yield* bus.publishAllRaw(numbered(10_000))
      assert.deepStrictEqual(published, { accepted: 10_000, duplicates: 0, rejected: 0, tooLarge: 0 })
      yield* bus.shutdown
      assert.strictEqual(adapter.events.length, 10_000)
      for (let shard = 0; shard < bus.shards; shard++) {
        const order = adapter.events.filter((event) => event.shard === shard).map((event) =>
          JSON.parse(event.text).i as number
        )
        assert.isAbove(order.length, 2000)
        assert.deepStrictEqual(order, order.toSorted((a, b) => a - b))
      }
      yield* assertSettled(bus)
    }))

  it.effect("B20 a flush delivers a small burst without waiting for company", () =>
    Effect.gen(function*() {
      const { adapter, bus } = yield* open({ batch: { maxDelay: 250, adaptive: false } })
      for (const text of numbered(50)) yield* bus.publishRaw(text)
      assert.strictEqual(adapter.events.length, 0)
      assert.deepStrictEqual(yield* bus.flush, { complete: true, outstanding: 0 })
      assert.strictEqual(adapter.events.length, 50)
      assert.strictEqual(adapter.flushes, 1)
    }))

  it.effect("B23 B25 numbers batches without gaps and counts what it dispatched", () =>
    Effect.gen(function*() {
      const { adapter, bus } = yield* open()
      for (let round = 0; round < 3; round++) {
        yield* bus.publishAllRaw(numbered(200, round * 200))
        yield* bus.flush
      }
      const next = new Map<number, number>()
      for (const { count, shard, start } of adapter.starts) {
        assert.strictEqual(start, next.get(shard) ?? 0)
        next.set(shard, start + count)
      }
      const stats = yield* assertSettled(bus)
      assert.strictEqual(stats.dispatched, 600)
      assert.strictEqual(stats.batchesDispatched, adapter.starts.length)
    }))

  it.effect("waits for company no longer than maxDelay", () =>
    Effect.gen(function*() {
      const { adapter, bus } = yield* open({ shards: 1, batch: { maxDelay: 10 } })
      yield* bus.publishRaw("1")
      yield* TestClock.adjust("9 millis")
      assert.strictEqual(adapter.events.length, 0)
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(adapter.texts, ["1"])
    }))

  it.effect("until durable resumes once the adapter has it", () =>
    Effect.gen(function*() {
      const { adapter, bus } = yield* open({ batch: { maxDelay: 1000 } })
      const receipt = yield* bus.publish({ a: 1 }, { until: "durable" })
      assert.deepStrictEqual(adapter.texts, [`{"a":1}`])
      assert.isFalse(receipt.duplicate)
      assert.strictEqual(adapter.events[0]!.insertionTs, receipt.insertionTs)
      assert.strictEqual(adapter.events[0]!.shard, receipt.shard)
    }))

  it.effect("the same key goes to the same shard, in order", () =>
    Effect.gen(function*() {
      const { adapter, bus } = yield* open({ shards: 8 })
      for (let i = 0; i < 200; i++) yield* bus.publish({ i }, { key: `key-${i % 5}` })
      yield* bus.flush
      for (let key = 0; key < 5; key++) {
        const events = adapter.events.filter((event) => JSON.parse(event.text).i % 5 === key)
        assert.strictEqual(new Set(events.map((event) => event.shard)).size, 1)
        assert.deepStrictEqual(
          events.map((event) => JSON.parse(event.text).i),
          Array.from({ length: 40 }, (_, n) => n * 5 + key)
        )
      }
    }))

  it.effect("timestamps increase strictly over all shards, also after the store's last and when the clock stands still", () =>
    Effect.gen(function*() {
      const last = BigInt(5_000_000)
      const { adapter, bus } = yield* open({}, { lastInsertionTs: last })
      yield* bus.publishAllRaw(numbered(100))
      yield* TestClock.adjust("1 second")
      yield* bus.publishAllRaw(numbered(100, 100))
      yield* bus.flush
      const order = adapter.events.toSorted((a, b) => JSON.parse(a.text).i - JSON.parse(b.text).i).map((event) =>
        event.insertionTs
      )
      assert.isTrue(order.every((ts, i) => ts > (i === 0 ? last : order[i - 1]!)))
      assert.strictEqual(order[100], BigInt(1_000_000_000))
    }))

  it.effect("refuses what is too large or has no JSON form, and says so", () =>
    Effect.gen(function*() {
      const { bus } = yield* open({ maxEventBytes: 10 })
      const large = yield* Effect.flip(bus.publishRaw("x".repeat(11)))
      assert.deepStrictEqual(large.reason, { _tag: "TooLarge", bytes: 11, limit: 10 })
      for (const value of [undefined, () => 1, BigInt(1)]) {
        assert.strictEqual((yield* Effect.flip(bus.publish(value))).reason._tag, "Serialization")
      }
      assert.deepStrictEqual(yield* bus.publishAllRaw(["1", "x".repeat(11), "2"]), {
        accepted: 2,
        duplicates: 0,
        rejected: 0,
        tooLarge: 1
      })
      assert.strictEqual((yield* Effect.flip(bus.publishAll([1, undefined]))).reason._tag, "Serialization")
      assert.strictEqual((yield* bus.stats).accepted, 2)
      assert.isFalse(bus.offerUnsafe("x".repeat(11)))
      assert.isTrue(bus.offerUnsafe(new TextEncoder().encode("3")))
    }))
})

describe("backpressure", () => {
  // A ring of 1,024 holds 1,023 events; a hanging adapter takes the first batch and no more.
  const hang: Script = { onAppend: () => Effect.never }
  const full = Effect.fnUntraced(function*(options: EventBusOptions) {
    const opened = yield* open({
      shards: 1,
      capacity: 1024,
      shutdownTimeout: "1 second",
      adapterTimeout: "1 hour",
      ...options
    }, hang)
    yield* opened.bus.publishRaw("0")
    yield* TestClock.adjust("10 millis")
    assert.strictEqual(opened.adapter.calls, 1)
    yield* opened.bus.publishAllRaw(numbered(1023, 1))
    assert.strictEqual(yield* opened.bus.pendingInRings, 1023)
    return opened
  })

  it.effect("S14 dropNewest refuses the newcomer and goes on", () =>
    Effect.gen(function*() {
      const { bus } = yield* full({ backpressure: "dropNewest" })
      assert.deepStrictEqual((yield* Effect.flip(bus.publishRaw("x"))).reason, { _tag: "Backpressure", shard: 0 })
      assert.deepStrictEqual(yield* bus.publishAllRaw(["x", "y"]), {
        accepted: 0,
        duplicates: 0,
        rejected: 2,
        tooLarge: 0
      })
      const stats = yield* bus.stats
      assert.deepStrictEqual([stats.accepted, stats.rejected, stats.dropped], [1024, 3, 3])
    }))

  it.effect("S15 S16 S18 dropOldest evicts one for one, and the evicted one's waiter hears of it", () =>
    Effect.gen(function*() {
      const { bus, close } = yield* full({ backpressure: "dropOldest" })
      const waiting = yield* Effect.forkChild(Effect.flip(bus.publishRaw("mine", { until: "durable" })), {
        startImmediately: true
      })
      yield* bus.publishAllRaw(numbered(1023, 2000))
      const stats = yield* bus.stats
      assert.deepStrictEqual([stats.accepted, stats.evicted, stats.rejected], [2048, 1024, 0])
      const closing = yield* Effect.forkChild(close)
      yield* TestClock.adjust("1 minute")
      yield* Fiber.join(closing)
      assert.deepStrictEqual((yield* Fiber.join(waiting)).reason, {
        _tag: "NotStored",
        why: "evicted",
        count: 1,
        cause: undefined
      })
      yield* assertSettled(bus)
    }))

  it.effect("whoever hears of an eviction and publishes again does not get into the evictor's event", () =>
    Effect.gen(function*() {
      const { adapter, bus } = yield* open({ shards: 1, capacity: 1024, backpressure: "dropOldest" })
      const retrying = bus.publishRaw("mine", { until: "durable" }).pipe(Effect.catch(() => bus.publishRaw("again")))
      const fiber = yield* Effect.forkChild(retrying, { startImmediately: true })
      for (let i = 0; i < 1024; i++) assert.isTrue(bus.offerUnsafe(`event ${i}`))
      yield* Fiber.join(fiber)
      yield* bus.flush
      assert.isTrue(adapter.texts.every((text) => text === "again" || /^event \d+$/.test(text)))
      assert.strictEqual(adapter.texts.filter((text) => text === "event 1023").length, 1)
    }))

  it.effect("failProducer publishes all of a call or nothing", () =>
    Effect.gen(function*() {
      const { adapter, bus } = yield* open({ shards: 1, capacity: 1024, backpressure: "failProducer" })
      assert.strictEqual((yield* Effect.flip(bus.publishAllRaw(numbered(1024)))).reason._tag, "Backpressure")
      assert.deepStrictEqual(yield* bus.publishAllRaw(numbered(1023)), {
        accepted: 1023,
        duplicates: 0,
        rejected: 0,
        tooLarge: 0
      })
      yield* bus.shutdown
      assert.strictEqual(adapter.events.length, 1023)
      const stats = yield* assertSettled(bus)
      assert.strictEqual(stats.rejected, 1024)
    }))

  it.effect("suspend lets producers in as room appears, first come first served, and can be interrupted", () =>
    Effect.gen(function*() {
      let release: () => void = () => {}
      const opened = new Promise<void>((resolve) => {
        release = resolve
      })
      const { adapter, bus } = yield* open({ shards: 1, capacity: 1024 }, {
        onAppend: (_batch, call) => call === 1 ? Effect.promise(() => opened) : Effect.void
      })
      yield* bus.publishRaw("first")
      yield* TestClock.adjust("10 millis")
      yield* bus.publishAllRaw(numbered(1023))
      const a = yield* Effect.forkChild(bus.publishRaw("a"), { startImmediately: true })
      const b = yield* Effect.forkChild(bus.publishRaw("b"), { startImmediately: true })
      const c = yield* Effect.forkChild(bus.publishRaw("c"), { startImmediately: true })
      assert.isFalse(bus.offerUnsafe("not past the queue"))
      yield* Fiber.interrupt(b)
      release()
      yield* Fiber.join(a)
      yield* Fiber.join(c)
      yield* bus.flush
      assert.deepStrictEqual(adapter.texts.slice(-2), ["a", "c"])
      assert.notInclude(adapter.texts, "b")
      yield* assertSettled(bus)
    }))

  it.effect("suspend refuses whoever waits when the bus shuts down", () =>
    Effect.gen(function*() {
      const { bus } = yield* full({})
      const waiting = yield* Effect.forkChild(Effect.flip(bus.publishRaw("x")), { startImmediately: true })
      const closing = yield* Effect.forkChild(bus.shutdown)
      assert.strictEqual((yield* Fiber.join(waiting)).reason._tag, "ShuttingDown")
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual((yield* Fiber.join(closing)).stranded, 1024)
    }))

  it.effect("dropOldest drops nothing for an event that would not fit anyway", () =>
    Effect.gen(function*() {
      const { bus } = yield* open({ shards: 1, capacityBytes: 100, backpressure: "dropOldest" }, hang)
      yield* bus.publishRaw("0")
      yield* TestClock.adjust("10 millis")
      yield* bus.publishRaw("x".repeat(40))
      yield* bus.publishRaw("x".repeat(40), { producer: { name: "till", sequence: 1 } })
      assert.strictEqual((yield* Effect.flip(bus.publishRaw("x".repeat(70)))).reason._tag, "Backpressure")
      assert.strictEqual((yield* bus.stats).evicted, 0)
      yield* bus.publishRaw("x".repeat(60))
      assert.strictEqual((yield* bus.stats).evicted, 1)
    }))

  it.effect("the byte limit holds as well", () =>
    Effect.gen(function*() {
      const { bus } = yield* open({ shards: 1, capacityBytes: 100, backpressure: "dropNewest" })
      assert.deepStrictEqual(yield* bus.publishAllRaw(Array.from({ length: 20 }, () => "x".repeat(10))), {
        accepted: 10,
        duplicates: 0,
        rejected: 10,
        tooLarge: 0
      })
    }))
})

describe("dispatch", () => {
  it.effect("B13 gives a connection error up at once", () =>
    Effect.gen(function*() {
      const { adapter, bus } = yield* open({ retries: 5 }, { onAppend: () => refuse("Connection") })
      const error = yield* Effect.flip(bus.publish(1, { until: "durable" }))
      assert.strictEqual(error.reason._tag === "NotStored" && error.reason.why, "failed")
      assert.strictEqual(adapter.calls, 1)
      assert.strictEqual((yield* assertSettled(bus)).failed, 1)
    }))

  it.effect("B14 B15 resends the same batch object until it is stored, or attempts run out", () =>
    Effect.gen(function*() {
      const recovering = yield* open({ retries: 5 }, {
        onAppend: (_, call) => call <= 3 ? refuse("Transient") : Effect.void
      })
      const stored = yield* Effect.forkChild(recovering.bus.publish(1, { until: "durable" }), {
        startImmediately: true
      })
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(stored)
      assert.strictEqual(recovering.adapter.calls, 4)
      assert.strictEqual(new Set(recovering.adapter.batches).size, 1)
      const hopeless = yield* open({ retries: 3 }, { onAppend: () => refuse("Transient") })
      const failed = yield* Effect.forkChild(Effect.flip(hopeless.bus.publish(1, { until: "durable" })), {
        startImmediately: true
      })
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual((yield* Fiber.join(failed)).reason._tag, "NotStored")
      assert.strictEqual(hopeless.adapter.calls, 4)
      const stats = yield* assertSettled(hopeless.bus)
      assert.deepStrictEqual([stats.retries, stats.batchesFailed], [3, 1])
    }))

  it.effect("a missing answer is retried, then reported as unknown", () =>
    Effect.gen(function*() {
      const { adapter, bus } = yield* open({ retries: 1, adapterTimeout: "1 second" }, { onAppend: () => Effect.never })
      const waiting = yield* Effect.forkChild(Effect.flip(bus.publish(1, { until: "durable" })), {
        startImmediately: true
      })
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual((yield* Fiber.join(waiting)).reason._tag, "Unknown")
      assert.strictEqual(adapter.calls, 2)
      yield* assertSettled(bus)
    }))

  it.effect("a call that was given up may go on reading its batch: that memory is not used again", () =>
    Effect.gen(function*() {
      const payloads = (batch: Batch) => {
        const texts: Array<string> = []
        forEach(batch, (payload) => texts.push(new TextDecoder().decode(payload)))
        return texts
      }
      const { adapter, bus } = yield* open({ shards: 1, retries: 0, adapterTimeout: "1 second" }, {
        onAppend: (_, call) => call === 1 ? Effect.never : Effect.void
      })
      const first = numbered(100)
      yield* bus.publishAllRaw(first)
      yield* TestClock.adjust("10 seconds")
      const abandoned = adapter.batches[0]!
      for (let round = 0; round < 50; round++) {
        yield* bus.publishAllRaw(numbered(1000, 1_000_000))
        yield* bus.flush
      }
      assert.deepStrictEqual(payloads(abandoned), first)
      assert.strictEqual((yield* assertSettled(bus)).dispatched, 50_000)
    }))

  it.effect("a failure handler that hangs is left after the time an adapter has", () =>
    Effect.gen(function*() {
      const { bus } = yield* open({ shards: 1, adapterTimeout: "1 second", onBatchFailed: () => Effect.never }, {
        onAppend: (_, call) => call === 1 ? refuse("Fatal") : Effect.void
      })
      const lost = yield* Effect.forkChild(Effect.flip(bus.publish(1, { until: "durable" })), {
        startImmediately: true
      })
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(lost)).reason._tag, "NotStored")
      yield* bus.publish(2, { until: "durable" })
      yield* assertSettled(bus)
    }))

  it.effect("an adapter that dies, and a failure handler that dies, cost one batch", () =>
    Effect.gen(function*() {
      const seen: Array<number> = []
      const { adapter, bus } = yield* open({
        shards: 1,
        onBatchFailed: ({ batch }) => {
          seen.push(batch.count)
          return Effect.die("handler")
        }
      }, { onAppend: (_, call) => call === 1 ? Effect.die("adapter") : Effect.void })
      assert.strictEqual((yield* Effect.flip(bus.publish(1, { until: "durable" }))).reason._tag, "Unknown")
      yield* bus.publish(2, { until: "durable" })
      assert.deepStrictEqual(seen, [1])
      assert.deepStrictEqual(adapter.texts, ["2"])
    }))
})

describe("shutdown", () => {
  it.effect("B04 B17 I35 refuses, drains, flushes once, and tells every caller the same", () =>
    Effect.gen(function*() {
      const { adapter, bus, close } = yield* open()
      yield* bus.publishAllRaw(numbered(16))
      const [first, second] = yield* Effect.all([bus.shutdown, bus.shutdown], { concurrency: "unbounded" })
      assert.deepStrictEqual(first, { stranded: 0, lossy: false, flushError: null })
      assert.strictEqual(second, first)
      assert.isTrue(yield* bus.isShutdown)
      assert.strictEqual((yield* Effect.flip(bus.publish(1))).reason._tag, "ShuttingDown")
      assert.isFalse(bus.offerUnsafe("1"))
      yield* close
      assert.deepStrictEqual([adapter.events.length, adapter.flushes, adapter.closes], [16, 1, 1])
      assert.strictEqual((yield* assertSettled(bus)).accepted, 16)
    }))

  it.effect("a hung adapter bounds it, and what went down is counted", () =>
    Effect.gen(function*() {
      const { bus } = yield* open({ shutdownTimeout: "5 seconds", adapterTimeout: "1 hour", shards: 1 }, {
        onAppend: () => Effect.never
      })
      yield* bus.publishAllRaw(numbered(3000))
      const waiting = yield* Effect.forkChild(Effect.flip(bus.publishRaw("x", { until: "durable" })), {
        startImmediately: true
      })
      const closing = yield* Effect.forkChild(bus.shutdown)
      yield* TestClock.adjust("2 hours")
      const report = yield* Fiber.join(closing)
      assert.deepStrictEqual(report, { stranded: 3001, lossy: true, flushError: null })
      const { reason } = yield* Fiber.join(waiting)
      assert.isTrue(reason._tag === "Unknown" || reason._tag === "NotStored" && reason.why === "stranded")
      yield* assertSettled(bus)
    }))

  it.effect("goes on when the caller that started it is interrupted", () =>
    Effect.gen(function*() {
      const { adapter, bus } = yield* open({}, { onAppend: () => Effect.sleep("1 second") })
      yield* bus.publishAllRaw(numbered(100))
      const caller = yield* Effect.forkChild(bus.shutdown, { startImmediately: true })
      yield* Fiber.interrupt(caller)
      yield* TestClock.adjust("1 minute")
      yield* bus.shutdown
      assert.strictEqual(adapter.events.length, 100)
    }))

  it.effect("reports what the last flush failed with", () =>
    Effect.gen(function*() {
      const { bus } = yield* open({}, { onFlush: refuse("Fatal") })
      assert.strictEqual((yield* bus.shutdown).flushError?.reason._tag, "Fatal")
    }))
})

describe("construction", () => {
  it.effect("K03 K16 K18 K19 names the option that is out of bounds", () =>
    Effect.gen(function*() {
      const bad: ReadonlyArray<readonly [string, EventBusOptions]> = [
        ["shards", { shards: 0 }],
        ["capacity", { capacity: 1000 }],
        ["capacity", { capacity: 512 }],
        ["retries", { retries: -1 }],
        ["batch.maxSize", { batch: { maxSize: 1_000_001 } }],
        ["batch.maxSize", { batch: { minSize: 10, maxSize: 5 } }],
        ["batch.maxDelay", { batch: { maxDelay: 0 } }],
        ["batch.velocityWindow", { batch: { velocityWindow: 0 } }],
        ["adapterTimeout", { adapterTimeout: 0 }],
        ["backpressure", { backpressure: "sample" as never }]
      ]
      for (const [option, options] of bad) {
        const error = yield* Effect.flip(open(options))
        assert.strictEqual(error._tag === "BusConfigError" && error.option, option)
        assert.include(error.message, `invalid configuration: ${option} `)
      }
      yield* open({ batch: { velocityWindow: 0, adaptive: false } })
    }))

  it.effect("is refused when the adapter promises less than is asked for, and closes what it opened", () =>
    Effect.gen(function*() {
      const adapter = new ScriptedAdapter({ durability: "os" })
      const build = (atLeast: "os" | "fsync") =>
        Effect.scoped(Layer.build(EventBus.layer({ atLeast }).pipe(Layer.provide(adapter.layer))))
      const error = yield* Effect.flip(build("fsync"))
      assert.include(error.message, "asks for fsync")
      assert.strictEqual(adapter.closes, 1)
      yield* build("os")
    }))
})
