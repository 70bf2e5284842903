/**
 * A coverage-guided fuzzer for synchronous decoders: bytes in, and the decoder's own block coverage decides which
 * inputs are worth changing further.
 */
import { createHash } from "node:crypto"
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { Rng } from "../internal/Rng.ts"
import * as Seed from "../Seed.ts"
import { Coverage, type Place, reached } from "./Coverage.ts"
import { mutate } from "./Mutate.ts"

export { fuzzModule, type ModuleOptions } from "./Thread.ts"

/** What is fuzzed. */
export interface Target {
  readonly name: string
  /** Decodes one input. Throwing is a crash unless {@link Target.accepts} says otherwise. */
  readonly run: (input: Uint8Array) => void
  /** True for errors that are the decoder's right answer to bad input. None by default. */
  readonly accepts?: ((error: unknown) => boolean) | undefined
  /** Scripts whose coverage counts, by URL; everything outside Node, node_modules and this package by default. */
  readonly covers?: ((url: string) => boolean) | undefined
  /** Valid inputs to start from. */
  readonly seeds?: ReadonlyArray<Uint8Array> | undefined
  /** Words of the format. */
  readonly dictionary?: ReadonlyArray<string | Uint8Array> | undefined
  /** Longest input; 4,096 bytes by default. */
  readonly maxBytes?: number | undefined
  /** Longest time for one input in real milliseconds, when it takes that long again and again; 1,000 by default. */
  readonly maxMs?: number | undefined
  /** Largest buffer that may be made from an input of this many bytes; unchecked by default. */
  readonly maxAllocation?: ((inputBytes: number) => number) | undefined
}

/** Bounds of a fuzzing run. */
export interface Options {
  readonly seed?: Seed.Input | undefined
  /** Executions; no bound by default. */
  readonly runs?: number | undefined
  /** Real milliseconds; 10,000 by default when `runs` is not given. */
  readonly realMs?: number | undefined
  /** Folder of inputs that reached new code: read at the start, added to. */
  readonly corpus?: string | undefined
  /** Called before each execution with its input. */
  readonly onInput?: ((input: Uint8Array) => void) | undefined
}

/** An input that a decoder did not survive. */
export interface Crash {
  readonly kind: "throw" | "slow" | "allocation" | "hang"
  readonly input: Uint8Array
  readonly minimised: Uint8Array
  readonly error: unknown
  readonly executions: number
}

/** What a fuzzing run ends with. */
export interface Result {
  readonly executions: number
  readonly perSecond: number
  /** Inputs that reached new code. */
  readonly corpus: ReadonlyArray<Uint8Array>
  /** Distinct places in the code reached. */
  readonly places: number
  readonly slowestMs: number
  readonly crash: Crash | undefined
}

/** A decoder wanted a buffer that its input does not justify. */
export class AllocationError extends Error {
  readonly bytes: number
  constructor(bytes: number, input: number) {
    super(`a buffer of ${bytes} bytes from an input of ${input}`)
    this.name = "AllocationError"
    this.bytes = bytes
  }
}

const now = (): number => Number(process.hrtime.bigint()) / 1e6

const defaultCovers = (url: string): boolean =>
  url !== "" && !url.startsWith("node:") && !url.includes("/node_modules/") && !/\/sim\/(?:src|dist)\//.test(url)

/** Runs `body` while buffers above `limit` bytes are refused. */
const limited = (limit: number, input: number, body: () => void): void => {
  const Real = globalThis.Uint8Array
  const check = (size: unknown) => {
    if (typeof size === "number" && size > limit) throw new AllocationError(size, input)
  }
  const wrapped = new Proxy(Real, {
    construct: (target, args, newTarget) => {
      check(args[0])
      return Reflect.construct(target, args, newTarget) as object
    }
  })
  const buffers = { alloc: Buffer.alloc, allocUnsafe: Buffer.allocUnsafe, allocUnsafeSlow: Buffer.allocUnsafeSlow }
  globalThis.Uint8Array = wrapped
  for (const key of ["alloc", "allocUnsafe", "allocUnsafeSlow"] as const) {
    Buffer[key] = ((size: number, ...rest: Array<never>) => {
      check(size)
      return buffers[key](size, ...rest)
    }) as typeof Buffer.alloc
  }
  try {
    body()
  } finally {
    globalThis.Uint8Array = Real
    Object.assign(Buffer, buffers)
  }
}

type Outcome = { readonly kind: Crash["kind"]; readonly error: unknown } | undefined

const execute = (target: Target, input: Uint8Array, timed: (ms: number) => void): Outcome => {
  const started = now()
  let outcome: Outcome
  try {
    // Decoders must not be able to change what is kept.
    const copy = input.slice()
    if (target.maxAllocation === undefined) target.run(copy)
    else limited(target.maxAllocation(input.length), input.length, () => target.run(copy))
  } catch (error) {
    if (error instanceof AllocationError) outcome = { kind: "allocation", error }
    else if (target.accepts?.(error) !== true) outcome = { kind: "throw", error }
  }
  const ms = now() - started
  timed(ms)
  return outcome ??
    (ms > (target.maxMs ?? 1000) ? { kind: "slow", error: new Error(`${ms.toFixed(0)} ms`) } : undefined)
}

/** How often an input must be slow: once may be the fault of a busy machine. */
const slowTimes = 3

/** {@link execute}, believing in slowness only when it stays. */
const examine = (target: Target, input: Uint8Array, timed: (ms: number) => void): Outcome => {
  let outcome = execute(target, input, timed)
  for (let again = 1; again < slowTimes && outcome?.kind === "slow"; again++) {
    outcome = execute(target, input, () => {})
  }
  return outcome
}

/** What tells crashes apart: kind, class, and the message without its numbers and quoted parts. */
const identity = (outcome: Outcome): string => {
  if (outcome === undefined) return ""
  const { error, kind } = outcome
  if (kind !== "throw") return kind
  return error instanceof Error
    ? `${error.name}: ${error.message.replaceAll(/\d+|"[^"]*"|'[^']*'/g, "#").slice(0, 80)}`
    : String(error).slice(0, 80)
}

/** Makes a crashing input short and plain while it crashes in the same way. */
export const minimise = (target: Target, input: Uint8Array): Uint8Array => {
  const wanted = identity(examine(target, input, () => {}))
  if (wanted === "") return input
  const same = (candidate: Uint8Array) => identity(examine(target, candidate, () => {})) === wanted
  let best = input
  for (let size = Math.max(1, best.length >> 1); size >= 1; size >>= 1) {
    for (let at = 0; at < best.length;) {
      const candidate = new Uint8Array(best.length - Math.min(size, best.length - at))
      candidate.set(best.subarray(0, at))
      candidate.set(best.subarray(Math.min(best.length, at + size)), at)
      if (same(candidate)) best = candidate
      else at += size
    }
  }
  for (let at = 0; at < best.length; at++) {
    for (const plain of [0, 0x30]) {
      if (best[at] === plain) break
      const candidate = best.slice()
      candidate[at] = plain
      if (same(candidate)) {
        best = candidate
        break
      }
    }
  }
  return best
}

const loadCorpus = (folder: string | undefined): ReadonlyArray<Uint8Array> =>
  folder === undefined || !existsSync(folder)
    ? []
    : readdirSync(folder).sort().map((name) => new Uint8Array(readFileSync(join(folder, name))))

const keep = (folder: string | undefined, input: Uint8Array): void => {
  if (folder === undefined) return
  mkdirSync(folder, { recursive: true })
  const file = join(folder, createHash("sha256").update(input).digest("hex").slice(0, 16))
  if (!existsSync(file)) writeFileSync(file, input)
}

const batchSize = 32
/** Inputs kept; beyond, the oldest half makes room. */
const maxKept = 10_000

/**
 * Fuzzes a target until it crashes or the budget is spent. V8 gives block coverage only to functions that it compiles
 * after this began, so that decoders which already ran are best fuzzed with {@link fuzzModule}.
 */
export const fuzz = (target: Target, options: Options = {}): Result => {
  const seed = Seed.make(options.seed ?? 1)
  const rng = new Rng(seed.hi, seed.lo, `fuzz:${target.name}`)
  const maxBytes = target.maxBytes ?? 4096
  const encoder = new TextEncoder()
  const dictionary = (target.dictionary ?? []).map((word) => typeof word === "string" ? encoder.encode(word) : word)
  const realMs = options.realMs ?? (options.runs === undefined ? 10_000 : Infinity)
  const coverage = new Coverage(target.covers ?? defaultCovers)
  const started = now()
  let kept: Array<Uint8Array> = []
  let executions = 0
  let slowestMs = 0
  let crash: Crash | undefined

  const going = () => crash === undefined
  const attempt = (input: Uint8Array): boolean => {
    executions++
    options.onInput?.(input)
    const outcome = examine(target, input, (ms) => {
      slowestMs = Math.max(slowestMs, ms)
    })
    if (outcome === undefined) return true
    crash = { ...outcome, input, minimised: minimise(target, input), executions }
    return false
  }
  const admit = (input: Uint8Array): void => {
    if (kept.some((other) => Buffer.compare(other, input) === 0)) return
    kept.push(input)
    keep(options.corpus, input)
    if (kept.length > maxKept) kept = kept.slice(maxKept >> 1)
  }
  /** The first of `inputs` that reaches one of the places, by halving; a rerun of a decoder is cheaper than a look. */
  const whoReached = (inputs: ReadonlyArray<Uint8Array>, places: ReadonlyArray<Place>): Uint8Array | undefined => {
    let from = 0
    let to = inputs.length
    while (to - from > 1 && going()) {
      const middle = (from + to) >> 1
      for (const input of inputs.slice(from, middle)) if (!attempt(input)) return undefined
      const snapshot = coverage.take()
      if (places.some((place) => reached(snapshot, place))) to = middle
      else from = middle
    }
    return inputs[from]
  }
  /** Reading coverage costs more than most executions, so a whole batch is read at once and looked into if it has news. */
  const batch = (inputs: ReadonlyArray<Uint8Array>): void => {
    for (const input of inputs) if (!attempt(input)) return
    let places = coverage.news(coverage.take())
    for (let rest = inputs; places.length > 0 && rest.length > 0 && going();) {
      const found = whoReached(rest, places)
      if (found === undefined || !attempt(found)) return
      const snapshot = coverage.take()
      const left = places.filter((place) => !reached(snapshot, place))
      // What did not show again depended on something else than this input.
      if (left.length === places.length) return
      places = left
      admit(found)
      rest = rest.filter((input) => input !== found)
    }
  }
  const changed = (): Uint8Array => {
    // Half of the time from what was found last: that is where new code begins.
    const index = rng.chance(0.5) ? kept.length - 1 - rng.int(Math.min(16, kept.length)) : rng.int(kept.length)
    return mutate(kept[index]!, rng, { others: kept, dictionary, maxBytes })
  }
  try {
    const initial = [...loadCorpus(options.corpus), ...(target.seeds ?? []), new Uint8Array(0)]
    coverage.take()
    for (const input of initial) {
      if (!going() || !attempt(input.slice(0, maxBytes))) break
      if (coverage.news(coverage.take()).length > 0) admit(input.slice(0, maxBytes))
    }
    if (kept.length === 0) kept.push(new Uint8Array(0))
    while (going() && executions < (options.runs ?? Infinity) && now() - started < realMs) {
      batch(Array.from({ length: batchSize }, changed))
    }
  } finally {
    coverage.close()
  }
  return {
    executions,
    perSecond: Math.round((executions * 1000) / Math.max(1, now() - started)),
    corpus: kept,
    places: coverage.places,
    slowestMs,
    crash
  }
}
