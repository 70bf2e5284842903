/**
 * A simulation as a test: fifteen lines under vitest or plain `node --test`.
 */
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { existsSync, writeFileSync } from "node:fs"
import { dirname, join, relative } from "node:path"
import { fileURLToPath } from "node:url"
import * as Campaign from "./Campaign.ts"
import * as Corpus from "./Corpus.ts"
import * as Place from "./Place.ts"
import * as Replay from "./Replay.ts"
import * as Report from "./Report.ts"
import type { RunResult, Sim } from "./Simulation.ts"
import { sameFailure } from "./Shrink.ts"
import { formatEvent, toJsonLines } from "./Trace.ts"
import type { HostServices } from "./world/Host.ts"

type Register = (name: string, body: () => Promise<void>, timeout: number) => void

/** Scenarios that were defined while this process collects instead of testing. */
export interface Collected {
  readonly definition: Campaign.Definition
  readonly corpus: string | undefined
}

const collectKey = Symbol.for("@perigee/sim/collected")
const collected = (): Array<Collected> | undefined =>
  (globalThis as unknown as Record<symbol, Array<Collected> | undefined>)[collectKey]

/** Makes later `simTest` calls of this process register here instead of with a test runner. */
export const collect = (): Array<Collected> => {
  const list: Array<Collected> = []
  ;(globalThis as unknown as Record<symbol, Array<Collected>>)[collectKey] = list
  return list
}

const findRunner = async (): Promise<Register> => {
  if (process.env["VITEST"] !== undefined) {
    const name = "vitest"
    const { test } = await import(/* @vite-ignore */ name) as {
      test: (name: string, options: { timeout: number }, body: () => Promise<void>) => void
    }
    return (name, body, timeout) => test(name, { timeout }, body)
  }
  const { test } = await import("node:test")
  return (name, body, timeout) => void test(name, { timeout }, body)
}

// Tests must be registered while the file is loaded, so the runner is looked up before any of them.
const runner = collected() === undefined ? await findRunner() : undefined

/** The file that called {@link simTest}: the first frame outside this package. */
const callerFile = (): string | undefined => {
  const own = dirname(fileURLToPath(import.meta.url))
  for (const line of (new Error("caller").stack ?? "").split("\n").slice(1)) {
    const match = /(?:\(|at )((?:file:\/\/)?\/[^():]+)/.exec(line)
    if (match === null) continue
    const file = match[1]!.startsWith("file:") ? fileURLToPath(match[1]!) : match[1]!
    if (!file.startsWith(own)) return file
  }
  return undefined
}

const packageOf = (file: string | undefined): string => {
  let folder = file === undefined ? process.cwd() : dirname(file)
  while (!existsSync(join(folder, "package.json")) && dirname(folder) !== folder) folder = dirname(folder)
  return folder
}

/** Stores a failure and returns its file; undefined when there is no corpus folder. */
export const remember = (
  definition: Campaign.Definition,
  failure: Campaign.Failure,
  folder: string | undefined
): string | undefined => {
  if (folder === undefined || process.env["SIM_CORPUS"] === "off" || !failure.reproduced) return undefined
  const { node, commit } = Place.here()
  const recipe = failure.shrunk?.recipe ?? failure.result
  const result = failure.shrunk?.result ?? failure.result
  return Corpus.save(folder, {
    version: Corpus.version,
    test: definition.name,
    seed: result.config.seed,
    config: recipe.config,
    plan: recipe.plan,
    tape: failure.shrunk?.recipe.tape,
    branches: failure.replay.branches.length === 0 ? undefined : failure.replay.branches,
    verdict: { kind: result.verdict.kind, name: result.verdict.name },
    hash: result.hash,
    node,
    commit,
    date: new Date().toISOString().slice(0, 10),
    status: "open",
    note: ""
  })
}

/** A failed simulation. The message is the report; there is no stack worth showing. */
export class SimulationFailed extends Error {
  constructor(report: string) {
    super(report)
    this.name = "SimulationFailed"
    this.stack = `${this.name}: ${report}`
  }
}

/** What an environment variable says, or a failure that names it. */
const given = <A>(variable: string, text: string, parse: (text: string) => A): A => {
  try {
    return parse(text)
  } catch (cause) {
    throw new SimulationFailed(`${variable}: ${(cause as Error).message}`)
  }
}

const wholeNumber = (text: string): number => {
  if (!/^[1-9]\d{0,9}$/.test(text)) {
    throw new Error(`not a whole number above zero: ${JSON.stringify(text.slice(0, 80))}`)
  }
  return Number(text)
}

/** Prints the whole trace of a run, or writes it as JSON Lines when a file is named. */
export const showTrace = (target: string, { events }: RunResult): void => {
  if (/\.jsonl?$/.test(target)) writeFileSync(target, toJsonLines(events))
  else write(events.map(formatEvent).join("\n"))
}

/** Replays what was stored for a scenario. Returns what is wrong, and what is known to be open. */
export const replayCorpus = async (
  definition: Campaign.Definition,
  folder: string | undefined
): Promise<
  { readonly problems: ReadonlyArray<string>; readonly open: ReadonlyArray<string>; readonly replayed: number }
> => {
  const problems: Array<string> = []
  const open: Array<string> = []
  const entries = folder === undefined ? [] : Corpus.load(folder, definition.name)
  for (const { entry, file } of entries) {
    if (entry.status === "wontfix") continue
    const result = await Campaign.run(definition, entry, { branches: entry.branches })
    const expected = { verdict: { ...entry.verdict, message: "" } } as RunResult
    if (entry.status === "fixed") {
      if (result.verdict.kind !== "pass") problems.push(`${file} was fixed and fails again: ${result.verdict.message}`)
    } else if (result.verdict.kind === "pass") {
      problems.push(`${file} is open and passes now: set its status to fixed, with a note on cause and fix`)
    } else if (!sameFailure(expected, result)) {
      problems.push(`${file} is open and fails in another way: ${result.verdict.message}`)
    } else open.push(`${file}: ${result.verdict.message}`)
  }
  return { problems, open, replayed: entries.length }
}

const write = (text: string) => void process.stderr.write(`${text}\n`)

const body = (definition: Campaign.Definition, folder: string | undefined, file: string | undefined) => async () => {
  const where = file === undefined ? "" : relative(process.cwd(), file)
  const command = process.env["VITEST"] === undefined
    ? ["node", ...process.execArgv.filter((flag) => flag.startsWith("--conditions")), "--test", where]
    : ["npx", "vitest", "run", where, "-t", JSON.stringify(definition.name)]
  const report = (failure: Campaign.Failure) => {
    const path = remember(definition, failure, folder)
    return Report.formatFailure(definition, failure, {
      place: Place.here(),
      saved: path === undefined ? undefined : relative(process.cwd(), path),
      replay: [`SIM_SEED=${Replay.format(failure.replay)}`, ...command].join(" ")
    })
  }
  const single = process.env["SIM_SEED"]
  if (single !== undefined) {
    const replay = given("SIM_SEED", single, Replay.parse)
    const recipe = Campaign.recipeOfReplay(definition, replay)
    const result = await Campaign.run(definition, recipe, { fullTrace: true, branches: replay.branches })
    if (process.env["SIM_TRACE"] !== undefined) showTrace(process.env["SIM_TRACE"], result)
    write(`${definition.name}: seed ${Replay.format(replay)} trace ${result.hash} ${result.verdict.kind}`)
    if (result.verdict.kind !== "pass") {
      throw new SimulationFailed(report(await Campaign.investigate(definition, recipe, result, replay)))
    }
    return
  }
  const { open, problems } = await replayCorpus(definition, folder)
  for (const line of open) write(`OPEN ${line}`)
  if (problems.length > 0) throw new SimulationFailed(problems.join("\n"))
  const result = await Campaign.campaign(definition, {
    base: given("SIM_BASE", process.env["SIM_BASE"] ?? "1", Place.firstSeed),
    seeds: given("SIM_SEEDS", process.env["SIM_SEEDS"] ?? String(definition.options.seeds ?? 100), wholeNumber)
  })
  if (result.failure !== undefined) throw new SimulationFailed(report(result.failure))
  if (result.gaps.length > 0) throw new SimulationFailed(`${definition.name}: ${result.gaps.join("; ")}`)
}

/** Real milliseconds a test may take in all, on top of its seeds. */
const timeoutMs = 180_000

/**
 * Registers a simulation as a test: replays the corpus, then runs `seeds` seeds, then checks that every `sometimes`
 * happened. `SIM_SEED=n` runs that seed alone; `SIM_SEEDS`, `SIM_BASE` change how many and which (`SIM_BASE=commit` and
 * `SIM_BASE=date` follow the commit and the day); `SIM_TRACE=1` prints the whole trace of a single seed, `SIM_TRACE=x.jsonl`
 * writes it as JSON Lines; `SIM_CORPUS` names another folder for stored failures, `off` none.
 *
 * @throws ScenarioError when the scenario could not prove anything, UnknownFault when a fault name is wrong.
 */
export const simTest = <E>(
  name: string,
  options: Campaign.Options,
  scenario: (sim: Sim) => Effect.Effect<unknown, E, HostServices | Scope.Scope>
): void => {
  const definition = Campaign.define(name, options, scenario)
  const file = callerFile()
  const folder = options.corpus === false || process.env["SIM_CORPUS"] === "off"
    ? undefined
    : process.env["SIM_CORPUS"] ?? options.corpus ?? join(packageOf(file), "corpus")
  const list = collected()
  if (list !== undefined) list.push({ definition, corpus: folder })
  else runner!(name, body(definition, folder, file), timeoutMs)
}
