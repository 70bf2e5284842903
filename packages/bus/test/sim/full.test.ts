// Rings that are full, under each policy: never more in a ring than it holds, one event evicted for one that comes, what was
// refused is nowhere, what was accepted is stored in order or counted.
import { simTest } from "@perigee/sim"
import { Effect, Layer } from "effect"
import { adapterError } from "../../src/Adapter.ts"
import type { Backpressure } from "../../src/core/Intake.ts"
import { EventBus } from "../../src/EventBus.ts"
import { ScriptedAdapter } from "../support/ScriptedAdapter.ts"

const policies: ReadonlyArray<Backpressure> = ["suspend", "dropOldest", "dropNewest", "failProducer"]
const capacity = 1024
const shards = 2

simTest("every policy keeps its word when a ring is full", {
  seeds: 40,
  faults: ["lateTimers"],
  sometimes: policies.map((policy) => `full under ${policy}`)
}, (sim) =>
  Effect.gen(function*() {
    const rng = sim.world.stream("scenario")
    const policy = rng.pick(policies)
    const port = sim.port("store", { failBefore: rng.pick([0, 0.1]), delay: [20, 200] })
    const store = new ScriptedAdapter({
      onAppend: () =>
        Effect.mapError(port.call("append", Effect.void), (error) => adapterError("port", "Transient", error.message))
    })
    const Bus = EventBus.layer({
      shards,
      capacity,
      backpressure: policy,
      retries: Infinity,
      shutdownTimeout: "10 minutes",
      batch: { minSize: 1, maxSize: rng.pick([64, 512]), maxDelay: 5, adaptive: false },
      identity: Effect.succeed({ nonce: 1n, start: () => 0, reserve: () => Effect.void, release: () => Effect.void })
    }).pipe(Layer.provide(store.layer))

    yield* Effect.scoped(Effect.gen(function*() {
      const bus = yield* EventBus
      const accepted = new Set<string>()
      const refused = new Set<string>()
      const look = Effect.map(bus.shardStats, (all) => {
        for (const { evicted, queued, rejected, shard } of all) {
          sim.always(queued < capacity, "a ring never holds more than its capacity", { shard, queued })
          sim.watermark("queued", queued)
          sim.sometimes(policy === "suspend" ? queued === capacity - 1 : evicted + rejected > 0, `full under ${policy}`)
        }
      })
      yield* Effect.forkScoped(Effect.forever(Effect.andThen(look, Effect.sleep(10))))
      const producer = (name: number) =>
        Effect.gen(function*() {
          for (let n = 1; n <= sim.count("events", 700); n++) {
            const text = `{"p":${name},"n":${n}}`
            const result = yield* Effect.result(bus.publishRaw(text, { key: `${name % shards}` }))
            if (result._tag === "Success") accepted.add(text)
            else {
              sim.always(result.failure.reason._tag === "Backpressure", "a refusal says why", {
                reason: result.failure.reason._tag
              })
              refused.add(text)
            }
            if (n % 200 === 0) yield* Effect.sleep(rng.int(60))
          }
        })
      yield* Effect.forEach([0, 1, 2], producer, { concurrency: "unbounded" })
      sim.always(policy !== "suspend" || refused.size === 0, "suspend refuses nothing")
      sim.always(policy !== "dropOldest" || refused.size === 0, "dropOldest refuses nothing")
      const report = yield* bus.shutdown
      const stats = yield* bus.stats
      const texts = store.texts
      sim.always(report.stranded === 0 && stats.failed === 0, "a store that comes back gets everything")
      sim.always(stats.accepted === accepted.size, "what was accepted is counted as such", {
        counted: stats.accepted,
        accepted: accepted.size
      })
      sim.always(stats.rejected === refused.size, "what was refused is counted as such")
      sim.always(texts.every((text) => accepted.has(text)), "what was refused is not stored")
      sim.always(new Set(texts).size === texts.length, "nothing is stored twice")
      sim.always(stats.evicted === accepted.size - texts.length, "what was evicted is counted one by one", {
        evicted: stats.evicted,
        missing: accepted.size - texts.length
      })
      sim.always(stats.evicted === 0 || policy === "dropOldest", "only dropOldest evicts")
      for (const name of [0, 1, 2]) {
        const numbers = texts.map((text) => JSON.parse(text) as { p: number; n: number })
          .filter(({ p }) => p === name).map(({ n }) => n)
        sim.always(numbers.every((n, i) => i === 0 || n > numbers[i - 1]!), "the order of a shard is kept")
      }
    })).pipe(Effect.provide(Bus))
  }))
