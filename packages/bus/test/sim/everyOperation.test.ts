// The n-th operation on the disk fails, for every n up to the end of a small run: with seeds in a row, each n comes up with
// each kind of failure. After it, and after a power cut, what was acknowledged is there, once.
import { simTest } from "@perigee/sim"
import { Effect, Layer } from "effect"
import { EventBus } from "../../src/EventBus.ts"
import { durable } from "./support/Identity.ts"
import * as LogAdapter from "./support/LogAdapter.ts"

const decoder = new TextDecoder()
const operations = 60
const kinds = ["EIO", "ENOSPC"] as const

simTest("a failure of any operation on the disk loses nothing acknowledged", {
  seeds: 2 * operations,
  exploration: 0,
  faults: [],
  sometimes: ["opening failed", "storing failed", "nothing failed"]
}, (sim) =>
  Effect.gen(function*() {
    const nth = 1 + (sim.world.seed.lo >>> 1) % operations
    const node = sim.host(
      "node",
      EventBus.layer({ shards: 2, capacity: 1024, atLeast: "fsync", identity: durable() }).pipe(
        Layer.provide(LogAdapter.layer())
      )
    )
    node.disk.failNth({ operation: "any", nth, code: kinds[sim.world.seed.lo % 2]! })
    let ready = false
    let failed = false
    sim.world.trace.observe(({ name }) => {
      if (name === "ready") ready = true
      if (name === "disk.error") {
        failed = true
        sim.reachable(ready ? "storing failed" : "opening failed")
      }
    })
    const count = 12
    for (let n = 1; n <= count && sim.now < 600_000;) {
      const publish = EventBus.use((bus) =>
        bus.publishRaw(`{"n":${n}}`, { producer: { name: "p", sequence: n }, until: "durable" })
      )
      const result = yield* Effect.result(node.run(publish))
      if (result._tag === "Success") n++
      else yield* Effect.sleep("50 millis")
    }
    sim.sometimes(!failed, "nothing failed")
    node.kill({ power: true })
    node.reboot()
    const page = yield* node.run(EventBus.use((bus) => bus.poll({ limit: 100 })))
    const numbers = page.events.map(({ raw }) => (JSON.parse(decoder.decode(raw)) as { n: number }).n)
    sim.always(new Set(numbers).size === numbers.length, "nothing is stored twice", { nth })
    sim.always(numbers.length === count, "nothing acknowledged is lost", { nth, stored: numbers.length })
    const mark = yield* node.run(EventBus.use((bus) => bus.lastSequence("p")))
    sim.always(mark === count, "the producer's mark is that of its events", { nth, mark })
  }))
