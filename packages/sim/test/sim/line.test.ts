import { CurrentHost, simTest } from "@perigee/sim"
import { Effect } from "effect"
import { emptyStore, receiver, sender } from "../fixtures/Line.ts"

simTest("a line delivers what was sent", {
  seeds: 200,
  faults: ["cut", "clog", "halfOpen", "partition", "fragment", "refuse", "kill"],
  sometimes: ["resumed", "killed"]
}, (sim) =>
  Effect.gen(function*() {
    const store = emptyStore() // survives crashes
    const rx = sim.host("rx", receiver(store))
    const { socket } = yield* CurrentHost
    const count = sim.count("messages", 100)
    yield* sender(socket("rx:1"), count).pipe(Effect.timeout("60 seconds"))
    sim.always(store.delivered.every((seq, i) => seq === i + 1), "no gap, no duplicate, in order")
    sim.always(store.delivered.length === count, "all that was acknowledged is delivered")
    sim.sometimes(store.session > 1, "resumed")
    sim.sometimes(rx.deaths > 0, "killed")
  }))
