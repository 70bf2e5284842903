import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Layer, Scope } from "effect"
import { Adapter } from "../../src/Adapter.ts"
import * as Noop from "../../src/adapters/noop.ts"
import { batch, payloads } from "../../src/conformance/Batches.ts"

describe("Noop", () => {
  it.effect("D01 D06 takes a batch, flushes, and has nothing to read", () =>
    Effect.gen(function*() {
      const adapter = yield* Adapter
      yield* adapter.append(batch({ payloads: payloads(2) }))
      yield* adapter.flush
      assert.deepStrictEqual(yield* adapter.poll(0, null, 10), { events: [], nextId: null, hasMore: false })
      assert.deepStrictEqual([...(yield* adapter.tails)], [])
      assert.deepStrictEqual(yield* adapter.producerMarks("p"), [])
    }).pipe(Effect.provide(Noop.layer)))

  it.effect("D02 an empty page has its three members", () =>
    Effect.gen(function*() {
      const adapter = yield* Adapter
      assert.deepStrictEqual(Object.keys(yield* adapter.poll(0, null, 1)), ["events", "nextId", "hasMore"])
    }).pipe(Effect.provide(Noop.layer)))

  it.effect("D03 is called noop and promises memory", () =>
    Effect.gen(function*() {
      const { durability, lastInsertionTs, name, storeId } = yield* Adapter
      assert.deepStrictEqual({ durability, lastInsertionTs, name, storeId }, {
        durability: "memory",
        lastInsertionTs: 0n,
        name: "noop",
        storeId: null
      })
    }).pipe(Effect.provide(Noop.layer)))

  it.effect("D04 is healthy while it is open, and refuses afterwards", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const adapter = Context.get(yield* Layer.buildWithScope(Noop.layer, scope), Adapter)
      assert.isTrue(yield* adapter.isHealthy)
      yield* Scope.close(scope, Exit.void)
      assert.isFalse(yield* adapter.isHealthy)
      assert.isTrue((yield* Effect.flip(adapter.append(batch({ payloads: ["1"] })))).isShutdown)
      assert.isTrue((yield* Effect.flip(adapter.poll(0, null, 1))).isShutdown)
    }))

  it.effect("D05 counts, and resets", () =>
    Effect.gen(function*() {
      const adapter = yield* Adapter
      const { counts, reset } = yield* Noop.Noop
      yield* adapter.append(batch({ payloads: ["a", "bc", ""] }))
      assert.deepStrictEqual(yield* counts, { batches: 1, events: 3, bytes: 3 })
      yield* reset
      assert.deepStrictEqual(yield* counts, { batches: 0, events: 0, bytes: 0 })
    }).pipe(Effect.provide(Noop.layer)))
})
