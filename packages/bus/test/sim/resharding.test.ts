// A node that comes back with another number of shards, after a crash or a deployment: the shards of one bus are fixed for its
// life, so this is how a bus grows and shrinks. Nothing is lost or doubled, no identity is used again, and a consumer's
// cursor goes on, also over shards that nobody writes to any more.
import { simTest } from "@perigee/sim"
import { Effect, Layer } from "effect"
import type { StoredEvent } from "../../src/Event.ts"
import { EventBus } from "../../src/EventBus.ts"
import { durable } from "./support/Identity.ts"
import * as LogAdapter from "./support/LogAdapter.ts"

const decoder = new TextDecoder()
const numberOf = (event: StoredEvent): number => (JSON.parse(decoder.decode(event.raw)) as { n: number }).n

simTest("the number of shards changes from one start to the next, and every event stays one", {
  seeds: 80,
  chaos: "3 seconds",
  faults: ["kill", "crash", "stop", "slowDisk", "crashAtOperation", "lateTimers"],
  sometimes: ["more shards", "fewer shards", "read from a shard without a writer", "submitted again"]
}, (sim) =>
  Effect.gen(function*() {
    const rng = sim.world.stream("scenario")
    const identity = durable()
    let shards = 4
    const Node = Layer.unwrap(Effect.sync(() => {
      const before = shards
      shards = rng.between(1, 8)
      sim.sometimes(shards > before, "more shards")
      sim.sometimes(shards < before, "fewer shards")
      return EventBus.layer({ shards, capacity: 1024, atLeast: "fsync", identity, adapterTimeout: "2 seconds" })
    })).pipe(Layer.provide(LogAdapter.layer()))
    const node = sim.host("node", Node)
    const count = sim.count("events", 60)

    const seen: Array<StoredEvent> = []
    let cursor: string | undefined
    const readOn = Effect.gen(function*() {
      const page = yield* node.run(EventBus.use((bus) => bus.poll({ limit: 1 + (seen.length % 9), cursor })))
      sim.sometimes(page.events.some(({ shard }) => shard >= shards), "read from a shard without a writer")
      seen.push(...page.events)
      cursor = page.nextCursor ?? undefined
      return page.events.length
    })
    for (let next = 1; next <= count && sim.now < 600_000;) {
      const size = Math.min(4, count - next + 1)
      const publish = EventBus.use((bus) =>
        bus.publishAllRaw(Array.from({ length: size }, (_, i) => `{"n":${next + i}}`), {
          producer: { name: "sensor", sequence: next },
          until: "durable"
        })
      )
      const outcome = yield* Effect.result(Effect.timeout(node.run(publish), "20 seconds"))
      if (outcome._tag === "Success" && outcome.success.rejected === 0) next += size
      else {
        sim.reachable("submitted again")
        yield* Effect.sleep("30 millis")
      }
      if (rng.chance(0.5)) yield* Effect.ignore(Effect.timeout(readOn, "20 seconds"))
    }
    yield* sim.calm
    while ((yield* readOn) > 0);
    const numbers = seen.map(numberOf)
    sim.always(new Set(numbers).size === numbers.length, "nothing is seen twice", { seen: numbers.length })
    sim.always(numbers.length === count, "nothing is lost or passed over", { seen: numbers.length, count })
    sim.always(new Set(seen.map(({ dedupId }) => dedupId)).size === seen.length, "no identity is used again")
    const whole = node.run(EventBus.use((bus) => bus.poll({ limit: 1000, order: "insertionTs" })))
    const [first, second] = [yield* whole, yield* whole]
    const order = (events: ReadonlyArray<StoredEvent>) => events.map(({ id, shard }) => `${shard}/${id}`).join()
    sim.always(order(first.events) === order(second.events), "the order over all shards is the same every time")
    sim.always(first.events.length === count, "and every shard is in it")
  }))
