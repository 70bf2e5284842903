/**
 * A planned fault as data, and what carries out a kind of it.
 */
import type { Rng } from "./internal/Rng.ts"
import type { Field } from "./Trace.ts"
import type { Host } from "./world/Host.ts"
import type { Network } from "./world/Network.ts"
import type { World } from "./world/World.ts"

/** An event that a fault waits for. */
export interface Trigger {
  readonly event: string
  readonly host?: string | undefined
  /** Fields that the event has, `{ producer: "a" }`; others are not looked at. */
  readonly where?: Readonly<Record<string, Field>> | undefined
  /** Which of the matching events, from 1. */
  readonly nth: number
}

/** One planned fault. */
export interface Fault {
  /** The family that carries it out. */
  readonly kind: string
  /** Virtual milliseconds after the start of the run, or after its setup when it has one. Ignored when `on` is given. */
  readonly at: number
  /** Fires at the nth event with this name (of this host) from then on instead of at a time. */
  readonly on?: Trigger | undefined
  /** Virtual milliseconds until it ends; zero for an instant. */
  readonly for: number
  /** Chooses the target among what exists when the fault fires. */
  readonly pick: number
  /** Chooses the target by name instead. */
  readonly target?: string | undefined
  /** Strength; its meaning belongs to the family. */
  readonly level: number
}

/** What families act on. */
export interface Chaos {
  readonly world: World
  readonly network: Network
  /** Hosts that faults may touch, in order of creation. */
  readonly hosts: ReadonlyArray<Host<any>>
  /** Processes that may be down at the same time. */
  readonly maxDead: number
  /** Each adds its microseconds to the next timer. */
  readonly lateness: Set<() => number>
}

/** What a fault did: whom it hit and how to end it. Undefined when there was nothing to hit. */
export type Applied = { readonly target: string; readonly end?: (() => void) | undefined } | undefined

/** A kind of fault. */
export interface Family {
  readonly name: string
  readonly group: "network" | "process" | "disk" | "custom"
  /** Draws this family's part of a plan. `horizon` is the length of the chaos phase in milliseconds. */
  readonly draw: (rng: Rng, horizon: number) => ReadonlyArray<Fault>
  readonly apply: (chaos: Chaos, fault: Fault) => Applied
}

/** One fault in words: `cut link 4 at 896 ms`. */
export const formatFault = (fault: Fault): string => {
  const when = fault.on === undefined ? `at ${fault.at} ms` : `on event ${fault.on.event} #${fault.on.nth}`
  const length = fault.for > 0 ? ` for ${fault.for} ms` : ""
  const target = fault.target === undefined ? "" : ` ${fault.target}`
  return `${fault.kind}${target} ${when}${length}`
}
