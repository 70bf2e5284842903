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

type Ranges = FunctionCoverage["ranges"]

/** What was executed between two looks: block counts by function. */
export type Snapshot = ReadonlyMap<string, Ranges>

/** A place in the code: a function, and the offset of a block in it. */
export interface Place {
  readonly function: string
  readonly offset: number
}

/** Whether a snapshot executed a place: the innermost block around it decides. */
export const reached = (snapshot: Snapshot, { function: name, offset }: Place): boolean => {
  let innermost: Ranges[number] | undefined
  for (const range of snapshot.get(name) ?? []) {
    if (range.startOffset > offset || range.endOffset <= offset) continue
    const smaller = innermost === undefined ||
      range.endOffset - range.startOffset <= innermost.endOffset - innermost.startOffset
    if (smaller) innermost = range
  }
  return innermost !== undefined && innermost.count > 0
}

/** Coverage of the scripts that a filter accepts. */
export class Coverage {
  readonly #session = new Session()
  readonly #accepts: (url: string) => boolean
  readonly #known = new Set<string>()
  readonly #accepted = new Map<string, boolean>()

  constructor(accepts: (url: string) => boolean) {
    this.#accepts = accepts
    this.#session.connect()
    this.#post("Profiler.enable")
    this.#post("Profiler.startPreciseCoverage", { callCount: true, detailed: true })
  }

  /** Distinct places reached so far. */
  get places(): number {
    return this.#known.size
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

  /** What was executed since the last call. */
  take(): Snapshot {
    const { result } = this.#post("Profiler.takePreciseCoverage") as { result: ReadonlyArray<ScriptCoverage> }
    const snapshot = new Map<string, Ranges>()
    for (const script of result) {
      let accepted = this.#accepted.get(script.url)
      if (accepted === undefined) {
        accepted = this.#accepts(script.url)
        this.#accepted.set(script.url, accepted)
      }
      if (!accepted) continue
      for (const { functionName, ranges } of script.functions) {
        if (ranges[0]!.count > 0) snapshot.set(`${script.scriptId}/${functionName}/${ranges[0]!.startOffset}`, ranges)
      }
    }
    return snapshot
  }

  /**
   * The places of a snapshot that no earlier one showed. V8 merges a block into the one around it when their counts are
   * equal, so that a place may show itself later than it was first reached, and never the other way round.
   */
  news(snapshot: Snapshot): Array<Place> {
    const found: Array<Place> = []
    for (const [name, ranges] of snapshot) {
      for (const { count, startOffset } of ranges) {
        const key = `${name}@${startOffset}`
        if (count === 0 || this.#known.has(key)) continue
        this.#known.add(key)
        found.push({ function: name, offset: startOffset })
      }
    }
    return found
  }

  close(): void {
    this.#post("Profiler.stopPreciseCoverage")
    this.#post("Profiler.disable")
    this.#session.disconnect()
  }
}
