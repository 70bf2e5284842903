/**
 * Sums over the runs of a campaign.
 */
import type { RunResult } from "./Simulation.ts"

/** Sums over the runs of a campaign. Plain data, so that workers can send it. */
export interface Tally {
  runs: number
  steps: number
  ops: number
  simulatedMs: number
  realMs: number
  connections: number
  faults: Record<string, number>
  buggified: Record<string, number>
  sometimes: Record<string, number>
  evaluated: Record<string, number>
  oracles: Record<string, number>
  slowest: { seed: string; realMs: number }
  /** Runs that were repeated at once. */
  doubled: number
  /** Runs that were repeated in a fresh thread. */
  fresh: number
  explored: number
}

/** The tally of no run. */
export const empty = (): Tally => ({
  runs: 0,
  steps: 0,
  ops: 0,
  simulatedMs: 0,
  realMs: 0,
  connections: 0,
  faults: {},
  buggified: {},
  sometimes: {},
  evaluated: {},
  oracles: {},
  slowest: { seed: "", realMs: 0 },
  doubled: 0,
  fresh: 0,
  explored: 0
})

const addAll = (into: Record<string, number>, from: Readonly<Record<string, number>>): void => {
  for (const [key, value] of Object.entries(from)) into[key] = (into[key] ?? 0) + value
}

/** Adds a run to a tally. `run` is the text that replays it. */
export const count = (tally: Tally, result: RunResult, realMs: number, run: string): void => {
  tally.runs++
  tally.steps += result.steps
  tally.ops += result.ops
  tally.simulatedMs += result.simulatedMs
  tally.realMs += realMs
  tally.connections += result.connections
  addAll(tally.faults, result.faults)
  addAll(tally.buggified, result.buggified)
  // Seeds in which it fired, not how often: that is what predicts the next campaign.
  for (const [name, times] of Object.entries(result.sometimes)) {
    tally.sometimes[name] = (tally.sometimes[name] ?? 0) + (times > 0 ? 1 : 0)
  }
  addAll(tally.evaluated, result.evaluated)
  addAll(tally.oracles, result.oracles)
  if (realMs > tally.slowest.realMs) tally.slowest = { seed: run, realMs }
}

/** Adds one tally to another. */
export const merge = (into: Tally, from: Tally): void => {
  into.runs += from.runs
  into.steps += from.steps
  into.ops += from.ops
  into.simulatedMs += from.simulatedMs
  into.realMs += from.realMs
  into.connections += from.connections
  into.doubled += from.doubled
  into.fresh += from.fresh
  into.explored += from.explored
  for (const key of ["faults", "buggified", "sometimes", "evaluated", "oracles"] as const) addAll(into[key], from[key])
  if (from.slowest.realMs > into.slowest.realMs) into.slowest = from.slowest
}
