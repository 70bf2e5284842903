import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Logger, Option, Result, Schema, Stream } from "effect"
import * as Channel from "../src/Channel.ts"
import { EventBus } from "../src/EventBus.ts"
import * as Filter from "../src/Filter.ts"
import { ReadableStore } from "./support/ReadableStore.ts"

const Reading = Schema.Struct({
  station: Schema.String,
  magnitude: Schema.Finite,
  at: Schema.optionalKey(Schema.DateTimeUtcFromMillis)
})
const Readings = Channel.make("readings", { schema: Reading, key: (reading) => reading.station })
const Counts = Channel.make("counts", { schema: Schema.Int })
const Sets = Channel.make("sets", { schema: Schema.ReadonlySet(Schema.Date) })

/** Runs with a bus over a store that keeps everything; `drained` closes it, so that subscriptions end. */
const withBus = <A, E>(
  body: (bus: EventBus["Service"], store: ReadableStore) => Effect.Effect<A, E, EventBus>,
  shards = 4
): Effect.Effect<A, unknown> => {
  const store = new ReadableStore()
  return Effect.flatMap(EventBus, (bus) => body(bus, store)).pipe(
    Effect.provide(EventBus.layer({ shards }).pipe(Layer.provide(store.layer)))
  )
}

describe("publish and subscribe", () => {
  it.effect("65 values are encoded by the schema on the way in and decoded on the way out", () =>
    withBus(Effect.fnUntraced(function*(bus, store) {
      yield* Readings.publish({ station: "NC", magnitude: 2.1 }, { until: "durable" })
      yield* Sets.publish(new Set([new Date(0)]))
      yield* bus.shutdown
      const [message] = yield* Stream.runCollect(Readings.subscribe())
      assert.deepStrictEqual(message!.value, { station: "NC", magnitude: 2.1 })
      assert.strictEqual(message!.cursor, message!.event.cursor)
      assert.deepStrictEqual((yield* Stream.runCollect(Sets.subscribe()))[0]!.value, new Set([new Date(0)]))
      const raws = [...store.shards.values()].flat().map((entry) => entry.raw)
      assert.deepStrictEqual(raws.sort(), [`["1970-01-01T00:00:00.000Z"]`, `{"station":"NC","magnitude":2.1}`])
    })))

  it.effect("60 primitives and arrays are published as they are", () =>
    withBus(Effect.fnUntraced(function*(bus) {
      yield* Counts.publishAll([3, 1, 2])
      yield* bus.shutdown
      const values = yield* Stream.runCollect(Stream.map(Counts.subscribe(), (message) => message.value))
      assert.deepStrictEqual([...values].sort(), [1, 2, 3])
    })))

  it.effect("59 61 channels are apart, whatever their payloads say", () =>
    withBus(Effect.fnUntraced(function*(bus) {
      const Anything = Channel.make("anything", { schema: Schema.Unknown })
      yield* Anything.publish({ _channel: "counts", channel: "counts", value: 1 })
      yield* bus.publish(7, { channel: "counts" })
      yield* bus.publish(8)
      yield* bus.shutdown
      assert.deepStrictEqual(yield* Stream.runCollect(Stream.map(Counts.subscribe(), (m) => m.value)), [7])
      assert.deepStrictEqual(yield* Stream.runCollect(Stream.map(Anything.subscribe(), (m) => m.value)), [
        { _channel: "counts", channel: "counts", value: 1 }
      ])
      assert.strictEqual((yield* Stream.runCollect(bus.subscribe())).length, 3)
    })))

  it.effect("61 a filter narrows the channel instead of replacing it", () =>
    withBus(Effect.fnUntraced(function*(bus) {
      yield* Readings.publishAll([{ station: "NC", magnitude: 2 }, { station: "AK", magnitude: 7 }])
      yield* bus.publish({ station: "US", magnitude: 8 })
      yield* bus.shutdown
      const strong = yield* Stream.runCollect(Readings.subscribe({ filter: Filter.gte("magnitude", 6) }))
      assert.deepStrictEqual(strong.map((message) => message.value.station), ["AK"])
    })))

  it.effect("a key keeps the order of its messages, also within one call of many keys", () =>
    withBus(
      Effect.fnUntraced(function*(bus, store) {
        const values = Array.from({ length: 200 }, (_, i) => ({ station: `s${i % 7}`, magnitude: i }))
        assert.strictEqual((yield* Readings.publishAll(values)).accepted, 200)
        yield* bus.shutdown
        assert.isAbove(store.shards.size, 1)
        const messages = yield* Stream.runCollect(Readings.subscribe({ chunkSize: 16 }))
        for (let station = 0; station < 7; station++) {
          const own = messages.filter((message) => message.value.station === `s${station}`)
          assert.strictEqual(new Set(own.map((message) => message.event.shard)).size, 1)
          assert.deepStrictEqual(
            own.map((message) => message.value.magnitude),
            values.filter((value) => value.station === `s${station}`).map((value) => value.magnitude)
          )
        }
      }),
      8
    ))

  it.effect("one publish and one of many choose the same shard for a key", () =>
    withBus(Effect.fnUntraced(function*(bus) {
      const values = Array.from({ length: 20 }, (_, i) => ({ station: `s${i}`, magnitude: i }))
      yield* Readings.publishAll(values)
      const receipts = yield* Effect.forEach(values, (value) => Readings.publish(value))
      yield* bus.shutdown
      const messages = yield* Stream.runCollect(Readings.subscribe())
      for (const [i, receipt] of receipts.entries()) {
        const shards = messages.filter((message) => message.value.station === `s${i}`).map((message) =>
          message.event.shard
        )
        assert.deepStrictEqual(shards, [receipt.shard, receipt.shard])
      }
    })))

  it.effect("a list of keys that does not fit is refused before anything is published", () =>
    withBus(Effect.fnUntraced(function*(bus) {
      const error = yield* Effect.flip(bus.publishAll([1, 2], { key: ["a"] }))
      assert.deepStrictEqual(error.reason, { _tag: "InvalidKeys", keys: 1, events: 2 })
      assert.strictEqual((yield* bus.stats).accepted, 0)
    })))

  it.effect("a producer numbers the values of a keyed call in their order", () =>
    withBus(Effect.fnUntraced(function*(bus) {
      const values = Array.from({ length: 50 }, (_, i) => ({ station: `s${i % 5}`, magnitude: i }))
      const options = { producer: { name: "p", sequence: 1 } }
      yield* Readings.publishAll(values, options)
      const again = yield* Readings.publishAll(values, options)
      assert.deepStrictEqual([again.accepted, again.duplicates], [0, 50])
      yield* bus.shutdown
      assert.strictEqual((yield* Stream.runCollect(Readings.subscribe())).length, 50)
    })))

  it.effect("a value that the schema cannot encode is refused, and nothing of its call is published", () =>
    withBus(Effect.fnUntraced(function*(bus) {
      const error = yield* Effect.flip(Counts.publishAll([1, 1.5]))
      assert.strictEqual(error.reason._tag, "Serialization")
      assert.strictEqual((yield* bus.stats).accepted, 0)
    })))

  it.effect("start positions and resumption are those of the bus", () =>
    withBus(Effect.fnUntraced(function*(bus) {
      yield* Counts.publishAll([1, 2, 3, 4])
      yield* bus.flush
      const [first] = yield* Stream.runCollect(Stream.take(Counts.subscribe(), 1))
      yield* bus.shutdown
      const rest = yield* Stream.runCollect(Counts.subscribe({ from: { cursor: first!.cursor } }))
      assert.deepStrictEqual([first!.value, ...rest.map((message) => message.value)].sort(), [1, 2, 3, 4])
      assert.isEmpty(yield* Stream.runCollect(Counts.subscribe({ from: "end" })))
    })))
})

describe("what does not decode", () => {
  const bad = [`"text"`, "1.5", "not json", "\u{1f4a5}"]
  const publishBad = Effect.fnUntraced(function*(bus: EventBus["Service"]) {
    yield* bus.publishRaw("1", { channel: "counts" })
    for (const raw of bad) yield* bus.publishRaw(raw, { channel: "counts" })
    yield* bus.publishRaw(new Uint8Array([0xff, 0xfe]), { channel: "counts" })
    yield* bus.publishRaw("2", { channel: "counts" })
    yield* bus.shutdown
  })

  it.effect("goes to the handler, and the stream goes on", () =>
    withBus(
      Effect.fnUntraced(function*(bus) {
        yield* publishBad(bus)
        const dead: Array<Channel.Undecodable> = []
        const values = yield* Stream.runCollect(Stream.map(
          Counts.subscribe({
            chunkSize: 2,
            onUndecodable: (undecodable) => Effect.sync(() => void dead.push(undecodable))
          }),
          (message) => message.value
        ))
        assert.deepStrictEqual([...values], [1, 2])
        assert.strictEqual(dead.length, 5)
        for (const { _tag, cause, event } of dead) {
          assert.strictEqual(_tag, "Undecodable")
          assert.instanceOf(cause, Error)
          assert.isNotEmpty(event.cursor)
        }
      }),
      1
    ))

  it.effect("is logged by its place, without its contents, when there is no handler", () =>
    withBus(
      Effect.fnUntraced(function*(bus) {
        yield* publishBad(bus)
        const lines: Array<string> = []
        const logger = Logger.map(Logger.formatStructured, (line) => void lines.push(JSON.stringify(line)))
        const values = yield* Stream.runCollect(Counts.subscribe()).pipe(Effect.provide(Logger.layer([logger])))
        assert.deepStrictEqual(values.map((message) => message.value), [1, 2])
        assert.strictEqual(lines.length, 5)
        assert.include(lines[0], "counts")
        assert.notInclude(lines.join(), "not json")
      }),
      1
    ))

  it.effect("comes in its place as a failed result", () =>
    withBus(
      Effect.fnUntraced(function*(bus) {
        yield* publishBad(bus)
        const results = yield* Stream.runCollect(Counts.subscribeResults())
        assert.deepStrictEqual(results.map(Result.isSuccess), [true, false, false, false, false, false, true])
        const failed = results.find(Result.isFailure)!
        const rest = yield* Stream.runCollect(
          Counts.subscribeResults({ from: { cursor: failed.failure.event.cursor } })
        )
        assert.strictEqual(rest.length, 5)
      }),
      1
    ))

  it.effect("a handler may fail, and that is the stream's typed error", () =>
    withBus(
      Effect.fnUntraced(function*(bus) {
        yield* publishBad(bus)
        const error = yield* Effect.flip(
          Stream.runDrain(Counts.subscribe({ onUndecodable: () => Effect.fail("poisoned" as const) }))
        )
        assert.strictEqual(error, "poisoned")
      }),
      1
    ))

  it.effect("polled events decode one by one", () =>
    withBus(
      Effect.fnUntraced(function*(bus) {
        yield* publishBad(bus)
        const { events } = yield* bus.poll({ limit: 10, channel: "counts" })
        const values = events.map((event) => Option.getOrNull(Result.getSuccess(Counts.decode(event))))
        assert.deepStrictEqual(values, [1, null, null, null, null, null, 2])
      }),
      1
    ))
})
