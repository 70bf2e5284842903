/**
 * Fuzzing in a thread of its own: fresh code for the coverage, and an end for decoders that never return.
 */
import { parentPort, Worker, workerData } from "node:worker_threads"
import { type Crash, fuzz, type Options, type Result, type Target } from "./index.ts"

export interface ModuleOptions extends Omit<Options, "onInput"> {
  /** Real milliseconds that one input may take before the thread is ended; 10,000 by default. */
  readonly hangMs?: number | undefined
}

interface Input {
  readonly module: string
  readonly target: string
  readonly options: Omit<Options, "onInput">
  /** A counter of executions, the length of the input, and the input itself. */
  readonly current: SharedArrayBuffer
}

/** Longest input that is kept for the report of a hang. */
const maxShared = 1 << 20
const marker = "@perigee/sim/fuzz"

/** Fuzzes the export `target` of a module in a worker thread. */
export const fuzzModule = (module: URL, target: string, options: ModuleOptions = {}): Promise<Result> => {
  const { hangMs = 10_000, ...rest } = options
  const current = new SharedArrayBuffer(8 + maxShared)
  const head = new Int32Array(current, 0, 2)
  const input: Input = { module: module.href, target, options: rest, current }
  const worker = new Worker(new URL(import.meta.url), {
    workerData: { [marker]: input },
    execArgv: ["--conditions=@perigee/source"]
  })
  return new Promise<Result>((resolve, reject) => {
    let last = -1
    const watchdog = setInterval(() => {
      const executions = Atomics.load(head, 0)
      if (executions === last && executions > 0) {
        const bytes = new Uint8Array(current, 8, Math.min(maxShared, head[1]!)).slice()
        const crash: Crash = {
          kind: "hang",
          input: bytes,
          minimised: bytes,
          error: new Error(`no answer within ${hangMs} ms`),
          executions
        }
        settle(() => resolve({ executions, perSecond: 0, corpus: [], places: 0, slowestMs: hangMs, crash }))
      }
      last = executions
    }, hangMs)
    const settle = (done: () => void) => {
      clearInterval(watchdog)
      void worker.terminate()
      done()
    }
    worker.once("message", (result: Result) => settle(() => resolve(result)))
    worker.once("error", (error) => settle(() => reject(error)))
  })
}

const work = async (input: Input): Promise<Result> => {
  const head = new Int32Array(input.current, 0, 2)
  const body = new Uint8Array(input.current, 8)
  const module = await import(input.module) as Record<string, Target | undefined>
  const target = module[input.target]
  if (target === undefined) throw new Error(`${input.module} does not export ${input.target}`)
  const result = fuzz(target, {
    ...input.options,
    onInput: (bytes) => {
      head[1] = bytes.length
      body.set(bytes.subarray(0, maxShared))
      Atomics.add(head, 0, 1)
    }
  })
  const { crash } = result
  // Error instances of user classes do not survive the way between threads.
  const error = crash?.error instanceof Error
    ? new Error(`${crash.error.name}: ${crash.error.message}`)
    : String(crash?.error)
  return crash === undefined ? result : { ...result, crash: { ...crash, error } }
}

const started = (workerData as Record<string, Input> | null)?.[marker]
if (started !== undefined && parentPort !== null) {
  const port = parentPort
  const result = await work(started)
  port.postMessage(result)
}
