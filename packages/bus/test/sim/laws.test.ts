// The laws that every store of the bus obeys, for the store on the simulated disk, under any schedule and on a slow disk.
import { simTest } from "@perigee/sim"
import { Effect, FileSystem } from "effect"
import * as Conformance from "../../src/conformance/index.ts"
import * as LogAdapter from "./support/LogAdapter.ts"

const defect = process.env["PLANTED_DEFECT"] as LogAdapter.Defect | undefined

const lawsOn = (fs: FileSystem.FileSystem) => {
  let places = 0
  return Conformance.laws({
    place: Effect.sync(() => {
      const path = `/place-${++places}.log`
      return Effect.provideService(LogAdapter.make(path, defect), FileSystem.FileSystem, fs)
    })
  })
}

simTest("the store on the simulated disk obeys the laws of stores", {
  seeds: 15,
  chaos: "2 minutes",
  faults: ["freezeDisk", "lateTimers", "clockJump", "drift"],
  sometimes: ["with something wrong"],
  always: lawsOn(FileSystem.makeNoop({})).map(({ name }) => name)
}, (sim) =>
  Effect.gen(function*() {
    const host = sim.host("store")
    yield* host.run(Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      for (const law of lawsOn(fs)) {
        const said = yield* Effect.result(law.run)
        sim.always(said._tag === "Success", law.name, said._tag === "Failure" ? { detail: said.failure.detail } : {})
      }
    }))
    sim.sometimes(sim.nemesis.injected.size > 0, "with something wrong")
  }))
