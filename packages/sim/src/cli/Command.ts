/**
 * The command: finds simulations, replays their corpus, spreads seeds over workers, prints a table.
 */
import { existsSync, globSync } from "node:fs"
import { availableParallelism } from "node:os"
import { basename, dirname, join, relative, resolve, sep } from "node:path"
import { parseArgs } from "node:util"
import { Worker } from "node:worker_threads"
import * as Campaign from "../Campaign.ts"
import * as Report from "../Report.ts"
import { type Collected, place, remember, replayCorpus } from "../Scenario.ts"
import * as Seed from "../Seed.ts"
import { formatEvent } from "../Trace.ts"
import { loadScenarios, type WorkerInput, type WorkerOutput } from "./Worker.ts"

export const usage = `usage: npm run sim -- [package or file] [options]

  --seeds N      seeds per scenario (default 300)
  --minutes M    real minutes in all, divided over the scenarios; without --seeds as many seeds as fit
  --seed S       run this one seed and print its trace
  --base S       first seed (default: derived from the commit, so that each commit runs others)
  --test TEXT    only scenarios whose name contains TEXT
  --workers W    worker threads (default: one per core, at most 4)
  --list         only list the scenarios`

/** Megabytes a worker may use before it is ended and its seed reported. */
const workerHeapMb = 1024
/** Seeds of a worker without a bound of its own. */
const unbounded = 2 ** 31

interface Found extends Collected {
  readonly file: string
}

const say = (line: string): void => void process.stdout.write(`${line}\n`)

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
    .sort()
}

const replayCommand = (root: string, { definition, file }: Found): string =>
  `npm run sim -- ${relative(root, file)} --test ${JSON.stringify(definition.name)} --seed %s`

/** A path as the reader's shell takes it. */
const shown = (path: string | undefined): string | undefined =>
  path === undefined ? undefined : relative(process.cwd(), path)

const single = async (root: string, found: Found, seed: Seed.Seed): Promise<boolean> => {
  const { definition } = found
  const recipe = Campaign.recipeOf(definition, seed)
  const result = await Campaign.run(definition, recipe, { fullTrace: true })
  for (const event of result.events) say(formatEvent(event))
  say(`${definition.name}: seed ${seed.text} trace ${result.hash} ${result.verdict.kind} ${result.verdict.message}`)
  if (result.verdict.kind === "pass") return true
  const failure = await Campaign.investigate(definition, recipe, result, [])
  say(Report.formatFailure(definition, failure, {
    place: place(),
    saved: shown(remember(definition, failure, found.corpus)),
    replay: replayCommand(root, found).replace("%s", seed.text)
  }))
  return false
}

const spread = async (
  root: string,
  found: Found,
  options: {
    readonly base: Seed.Seed
    readonly seeds: number
    readonly realMs: number | undefined
    readonly workers: number
  }
): Promise<boolean> => {
  const { definition } = found
  const started = process.hrtime.bigint()
  const elapsed = () => Number(process.hrtime.bigint() - started) / 1e6
  const share = Math.ceil(options.seeds / options.workers)
  const tallies = new Map<number, Campaign.Tally>()
  const failures: Array<string> = []
  const running = new Set<Worker>()
  const progress = () => {
    const sum = Campaign.emptyTally()
    for (const tally of tallies.values()) Campaign.merge(sum, tally)
    return sum
  }
  const timer = process.stdout.isTTY
    ? setInterval(
      () => process.stdout.write(`\r${Report.formatProgress(definition.name, progress(), elapsed())} `),
      500
    )
    : undefined
  await Promise.all(Array.from({ length: options.workers }, (_, index) =>
    new Promise<void>((resolve) => {
      const current = new SharedArrayBuffer(8)
      const input: WorkerInput = {
        file: found.file,
        test: definition.name,
        // Far apart, so that no two workers run the same seed.
        base: Seed.add(options.base, index * unbounded).text,
        seeds: share,
        realMs: options.realMs,
        current,
        replay: replayCommand(root, found)
      }
      const worker = new Worker(new URL(import.meta.url.replace(/Command(\.[jt]s)/, "Worker$1")), {
        workerData: input,
        execArgv: process.execArgv,
        resourceLimits: { maxOldGenerationSizeMb: workerHeapMb }
      })
      running.add(worker)
      const end = (problem?: string) => {
        if (!running.delete(worker)) return
        if (problem !== undefined) {
          const seed = new BigUint64Array(current)[0]!.toString()
          failures.push(
            `${definition.name}: ${problem} on seed ${seed}; replay: ${replayCommand(root, found).replace("%s", seed)}`
          )
        }
        resolve()
      }
      worker.on("message", (output: WorkerOutput) => {
        tallies.set(index, output.tally)
        if (output._tag !== "done") return
        if (output.failure !== undefined) {
          failures.push(output.failure)
          // One failure is enough to look at: the others stop.
          for (const other of running) if (other !== worker) void other.terminate()
        }
        end()
      })
      worker.on("error", (error: Error & { code?: string }) =>
        end(
          error.code === "ERR_WORKER_OUT_OF_MEMORY" ? "a worker ran out of memory" : `a worker failed: ${error.message}`
        ))
      worker.on("exit", () => end())
    })))
  clearInterval(timer)
  if (timer !== undefined) process.stdout.write("\r\u001b[K")
  const tally = progress()
  say(Report.formatTally(definition, tally, elapsed()))
  for (const failure of failures) say(failure)
  const gaps = failures.length > 0 ? [] : Campaign.gaps(definition, tally)
  for (const gap of gaps) say(`  MISSING          ${gap}`)
  return failures.length === 0 && gaps.length === 0
}

const commitSeed = (): Seed.Seed => {
  const { commit } = place()
  return /^[\da-f]{1,12}$/.test(commit) ? Seed.make(`0x${commit}`) : Seed.make(1)
}

const parse = (args: ReadonlyArray<string>) =>
  parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      seeds: { type: "string" },
      minutes: { type: "string" },
      seed: { type: "string" },
      base: { type: "string" },
      test: { type: "string" },
      workers: { type: "string" },
      list: { type: "boolean" },
      help: { type: "boolean" }
    }
  })

/** A whole or decimal number above zero, or a message. */
const positive = (name: string, text: string | undefined): number | undefined => {
  if (text === undefined) return undefined
  const value = Number(text)
  if (!(value > 0) || !Number.isFinite(value)) {
    throw new Error(`--${name} wants a number above zero, got ${JSON.stringify(text)}`)
  }
  return value
}

/** Runs the command and returns its exit code: 0 all passed, 1 a failure or a gap, 2 wrong use. */
export const main = async (args: ReadonlyArray<string>, root: string): Promise<number> => {
  let options: ReturnType<typeof parse>
  let numbers: { seeds?: number | undefined; minutes?: number | undefined; workers?: number | undefined }
  let base: Seed.Seed
  let seed: Seed.Seed | undefined
  try {
    options = parse(args)
    const { values } = options
    numbers = {
      seeds: positive("seeds", values.seeds),
      minutes: positive("minutes", values.minutes),
      workers: positive("workers", values.workers)
    }
    seed = values.seed === undefined ? undefined : Seed.make(values.seed)
    base = values.base === undefined ? commitSeed() : Seed.make(values.base)
  } catch (cause) {
    say(`sim: ${(cause as Error).message}\n\n${usage}`)
    return 2
  }
  if (options.values.help === true) {
    say(usage)
    return 0
  }
  const files = findFiles(root, options.positionals[0])
  const scenarios: Array<Found> = []
  for (const file of files) {
    try {
      for (const collected of await loadScenarios(file)) scenarios.push({ ...collected, file })
    } catch (cause) {
      say(`sim: ${relative(root, file)} cannot be loaded: ${(cause as Error).message}`)
      return 2
    }
  }
  const wanted = scenarios.filter(({ definition }) => definition.name.includes(options.values.test ?? ""))
  if (wanted.length === 0) {
    say(
      `sim: no scenario found${
        options.positionals[0] === undefined ? "" : ` for ${options.positionals[0]}`
      }; simulations are simTest calls in test/sim/*.test.ts`
    )
    return 2
  }
  if (options.values.list === true) {
    for (const { definition, file } of wanted) say(`${basename(dirname(dirname(dirname(file))))}: ${definition.name}`)
    return 0
  }
  if (seed !== undefined) {
    let passed = true
    for (const found of wanted) passed = await single(root, found, seed) && passed
    return passed ? 0 : 1
  }
  const workers = Math.max(1, Math.floor(numbers.workers ?? Math.min(4, availableParallelism())))
  const realMs = numbers.minutes === undefined ? undefined : (numbers.minutes * 60_000) / wanted.length
  const seeds = numbers.seeds ?? (realMs === undefined ? 300 : unbounded)
  let passed = true
  for (const found of wanted) {
    const { open, problems, replayed } = await replayCorpus(found.definition, found.corpus)
    for (const problem of [...problems, ...open.map((entry) => `OPEN ${entry}`)]) say(problem)
    if (replayed > 0) say(`${found.definition.name}: ${replayed} corpus entries replayed`)
    passed = problems.length === 0 && await spread(root, found, { base, seeds, realMs, workers }) && passed
  }
  return passed ? 0 : 1
}
