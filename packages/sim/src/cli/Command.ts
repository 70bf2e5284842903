/**
 * The command: finds simulations, replays their corpus, spreads seeds over workers, prints a table.
 */
import { existsSync, globSync, readFileSync, writeFileSync } from "node:fs"
import { basename, dirname, join, relative, resolve, sep } from "node:path"
import * as Campaign from "../Campaign.ts"
import * as Corpus from "../Corpus.ts"
import * as Place from "../Place.ts"
import * as Replay from "../Replay.ts"
import * as Report from "../Report.ts"
import { type Collected, remember, replayCorpus } from "../Scenario.ts"
import type { RunResult } from "../Simulation.ts"
import type * as Tally from "../Tally.ts"
import { formatEvent, toJsonLines } from "../Trace.ts"
import { type Arguments, parse, usage } from "./Arguments.ts"
import * as Pool from "./Pool.ts"
import { loadScenarios } from "./Worker.ts"

interface Found extends Collected {
  readonly file: string
}

/** A mistake in the use of the command, or a file that it cannot use. Ends it with exit code 2. */
class Unusable extends Error {}

const say = (line: string): void => void process.stdout.write(`${line}\n`)

const problemOf = (cause: unknown): string => cause instanceof Error ? cause.message : String(cause)

/** Files with simulations: `test/sim/**` of every package, or of the one that is named, or the file itself. */
export const findFiles = (root: string, target: string | undefined): ReadonlyArray<string> => {
  if (target !== undefined && existsSync(resolve(root, target)) && /\.[cm]?[jt]s$/.test(target)) {
    return [resolve(root, target)]
  }
  const patterns = [
    "packages/*/test/sim/**/*.test.ts",
    "apps/*/test/sim/**/*.test.ts",
    "test/sim/**/*.test.{ts,js,mjs}"
  ]
  return globSync(patterns, { cwd: root })
    .filter((file) =>
      target === undefined || ["packages", "apps"].some((room) => file.startsWith(join(room, target, sep)))
    )
    .map((file) => join(root, file))
    // Other tests of randomness may live beside simulations, and want the test runner that they import.
    .filter((file) => readFileSync(file, "utf8").includes("simTest("))
    .sort()
}

const findScenarios = async (root: string, target: string | undefined): Promise<ReadonlyArray<Found>> => {
  const scenarios: Array<Found> = []
  for (const file of findFiles(root, target)) {
    try {
      for (const collected of await loadScenarios(file)) scenarios.push({ ...collected, file })
    } catch (cause) {
      throw new Unusable(`${relative(root, file)} cannot be loaded: ${problemOf(cause)}`)
    }
  }
  return scenarios
}

/** Entries whose test is gone: they would be kept for ever and never run. */
const orphans = (scenarios: ReadonlyArray<Found>): ReadonlyArray<string> => {
  const folders = new Set(scenarios.flatMap(({ corpus }) => corpus ?? []))
  const names = new Set(scenarios.map(({ definition }) => definition.name))
  return [...folders].flatMap((folder) => Corpus.loadAll(folder))
    .filter(({ entry }) => !names.has(entry.test))
    .map(({ entry, file }) =>
      `${shown(file)} belongs to no scenario: there is none named ${JSON.stringify(entry.test)}`
    )
}

/** A path as the reader's shell takes it. */
const shown = (path: string): string => relative(process.cwd(), path)

/** How this command is called below a folder: by its own script, if the folder has one. */
const callOf = (root: string): string => {
  try {
    const { scripts } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { scripts?: { sim?: string } }
    return scripts?.sim === undefined ? "npx perigee-sim" : "npm run sim --"
  } catch {
    return "npx perigee-sim"
  }
}

const replayCommand = (root: string, { definition, file }: Found): string =>
  `${callOf(root)} ${relative(root, file)} --test ${JSON.stringify(definition.name)} --seed %s`

const showTrace = (result: RunResult, target: string | undefined): void => {
  if (target === undefined) { for (const event of result.events) say(formatEvent(event)) }
  else {
    writeFileSync(target, toJsonLines(result.events))
    say(`${result.events.length} events written to ${target}`)
  }
}

const showVerdict = (name: string, what: string, { hash, verdict }: RunResult): void =>
  say(`${name}: ${what} trace ${hash} ${verdict.kind} ${verdict.message}`.trimEnd())

const runSingle = async (
  root: string,
  found: Found,
  replay: Replay.Replay,
  trace: string | undefined
): Promise<boolean> => {
  const { definition } = found
  const recipe = Campaign.recipeOfReplay(definition, replay)
  const result = await Campaign.run(definition, recipe, { fullTrace: true, branches: replay.branches })
  showTrace(result, trace)
  showVerdict(definition.name, `seed ${Replay.format(replay)}`, result)
  if (result.verdict.kind === "pass") return true
  const failure = await Campaign.investigate(definition, recipe, result, replay)
  const saved = remember(definition, failure, found.corpus)
  say(Report.formatFailure(definition, failure, {
    place: Place.here(),
    saved: saved === undefined ? undefined : shown(saved),
    replay: replayCommand(root, found).replace("%s", Replay.format(replay))
  }))
  return false
}

const runEntry = async (
  scenarios: ReadonlyArray<Found>,
  file: string,
  trace: string | undefined
): Promise<boolean> => {
  if (!existsSync(file)) throw new Unusable(`${file} does not exist`)
  const entry = Corpus.parse(readFileSync(file, "utf8"), file)
  const found = scenarios.find(({ definition }) => definition.name === entry.test)
  if (found === undefined) throw new Unusable(`${file}: no scenario is named ${JSON.stringify(entry.test)}`)
  const result = await Campaign.run(found.definition, entry, { fullTrace: true, branches: entry.branches })
  showTrace(result, trace)
  showVerdict(entry.test, `entry ${entry.status}, found with seed ${entry.seed} on ${entry.commit},`, result)
  return result.verdict.kind === "pass"
}

/** Real milliseconds between two progress lines where they cannot replace each other. */
const logEveryMs = 10_000

/** Shows how a campaign comes along: one line that changes on a terminal, a line now and then elsewhere. */
const progressOf = (name: string, elapsed: () => number) => {
  const terminal = process.stdout.isTTY
  let next = terminal ? 0 : logEveryMs
  return {
    show: (tally: Tally.Tally) => {
      if (elapsed() < next) return
      next = elapsed() + (terminal ? 500 : logEveryMs)
      const line = Report.formatProgress(name, tally, elapsed())
      if (terminal) process.stdout.write(`\r${line} `)
      else say(line)
    },
    clear: () => void (terminal && process.stdout.write("\r\u001b[K"))
  }
}

const runCampaign = async (
  root: string,
  found: Found,
  options: Arguments,
  realMs: number | undefined
): Promise<boolean> => {
  const { definition } = found
  const corpus = await replayCorpus(definition, found.corpus)
  for (const line of [...corpus.problems, ...corpus.open.map((entry) => `OPEN ${entry}`)]) say(line)
  if (corpus.replayed > 0) say(`${definition.name}: ${corpus.replayed} corpus entries replayed`)
  if (corpus.problems.length > 0) return false
  const started = process.hrtime.bigint()
  const elapsed = () => Number(process.hrtime.bigint() - started) / 1e6
  const progress = progressOf(definition.name, elapsed)
  const { failures, tally } = await Pool.run({
    file: found.file,
    test: definition.name,
    base: options.base,
    seeds: options.seeds,
    workers: Math.min(options.workers, options.seeds),
    heapMb: options.heapMb,
    realMs,
    replay: replayCommand(root, found)
  }, progress.show)
  progress.clear()
  say(Report.formatTally(definition, tally, elapsed()))
  for (const failure of failures) say(failure)
  const gaps = failures.length > 0 ? [] : Campaign.gaps(definition, tally)
  for (const gap of gaps) say(`  MISSING          ${gap}`)
  return failures.length === 0 && gaps.length === 0
}

const dispatch = async (options: Arguments, root: string): Promise<boolean> => {
  const { entry, replay, target, trace } = options
  const scenarios = await findScenarios(root, target)
  if (entry !== undefined) return runEntry(scenarios, entry, trace)
  const wanted = scenarios.filter(({ definition }) => definition.name.includes(options.test))
  if (wanted.length === 0) {
    const where = target === undefined ? "" : ` for ${target}`
    throw new Unusable(`no scenario found${where}; simulations are simTest calls in test/sim/*.test.ts`)
  }
  if (options.list) {
    for (const { definition, file } of wanted) say(`${basename(dirname(dirname(dirname(file))))}: ${definition.name}`)
    return true
  }
  let passed = true
  if (replay !== undefined) {
    for (const found of wanted) passed = await runSingle(root, found, replay, trace) && passed
    return passed
  }
  // Only who looks at whole packages sees every scenario that an entry may belong to.
  if (options.test === "" && !/\.[cm]?[jt]s$/.test(target ?? "")) {
    for (const orphan of orphans(scenarios)) {
      say(orphan)
      passed = false
    }
  }
  const realMs = options.realMs === undefined ? undefined : options.realMs / wanted.length
  for (const found of wanted) passed = await runCampaign(root, found, options, realMs) && passed
  return passed
}

/** Runs the command and returns its exit code: 0 all passed, 1 a failure or a gap, 2 wrong use. */
export const main = async (args: ReadonlyArray<string>, root: string): Promise<number> => {
  let options: Arguments
  try {
    options = parse(args)
  } catch (cause) {
    say(`sim: ${problemOf(cause)}\n\n${usage(callOf(root))}`)
    return 2
  }
  if (options.help) {
    say(usage(callOf(root)))
    return 0
  }
  try {
    return await dispatch(options, root) ? 0 : 1
  } catch (cause) {
    if (!(cause instanceof Unusable || cause instanceof Corpus.CorpusError)) throw cause
    say(`sim: ${cause.message}`)
    return 2
  }
}
