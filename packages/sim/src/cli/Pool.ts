/**
 * One scenario over many worker threads: shares of the seeds, sums as they come, the first failure ends all of them.
 */
import { Worker } from "node:worker_threads"
import type * as Campaign from "../Campaign.ts"
import * as Seed from "../Seed.ts"
import * as Tally from "../Tally.ts"
import { unbounded } from "./Arguments.ts"
import type { WorkerInput, WorkerOutput } from "./Worker.ts"

/** What a pool runs. */
export interface Job {
  readonly file: string
  readonly test: string
  readonly base: Seed.Seed
  readonly seeds: number
  /** Real milliseconds after which no new run starts. */
  readonly realMs: number | undefined
  readonly workers: number
  readonly heapMb: number
  /** The command that replays a run, with `%s` for its text. */
  readonly replay: string
}

/** What came of it. */
export interface Outcome {
  readonly tally: Tally.Tally
  readonly failures: ReadonlyArray<string>
}

type Done = Extract<WorkerOutput, { readonly _tag: "done" }>

/** Starts one worker. `ended` is called once: with its last message, or with what became of it instead. */
const start = (
  input: Omit<WorkerInput, "current">,
  heapMb: number,
  isStopped: () => boolean,
  progress: (tally: Tally.Tally) => void,
  ended: (done: Done | undefined, problem: string | undefined) => void
): Worker => {
  const current = new SharedArrayBuffer(8)
  const worker = new Worker(new URL(import.meta.url.replace(/Pool(\.[jt]s)/, "Worker$1")), {
    workerData: { ...input, current } satisfies WorkerInput,
    execArgv: process.execArgv,
    resourceLimits: { maxOldGenerationSizeMb: heapMb }
  })
  let over = false
  const end = (done: Done | undefined, problem?: string) => {
    if (over) return
    over = true
    const seed = new BigUint64Array(current)[0]!.toString()
    ended(
      done,
      problem && `${input.test}: ${problem} on seed ${seed}; replay: ${input.replay.replace("%s", seed)}`
    )
  }
  worker.on("message", (output: WorkerOutput) => {
    progress(output.tally)
    if (output._tag === "done") end(output)
  })
  worker.on("error", (error: Error & { code?: string }) =>
    end(
      undefined,
      error.code === "ERR_WORKER_OUT_OF_MEMORY" ? "a worker ran out of memory" : `a worker failed: ${error.message}`
    ))
  worker.on("exit", () => end(undefined, isStopped() ? undefined : "a worker ended before its seeds did"))
  return worker
}

/** Runs a job. `onProgress` gets the sums whenever a worker has told of new ones. */
export const run = async (job: Job, onProgress: (tally: Tally.Tally) => void): Promise<Outcome> => {
  const tallies = new Map<number, Tally.Tally>()
  const failures: Array<string> = []
  const samples: Array<Campaign.Sample> = []
  const running = new Set<Worker>()
  let stopped = false
  const total = () => {
    const sum = Tally.empty()
    for (const tally of tallies.values()) Tally.merge(sum, tally)
    return sum
  }
  const share = (index: number) => ({
    file: job.file,
    test: job.test,
    // Far apart, so that no two workers run the same seed.
    base: Seed.add(job.base, index * unbounded).text,
    seeds: Math.ceil(job.seeds / job.workers),
    realMs: job.realMs,
    replay: job.replay
  })
  const work = (index: number, input: Omit<WorkerInput, "current">) =>
    new Promise<void>((resolve) => {
      const worker = start(
        input,
        job.heapMb,
        () => stopped,
        (tally) => {
          tallies.set(index, tally)
          onProgress(total())
        },
        (done, problem) => {
          running.delete(worker)
          samples.push(...(done?.samples ?? []))
          const failure = problem ?? done?.failure
          if (failure !== undefined) {
            failures.push(failure)
            stopped = true
            // One failure is enough to look at: the others stop.
            for (const other of running) void other.terminate()
          }
          resolve()
        }
      )
      running.add(worker)
    })
  await Promise.all(Array.from({ length: job.workers }, (_, index) => work(index, share(index))))
  // In the other order and in a thread whose modules are new: what outlives a run shows itself here.
  if (failures.length === 0 && samples.length > 0) {
    await work(job.workers, { ...share(0), samples: samples.toReversed() })
  }
  return { tally: total(), failures }
}
