/** `npm run bench -- sim`: how fast worlds run and failures shrink, and that worlds leave nothing behind. */
import { Campaign, CurrentHost, layerServer, Replay, Seed } from "@perigee/sim"
import { Effect, FileSystem, Layer, Random } from "effect"
import { SocketServer } from "effect/socket"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { measure, type Measured, report, type Row, versus } from "../../../bench/harness.ts"
import { loadScenarios } from "../src/cli/Worker.ts"
import { line } from "../test/fixtures/lineCampaign.ts"
import { found, policies } from "./races.ts"
import { races } from "../test/fixtures/Races.ts"

const packages = fileURLToPath(new URL("../../", import.meta.url))
const seconds = (started: bigint): number => Number(process.hrtime.bigint() - started) / 1e9
const perMinute = { text: "1,000 seeds a minute a core", met: (ours: number) => ours >= 1000 }

const rows: Array<Row> = []

/** Seeds a minute of a scenario on one core, with its steps a second and its ratio of simulated to real time. */
const speed = async (name: string, definition: Campaign.Definition, seeds: number, goal = true): Promise<void> => {
  let base = 1
  const steps: Array<number> = []
  const simulated: Array<number> = []
  const rate = await measure(async () => {
    const started = process.hrtime.bigint()
    const { failure, tally } = await Campaign.campaign(definition, {
      base: Seed.make(base += 10_000),
      seeds,
      shrink: false
    })
    if (failure !== undefined) throw new Error(`${name}: ${failure.result.verdict.message}`)
    const spent = seconds(started)
    steps.push(tally.steps / spent)
    simulated.push(tally.simulatedMs / 1000 / spent)
    return (tally.runs * 60) / spent
  })
  // The first run of each list was the warm-up.
  const of = (values: ReadonlyArray<number>): Promise<Measured> => {
    const runs = values.slice(1)
    return measure(() => runs.shift()!, runs.length, 0)
  }
  rows.push(versus(`${name}, one core`, "seeds/min", rate, goal ? { goal: perMinute } : {}))
  rows.push(versus(name, "steps/s", await of(steps)))
  rows.push(versus(`${name}, simulated to real time`, "×", await of(simulated)))
}

await speed("resumable line under network faults and kills", line(undefined), 150)
for (const [area, file] of [["bus", "crash"], ["bus", "adapter"], ["bus", "consumer"], ["conduit", "conduit"]]) {
  const [first] = await loadScenarios(join(packages, area!, "test/sim", `${file}.test.ts`))
  // The goal is that of the bus; the conduit's worlds are three hundred items over forty links each.
  await speed(`${area}: ${first!.definition.name}`, first!.definition, 100, area === "bus")
}

const heartbeats = Campaign.define(
  "heartbeats",
  { sometimes: ["beat"], tripwire: false },
  (sim) =>
    Effect.gen(function*() {
      let beats = 0
      const beat = Effect.forever(Effect.andThen(Effect.sleep("30 seconds"), Effect.sync(() => beats++)))
      yield* Effect.all(Array.from({ length: 100 }, () => beat), { concurrency: "unbounded" }).pipe(
        Effect.timeoutOption("1 day")
      )
      sim.always(beats > 0, "beat")
    })
)
rows.push(versus(
  "100 heartbeat fibers, simulated to real time",
  "×",
  await measure(async () => {
    const started = process.hrtime.bigint()
    const result = await Campaign.run(heartbeats, Campaign.recipeOf(heartbeats, Seed.make(3)))
    return result.simulatedMs / 1000 / seconds(started)
  })
))

/** The first failing run of a defective line whose plan has fifty faults or more. */
const faulty = async (definition: Campaign.Definition) => {
  for (let seed = 1;; seed++) {
    const recipe = Campaign.recipeOf(definition, Seed.make(seed))
    if (recipe.plan.length < 50) continue
    const result = await Campaign.run(definition, recipe)
    if (result.verdict.kind !== "pass") return { recipe, result, replay: Replay.ofSeed(Seed.make(seed)) }
  }
}
const defective = line("no keepalive", {
  faults: ["cut", "close", "halfOpen", "clog", "swizzle", "partition", "oneWay", "fragment", "refuse", "kill", "pause"]
})
const { recipe, replay, result } = await faulty(defective)
let left = 0
const shrinking = await measure(
  async () => {
    const started = process.hrtime.bigint()
    left = (await Campaign.investigate(defective, recipe, result, replay)).shrunk!.recipe.plan.length
    return seconds(started)
  },
  5,
  0
)
rows.push(versus(`a failure of ${recipe.plan.length} faults, shrunk`, "s", shrinking, {
  goal: { text: "60 s", met: (ours) => ours <= 60 }
}))
rows.push(versus("the same, faults left", "faults", { median: left, spread: 0, runs: [left] }, {
  goal: { text: "6 faults", met: (ours) => ours <= 6 }
}))

const best = races.map((race) =>
  Math.max(...[policies["20%"], policies["50%"], policies["PCT d=3"]].map((schedule) => found(race, schedule, 1000)))
)
const caught = best.filter((seeds) => seeds > 0).length
rows.push(
  versus("planted concurrency bugs found in 1,000 seeds", "of 11", { median: caught, spread: 0, runs: [caught] }, {
    goal: { text: "all 11", met: (ours) => ours === races.length }
  })
)

/** A host with a connection, a file, a kill and a reboot: something of everything that a world could keep. */
const small = Campaign.define("small", {
  faults: ["kill", "cut"],
  chaos: "1 second",
  sometimes: ["ran"],
  exploration: 0
}, (sim) =>
  Effect.gen(function*() {
    const server = Layer.effectDiscard(Effect.gen(function*() {
      const server = yield* SocketServer.SocketServer
      const fs = yield* FileSystem.FileSystem
      yield* fs.writeFile("/f", new Uint8Array(1000))
      yield* Effect.forkScoped(
        server.run((socket) => Effect.scoped(Effect.ignore(Effect.andThen(socket.reader, Effect.never))))
      )
    })).pipe(Layer.provide(layerServer(1)))
    sim.host("app", server)
    const { socket } = yield* CurrentHost
    yield* Effect.ignore(Effect.scoped(Effect.andThen(socket("app:1").reader, Effect.sleep("10 millis"))))
    yield* Effect.sleep(yield* Random.nextIntBetween(1, 1000))
    sim.always(true, "ran")
    sim.reachable("ran")
  }))
const heap = () => {
  globalThis.gc?.()
  globalThis.gc?.()
  return process.memoryUsage().heapUsed / 1_048_576
}
await Campaign.campaign(small, { base: Seed.make(1), seeds: 1000 })
const before = heap()
rows.push(versus(
  "heap growth over 10,000 seeds",
  "MiB",
  await measure(
    async () => {
      await Campaign.campaign(small, { base: Seed.make(1), seeds: 10_000 })
      return Math.max(0.001, heap() - before)
    },
    1,
    0
  ),
  { goal: { text: "flat: below 1 MiB", met: (ours) => ours < 1 } }
))
report("sim", rows)
