/** `npm run bench -- sim`: how fast worlds run, and that they leave nothing behind. */
import { Campaign, CurrentHost, Seed } from "@perigee/sim"
import { Effect, Random } from "effect"
import { measure, report, type Row, versus } from "../../../bench/harness.ts"
import { emptyStore, receiver, sender } from "../test/fixtures/Line.ts"

const seconds = (started: bigint): number => Number(process.hrtime.bigint() - started) / 1e9

const line = Campaign.define("line", {
  faults: ["cut", "clog", "halfOpen", "partition", "fragment", "refuse", "kill"],
  sometimes: ["resumed"]
}, (sim) =>
  Effect.gen(function*() {
    const store = emptyStore()
    sim.host("rx", receiver(store))
    const { socket } = yield* CurrentHost
    yield* sender(socket("rx:1"), 100)
    sim.always(store.delivered.length === 100, "delivered")
    sim.sometimes(store.session > 1, "resumed")
  }))

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

const small = Campaign.define("small", { sometimes: ["ran"], exploration: 0 }, (sim) =>
  Effect.gen(function*() {
    yield* Effect.sleep(yield* Random.nextIntBetween(1, 100))
    sim.always(true, "ran")
    sim.reachable("ran")
  }))

const rows: Array<Row> = []
let base = 1
let steps = 0
let simulated = 0
const seedsPerMinute = await measure(async () => {
  const started = process.hrtime.bigint()
  const { tally } = await Campaign.campaign(line, { base: Seed.make(base += 1000), seeds: 150 })
  const spent = seconds(started)
  steps = tally.steps / spent
  simulated = tally.simulatedMs / 1000 / spent
  return (tally.runs * 60) / spent
})
rows.push(
  versus("resumable line under network faults and kills, one core", "seeds/min", seedsPerMinute, {
    goal: { text: "1,000 seeds a minute a core", met: (ours) => ours >= 1000 }
  })
)
rows.push(versus("the same", "steps/s", { ...seedsPerMinute, median: steps }))
rows.push(versus("the same, simulated to real time", "×", { ...seedsPerMinute, median: simulated }))
rows.push(versus(
  "100 heartbeat fibers, simulated to real time",
  "×",
  await measure(async () => {
    const started = process.hrtime.bigint()
    const result = await Campaign.run(heartbeats, Campaign.recipeOf(heartbeats, Seed.make(3)))
    return result.simulatedMs / 1000 / seconds(started)
  })
))
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
