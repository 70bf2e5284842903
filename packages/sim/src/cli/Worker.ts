/**
 * One worker of a campaign: loads a simulation file, runs the seeds it is given, and tells what came of them.
 */
import { relative } from "node:path"
import { pathToFileURL } from "node:url"
import { parentPort, workerData } from "node:worker_threads"
import * as Campaign from "../Campaign.ts"
import * as Place from "../Place.ts"
import * as Report from "../Report.ts"
import * as Replay from "../Replay.ts"
import { collect, remember } from "../Scenario.ts"
import * as Seed from "../Seed.ts"
import * as Tally from "../Tally.ts"

/** What a worker is started with. */
export interface WorkerInput {
  readonly file: string
  readonly test: string
  readonly base: string
  readonly seeds: number
  readonly realMs: number | undefined
  /** Eight bytes in which the worker keeps the seed it is on, readable even when it dies. */
  readonly current: SharedArrayBuffer
  /** The command that replays a run, with `%s` for its text. */
  readonly replay: string
  /** Runs of other workers: the only thing to do is to repeat them. */
  readonly samples?: ReadonlyArray<Campaign.Sample> | undefined
}

/** What a worker sends. */
export type WorkerOutput =
  | { readonly _tag: "progress"; readonly tally: Tally.Tally }
  | {
    readonly _tag: "done"
    readonly tally: Tally.Tally
    readonly failure: string | undefined
    readonly samples: ReadonlyArray<Campaign.Sample>
  }

/** Real milliseconds between two progress messages. */
const progressMs = 500

/** Loads the scenarios of a file. */
export const loadScenarios = async (file: string): Promise<ReturnType<typeof collect>> => {
  const list = collect()
  await import(pathToFileURL(file).href)
  return list
}

const main = async (input: WorkerInput, send: (output: WorkerOutput) => void): Promise<void> => {
  const current = new BigUint64Array(input.current)
  const found = (await loadScenarios(input.file)).find(({ definition }) => definition.name === input.test)
  if (found === undefined) throw new Error(`${input.file} has no scenario named ${input.test}`)
  if (input.samples !== undefined) {
    const tally = Tally.empty()
    const failure = await Campaign.repeat(found.definition, input.samples)
    tally.fresh = input.samples.length
    return send({ _tag: "done", tally, failure: failure && `${input.test}: ${failure}`, samples: [] })
  }
  let last = process.hrtime.bigint()
  const { failure, samples, tally } = await Campaign.campaign(found.definition, {
    base: Seed.make(input.base),
    seeds: input.seeds,
    realMs: input.realMs,
    onRun: (seed, tally) => {
      current[0] = BigInt(seed)
      const now = process.hrtime.bigint()
      if (now - last < BigInt(progressMs) * 1_000_000n) return
      last = now
      send({ _tag: "progress", tally })
    }
  })
  const path = failure === undefined ? undefined : remember(found.definition, failure, found.corpus)
  send({
    _tag: "done",
    tally,
    samples,
    failure: failure === undefined ? undefined : Report.formatFailure(found.definition, failure, {
      place: Place.here(),
      saved: path === undefined ? undefined : relative(process.cwd(), path),
      replay: input.replay.replace("%s", Replay.format(failure.replay))
    })
  })
}

if (parentPort !== null) {
  const port = parentPort
  await main(workerData as WorkerInput, (output) => port.postMessage(output))
}
