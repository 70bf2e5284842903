/**
 * What goes wrong, when, and to whom: carries out a plan of faults, and ends it all in the calm. A plan is data: it can be
 * printed, shrunk, stored and replayed after the code has changed.
 */
import { families, UnknownFault } from "./Families.ts"
import type { Chaos, Family, Fault } from "./Fault.ts"
import type { Field, TraceEvent } from "./Trace.ts"

export { drawPlan, families, resolve, UnknownFault } from "./Families.ts"
export { type Applied, type Chaos, type Family, type Fault, formatFault } from "./Fault.ts"

/** Carries a plan out. */
export class Nemesis {
  readonly #chaos: Chaos
  readonly #families: ReadonlyMap<string, Family>
  #stopped = false
  readonly #active = new Set<() => void>()
  #cancel: Array<() => void> = []
  /** Faults that hit something, by kind. */
  readonly injected = new Map<string, number>()

  constructor(chaos: Chaos, families: ReadonlyArray<Family>) {
    this.#chaos = chaos
    this.#families = new Map(families.map((family) => [family.name, family]))
  }

  /** Arms every fault of a plan; times count from now. */
  start(plan: ReadonlyArray<Fault>): void {
    if (this.#stopped) return
    const waiting: Array<{ fault: Fault; on: NonNullable<Fault["on"]>; left: number }> = []
    for (const fault of plan) {
      if (fault.on !== undefined) waiting.push({ fault, on: fault.on, left: fault.on.nth })
      else this.#cancel.push(this.#chaos.world.after(fault.at * 1000, () => this.inject(fault)))
    }
    if (waiting.length === 0) return
    let armed = true
    this.#cancel.push(() => {
      armed = false
    })
    this.#chaos.world.trace.observe((event: TraceEvent) => {
      if (!armed) return
      for (const entry of waiting) {
        if (event.name !== entry.on.event) continue
        if (entry.on.host !== undefined && entry.on.host !== event.host) continue
        // Never inside the program's own call: the fault follows it as the next thing that happens.
        if (--entry.left === 0) this.#chaos.world.after(0, () => this.inject(entry.fault))
      }
    })
  }

  /** Disarms what has not happened yet. */
  hold(): void {
    for (const cancel of this.#cancel) cancel()
    this.#cancel = []
  }

  /** Carries one fault out now. */
  inject(fault: Fault): void {
    if (this.#stopped) return
    const known = this.#families.get(fault.kind) ?? families.find((family) => family.name === fault.kind)
    if (known === undefined) throw new UnknownFault({ fault: fault.kind })
    const applied = known.apply(this.#chaos, fault)
    if (applied === undefined) return
    this.injected.set(fault.kind, (this.injected.get(fault.kind) ?? 0) + 1)
    const fields: Record<string, Field> = { target: applied.target }
    if (fault.for > 0) fields["for"] = fault.for
    this.#chaos.world.trace.append("nemesis", fault.kind, fields)
    const end = applied.end
    if (end === undefined) return
    const stop = () => {
      if (this.#active.delete(stop)) end()
    }
    this.#active.add(stop)
    this.#chaos.world.after(fault.for * 1000, stop)
  }

  /** The calm: no fault starts any more, what is on ends, machines come back. */
  stop(): void {
    if (this.#stopped) return
    this.#stopped = true
    this.hold()
    for (const stop of Array.from(this.#active)) stop()
    const { hosts, network, world } = this.#chaos
    network.heal()
    for (const host of hosts) {
      host.disk.beforeEffect = undefined
      host.disk.heal()
      host.resume()
      if (!host.alive && !host.stopped && host.boots > 0) host.reboot()
    }
    world.trace.append("nemesis", "calm")
  }
}
