/**
 * What a seed expands to: schedule, network shape, fault families, buggify. A pure function of seed and scenario, so
 * that no decision about the configuration shifts a draw inside the run.
 */
import { Rng } from "./internal/Rng.ts"
import type { Family } from "./Nemesis.ts"
import type * as Seed from "./Seed.ts"
import type { Config } from "./Simulation.ts"
import { defaultNetwork, type NetworkConfig } from "./world/Network.ts"
import { lanLatency, type LatencyShape } from "./world/Pipe.ts"
import type { ScheduleConfig } from "./world/World.ts"

/** What a scenario fixes about configurations. */
export interface ConfigOptions {
  readonly families: ReadonlyArray<Family>
  /** Whether buggify points may fire. On by default. */
  readonly buggify?: boolean | undefined
  /** Processes that faults may keep down at the same time; one by default. */
  readonly maxDead?: number | undefined
  /** Fixes the schedule instead of drawing it. */
  readonly schedule?: Partial<ScheduleConfig> | undefined
  /** Fixes parts of the network instead of drawing them. */
  readonly network?: Partial<NetworkConfig> | undefined
}

/** One seed in eight keeps the production order and one uses PCT; the rest mix random picks, hops and preemption. */
const drawSchedule = (rng: Rng): ScheduleConfig => {
  const kind = rng.int(8)
  const hop = rng.pick([0, 0.5, 1])
  const preempt = rng.pick([0, 0.01, 0.05, 0.2])
  if (kind === 0) return { policy: "production", hop: 0, preempt: 0, depth: 0 }
  if (kind === 1) return { policy: "pct", hop, preempt: 0, depth: 3 }
  return { policy: "random", hop, preempt, depth: 0 }
}

const drawLatency = (rng: Rng): LatencyShape =>
  rng.pick<LatencyShape>([
    lanLatency,
    { kind: "uniform", floor: 50, spread: rng.between(100, 20_000) },
    { kind: "exponential", floor: rng.between(50, 5000), spread: rng.between(100, 20_000) },
    { kind: "bimodal", floor: rng.between(50, 2000), spread: rng.between(100, 5000) }
  ])

const drawNetwork = (rng: Rng): NetworkConfig => ({
  latency: drawLatency(rng),
  pairLatency: rng.chance(0.25) ? rng.between(1000, 100_000) : 0,
  window: rng.pick([65_536, 65_536, 4096, 256, 16])
})

/** The families of one run: everything on one seed in four, nothing on one in sixteen, otherwise each by a coin. */
const drawFamilies = (rng: Rng, families: ReadonlyArray<Family>): ReadonlyArray<string> => {
  const kind = rng.int(16)
  if (kind === 0) return []
  if (kind <= 4) return families.map((family) => family.name)
  return families.filter(() => rng.chance(0.5)).map((family) => family.name)
}

/** The configuration of a seed. */
export const draw = (seed: Seed.Seed, options: ConfigOptions): Config => {
  const stream = (label: string) => new Rng(seed.hi, seed.lo, `config:${label}`)
  const network = options.families.some((family) => family.group === "network")
  return {
    seed: seed.text,
    schedule: { ...drawSchedule(stream("schedule")), ...options.schedule },
    network: { ...(network ? drawNetwork(stream("network")) : defaultNetwork), ...options.network },
    families: drawFamilies(stream("families"), options.families),
    buggify: options.buggify !== false && stream("buggify").chance(0.5),
    disarmed: [],
    sizes: {},
    maxDead: options.maxDead ?? 1
  }
}

/** One line that says everything a seed decided. */
export const format = (config: Config): string => {
  const { network, schedule } = config
  const policy = schedule.policy === "production"
    ? "production order"
    : schedule.policy === "pct"
    ? `pct depth=${schedule.depth} hop=${schedule.hop}`
    : `random hop=${schedule.hop} preempt=${schedule.preempt}`
  const sizes = Object.entries(config.sizes).map(([name, size]) => `${name}=${size}`)
  return [
    `policy ${policy}`,
    `families ${config.families.join(",") || "none"}`,
    `latency ${network.latency.kind} ${network.latency.floor}+${network.latency.spread} us, pair ${network.pairLatency} us`,
    `window ${network.window}`,
    `buggify ${
      config.buggify ? `on${config.disarmed.length > 0 ? ` without ${config.disarmed.join(",")}` : ""}` : "off"
    }`,
    ...(sizes.length > 0 ? [`sizes ${sizes.join(" ")}`] : [])
  ].join(" · ")
}
