// Reading while shards appear and fail: each stored event once for each consumer, none passed over in silence, and no
// cursor that goes back.
import { simTest } from "@perigee/sim"
import { Effect, Layer, Result } from "effect"
import { adapterError } from "../../src/Adapter.ts"
import * as Cursor from "../../src/Cursor.ts"
import { EventBus } from "../../src/EventBus.ts"
import { ReadableStore } from "../support/ReadableStore.ts"

const decoder = new TextDecoder()
const positionsOf = (cursor: string | undefined): ReadonlyMap<number, string> =>
  cursor === undefined ? new Map() : Result.getOrThrow(Cursor.decode(cursor)).positions

simTest("a consumer sees every event once whatever shards do", {
  seeds: 100,
  faults: ["lateTimers"],
  sometimes: ["a shard failed", "every shard failed", "a shard appeared", "empty page", "page cut at its limit"]
}, (sim) =>
  Effect.gen(function*() {
    const rng = sim.world.stream("scenario")
    const port = sim.port("store", {
      failBefore: rng.pick([0, 0.1, 0.5]),
      failAfter: rng.pick([0, 0.1]),
      delay: rng.pick([[0, 1], [1, 40]] as const)
    })
    const store = new ReadableStore()
    const down = new Set<number>()
    store.onPoll = (shard) =>
      Effect.suspend(() =>
        down.has(shard)
          ? Effect.fail(adapterError("port", "Connection", `shard ${shard} is away`))
          : Effect.mapError(port.call("poll", Effect.void), ({ message }) => adapterError("port", "Transient", message))
      )
    const order = rng.pick(["shards", "insertionTs"] as const)
    const Bus = EventBus.layer({ shards: 1, capacity: 1024 }).pipe(Layer.provide(store.layer))

    yield* Effect.scoped(Effect.gen(function*() {
      const bus = yield* EventBus
      const rounds = sim.count("rounds", 40)
      let written = 0
      const writer = yield* Effect.forkChild(Effect.gen(function*() {
        for (let round = 0; round < rounds; round++) {
          const shard = rng.int(Math.min(8, 1 + round))
          sim.sometimes(round > 0 && !store.shards.has(shard), "a shard appeared")
          store.add(shard, Array.from({ length: rng.between(1, 5) }, () => `{"n":${++written}}`))
          // Away for a while, as a shard on another machine is.
          if (rng.chance(0.3)) down.add(rng.int(8))
          if (rng.chance(0.5)) down.delete(rng.int(8))
          yield* Effect.sleep(rng.int(30))
        }
        down.clear()
      }))

      const seen: Array<number> = []
      let cursor: string | undefined
      const readOn = Effect.gen(function*() {
        const before = new Map([...store.shards].map(([shard, entries]) => [shard, entries.length]))
        const limit = rng.pick([1, 3, 50])
        const result = yield* Effect.result(bus.poll({ limit, cursor, order }))
        if (result._tag === "Failure") {
          sim.always(result.failure.reason._tag === "Adapter", "a poll fails only with its store")
          sim.reachable("every shard failed")
          return true
        }
        const page = result.success
        for (const { raw } of page.events) seen.push((JSON.parse(decoder.decode(raw)) as { n: number }).n)
        const from = positionsOf(cursor)
        const to = positionsOf(page.nextCursor ?? cursor)
        for (const [shard, position] of from) {
          sim.always(Number(to.get(shard)) >= Number(position), "a cursor never goes back", { shard })
        }
        const failed = new Set(page.failedShards.map(({ shard }) => shard))
        sim.sometimes(failed.size > 0, "a shard failed")
        sim.sometimes(page.events.length === 0, "empty page")
        sim.sometimes(page.hasMore && page.events.length === limit, "page cut at its limit")
        if (order === "shards" && !page.hasMore && page.events.length < limit) {
          for (const [shard, count] of before) {
            const reached = Number(to.get(shard) ?? 0) >= count
            sim.always(reached || failed.has(shard), "a shard that was passed over is named", { shard, count })
          }
        }
        cursor = page.nextCursor ?? undefined
        return page.hasMore || page.events.length > 0 || failed.size > 0
      })
      while (writer.pollUnsafe() === undefined) {
        yield* readOn
        yield* Effect.sleep(rng.int(20))
      }
      yield* sim.calm
      while (yield* readOn);
      sim.always(new Set(seen).size === seen.length, "nothing is seen twice", { seen: seen.length })
      sim.always(seen.length === written, "nothing is passed over", { seen: seen.length, written })
    })).pipe(Effect.provide(Bus))
  }))
