/**
 * One worker of a campaign: loads a simulation file, runs the seeds it is given, and tells what came of them.
 */
import { relative } from "node:path"
import { pathToFileURL } from "node:url"
import { parentPort, workerData } from "node:worker_threads"
import * as Campaign from "../Campaign.ts"
import * as Report from "../Report.ts"
import { collect, place, remember } from "../Scenario.ts"
import * as Seed from "../Seed.ts"

/** What a worker is started with. */
export interface WorkerInput {
  readonly file: string
  readonly test: string
  readonly base: string
  readonly seeds: number
  readonly realMs: number | undefined
  /** Eight bytes in which the worker keeps the seed it is on, readable even when it dies. */
  readonly current: SharedArrayBuffer
  readonly replay: string
}

/** What a worker sends. */
export type WorkerOutput =
  | { readonly _tag: "progress"; readonly tally: Campaign.Tally }
  | { readonly _tag: "done"; readonly tally: Campaign.Tally; readonly failure: string | undefined }

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
  let last = process.hrtime.bigint()
  const { failure, tally } = await Campaign.campaign(found.definition, {
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
    failure: failure === undefined ? undefined : Report.formatFailure(found.definition, failure, {
      place: place(),
      saved: path === undefined ? undefined : relative(process.cwd(), path),
      replay: input.replay.replace("%s", failure.result.config.seed)
    })
  })
}

if (parentPort !== null) {
  const port = parentPort
  await main(workerData as WorkerInput, (output) => port.postMessage(output))
}
