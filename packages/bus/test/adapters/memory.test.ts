import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as MemoryStore from "../../src/adapters/memory.ts"
import type { Batch } from "../../src/Batch.ts"
import { batch, holds, payloads, readAll } from "../../src/conformance/Batches.ts"
import { Prng } from "../utils/prng.ts"

describe("MemoryStore", () => {
  it.effect("keeps the newest events of all shards within its limits, against a plain model", () =>
    Effect.gen(function*() {
      for (let seed = 0; seed < 30; seed++) {
        const random = new Prng(seed)
        const maxEvents = random.pick([1, 50, 200])
        const store = yield* MemoryStore.make({ maxEvents })
        const next = [0, 0, 0]
        let kept: Array<Batch> = []
        for (let i = 0; i < 60; i++) {
          const shard = random.int(0, 3)
          const one = batch({ shard, sequenceStart: next[shard]!, payloads: payloads(random.int(1, 20), String(i)) })
          next[shard]! += one.count
          yield* store.append(one)
          kept.push(one)
          const total = () => kept.reduce((sum, { count }) => sum + count, 0)
          while (kept.length > 1 && total() - kept[0]!.count >= maxEvents) kept = kept.slice(1)
        }
        for (let shard = 0; shard < 3; shard++) {
          yield* holds(
            store,
            shard,
            kept.filter((one) => one.shard === shard),
            random.int(1, 50)
          )
        }
      }
    }))

  it.effect("bounds its bytes, but keeps the newest batch", () =>
    Effect.gen(function*() {
      const store = yield* MemoryStore.make({ maxBytes: 10_000 })
      for (let i = 0; i < 100; i++) {
        yield* store.append(
          batch({ sequenceStart: i * 10, payloads: Array.from({ length: 10 }, () => "x".repeat(100)) })
        )
      }
      const events = yield* readAll(store, 0)
      assert.isAtMost(events.length, 90)
      assert.isAtLeast(events.length, 70)
      const huge = batch({ sequenceStart: 1000, payloads: ["y".repeat(20_000)] })
      yield* store.append(huge)
      yield* holds(store, 0, [huge])
    }))

  it.effect("resumes at the oldest kept event", () =>
    Effect.gen(function*() {
      const store = yield* MemoryStore.make({ maxEvents: 5 })
      for (let i = 0; i < 10; i++) yield* store.append(batch({ sequenceStart: i, payloads: [String(i)] }))
      assert.deepStrictEqual((yield* readAll(store, 0, 10, "1")).map(({ id }) => id), ["6", "7", "8", "9", "10"])
    }))

  it.effect("refuses a batch that was stored in part, and a channel name that is too long", () =>
    Effect.gen(function*() {
      const store = yield* MemoryStore.make()
      yield* store.append(batch({ payloads: payloads(5) }))
      assert.isTrue((yield* Effect.flip(store.append(batch({ sequenceStart: 3, payloads: payloads(5) })))).isFatal)
      const named = batch({ sequenceStart: 9, payloads: ["a"], channels: ["n".repeat(256)] })
      assert.strictEqual((yield* Effect.flip(store.append(named))).reason._tag, "Serialization")
    }))
})
