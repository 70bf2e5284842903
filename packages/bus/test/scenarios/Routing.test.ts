import { assert, describe, it } from "@effect/vitest"
import { Config, ConfigProvider, Effect, Layer } from "effect"
import { hash, shardOf } from "../../src/core/XxHash3.ts"
import { EventBus } from "../../src/EventBus.ts"
import { numbered, open } from "../support/openBus.ts"
import { ScriptedAdapter } from "../support/ScriptedAdapter.ts"

const encoder = new TextEncoder()

describe("which shard an event goes to", () => {
  it.effect("S09 S10 follows from its bytes, the same for a value, a text and bytes", () =>
    Effect.gen(function*() {
      const { bus } = yield* open({ shards: 8 })
      const used = new Set<number>()
      for (let i = 0; i < 200; i++) {
        const value = { i, name: `n${i}` }
        const text = JSON.stringify(value)
        const expected = shardOf(hash(text), 8)
        used.add(expected)
        assert.strictEqual((yield* bus.publish(value)).shard, expected)
        assert.strictEqual((yield* bus.publishRaw(text)).shard, expected)
        assert.strictEqual((yield* bus.publishRaw(encoder.encode(text), { until: "durable" })).shard, expected)
      }
      assert.strictEqual(used.size, 8)
    }))

  it.effect("S20 S22 a batch is spread as its events would be one by one, in order inside each shard", () =>
    Effect.gen(function*() {
      const { adapter, bus } = yield* open({ shards: 4 })
      assert.deepStrictEqual(yield* bus.publishAllRaw([]), { accepted: 0, duplicates: 0, rejected: 0, tooLarge: 0 })
      assert.strictEqual((yield* bus.stats).accepted, 0)
      const texts = numbered(200)
      yield* bus.publishAllRaw(texts, { until: "durable" })
      for (let shard = 0; shard < 4; shard++) {
        const expected = texts.filter((text) => shardOf(hash(text), 4) === shard)
        assert.deepStrictEqual(
          adapter.events.filter((event) => event.shard === shard).map((event) => event.text),
          expected
        )
      }
    }))

  it.effect("S11 stays in range for every shard count, and reaches every shard", () =>
    Effect.gen(function*() {
      for (const shards of [1, 2, 3, 4, 7, 8, 16, 64]) {
        const { bus } = yield* open({ shards })
        yield* bus.publishAllRaw(numbered(shards * 100))
        const stats = yield* bus.shardStats
        assert.deepStrictEqual(stats.map((shard) => shard.shard), Array.from({ length: shards }, (_, i) => i))
        assert.isTrue(stats.every((shard) => shard.accepted > 0))
      }
    }))

  it.effect("channel names travel beside the payload and are bounded", () =>
    Effect.gen(function*() {
      const { adapter, bus } = yield* open()
      yield* bus.publish({ a: 1 }, { channel: "orders", until: "durable" })
      yield* bus.publish({ a: 2 }, { until: "durable" })
      yield* bus.publish({ a: 3 }, { channel: "é".repeat(127), until: "durable" })
      assert.deepStrictEqual(adapter.events.map((event) => [event.channel, event.text]), [
        ["orders", `{"a":1}`],
        [null, `{"a":2}`],
        ["é".repeat(127), `{"a":3}`]
      ])
      for (const channel of ["", "é".repeat(128)]) {
        assert.strictEqual((yield* Effect.flip(bus.publish(1, { channel }))).reason._tag, "InvalidChannel")
      }
    }))

  it.effect("V02 validation refuses a call before any of it is published", () =>
    Effect.gen(function*() {
      const { adapter, bus } = yield* open()
      const error = yield* Effect.flip(bus.publishAllRaw([`{"a":1}`, `{"a":}`], { validate: true }))
      assert.deepInclude(error.reason, { _tag: "Serialization", offset: 5 })
      yield* bus.publishAllRaw([`{"a":1}`, encoder.encode("[1,2]")], { validate: true, until: "durable" })
      assert.deepStrictEqual(adapter.texts.toSorted(), ["[1,2]", `{"a":1}`])
    }))

  it.effect("options can come from the configuration", () =>
    Effect.gen(function*() {
      const layer = EventBus.layerConfig({ shards: Config.Int("SHARDS") }).pipe(
        Layer.provide(new ScriptedAdapter().layer),
        Layer.provide(ConfigProvider.layer(ConfigProvider.fromUnknown({ SHARDS: 3 })))
      )
      assert.strictEqual(yield* EventBus.use((bus) => Effect.succeed(bus.shards)).pipe(Effect.provide(layer)), 3)
    }))
})
