/**
 * Properties that a run records: what must hold whenever it is looked at, and what must happen at least once in a
 * campaign. Like {@link file://./Buggify.ts Buggify}, shipping code reaches it through a reference by key.
 */
import * as Context from "effect/Context"
import type { Field, Trace } from "./Trace.ts"

/** Details of an evaluation, flat. */
export type Details = Readonly<Record<string, Field>>

/** The assertions that code may make. */
export interface Assert {
  /** Must be true every time, and must be evaluated at least once in a campaign. */
  readonly always: (condition: boolean, name: string, details?: Details) => void
  /** Must be true at least once in a campaign. */
  readonly sometimes: (condition: boolean, name: string, details?: Details) => void
  /** Must be passed at least once in a campaign. */
  readonly reachable: (name: string, details?: Details) => void
  /** Must never be passed. */
  readonly unreachable: (name: string, details?: Details) => void
  /** Counts the distinct values that were seen under a name; each is a `sometimes` of its own for exploration. */
  readonly sometimesEach: (name: string, value: string | number | boolean) => void
  /** Keeps the lowest and highest value seen under a name. */
  readonly watermark: (name: string, value: number) => void
}

/** Records nothing: the behaviour outside a simulation. */
export const noop: Assert = {
  always: () => {},
  sometimes: () => {},
  reachable: () => {},
  unreachable: () => {},
  sometimesEach: () => {},
  watermark: () => {}
}

/** The reference; {@link noop} outside a simulation. */
export const Assert: Context.Reference<Assert> = Context.Reference<Assert>("@perigee/Assert", {
  defaultValue: () => noop
})

/** A failed property. */
export interface Violation {
  readonly name: string
  /** Virtual milliseconds. */
  readonly at: number
  readonly event: number
  readonly details: Details
}

/** Distinct values kept per `sometimesEach` name. */
const maxBuckets = 1000
/** Violations kept per run; the first is what counts. */
const maxViolations = 20

/** Assertions of one run. */
export class Ledger implements Assert {
  readonly #trace: Trace
  readonly violations: Array<Violation> = []
  /** Evaluations of `always` and `unreachable` by name. */
  readonly evaluated = new Map<string, number>()
  /** How often each `sometimes`, `reachable` or bucket came true; present with zero when only looked at. */
  readonly fired = new Map<string, number>()
  readonly watermarks = new Map<string, { low: number; high: number }>()
  /** Called when a `sometimes` is true for the first time in this run. */
  onFirst: ((name: string) => void) | undefined

  constructor(trace: Trace) {
    this.#trace = trace
  }

  always = (condition: boolean, name: string, details: Details = {}): void => {
    this.evaluated.set(name, (this.evaluated.get(name) ?? 0) + 1)
    if (!condition) this.violate(name, details)
  }

  sometimes = (condition: boolean, name: string, details: Details = {}): void => {
    const before = this.fired.get(name) ?? 0
    this.fired.set(name, before + (condition ? 1 : 0))
    if (condition && before === 0) {
      this.#trace.append("sim", "sometimes", { name, ...details })
      this.onFirst?.(name)
    }
  }

  reachable = (name: string, details?: Details): void => this.sometimes(true, name, details)

  unreachable = (name: string, details: Details = {}): void => {
    this.evaluated.set(name, (this.evaluated.get(name) ?? 0) + 1)
    this.violate(name, details)
  }

  sometimesEach = (name: string, value: string | number | boolean): void => {
    if (this.fired.size < maxBuckets) this.sometimes(true, `${name}=${value}`)
  }

  watermark = (name: string, value: number): void => {
    const known = this.watermarks.get(name)
    if (known === undefined) this.watermarks.set(name, { low: value, high: value })
    else {
      known.low = Math.min(known.low, value)
      known.high = Math.max(known.high, value)
    }
  }

  /** Records a violation directly, as oracles do. */
  violate(name: string, details: Details = {}): void {
    const event = this.#trace.append("sim", "VIOLATION", { name, ...details })
    if (this.violations.length < maxViolations) {
      this.violations.push({ name, at: event.at, event: event.index, details })
    }
  }
}
