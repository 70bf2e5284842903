/**
 * Many seeds of one scenario: budgets, tallies, double runs, and the work on the first failure.
 */
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Config from "./Config.ts"
import { guarded } from "./internal/guarded.ts"
import { hashText } from "./internal/Rng.ts"
import { drawPlan, type Family, type Fault, resolve } from "./Nemesis.ts"
import * as Replay from "./Replay.ts"
import * as Seed from "./Seed.ts"
import * as Shrink from "./Shrink.ts"
import {
  type Driver,
  runAsync,
  type RunOptions,
  type RunResult,
  runSync,
  type Scenario,
  type Verdict
} from "./Simulation.ts"
import { firstDifference, formatEvent } from "./Trace.ts"
import * as Tally from "./Tally.ts"
import type { NetworkConfig } from "./world/Network.ts"
import { type Branch, defaultLimits, type Limits, realTime, type ScheduleConfig } from "./world/World.ts"

/** What a scenario declares about itself. */
export interface Options {
  /** Seeds of a plain test run; 100 by default. */
  readonly seeds?: number | undefined
  /** Fault families by name, groups (`network`, `process`, `disk`), or families as values. None by default. */
  readonly faults?: ReadonlyArray<string | Family> | undefined
  /** What must happen at least once over all seeds. At least one name: a scenario that proves nothing is refused. */
  readonly sometimes: ReadonlyArray<string>
  /** Properties that must have been looked at at least once over all seeds, besides those that the runs report. */
  readonly always?: ReadonlyArray<string> | undefined
  /** Faults that are planned in every run, in addition to the drawn ones. */
  readonly plan?: ReadonlyArray<Fault> | undefined
  /** Virtual length of the chaos phase; 10 seconds by default. */
  readonly chaos?: Duration.Input | undefined
  readonly driver?: Driver | undefined
  readonly limits?: Partial<Limits> | undefined
  /** Whether leftovers fail a run; on by default. */
  readonly leaks?: boolean | undefined
  /** Whether touching the real world fails a run; on by default with the synchronous driver. */
  readonly tripwire?: boolean | undefined
  readonly buggify?: boolean | undefined
  /** Processes that faults may keep down at once; one by default. What a system promises to survive. */
  readonly maxDead?: number | undefined
  readonly schedule?: Partial<ScheduleConfig> | undefined
  readonly network?: Partial<NetworkConfig> | undefined
  /** Share of the seeds spent on branches from first discoveries; 0.3 by default. */
  readonly exploration?: number | undefined
  /** Folder of stored failures; the nearest package's `corpus` by default, false for none. */
  readonly corpus?: string | false | undefined
  /** Real milliseconds for shrinking one failure; 60,000 by default. */
  readonly shrinkMs?: number | undefined
}

/** A scenario that cannot prove anything, refused when it is defined. */
export class ScenarioError extends Data.TaggedError("ScenarioError")<{
  readonly scenario: string
  readonly problem: string
}> {
  override get message(): string {
    return `${this.scenario}: ${this.problem}`
  }
}

/** A scenario with its options resolved. */
export interface Definition {
  readonly name: string
  readonly scenario: Scenario
  readonly options: Options
  readonly families: ReadonlyArray<Family>
  readonly horizon: number
}

/** Resolves the options of a scenario. Throws {@link ScenarioError} or `UnknownFault`. */
export const define = (name: string, options: Options, scenario: Scenario): Definition => {
  if (options.sometimes.length === 0) {
    throw new ScenarioError({
      scenario: name,
      problem: "declares no `sometimes`; name at least one thing that must happen, or a green run proves nothing"
    })
  }
  return {
    name,
    scenario,
    options,
    families: resolve(options.faults ?? []),
    horizon: Duration.toMillis(Duration.fromInputUnsafe(options.chaos ?? "10 seconds"))
  }
}

/** The run that a seed stands for. */
export const recipeOf = (definition: Definition, seed: Seed.Seed): Shrink.Recipe => {
  const config = Config.draw(seed, { ...definition.options, families: definition.families })
  const enabled = definition.families.filter((family) => config.families.includes(family.name))
  return {
    config,
    plan: [...drawPlan(seed, enabled, definition.horizon), ...(definition.options.plan ?? [])]
  }
}

/** The run that a replay text stands for; its branches are passed to {@link run}. */
export const recipeOfReplay = (definition: Definition, replay: Replay.Replay): Shrink.Recipe => {
  const recipe = recipeOf(definition, replay.seed)
  return replay.quiet
    ? { config: { ...recipe.config, families: [], buggify: false }, plan: definition.options.plan ?? [] }
    : recipe
}

interface RunExtras {
  readonly fullTrace?: boolean | undefined
  readonly record?: boolean | undefined
  readonly branches?: ReadonlyArray<Branch> | undefined
  readonly onSometimes?: RunOptions["onSometimes"]
  readonly onState?: RunOptions["onState"]
  /** Bounds that are tighter than those of the scenario. */
  readonly limits?: Partial<Limits> | undefined
}

/** Runs one recipe. */
export const run = async (
  definition: Definition,
  recipe: Shrink.Recipe,
  extras: RunExtras = {}
): Promise<RunResult> => {
  const { options } = definition
  const runOptions: RunOptions = {
    config: recipe.config,
    plan: recipe.plan,
    tape: recipe.tape,
    families: definition.families,
    driver: options.driver,
    limits: { ...options.limits, ...extras.limits },
    leaks: options.leaks,
    tripwire: options.tripwire,
    fullTrace: extras.fullTrace,
    recordSchedule: extras.record,
    branches: extras.branches,
    onSometimes: extras.onSometimes,
    onState: extras.onState
  }
  if (options.driver === "async") return runAsync(definition.scenario, runOptions)
  const realMs = options.limits?.realMs ?? defaultLimits.realMs
  // The engine's own bound fires first for everything that still reaches it.
  return guarded(() => runSync(definition.scenario, runOptions), realMs + 2000) ?? hung(recipe, realMs)
}

const hung = (recipe: Shrink.Recipe, realMs: number): RunResult => ({
  config: recipe.config,
  plan: recipe.plan,
  verdict: {
    kind: "livelock",
    name: realTime,
    message: `one call did not return within ${realMs} real milliseconds: a loop that never reaches the scheduler`
  },
  violations: [],
  hash: "",
  steps: 0,
  ops: 0,
  simulatedMs: 0,
  events: [],
  eventCount: 0,
  parked: [],
  faults: {},
  buggified: {},
  sometimes: {},
  evaluated: {},
  watermarks: {},
  oracles: {},
  decisions: [],
  connections: 0,
  sizes: {}
})

/** What a campaign lacks although every run passed. */
export const gaps = (definition: Definition, tally: Tally.Tally): ReadonlyArray<string> => {
  const out: Array<string> = []
  for (const name of definition.options.sometimes) {
    if ((tally.sometimes[name] ?? 0) === 0) out.push(`sometimes "${name}" never happened in ${tally.runs} seeds`)
  }
  for (const name of definition.options.always ?? []) {
    if ((tally.evaluated[name] ?? 0) === 0) out.push(`always "${name}" was never looked at in ${tally.runs} seeds`)
  }
  for (const [name, saw] of Object.entries(tally.oracles)) {
    if (saw === 0) out.push(`oracle "${name}" saw nothing in ${tally.runs} seeds`)
  }
  if (Object.values(tally.evaluated).every((times) => times === 0) && Object.keys(tally.oracles).length === 0) {
    out.push("no `always` was evaluated and no oracle was used: nothing was checked")
  }
  return out
}

/** A failure with everything that is known about it. */
export interface Failure {
  readonly result: RunResult
  readonly reproduced: boolean
  readonly difference?: string | undefined
  readonly shrunk?: Shrink.Shrunk | undefined
  /** What replays it, exactly as it was found. */
  readonly replay: Replay.Replay
}

/** Which seeds a campaign runs, and for how long. */
export interface CampaignOptions {
  /** First seed; the next ones follow it. */
  readonly base: Seed.Seed
  /** Most runs; explored branches count as runs. */
  readonly seeds: number
  /** Real milliseconds after which no new run starts. */
  readonly realMs?: number | undefined
  /** Called before each run and, with the tally, after it. Throwing stops the campaign. */
  readonly onRun?: ((seed: string, tally: Tally.Tally) => void) | undefined
  readonly shrink?: boolean | undefined
  /** Runs also the first seed without any fault. */
  readonly quiet?: boolean | undefined
  readonly realNow?: (() => number) | undefined
}

/** A run that was repeated, to be repeated elsewhere: its replay text and the hash of its trace. */
export interface Sample {
  readonly replay: string
  readonly hash: string
}

/** What a campaign ends with: the sums, the first failure, and what never happened. */
export interface CampaignResult {
  readonly tally: Tally.Tally
  readonly failure: Failure | undefined
  readonly gaps: ReadonlyArray<string>
  readonly samples: ReadonlyArray<Sample>
}

const realNowMs = (): number => Number(process.hrtime.bigint() / 1000n) / 1000
const pause = () => new Promise<void>((resolve) => setImmediate(resolve))

/** Every so many seeds one is run twice and its hashes are compared. */
const doubleEvery = 50
/** Longest time without a turn of the event loop. */
const turnMs = 50
/** Roots kept for exploration: from properties that fired for the first time, and from states first seen. */
const maxRoots = { sometimes: 64, states: 32 }
/** Runs after which a state that no run has shown is worth a root: by then the ordinary ones are known. */
const stateWarmUp = 20
/** Runs kept to be repeated in a fresh thread. */
const maxSamples = 20

/** Runs seeds until one fails or the budget is spent. */
export const campaign = async (definition: Definition, options: CampaignOptions): Promise<CampaignResult> => {
  const now = options.realNow ?? realNowMs
  const deadline = options.realMs === undefined ? Infinity : now() + options.realMs
  const share = definition.options.driver === "async" ? 0 : definition.options.exploration ?? 0.3
  const tally = Tally.empty()
  const samples: Array<Sample> = []
  const known = { sometimes: new Set<string>(), states: new Set<string>() }
  const roots = { sometimes: 0, states: 0 }
  const queue: Array<Replay.Replay> = []
  let lastTurn = now()
  let fresh = 0

  const one = async (replay: Replay.Replay): Promise<Failure | undefined> => {
    const recipe = recipeOfReplay(definition, replay)
    const { branches } = replay
    const text = Replay.format(replay)
    options.onRun?.(recipe.config.seed, tally)
    if (now() - lastTurn > turnMs) {
      await pause()
      lastTurn = now()
    }
    const started = now()
    const discover = (kind: "sometimes" | "states") => (name: string, step: number) => {
      if (known[kind].has(name)) return
      known[kind].add(name)
      if (kind === "states" && tally.runs < stateWarmUp) return
      // Draws everything after the discovery from another seed, which each child chooses for itself.
      if (roots[kind]++ < maxRoots[kind]) {
        queue.push({ ...replay, branches: [...branches, { step: step + 1, seed: "0" }] })
      }
    }
    const result = await run(definition, recipe, {
      branches,
      onSometimes: discover("sometimes"),
      onState: share > 0 ? discover("states") : undefined
    })
    Tally.count(tally, result, now() - started, text)
    if (result.verdict.kind !== "pass") return investigate(definition, recipe, result, replay, options)
    if (tally.runs % doubleEvery === 0) {
      tally.doubled++
      const again = await run(definition, recipe, { branches })
      if (again.hash !== result.hash) return investigate(definition, recipe, result, replay, options)
      if (samples.length < maxSamples) samples.push({ replay: text, hash: result.hash })
    }
    return undefined
  }

  if (options.quiet !== false) {
    const failure = await one({ seed: options.base, quiet: true, branches: [] })
    if (failure !== undefined) return { tally, failure, gaps: [], samples }
  }
  while (tally.runs < options.seeds && now() < deadline) {
    let failure: Failure | undefined
    const root = queue[tally.explored % Math.max(1, queue.length)]
    if (root !== undefined && tally.explored < share * tally.runs) {
      const { step } = root.branches.at(-1)!
      const seed = String(hashText(`${root.seed.text}/${step}/${tally.explored}`))
      tally.explored++
      failure = await one({ ...root, branches: [...root.branches.slice(0, -1), { step, seed }] })
    } else failure = await one(Replay.ofSeed(Seed.add(options.base, fresh++)))
    if (failure !== undefined) return { tally, failure, gaps: [], samples }
  }
  return { tally, failure: undefined, gaps: gaps(definition, tally), samples }
}

/** Repeats runs of another thread and returns how the first one that differs does. */
export const repeat = async (
  definition: Definition,
  samples: ReadonlyArray<Sample>
): Promise<string | undefined> => {
  for (const { hash, replay } of samples) {
    const { branches, ...rest } = Replay.parse(replay)
    const result = await run(definition, recipeOfReplay(definition, { branches, ...rest }), { branches })
    if (result.hash !== hash) {
      return `nondeterminism: ${replay} gave trace ${hash} among other seeds and gives ${result.hash} in a fresh thread: ` +
        "something outlives a run"
    }
  }
  return undefined
}

/** Confirms a failure, explains a difference, and shrinks. */
export const investigate = async (
  definition: Definition,
  recipe: Shrink.Recipe,
  failed: RunResult,
  replay: Replay.Replay,
  options: { readonly shrink?: boolean | undefined; readonly realNow?: (() => number) | undefined } = {}
): Promise<Failure> => {
  const { branches } = replay
  const full = await run(definition, recipe, { branches, fullTrace: true })
  // Where real time ends a run is not the seed's decision.
  const timed = failed.hash === "" || failed.verdict.name === realTime
  if (full.hash !== failed.hash && !timed) {
    const second = await run(definition, recipe, { branches, fullTrace: true })
    const index = firstDifference(full.events, second.events)
    const show = (result: RunResult) =>
      index === undefined ? "" : formatEvent(result.events[index] ?? endOfTrace(result)).trim()
    const difference = index === undefined
      ? "two further runs agree with each other: state of an earlier run leaked into this one"
      : `first differing event #${index}: ${show(full)} | ${show(second)}`
    const verdict: Verdict = { kind: "nondeterminism", name: "nondeterminism", message: difference }
    return { result: { ...full, verdict }, reproduced: false, difference, replay }
  }
  if (options.shrink === false || definition.options.driver === "async" || timed) {
    return { result: full, reproduced: true, replay }
  }
  // Without a fault that it needed to end, a program may go on for ever: that is another failure, told quickly.
  const limits = {
    steps: failed.steps * 10 + 10_000,
    simulatedMs: failed.simulatedMs * 10 + 600_000,
    realMs: Math.min(definition.options.limits?.realMs ?? defaultLimits.realMs, 10_000)
  }
  const attempt: Shrink.Replay = (candidate, record) => run(definition, candidate, { branches, record, limits })
  const shrunk = await Shrink.shrink(failed, attempt, {
    realNow: options.realNow ?? realNowMs,
    realMs: definition.options.shrinkMs
  })
  return { result: full, reproduced: true, shrunk, replay }
}

const endOfTrace = (result: RunResult) => ({
  index: result.events.length,
  at: result.simulatedMs,
  host: "sim",
  name: "(end of trace)",
  fields: {}
})
