/**
 * Rare behaviour on purpose, at named places of shipping code.
 *
 * A package that ships points does not import this one: a reference is found by its key, so a package declares
 * `Context.Reference<Buggify>("@perigee/Buggify", { defaultValue: () => never })` with the same two methods, and the
 * simulation provides that key. In production the default never fires.
 */
import * as Context from "effect/Context"
import { Rng } from "./internal/Rng.ts"
import type { World } from "./world/World.ts"

/** The two questions that code may ask. */
export interface Buggify {
  /** True when the rare path should be taken now. `probability` is per call, once the point is armed; 0.25 by default. */
  readonly point: (label: string, probability?: number) => boolean
  /** The given value, or on some seeds another one from `extremes`. Fixed for the whole run. */
  readonly knob: <A>(label: string, value: A, extremes: ReadonlyArray<A>) => A
}

/** Never fires, changes nothing, draws nothing. */
export const never: Buggify = { point: () => false, knob: (_label, value) => value }

/** The reference; {@link never} outside a simulation. */
export const Buggify: Context.Reference<Buggify> = Context.Reference<Buggify>("@perigee/Buggify", {
  defaultValue: () => never
})

/** Points and knobs of one run: each label is armed for the whole run or not, by the seed and its own name alone. */
export class BuggifyState implements Buggify {
  readonly #world: World
  readonly #enabled: boolean
  readonly #disarmed: ReadonlySet<string>
  readonly #points = new Map<string, Rng | undefined>()
  /** How often each armed label fired. */
  readonly fired = new Map<string, number>()

  constructor(world: World, options: { readonly enabled: boolean; readonly disarmed: ReadonlyArray<string> }) {
    this.#world = world
    this.#enabled = options.enabled
    this.#disarmed = new Set(options.disarmed)
  }

  #stream(label: string): Rng | undefined {
    if (!this.#enabled || this.#disarmed.has(label)) return undefined
    if (this.#points.has(label)) return this.#points.get(label)
    const rng = new Rng(this.#world.seed.hi, this.#world.seed.lo, `buggify:${label}`)
    const armed = rng.chance(0.5) ? rng : undefined
    this.#points.set(label, armed)
    return armed
  }

  point = (label: string, probability = 0.25): boolean => {
    const stream = this.#stream(label)
    if (stream === undefined || !stream.chance(probability)) return false
    this.#fire(label)
    return true
  }

  knob = <A>(label: string, value: A, extremes: ReadonlyArray<A>): A => {
    const stream = this.#stream(label)
    if (stream === undefined || extremes.length === 0) return value
    if (!this.fired.has(label)) this.#fire(label)
    return extremes[new Rng(this.#world.seed.hi, this.#world.seed.lo, `knob:${label}`).int(extremes.length)]!
  }

  #fire(label: string): void {
    this.fired.set(label, (this.fired.get(label) ?? 0) + 1)
    this.#world.trace.append("sim", "buggify", { label })
  }
}
