// A consumer that keeps nothing but its cursor, against a node that dies: it sees every stored event once, in order.
import { HostDown, simTest } from "@perigee/sim"
import { Effect, Fiber, Layer } from "effect"
import { EventBus } from "../../src/EventBus.ts"
import * as LogAdapter from "./support/LogAdapter.ts"

const decoder = new TextDecoder()

simTest("a cursor carries a consumer over crashes: nothing twice, nothing skipped", {
  seeds: 100,
  chaos: "3 seconds",
  faults: ["kill", "crash", "pause", "slowDisk", "freezeDisk", "crashAtOperation", "lateTimers"],
  sometimes: ["read on after a crash", "read while writing", "empty page"]
}, (sim) =>
  Effect.gen(function*() {
    let boots = 0
    const identity = Effect.sync(() => ({
      nonce: BigInt(++boots),
      start: () => 0,
      reserve: () => Effect.void,
      release: () => Effect.void
    }))
    const node = sim.host(
      "node",
      EventBus.layer({ shards: 3, capacity: 1024, atLeast: "fsync", identity }).pipe(Layer.provide(LogAdapter.layer()))
    )
    const count = sim.count("events", 40)
    const producer = yield* Effect.forkChild(Effect.gen(function*() {
      for (let n = 1; n <= count && sim.now < 600_000;) {
        const publish = EventBus.use((bus) =>
          bus.publishRaw(`{"n":${n}}`, { producer: { name: "p", sequence: n }, until: "durable", key: `k${n % 5}` })
        )
        const result = yield* Effect.result(Effect.timeout(node.run(publish), "20 seconds"))
        if (result._tag === "Success") n++
        else yield* Effect.sleep("20 millis")
      }
    }))

    const seen: Array<{ readonly id: string; readonly shard: number; readonly n: number }> = []
    let cursor: string | undefined
    let crashed = false
    const readOn = Effect.gen(function*() {
      const page = yield* node.run(EventBus.use((bus) => bus.poll({ limit: 1 + (seen.length % 7), cursor })))
      sim.always(page.failedShards.length === 0, "no shard fails")
      for (const event of page.events) {
        const { n } = JSON.parse(decoder.decode(event.raw)) as { n: number }
        seen.push({ id: event.id, shard: event.shard, n })
        sim.sometimes(crashed, "read on after a crash")
        sim.sometimes(producer.pollUnsafe() === undefined, "read while writing")
      }
      sim.sometimes(page.events.length === 0, "empty page")
      cursor = page.nextCursor ?? undefined
      return page.events.length
    })
    while (producer.pollUnsafe() === undefined && sim.now < 600_000) {
      const result = yield* Effect.result(Effect.timeout(readOn, "20 seconds"))
      if (result._tag === "Failure" && result.failure instanceof HostDown) crashed = true
      yield* Effect.sleep("15 millis")
    }
    yield* Fiber.join(producer)
    yield* sim.calm
    while ((yield* readOn) > 0);

    sim.always(new Set(seen.map(({ n }) => n)).size === seen.length, "nothing is seen twice", { seen: seen.length })
    sim.always(seen.length === count, "nothing is skipped", { seen: seen.length, count })
    for (let shard = 0; shard < 3; shard++) {
      const ids = seen.filter((event) => event.shard === shard).map(({ id }) => Number(id))
      sim.always(ids.every((id, i) => id === i + 1), "a shard is read in stored order, without a hole")
    }
  }))
