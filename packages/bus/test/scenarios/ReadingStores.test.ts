import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Scope, Stream } from "effect"
import { join } from "node:path"
import type { Adapter } from "../../src/Adapter.ts"
import * as MemoryStore from "../../src/adapters/memory.ts"
import * as SqliteStore from "../../src/adapters/sqlite/index.ts"
import * as Event from "../../src/Event.ts"
import { EventBus } from "../../src/EventBus.ts"
import * as Filter from "../../src/Filter.ts"
import type { PollRequest } from "../../src/Poll.ts"
import { directory } from "../utils/places.ts"

type Bus = EventBus["Service"]

const open = Effect.fnUntraced(function*<E>(store: Layer.Layer<Adapter, E>, shards = 4) {
  const scope = yield* Scope.fork(yield* Effect.scope)
  const context = yield* Layer.buildWithScope(EventBus.layer({ shards }).pipe(Layer.provide(store)), scope)
  return { bus: yield* Effect.provide(EventBus, context), close: Scope.close(scope, Exit.void) }
})

const numbered = (count: number, from = 0): Array<string> =>
  Array.from({ length: count }, (_, i) => `{"i":${from + i}}`)
const number = (event: Event.StoredEvent): number => {
  const json = Event.json(event)
  return json._tag === "Success" ? (json.success as { readonly i: number }).i : Number.NaN
}
const upTo = (count: number): Array<number> => Array.from({ length: count }, (_, i) => i)

const pages = Effect.fnUntraced(function*(bus: Bus, request: PollRequest) {
  const events: Array<Event.StoredEvent> = []
  let cursor = request.cursor
  for (;;) {
    const page = yield* bus.poll({ ...request, cursor })
    events.push(...page.events)
    cursor = page.nextCursor ?? undefined
    if (!page.hasMore) return events
  }
})

const stores: ReadonlyArray<readonly [string, (directory: string) => Layer.Layer<Adapter, unknown>]> = [
  ["memory", () => MemoryStore.layer()],
  ["sqlite", (directory) => SqliteStore.layer({ path: join(directory, "events.db") })]
]

for (const [name, layer] of stores) {
  describe(name, () => {
    it.live("everything is read once, in pages of any size, in both orders, with and without a filter", () =>
      Effect.gen(function*() {
        const { bus } = yield* open(layer(yield* directory))
        for (let round = 0; round < 5; round++) {
          yield* bus.publishAllRaw(numbered(1000, round * 1000), { channel: `c${round % 2}` })
          yield* bus.flush
        }
        for (const limit of [7, 1000, 20_000]) {
          const events = yield* pages(bus, { limit, filter: limit === 7 ? Filter.lt("i", 200) : undefined })
          const expected = upTo(limit === 7 ? 200 : 5000)
          assert.deepStrictEqual(events.map(number).sort((a, b) => a - b), expected)
          for (let shard = 0; shard < 4; shard++) {
            const own = events.filter((event) => event.shard === shard).map(number)
            assert.deepStrictEqual(own, own.toSorted((a, b) => a - b))
          }
          const ordered = yield* pages(bus, { limit, order: "insertionTs", channel: "c1" })
          assert.deepStrictEqual(ordered.map(number), upTo(5000).filter((i) => Math.floor(i / 1000) % 2 === 1))
        }
      }))

    it.live("a subscription follows through to the end of the bus", () =>
      Effect.gen(function*() {
        const { bus } = yield* open(layer(yield* directory))
        const fiber = yield* Effect.forkChild(Stream.runCollect(bus.subscribe({ chunkSize: 100 })), {
          startImmediately: true
        })
        for (let round = 0; round < 20; round++) yield* bus.publishAllRaw(numbered(100, round * 100))
        yield* bus.shutdown
        const events = yield* Fiber.join(fiber)
        assert.deepStrictEqual(events.map(number).sort((a, b) => a - b), upTo(2000))
        const [middle] = events.slice(1000)
        const rest = yield* Stream.runCollect(bus.subscribe({ from: { cursor: middle!.cursor } }))
        assert.deepStrictEqual(
          rest.map(number).sort((a, b) => a - b),
          events.slice(1001).map(number).sort((a, b) => a - b)
        )
      }))

    it.live("a forged position is refused as the cursor's fault, not the store's", () =>
      Effect.gen(function*() {
        const { bus } = yield* open(layer(yield* directory))
        yield* bus.publishAllRaw(numbered(10), { until: "durable", key: "one shard" })
        const { events } = yield* bus.poll({ limit: 1 })
        for (const position of ["999999", "-1", "1.5", "1700-0", "x"]) {
          const cursor = Buffer.from(JSON.stringify({ [events[0]!.shard]: position })).toString("base64")
          assert.strictEqual(
            (yield* Effect.flip(bus.poll({ limit: 5, cursor }))).reason._tag,
            "InvalidCursor",
            position
          )
        }
      }))

    it.live("a cursor of another store is refused", () =>
      Effect.gen(function*() {
        const here = yield* open(layer(yield* directory))
        const there = yield* open(layer(yield* directory))
        yield* here.bus.publishAllRaw(numbered(10), { until: "durable" })
        yield* there.bus.publishAllRaw(numbered(10), { until: "durable" })
        const { nextCursor } = yield* here.bus.poll({ limit: 5 })
        const error = yield* Effect.flip(there.bus.poll({ limit: 5, cursor: nextCursor! }))
        assert.strictEqual(error.reason._tag, "InvalidCursor")
        assert.include(error.message, "another store")
        const live = yield* Effect.flip(Stream.runDrain(there.bus.subscribe({ from: { cursor: nextCursor! } })))
        assert.strictEqual(live.reason._tag, "InvalidCursor")
      }))
  })
}

describe("sqlite, over restarts", () => {
  it.live("a cursor outlives the process's bus, and shards that are no longer configured stay readable", () =>
    Effect.gen(function*() {
      const store = SqliteStore.layer({ path: join(yield* directory, "events.db") })
      const first = yield* open(store, 8)
      yield* first.bus.publishAllRaw(numbered(1000), { until: "durable" })
      const seen = yield* Stream.runCollect(Stream.take(first.bus.subscribe({ chunkSize: 64 }), 333))
      yield* first.close
      const second = yield* open(store, 2)
      yield* second.bus.publishAllRaw(numbered(100, 1000), { until: "durable" })
      yield* second.bus.shutdown
      const rest = yield* Stream.runCollect(second.bus.subscribe({ from: { cursor: seen.at(-1)!.cursor } }))
      assert.deepStrictEqual([...seen, ...rest].map(number).sort((a, b) => a - b), upTo(1100))
      // Timestamps go on over the restart, so that time order is the order of publication.
      assert.deepStrictEqual((yield* pages(second.bus, { limit: 90, order: "insertionTs" })).map(number), upTo(1100))
    }))
})

describe("memory, bounded", () => {
  it.live("a reader that retention has overtaken goes on at the oldest event kept", () =>
    Effect.gen(function*() {
      const { bus } = yield* open(MemoryStore.layer({ maxEvents: 100 }), 1)
      yield* bus.publishAllRaw(numbered(50), { until: "durable" })
      const first = yield* bus.poll({ limit: 10 })
      for (let round = 1; round < 10; round++) yield* bus.publishAllRaw(numbered(50, round * 50), { until: "durable" })
      const rest = (yield* pages(bus, { limit: 10, cursor: first.nextCursor! })).map(number)
      assert.deepStrictEqual(rest, upTo(500).slice(500 - rest.length))
      assert.isAtLeast(rest.length, 100)
    }))
})
