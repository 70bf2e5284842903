import { simTest } from "@perigee/sim"
import { Effect } from "effect"
import { Inbox } from "./Inbox.ts"

const layer = process.env["INBOX"] === "careless" ? Inbox.layerCareless : Inbox.layer

simTest(
  "an acknowledged line survives",
  { seeds: 200, faults: ["process", "slowDisk"], sometimes: ["rebooted"] },
  (sim) =>
    Effect.gen(function*() {
      const box = sim.host("box", layer)
      const acknowledged: Array<string> = []
      for (let n = 1; n <= sim.count("lines", 30); n++) {
        const added = yield* Effect.exit(box.run(Inbox.use((inbox) => inbox.add(`line ${n}`))))
        if (added._tag === "Success") acknowledged.push(`line ${n}`)
        yield* Effect.sleep("100 millis")
      }
      yield* sim.calm // faults stop, the machine is up again
      const kept = yield* box.run(Inbox.use((inbox) => inbox.all))
      sim.always(acknowledged.every((line) => kept.includes(line)), "nothing acknowledged is lost")
      sim.sometimes(box.boots > 1, "rebooted")
    })
)
