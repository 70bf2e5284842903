import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Stream } from "effect"
import { TestClock } from "effect/testing"
import { adapterError } from "../../src/Adapter.ts"
import type { EventBusOptions } from "../../src/BusConfig.ts"
import * as Event from "../../src/Event.ts"
import { EventBus } from "../../src/EventBus.ts"
import * as Filter from "../../src/Filter.ts"
import type { BusEvent } from "../../src/Subscription.ts"
import { ReadableStore } from "../support/ReadableStore.ts"
import { Prng } from "../utils/prng.ts"

const open = Effect.fnUntraced(function*(options: EventBusOptions = {}, store: ReadableStore = new ReadableStore()) {
  const context = yield* Layer.build(EventBus.layer({ shards: 4, ...options }).pipe(Layer.provide(store.layer)))
  return { store, bus: yield* Effect.provide(EventBus, context) }
})

const numbered = (count: number, from = 0): Array<string> =>
  Array.from({ length: count }, (_, i) => `{"i":${from + i}}`)
const number = (event: Event.StoredEvent): number => {
  const json = Event.json(event)
  return json._tag === "Success" ? (json.success as { readonly i: number }).i : Number.NaN
}
const sorted = (events: Iterable<Event.StoredEvent>): Array<number> => [...events].map(number).sort((a, b) => a - b)
const upTo = (count: number): Array<number> => Array.from({ length: count }, (_, i) => i)

describe("a subscription of a bus", () => {
  it.effect("gets history, then live events as they are stored, then ends with the bus", () =>
    Effect.gen(function*() {
      const { bus, store } = yield* open()
      yield* bus.publishAllRaw(numbered(500))
      yield* bus.flush
      const seen: Array<BusEvent> = []
      const fiber = yield* Effect.forkChild(
        Stream.runForEach(bus.subscribe({ chunkSize: 100 }), (event) => Effect.sync(() => void seen.push(event))),
        { startImmediately: true }
      )
      yield* TestClock.adjust(0)
      assert.deepStrictEqual(sorted(seen), upTo(500))
      const polls = store.polls.length
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(store.polls.length, polls)
      yield* bus.publishAllRaw(numbered(100, 500))
      yield* TestClock.adjust("10 millis")
      assert.deepStrictEqual(sorted(seen), upTo(600))
      yield* bus.publishAllRaw(numbered(50, 600))
      yield* bus.shutdown
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(sorted(seen), upTo(650))
    }))

  it.effect("I34 a shutdown succeeds while a subscription is open, and the subscription gets all of it", () =>
    Effect.gen(function*() {
      const { bus } = yield* open({ batch: { maxDelay: 60_000 } })
      const fiber = yield* Effect.forkChild(Stream.runCollect(bus.subscribe()), { startImmediately: true })
      yield* bus.publishAllRaw(numbered(300))
      assert.deepStrictEqual(yield* bus.shutdown, { stranded: 0, lossy: false, flushError: null })
      assert.deepStrictEqual(sorted(yield* Fiber.join(fiber)), upTo(300))
    }))

  it.effect("57 starts at the beginning, at the end or behind a cursor", () =>
    Effect.gen(function*() {
      const { bus } = yield* open()
      yield* bus.publishAllRaw(numbered(10))
      yield* bus.flush
      const third = (yield* Stream.runCollect(Stream.take(bus.subscribe(), 3))).at(-1)!
      const follow = (from: "beginning" | "end" | { readonly cursor: string }) =>
        Effect.forkChild(Stream.runCollect(bus.subscribe({ from })), { startImmediately: true })
      const beginning = yield* follow("beginning")
      const end = yield* follow("end")
      const cursor = yield* follow({ cursor: third.cursor })
      yield* bus.publishAllRaw(numbered(5, 10))
      yield* bus.shutdown
      assert.deepStrictEqual(sorted(yield* Fiber.join(beginning)), upTo(15))
      assert.deepStrictEqual(sorted(yield* Fiber.join(end)), [10, 11, 12, 13, 14])
      assert.strictEqual((yield* Fiber.join(cursor)).length, 12)
    }))

  it.effect("a consumer stopped after any event comes back with its cursor to the next one, also in another process", () =>
    Effect.gen(function*() {
      const store = new ReadableStore()
      const { bus } = yield* open({}, store)
      yield* bus.publishAllRaw(numbered(40))
      yield* bus.shutdown
      for (let stop = 1; stop < 40; stop++) {
        const first = yield* Stream.runCollect(Stream.take(bus.subscribe({ chunkSize: 7 }), stop))
        // The next owner of the store has fewer shards; what the others still hold stays readable.
        const { bus: next } = yield* open({ shards: 2 }, store)
        yield* next.shutdown
        const rest = yield* Stream.runCollect(next.subscribe({ from: { cursor: first.at(-1)!.cursor } }))
        assert.deepStrictEqual(sorted([...first, ...rest]), upTo(40))
      }
    }))

  it.effect("interrupted at any step of the scheduler, it has lost nothing that its last cursor does not lead to", () =>
    Effect.gen(function*() {
      const { bus } = yield* open()
      yield* bus.publishAllRaw(numbered(30))
      yield* bus.shutdown
      for (let steps = 0; steps < 40; steps++) {
        const seen: Array<BusEvent> = []
        const fiber = yield* Effect.forkChild(
          Stream.runForEach(
            bus.subscribe({ chunkSize: 4 }),
            (event) => Effect.andThen(Effect.sync(() => void seen.push(event)), Effect.yieldNow)
          )
        )
        for (let step = 0; step < steps; step++) yield* Effect.yieldNow
        yield* Fiber.interrupt(fiber)
        const from = seen.length === 0 ? undefined : { cursor: seen.at(-1)!.cursor }
        const rest = yield* Stream.runCollect(bus.subscribe({ from }))
        assert.deepStrictEqual(sorted([...seen, ...rest]), upTo(30))
      }
    }))

  it.effect("a slow consumer holds up neither the bus nor another consumer", () =>
    Effect.gen(function*() {
      const { bus, store } = yield* open()
      const slow: Array<BusEvent> = []
      const slowFiber = yield* Effect.forkChild(
        Stream.runForEach(bus.subscribe({ chunkSize: 10 }), (event) =>
          Effect.andThen(Effect.sync(() => void slow.push(event)), Effect.sleep("1 second"))),
        { startImmediately: true }
      )
      const quick = yield* Effect.forkChild(Stream.runCollect(bus.subscribe()), { startImmediately: true })
      yield* bus.publishAllRaw(numbered(200))
      yield* bus.shutdown
      assert.deepStrictEqual(sorted(yield* Fiber.join(quick)), upTo(200))
      const polls = store.polls.length
      yield* TestClock.adjust("5 seconds")
      assert.isBelow(slow.length, 10)
      assert.isAtMost(store.polls.length - polls, 4)
      yield* Fiber.interrupt(slowFiber)
    }))

  it.effect("ends with its own interruption, and leaves the bus as it was", () =>
    Effect.gen(function*() {
      const { bus } = yield* open()
      const fiber = yield* Effect.forkChild(Stream.runDrain(bus.subscribe()), { startImmediately: true })
      yield* TestClock.adjust("1 second")
      yield* Fiber.interrupt(fiber)
      assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(fiber)))
      yield* bus.publishRaw("1", { until: "durable" })
      assert.isFalse(yield* bus.isShutdown)
    }))

  it.effect("a store that fails for a while is waited for", () =>
    Effect.gen(function*() {
      const { bus, store } = yield* open({ shards: 1 })
      yield* bus.publishAllRaw(numbered(5))
      yield* bus.flush
      store.failing.set(0, "Transient")
      const fiber = yield* Effect.forkChild(Stream.runCollect(Stream.take(bus.subscribe(), 5)))
      yield* TestClock.adjust("10 seconds")
      assert.isUndefined(fiber.pollUnsafe())
      store.failing.clear()
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(sorted(yield* Fiber.join(fiber)), upTo(5))
    }))
})

describe("a consumer in bad weather", () => {
  it.effect.each([1, 2, 3, 4, 5])(
    "gets each event once, in the order of its key: seed %i",
    (seed) =>
      Effect.gen(function*() {
        const prng = new Prng(seed)
        const { bus, store } = yield* open({ shards: 3 })
        store.onPoll = (shard) =>
          prng.chance(0.3)
            ? Effect.fail(adapterError("readable", prng.pick(["Transient", "Connection"]), `shard ${shard} is busy`))
            : prng.chance(0.3)
            ? Effect.sleep(prng.int(1, 200))
            : Effect.void
        const seen: Array<BusEvent> = []
        // Stopped again and again, it comes back with nothing but its last cursor.
        const consumer = Effect.gen(function*() {
          let from: { readonly cursor: string } | undefined
          for (;;) {
            const events = yield* Stream.runCollect(Stream.take(
              bus.subscribe({ from, chunkSize: prng.int(1, 40), onDiagnostics: () => Effect.void }),
              prng.int(1, 60)
            ))
            if (events.length === 0) return
            seen.push(...events)
            from = { cursor: events.at(-1)!.cursor }
          }
        })
        const producer = Effect.gen(function*() {
          for (let round = 0; round < 30; round++) {
            const texts = numbered(20, round * 20)
            yield* bus.publishAllRaw(texts, { key: texts.map((_, i) => `key ${i % 7}`) })
            yield* Effect.sleep(prng.int(0, 100))
          }
          yield* bus.shutdown
        })
        const fibers = [yield* Effect.forkChild(consumer), yield* Effect.forkChild(producer)]
        for (let turn = 0; turn < 2000 && fibers.some((fiber) => fiber.pollUnsafe() === undefined); turn++) {
          yield* TestClock.adjust("100 millis")
        }
        yield* Fiber.joinAll(fibers)
        assert.deepStrictEqual(sorted(seen), upTo(600))
        for (let key = 0; key < 7; key++) {
          const own = seen.map(number).filter((i) => (i % 20) % 7 === key)
          assert.deepStrictEqual(own, own.toSorted((a, b) => a - b))
        }
      })
  )
})

describe("a poll of a bus", () => {
  it.effect("55 pages with a filter and in time order, over everything that was published", () =>
    Effect.gen(function*() {
      const { bus } = yield* open()
      yield* bus.publishAllRaw(numbered(100))
      yield* bus.flush
      const seen: Array<number> = []
      let cursor: string | undefined
      for (;;) {
        const page = yield* bus.poll({ limit: 7, cursor, order: "insertionTs", filter: Filter.gte("i", 50) })
        seen.push(...page.events.map(number))
        cursor = page.nextCursor ?? undefined
        if (!page.hasMore) break
      }
      // One bus stamps in the order of publication, over all its shards.
      assert.deepStrictEqual(seen, upTo(100).slice(50))
    }))

  it.effect("56 one event is a page of one, and the next poll goes on behind it", () =>
    Effect.gen(function*() {
      const { bus } = yield* open()
      yield* bus.publishAllRaw(numbered(3))
      yield* bus.flush
      const first = yield* bus.poll({ limit: 1 })
      const second = yield* bus.poll({ limit: 1, cursor: first.nextCursor! })
      assert.notDeepEqual(first.events.map(number), second.events.map(number))
    }))

  it.effect("still reads after a shutdown", () =>
    Effect.gen(function*() {
      const { bus } = yield* open()
      yield* bus.publishAllRaw(numbered(3))
      yield* bus.shutdown
      assert.strictEqual((yield* bus.poll({ limit: 10 })).events.length, 3)
    }))
})
