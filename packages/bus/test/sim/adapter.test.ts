// A bus over a store that is slow, fails before and after storing, stores twice below the client, and hangs: every
// event is accounted for, stored once under its identity, in order, and nothing is stored once shutdown has returned.
import { Oracle, simTest } from "@perigee/sim"
import { Effect, Fiber, Layer } from "effect"
import { Adapter, adapterError } from "../../src/Adapter.ts"
import { EventBus } from "../../src/EventBus.ts"
import { ScriptedAdapter } from "../support/ScriptedAdapter.ts"

const modes = ["suspend", "dropOldest", "dropNewest", "failProducer"] as const

simTest("every accepted event is accounted for whatever the store does", {
  seeds: 150,
  faults: ["lateTimers"],
  sometimes: [
    "stored after a failure was reported",
    "dropped",
    "stranded",
    "failed for good",
    "refused as fatal",
    "timed out and stored",
    "shut down while busy"
  ]
}, (sim) =>
  Effect.gen(function*() {
    const rng = sim.world.stream("scenario")
    const mode = rng.pick(modes)
    const port = sim.port("store", {
      failBefore: rng.pick([0, 0.1, 0.6]),
      failAfter: rng.pick([0, 0.1, 0.3]),
      duplicate: rng.pick([0, 0.1]),
      hang: rng.pick([0, 0.02]),
      delay: rng.pick([[0, 1], [1, 50], [100, 2000]] as const)
    })
    const store = new ScriptedAdapter()
    const fatal = rng.pick([0, 0.2])
    const shutdownTimeout = rng.pick([1, 30])
    /** Where the numbers of each shard have got to, over all that was ever handed to the store. */
    const next = new Map<number, number>()
    const refused = new Set<string>()
    let closed = false
    sim.oracle(Oracle.inOrder({ event: "stored", sequence: "start", key: "shard" }, "numbers of a shard grow"))

    const Store = Layer.effect(
      Adapter,
      Effect.map(Adapter, (inner) =>
        Adapter.of({
          ...inner,
          append: (batch) => {
            const identity = `${batch.shard}/${batch.sequenceStart}`
            let seen = 0
            let answered = false
            const expected = next.get(batch.shard) ?? 0
            sim.always(batch.sequenceStart <= expected, "the numbers of a shard have no hole", { identity, expected })
            next.set(batch.shard, Math.max(expected, batch.sequenceStart + batch.count))
            sim.always(!refused.has(identity), "what was refused as fatal is not sent again", { identity })
            const write = Effect.sync(() => {
              sim.always(!closed, "nothing is stored after shutdown returned")
              const before = store.starts.length
              store.store(batch)
              if (store.starts.length > before) {
                sim.event("stored", { shard: batch.shard, start: batch.sequenceStart, count: batch.count })
                if (seen++ > 0) sim.unreachable("stored again inside one call")
              } else sim.reachable("stored after a failure was reported")
            })
            return port.call("append", write).pipe(
              Effect.mapError((error) => {
                answered = true
                if (error.outcome === "unknown" || !rng.chance(fatal)) {
                  return adapterError("port", "Transient", error.message, error)
                }
                refused.add(identity)
                sim.reachable("refused as fatal")
                return adapterError("port", "Fatal", error.message, error)
              }),
              Effect.onInterrupt(() => Effect.sync(() => sim.sometimes(!answered && seen > 0, "timed out and stored")))
            )
          }
        }))
    ).pipe(Layer.provide(store.layer))
    const Bus = EventBus.layer({
      shards: 2,
      capacity: 1024,
      backpressure: mode,
      retries: rng.pick([0, 2, 8]),
      adapterTimeout: "5 seconds",
      shutdownTimeout: shutdownTimeout * 1000,
      batch: { minSize: 1, maxSize: rng.pick([1, 16, 400]), maxDelay: 10, adaptive: false },
      identity: Effect.succeed({ nonce: 1n, start: () => 0, reserve: () => Effect.void, release: () => Effect.void })
    }).pipe(Layer.provide(Store))

    yield* Effect.scoped(Effect.gen(function*() {
      const bus = yield* EventBus
      const producers = yield* Effect.forkChild(Effect.forEach([1, 2, 3], (producer) =>
        Effect.gen(function*() {
          for (let i = 0; i < sim.count("rounds", 6); i++) {
            const payloads = Array.from({ length: rng.pick([1, 50, 900]) }, (_, n) =>
              `{"p":${producer},"i":${i},"n":${n}}`)
            yield* Effect.ignore(bus.publishAllRaw(payloads, { until: rng.chance(0.3) ? "durable" : "accepted" }))
            yield* Effect.sleep(rng.int(30))
          }
        }), { concurrency: "unbounded" }))
      yield* Effect.sleep(rng.int(400))
      sim.sometimes(producers.pollUnsafe() === undefined, "shut down while busy")
      const asked = sim.now
      const [first, second] = yield* Effect.all([bus.shutdown, bus.shutdown], { concurrency: "unbounded" })
      closed = true
      // Up to three seconds more, as documented, and timers that are late.
      sim.always(sim.now - asked < shutdownTimeout * 1000 + 4000, "a store that hangs does not hold up the shutdown", {
        took: sim.now - asked
      })
      sim.always(first.stranded === second.stranded, "concurrent shutdowns get the same report")
      yield* Fiber.join(producers)
      const stats = yield* bus.stats
      sim.always(stats.pending === 0, "nothing is pending after shutdown", { pending: stats.pending })
      sim.always(
        stats.accepted === stats.dispatched + stats.evicted + stats.failed + stats.stranded,
        "accepted = dispatched + evicted + failed + stranded",
        {
          accepted: stats.accepted,
          dispatched: stats.dispatched,
          evicted: stats.evicted,
          failed: stats.failed,
          stranded: stats.stranded
        }
      )
      for (const { accepted, dispatched, evicted, failed, shard, stranded } of yield* bus.shardStats) {
        sim.always(accepted === dispatched + evicted + failed + stranded, "and so in each shard", { shard })
      }
      sim.always(store.events.length >= stats.dispatched, "what counts as dispatched is stored")
      sim.always(
        new Set(store.events.map((event) =>
          event.id
        )).size === store.events.length,
        "one identity, one event"
      )
      sim.always(stats.evicted === 0 || mode === "dropOldest", "only dropOldest evicts")
      sim.sometimes(stats.dropped > 0, "dropped")
      sim.sometimes(stats.stranded > 0, "stranded")
      sim.sometimes(stats.failed > 0, "failed for good")
      yield* Effect.sleep("1 minute")
    })).pipe(Effect.provide(Bus))
  }))
