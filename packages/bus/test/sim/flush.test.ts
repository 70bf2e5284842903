// A flush over a store that is slow, fails and hangs: it says that it is complete only when everything accepted before it
// was settled, and how much is not when it gives up waiting.
import { simTest } from "@perigee/sim"
import { Effect, Fiber, Layer } from "effect"
import { adapterError } from "../../src/Adapter.ts"
import { EventBus } from "../../src/EventBus.ts"
import { ScriptedAdapter } from "../support/ScriptedAdapter.ts"

simTest("a flush that is complete has settled what was accepted before it", {
  seeds: 80,
  faults: ["lateTimers"],
  sometimes: ["complete", "unmet", "complete while more came in", "settled by a failure"]
}, (sim) =>
  Effect.gen(function*() {
    const rng = sim.world.stream("scenario")
    const port = sim.port("store", {
      failBefore: rng.pick([0, 0.2]),
      failAfter: rng.pick([0, 0.2]),
      hang: rng.pick([0, 0.1]),
      delay: rng.pick([[0, 5], [10, 300], [500, 3000]] as const)
    })
    const store = new ScriptedAdapter({
      onAppend: () =>
        Effect.mapError(port.call("append", Effect.void), ({ message }) => adapterError("port", "Transient", message))
    })
    const Bus = EventBus.layer({
      shards: 3,
      capacity: 1024,
      retries: rng.pick([0, 3]),
      adapterTimeout: "2 seconds",
      shutdownTimeout: "1 minute",
      batch: { minSize: 1, maxSize: rng.pick([4, 64]), maxDelay: 10, adaptive: false },
      identity: Effect.succeed({ nonce: 1n, start: () => 0, reserve: () => Effect.void, release: () => Effect.void })
    }).pipe(Layer.provide(store.layer))

    yield* Effect.scoped(Effect.gen(function*() {
      const bus = yield* EventBus
      const settled = Effect.map(bus.shardStats, (all) =>
        all.map(({ accepted, dispatched, evicted, failed, stranded }) => ({
          accepted,
          settled: dispatched + evicted + failed + stranded
        })))
      const producers = yield* Effect.forkChild(Effect.forEach([1, 2], (producer) =>
        Effect.gen(function*() {
          for (let n = 0; n < sim.count("events", 120); n++) {
            yield* Effect.ignore(bus.publishRaw(`{"p":${producer},"n":${n}}`))
            if (rng.chance(0.2)) {
              yield* Effect.sleep(rng.int(100))
            }
          }
        }), { concurrency: "unbounded" }))
      const flushes = Effect.gen(function*() {
        for (let i = 0; i < 6; i++) {
          yield* Effect.sleep(rng.int(500))
          const before = yield* settled
          const report = yield* bus.flush
          const after = yield* settled
          const left = before.reduce(
            (sum, { accepted }, shard) =>
              sum + Math.max(0, accepted - after[shard]!.settled),
            0
          )
          sim.always(report.complete === (report.outstanding === 0), "complete means that nothing is outstanding")
          // A flush counts from its own beginning: a moment later, when more may have been accepted.
          sim.always(!report.complete || left === 0, "complete means that everything before it is settled", { left })
          sim.always(report.complete || report.outstanding > 0, "an unmet flush says how much is left")
          sim.sometimes(report.complete, "complete")
          sim.sometimes(!report.complete, "unmet")
          sim.sometimes(
            report.complete && after.some(({ accepted }, shard) =>
              accepted > before[shard]!.accepted
            ),
            "complete while more came in"
          )
          sim.sometimes(report.complete && (yield* bus.stats).failed > 0, "settled by a failure")
        }
      })
      yield* Effect.all([flushes, flushes], { concurrency: "unbounded" })
      yield* Fiber.join(producers)
      yield* bus.shutdown
    })).pipe(Effect.provide(Bus))
  }))
