// How often each planted concurrency bug shows itself, per scheduling policy: the table of the README.
import { Effect } from "effect"
import { Seed, Simulation } from "@perigee/sim"
import { races } from "../test/fixtures/Races.ts"

export const policies = {
  production: { policy: "production", hop: 0, preempt: 0, depth: 0 },
  random: { policy: "random", hop: 0, preempt: 0, depth: 0 },
  "+ hop 1/2": { policy: "random", hop: 0.5, preempt: 0, depth: 0 },
  "+ preempt 1%": { policy: "random", hop: 0.5, preempt: 0.01, depth: 0 },
  "5%": { policy: "random", hop: 0.5, preempt: 0.05, depth: 0 },
  "20%": { policy: "random", hop: 0.5, preempt: 0.2, depth: 0 },
  "50%": { policy: "random", hop: 0.5, preempt: 0.5, depth: 0 },
  "PCT d=3": { policy: "pct", hop: 0.5, preempt: 0, depth: 3 }
} as const

export const network = {
  latency: { kind: "uniform", floor: 100, spread: 500 },
  pairLatency: 0,
  window: 65_536
} as const

/** Number of the first `seeds` seeds on which a race shows under a schedule. */
export const found = (
  race: (typeof races)[number],
  schedule: (typeof policies)[keyof typeof policies],
  seeds: number
): number => {
  let shown = 0
  for (let seed = 1; seed <= seeds; seed++) {
    const result = Simulation.runSync(
      (sim) => Effect.map(race.run, (bug) => sim.sometimes(bug, "shown")),
      {
        config: {
          seed: Seed.make(seed).text,
          schedule,
          network,
          families: [],
          buggify: false,
          disarmed: [],
          sizes: {},
          maxDead: 0
        },
        plan: [],
        families: [],
        leaks: false,
        tripwire: false
      }
    )
    if (result.verdict.kind !== "pass") throw new Error(`${race.name}: ${result.verdict.message}`)
    if ((result.sometimes["shown"] ?? 0) > 0) shown++
  }
  return shown
}

export const table = (seeds: number): string => {
  const header = ["found in 1,000 seeds", ...Object.keys(policies)]
  const rows = races.map((race) => [
    race.name,
    ...Object.values(policies).map((schedule) => String(Math.round((found(race, schedule, seeds) * 1000) / seeds)))
  ])
  return [header, header.map(() => "---"), ...rows].map((row) => `| ${row.join(" | ")} |`).join("\n")
}

if (process.argv[1] === import.meta.filename) {
  const started = process.hrtime.bigint()
  const seeds = Number(process.argv[2] ?? 2000)
  console.log(table(seeds))
  console.log(`${seeds} seeds a cell, ${(Number(process.hrtime.bigint() - started) / 1e9).toFixed(1)} s in all`)
}
