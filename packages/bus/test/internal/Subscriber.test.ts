import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Result, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"
import { Pulse } from "../../src/core/Signal.ts"
import * as Filter from "../../src/Filter.ts"
import * as Poller from "../../src/internal/Poller.ts"
import * as Subscriber from "../../src/internal/Subscriber.ts"
import type { PollError } from "../../src/Poll.ts"
import type * as Subscription from "../../src/Subscription.ts"
import { ReadableStore } from "../support/ReadableStore.ts"

/** The store of a bus that does nothing but wake its subscribers. */
class Fixture {
  readonly store = new ReadableStore()
  readonly #pulse = new Pulse()
  #closed = false
  waits = 0

  readonly wake: Subscriber.Wake = {
    version: () => this.#pulse.version,
    closed: () => this.#closed,
    changed: (seen) =>
      Effect.callback<void>((resume) => {
        this.waits++
        if (this.#closed) return resume(Effect.void)
        return Effect.sync(this.#pulse.sleep(seen, () => resume(Effect.void)))
      })
  }

  subscribe(options?: Subscription.SubscribeOptions): Stream.Stream<Subscription.BusEvent, PollError> {
    return Subscriber.make(Poller.make(this.store.adapter), this.wake, this.store.adapter, options)
  }

  add(shard: number, entries: Parameters<ReadableStore["add"]>[1]): this {
    this.store.add(shard, entries)
    this.#pulse.beat()
    return this
  }

  close(): this {
    this.#closed = true
    this.#pulse.beat()
    return this
  }
}

const name = (event: Subscription.BusEvent): string => `${event.shard}/${event.id}`
const many = (count: number, raw = "{}") => Array.from({ length: count }, () => ({ raw }))
const collect = (stream: Stream.Stream<Subscription.BusEvent, PollError>) =>
  Effect.map(Stream.runCollect(stream), (events) => events.map(name))

/** Collects into an array while the test goes on. */
const into = (stream: Stream.Stream<Subscription.BusEvent, PollError>, seen: Array<string>) =>
  Effect.forkChild(Stream.runForEach(stream, (event) => Effect.sync(() => void seen.push(name(event)))), {
    startImmediately: true
  })

/** Lets fibers run until they wait. */
const settle = TestClock.adjust(0)

describe("following", () => {
  it.effect("stored events first, then live ones, without a poll in between", () =>
    Effect.gen(function*() {
      const bus = new Fixture().add(0, many(3)).add(1, many(1))
      const seen: Array<string> = []
      const fiber = yield* into(bus.subscribe({ chunkSize: 2 }), seen)
      yield* settle
      assert.deepStrictEqual(seen, ["0/1", "1/1", "0/2", "0/3"])
      const polls = bus.store.polls.length
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(bus.store.polls.length, polls)
      assert.strictEqual(bus.waits, 1)
      bus.add(1, many(2))
      yield* settle
      assert.deepStrictEqual(seen.slice(4), ["1/2", "1/3"])
      yield* Fiber.interrupt(fiber)
    }))
  it.effect("what is stored between a look at the store and the wait for news is not missed", () =>
    Effect.gen(function*() {
      const bus = new Fixture().add(0, many(1))
      let looks = 0
      // The second look finds nothing new, and only then does the event arrive.
      bus.store.afterTails = () => {
        if (++looks === 2) bus.add(7, many(1))
      }
      const seen: Array<string> = []
      const fiber = yield* into(bus.subscribe(), seen)
      yield* settle
      assert.deepStrictEqual(seen, ["0/1", "7/1"])
      yield* Fiber.interrupt(fiber)
    }))
  it.effect("nothing is read that is not pulled, but for one page ahead", () =>
    Effect.scoped(Effect.gen(function*() {
      const bus = new Fixture().add(0, many(100))
      const pull = yield* Stream.toPull(bus.subscribe({ chunkSize: 10 }))
      assert.isEmpty(bus.store.polls)
      assert.strictEqual((yield* pull).length, 10)
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(bus.store.polls.map((call) => call.limit), [10, 10])
    })))
  it.effect("a run of events that a filter drops is passed once", () =>
    Effect.gen(function*() {
      const bus = new Fixture().add(0, many(25_000)).add(0, [`{"a":1}`]).close()
      assert.deepStrictEqual(yield* collect(bus.subscribe({ filter: Filter.exists("a"), chunkSize: 10 })), ["0/25001"])
      const asked = bus.store.polls.map((call) => Number(call.after ?? 0))
      assert.deepStrictEqual(asked, [...new Set(asked)])
    }))
  it.effect("channel and filter both have to let an event through", () =>
    Effect.gen(function*() {
      const bus = new Fixture().add(0, [
        { raw: `{"a":1}`, channel: "x" },
        { raw: `{"a":2}`, channel: "x" },
        { raw: `{"a":1}`, channel: "y" },
        { raw: `{"a":1,"_channel":"x"}` }
      ]).close()
      assert.deepStrictEqual(yield* collect(bus.subscribe({ channel: "x" })), ["0/1", "0/2"])
      assert.deepStrictEqual(yield* collect(bus.subscribe({ channel: "x", filter: Filter.eq("a", 1) })), ["0/1"])
    }))
  it.effect("another process's events are found when asked to look for them", () =>
    Effect.gen(function*() {
      const bus = new Fixture()
      const seen: Array<string> = []
      const fiber = yield* into(bus.subscribe({ pollInterval: "1 second" }), seen)
      yield* settle
      bus.store.add(3, many(1)) // the bus of this process knows nothing of it
      yield* TestClock.adjust("999 millis")
      assert.isEmpty(seen)
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(seen, ["3/1"])
      yield* Fiber.interrupt(fiber)
    }))
  it.effect("a shard that appears later is followed, unless shards were named", () =>
    Effect.gen(function*() {
      const bus = new Fixture().add(0, many(1))
      const all: Array<string> = []
      const named: Array<string> = []
      const fibers = [yield* into(bus.subscribe(), all), yield* into(bus.subscribe({ shards: [0, 2] }), named)]
      yield* settle
      bus.add(1, many(1)).add(2, many(1))
      yield* settle
      assert.deepStrictEqual(all, ["0/1", "1/1", "2/1"])
      assert.deepStrictEqual(named, ["0/1", "2/1"])
      yield* Fiber.interruptAll(fibers)
    }))
})

describe("start", () => {
  it.effect("beginning, end, cursor", () =>
    Effect.gen(function*() {
      const bus = new Fixture().add(0, many(2)).add(1, many(1))
      const cursors = yield* Stream.runCollect(Stream.take(bus.subscribe(), 3))
      const starts: ReadonlyArray<Subscription.SubscribeOptions["from"]> = [
        undefined,
        "beginning",
        "end",
        { cursor: cursors[0]!.cursor },
        { cursor: "e30=" }
      ]
      const seen: Array<Array<string>> = starts.map(() => [])
      const fibers = yield* Effect.forEach(starts, (from, i) => into(bus.subscribe({ from }), seen[i]!))
      yield* settle
      bus.add(1, many(1)).add(5, many(1))
      yield* settle
      const news = ["1/2", "5/1"]
      const all = ["0/1", "1/1", "0/2"]
      assert.deepStrictEqual(seen.map((events) => [...events].sort()), [
        [...all, ...news].sort(),
        [...all, ...news].sort(),
        news,
        ["0/2", "1/1", ...news].sort(),
        [...all, ...news].sort()
      ])
      yield* Fiber.interruptAll(fibers)
    }))
  it.effect("a bad start, size, shard or filter is refused", () =>
    Effect.gen(function*() {
      const bus = new Fixture().add(0, many(1))
      bus.store.storeId = "mine"
      const [event] = yield* Stream.runCollect(Stream.take(bus.subscribe(), 1))
      bus.store.storeId = "yours"
      const options: ReadonlyArray<readonly [Subscription.SubscribeOptions, string]> = [
        [{ from: { cursor: event!.cursor } }, "InvalidCursor"],
        [{ from: { cursor: "x" } }, "InvalidCursor"],
        [{ chunkSize: 0 }, "InvalidRequest"],
        [{ shards: [-1] }, "InvalidRequest"],
        [{ filter: {} as Filter.Filter }, "InvalidFilter"]
      ]
      for (const [option, tag] of options) {
        assert.strictEqual((yield* Effect.flip(Stream.runDrain(bus.subscribe(option)))).reason._tag, tag)
      }
    }))
})

describe("cursors", () => {
  const Shards = Schema.Array(Schema.Array(Schema.Boolean))
  it.effect.prop("resuming behind any event delivers exactly what came after it", {
    shards: Shards,
    chunkSize: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 7 })),
    filtered: Schema.Boolean,
    lookup: Schema.Boolean
  }, ({ chunkSize, filtered, lookup, shards }) =>
    Effect.gen(function*() {
      const bus = new Fixture()
      shards.forEach((entries, shard) =>
        bus.add(shard * 2, entries.map((match) => ({ raw: match ? `{"a":1}` : `{}` })))
      )
      bus.close()
      const filter = filtered ? Filter.exists("a") : undefined
      const events = yield* Stream.runCollect(bus.subscribe({ chunkSize, filter }))
      const wanted = shards.flatMap((entries, shard) =>
        entries.flatMap((match, i) => match || !filtered ? [`${shard * 2}/${i + 1}`] : [])
      )
      assert.deepStrictEqual(events.map(name).sort(), wanted.sort())
      // Cursors do not depend on the order in which they are asked for.
      const order = lookup ? events.map((_, i) => i).reverse() : events.map((_, i) => i)
      const cursors = new Map(order.map((i) => [i, events[i]!.cursor]))
      for (let i = 0; i < events.length; i++) {
        assert.strictEqual(events[i]!.cursor, cursors.get(i))
        const rest = yield* collect(bus.subscribe({ chunkSize: 3, filter, from: { cursor: cursors.get(i)! } }))
        assert.deepStrictEqual([...rest].sort(), events.slice(i + 1).map(name).sort())
        for (const shard of new Set(events.map((event) => event.shard))) {
          assert.deepStrictEqual(
            rest.filter((event) => event.startsWith(`${shard}/`)),
            events.slice(i + 1).filter((event) => event.shard === shard).map(name)
          )
        }
      }
    }), { arbitrary: { runs: 60, size: 8 } })
  it.effect("a reader that takes one event at a time and comes back serves every shard", () =>
    Effect.gen(function*() {
      const bus = new Fixture()
      for (let shard = 0; shard < 4; shard++) bus.add(shard, many(50))
      let from: Subscription.SubscribeOptions["from"]
      const seen: Array<number> = []
      for (let turn = 0; turn < 8; turn++) {
        const [event] = yield* Stream.runCollect(Stream.take(bus.subscribe({ from }), 1))
        seen.push(event!.shard)
        from = { cursor: event!.cursor }
      }
      assert.deepStrictEqual(seen, [0, 1, 2, 3, 0, 1, 2, 3])
    }))
})

describe("end", () => {
  it.effect("after the bus has closed, once everything was delivered", () =>
    Effect.gen(function*() {
      const bus = new Fixture().add(0, many(5)).close()
      assert.strictEqual((yield* collect(bus.subscribe({ chunkSize: 2 }))).length, 5)
      assert.isEmpty(yield* collect(bus.subscribe({ from: "end" })))
    }))
  it.effect("a subscriber that waits is woken by the close, and gets the last events first", () =>
    Effect.gen(function*() {
      const bus = new Fixture()
      const fiber = yield* Effect.forkChild(collect(bus.subscribe()), { startImmediately: true })
      yield* settle
      bus.add(0, many(2))
      bus.close()
      assert.deepStrictEqual(yield* Fiber.join(fiber), ["0/1", "0/2"])
    }))
  it.effect("interrupted while it waits, reads or pauses, it ends at once", () =>
    Effect.gen(function*() {
      const waiting = new Fixture()
      const reading = new Fixture().add(0, many(1))
      const entered = yield* Deferred.make<void>()
      reading.store.onPoll = () => Effect.andThen(Deferred.succeed(entered, undefined), Effect.never)
      const pausing = new Fixture().add(0, many(1))
      pausing.store.failing.set(0, "Transient")
      for (const bus of [waiting, reading, pausing]) {
        const fiber = yield* Effect.forkChild(collect(bus.subscribe()), { startImmediately: true })
        if (bus === reading) yield* Deferred.await(entered)
        yield* settle
        yield* Fiber.interrupt(fiber)
        assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(fiber)))
      }
    }))
})

describe("errors", () => {
  it.effect("one that passes is waited out with growing pauses, and nothing is lost", () =>
    Effect.gen(function*() {
      const bus = new Fixture().add(0, many(2))
      bus.store.failing.set(0, "Transient")
      const seen: Array<string> = []
      const fiber = yield* into(bus.subscribe(), seen)
      yield* TestClock.adjust("20 seconds")
      assert.isEmpty(seen)
      // 50 ms, 100 ms … 5 s: a dozen attempts, not twenty thousand.
      assert.isAtMost(bus.store.polls.length, 14)
      assert.isAtLeast(bus.store.polls.length, 8)
      bus.store.failing.clear()
      yield* TestClock.adjust("6 seconds")
      assert.deepStrictEqual(seen, ["0/1", "0/2"])
      yield* Fiber.interrupt(fiber)
    }))
  it.effect("one that lasts ends the stream, typed, after the time allowed", () =>
    Effect.gen(function*() {
      const bus = new Fixture().add(0, many(2))
      bus.store.tailsFailing = "Connection"
      const fiber = yield* Effect.forkChild(
        Effect.flip(Stream.runDrain(bus.subscribe({ retryFor: "10 seconds", from: "end" })))
      )
      yield* TestClock.adjust("9 seconds")
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("10 seconds")
      const error = yield* Fiber.join(fiber)
      assert.isTrue(error.reason._tag === "Adapter" && error.reason.cause.reason._tag === "Connection")
    }))
  it.effect("one that will not pass ends the stream at once", () =>
    Effect.gen(function*() {
      for (const tag of ["Fatal", "Shutdown", "Serialization"] as const) {
        const bus = new Fixture().add(0, many(2))
        bus.store.failing.set(0, tag)
        const error = yield* Effect.flip(Stream.runDrain(bus.subscribe()))
        assert.isTrue(error.reason._tag === "Adapter" && error.reason.cause.reason._tag === tag)
      }
      const forged = new Fixture().add(0, many(2)).add(1, many(2))
      forged.store.failing.set(0, "InvalidPosition")
      const seen: Array<string> = []
      const error = yield* Effect.flip(
        Stream.runForEach(forged.subscribe(), (event) => Effect.sync(() => void seen.push(name(event))))
      )
      assert.strictEqual(error.reason._tag, "InvalidCursor")
      assert.deepStrictEqual(seen, ["1/1", "1/2"])
    }))
  it.effect("a shard that fails holds up no other, is reported, and comes back", () =>
    Effect.gen(function*() {
      const bus = new Fixture().add(0, many(2)).add(1, many(2))
      bus.store.failing.set(1, "Transient")
      const seen: Array<string> = []
      const reported: Array<number> = []
      const onDiagnostics = (diagnostics: Subscription.Diagnostics) =>
        Effect.sync(() => void reported.push(...diagnostics.failedShards.map((failed) => failed.shard)))
      const fiber = yield* into(bus.subscribe({ onDiagnostics }), seen)
      yield* settle
      bus.add(0, many(1))
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(seen, ["0/1", "0/2", "0/3"])
      assert.deepStrictEqual([...new Set(reported)], [1])
      bus.store.failing.clear()
      yield* TestClock.adjust("6 seconds")
      assert.deepStrictEqual(seen.slice(3), ["1/1", "1/2"])
      yield* Fiber.interrupt(fiber)
    }))
  it.effect("a shard that never comes back ends the stream even while others deliver", () =>
    Effect.gen(function*() {
      const bus = new Fixture().add(0, many(1)).add(1, many(1))
      bus.store.failing.set(1, "Transient")
      const seen: Array<string> = []
      const fiber = yield* into(bus.subscribe({ retryFor: "30 seconds", onDiagnostics: () => Effect.void }), seen)
      for (let second = 0; second < 40; second++) {
        bus.add(0, many(1))
        yield* TestClock.adjust("1 second")
      }
      const exit = yield* Fiber.await(fiber)
      assert.isTrue(Exit.isFailure(exit) && !Exit.hasInterrupts(exit))
      assert.isAtLeast(seen.length, 30)
    }))
  it.effect("a store that claims more than it delivers is paused on, not spun on", () =>
    Effect.gen(function*() {
      const bus = new Fixture()
      bus.store.stalling.add(0)
      const fiber = yield* Effect.forkChild(Effect.flip(Stream.runDrain(bus.subscribe({ retryFor: "30 seconds" }))))
      yield* TestClock.adjust("1 minute")
      assert.include((yield* Fiber.join(fiber)).message, "claim more events than they deliver")
      assert.isAtMost(bus.store.polls.length, 20)
    }))
  it.effect("payloads that a filter cannot judge are reported, not silently passed", () =>
    Effect.gen(function*() {
      const bus = new Fixture().add(0, ["{", `{"a":1}`]).close()
      let unreadable = 0
      const onDiagnostics = (diagnostics: Subscription.Diagnostics) =>
        Effect.sync(() => void (unreadable += diagnostics.unreadable))
      assert.deepStrictEqual(yield* collect(bus.subscribe({ filter: Filter.exists("a"), onDiagnostics })), ["0/2"])
      assert.strictEqual(unreadable, 1)
    }))
})

describe("interruption", () => {
  it.effect("a consumer that is stopped after any event and comes back with its cursor misses none", () =>
    Effect.gen(function*() {
      const bus = new Fixture().add(0, many(7)).add(1, many(4)).close()
      const all = yield* Stream.runCollect(bus.subscribe())
      for (let stop = 1; stop <= all.length; stop++) {
        for (const chunkSize of [1, 3, 100]) {
          const before = yield* Stream.runCollect(Stream.take(bus.subscribe({ chunkSize }), stop))
          const after = yield* collect(bus.subscribe({ chunkSize, from: { cursor: before.at(-1)!.cursor } }))
          assert.deepStrictEqual([...before.map(name), ...after].sort(), all.map(name).sort())
        }
      }
    }))
  it.effect("a pull that was interrupted anywhere can be pulled again, and no event is lost or repeated", () =>
    Effect.gen(function*() {
      for (let steps = 0; steps < 12; steps++) {
        const bus = new Fixture().add(0, many(20)).add(1, many(9)).close()
        bus.store.onPoll = () => Effect.yieldNow
        const seen: Array<string> = []
        yield* Effect.scoped(Effect.gen(function*() {
          const pull = yield* Stream.toPull(bus.subscribe({ chunkSize: 4 }))
          for (let turn = 0;; turn++) {
            const fiber = yield* Effect.forkChild(pull, { startImmediately: turn % 2 === 0 })
            // Every third pull runs to its end, the others are cut off after some steps.
            if (turn % 3 > 0) {
              for (let step = 0; step < steps; step++) yield* Effect.yieldNow
              yield* Fiber.interrupt(fiber)
            }
            const exit = yield* Fiber.await(fiber)
            if (Exit.isSuccess(exit)) seen.push(...exit.value.map(name))
            else if (!Exit.hasInterrupts(exit)) return
          }
        }))
        assert.strictEqual(seen.length, 29, `cut off after ${steps} steps`)
        assert.strictEqual(new Set(seen).size, 29)
      }
    }))
  it.effect("events are values that survive their page", () =>
    Effect.gen(function*() {
      const bus = new Fixture().add(0, [{ raw: `{"a":1}`, channel: "c", ts: BigInt(9) }]).close()
      const [event] = yield* Stream.runCollect(bus.subscribe())
      assert.deepStrictEqual(
        [
          event!.id,
          event!.shard,
          Buffer.from(event!.raw).toString(),
          event!.insertionTs,
          event!.dedupId,
          event!.channel
        ],
        ["1", 0, `{"a":1}`, BigInt(9), null, "c"]
      )
      assert.isTrue(Result.isSuccess(Poller.make(bus.store.adapter).decodeCursor(event!.cursor)))
    }))
})
