/**
 * Block coverage of one execution at a time, from V8's own profiler: no instrumentation, nothing to install.
 */
import { Session } from "node:inspector"

interface FunctionCoverage {
  readonly functionName: string
  readonly ranges: ReadonlyArray<{ readonly startOffset: number; readonly endOffset: number; readonly count: number }>
}

interface ScriptCoverage {
  readonly scriptId: string
  readonly url: string
  readonly functions: ReadonlyArray<FunctionCoverage>
}

/** Counts are compared by magnitude, so that one more turn of a loop is no news and ten times as many is. */
const magnitude = (count: number): number => count === 0 ? 0 : 1 + Math.min(8, Math.floor(Math.log2(count)))

/** Coverage of the scripts that a filter accepts. */
export class Coverage {
  readonly #session = new Session()
  readonly #accepts: (url: string) => boolean
  readonly #seen = new Set<string>()
  readonly #batches = new Set<string>()
  readonly #accepted = new Map<string, boolean>()

  constructor(accepts: (url: string) => boolean) {
    this.#accepts = accepts
    this.#session.connect()
    this.#post("Profiler.enable")
    this.#post("Profiler.startPreciseCoverage", { callCount: true, detailed: true })
  }

  /** Distinct function behaviours seen so far. */
  get features(): number {
    return this.#seen.size
  }

  #post(method: string, parameters: object = {}): unknown {
    let result: unknown
    let failure: Error | null = null
    // In the same thread the answer arrives before `post` returns.
    this.#session.post(method, parameters, (error, value) => {
      failure = error
      result = value
    })
    if (failure !== null) throw failure as Error
    return result
  }

  /**
   * Number of behaviours since the last call that were never seen before. A behaviour is a function with all its block
   * counts: single blocks are merged by V8 when their counts are equal and would hide news.
   */
  takeNews(): number {
    return this.#take(this.#seen, magnitude)
  }

  /** Whether any block was reached, since the last call, that no batch of executions had reached before. */
  takeBatchNews(): boolean {
    return this.#take(this.#batches, (count) => count === 0 ? 0 : 1) > 0
  }

  #take(seen: Set<string>, bucket: (count: number) => number): number {
    const { result } = this.#post("Profiler.takePreciseCoverage") as { result: ReadonlyArray<ScriptCoverage> }
    let news = 0
    for (const script of result) {
      let accepted = this.#accepted.get(script.url)
      if (accepted === undefined) {
        accepted = this.#accepts(script.url)
        this.#accepted.set(script.url, accepted)
      }
      if (!accepted) continue
      for (const { functionName, ranges } of script.functions) {
        if (ranges[0]!.count === 0) continue
        let signature = `${script.scriptId}/${functionName}/${ranges[0]!.startOffset}`
        for (const range of ranges) signature += `,${range.startOffset}-${range.endOffset}:${bucket(range.count)}`
        if (seen.has(signature)) continue
        seen.add(signature)
        news++
      }
    }
    return news
  }

  close(): void {
    this.#post("Profiler.stopPreciseCoverage")
    this.#post("Profiler.disable")
    this.#session.disconnect()
  }
}
