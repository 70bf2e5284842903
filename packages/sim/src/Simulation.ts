/**
 * One run: a seed and a plan in, a verdict out. The synchronous driver executes the whole world inside one call, so
 * that nothing outside can interleave; the asynchronous one gives the event loop a turn between steps, for libraries
 * that insist on promises.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import type { Violation } from "./Assert.ts"
import { realMillis } from "./internal/realMillis.ts"
import type { Family, Fault } from "./Nemesis.ts"
import { Sim } from "./Sim.ts"
import type { TraceEvent } from "./Trace.ts"
import * as Tripwire from "./Tripwire.ts"
import type { HostServices } from "./world/Host.ts"
import type { NetworkConfig } from "./world/Network.ts"
import { toField } from "./world/Observability.ts"
import type { Branch, Decision, Limits, ScheduleConfig } from "./world/World.ts"

export { Sim } from "./Sim.ts"

/** Everything a seed expands to, except the fault plan. Printed in full in every report. */
export interface Config {
  readonly seed: string
  readonly schedule: ScheduleConfig
  readonly network: NetworkConfig
  /** Fault families of this run. */
  readonly families: ReadonlyArray<string>
  readonly buggify: boolean
  /** Buggify labels that stay off although the seed arms them. */
  readonly disarmed: ReadonlyArray<string>
  /** Workload sizes that replace those of the scenario. */
  readonly sizes: Readonly<Record<string, number>>
  readonly maxDead: number
}

/** How a run is driven. */
export type Driver = "sync" | "async"

/** The input of one run. */
export interface RunOptions {
  readonly config: Config
  readonly plan: ReadonlyArray<Fault>
  readonly families: ReadonlyArray<Family>
  readonly driver?: Driver | undefined
  readonly limits?: Partial<Limits> | undefined
  /** Keeps every trace event instead of the last hundred. */
  readonly fullTrace?: boolean | undefined
  readonly tape?: ReadonlyArray<Decision> | undefined
  readonly recordSchedule?: boolean | undefined
  readonly branches?: ReadonlyArray<Branch> | undefined
  /** Whether what is left over at the end fails the run. On by default. */
  readonly leaks?: boolean | undefined
  /** Whether touching real time, randomness or timers fails the run. On by default under the synchronous driver. */
  readonly tripwire?: boolean | undefined
  /** Called when a `sometimes` fires for the first time in the run. */
  readonly onSometimes?: ((name: string, step: number) => void) | undefined
  /** Called with every event as a state of the world: its name, its host, and how often that host has been started. */
  readonly onState?: ((state: string, step: number) => void) | undefined
}

/** Kinds of verdict; everything but `pass` is a failure. */
export type VerdictKind =
  | "pass"
  | "violation"
  | "defect"
  | "deadlock"
  | "outside wait"
  | "livelock"
  | "budget"
  | "leak"
  | "tripwire"
  | "nondeterminism"

/** The outcome of a run. `name` identifies the failure: shrinking keeps it. */
export interface Verdict {
  readonly kind: VerdictKind
  readonly name: string
  readonly message: string
}

/** What a run leaves behind. */
export interface RunResult {
  readonly config: Config
  readonly plan: ReadonlyArray<Fault>
  readonly verdict: Verdict
  readonly violations: ReadonlyArray<Violation>
  readonly hash: string
  readonly steps: number
  readonly ops: number
  /** Virtual milliseconds. */
  readonly simulatedMs: number
  readonly events: ReadonlyArray<TraceEvent>
  readonly eventCount: number
  readonly parked: ReadonlyArray<string>
  /** Faults that hit something, by kind. */
  readonly faults: Readonly<Record<string, number>>
  /** Buggify points that fired, by label. */
  readonly buggified: Readonly<Record<string, number>>
  readonly sometimes: Readonly<Record<string, number>>
  readonly evaluated: Readonly<Record<string, number>>
  readonly watermarks: Readonly<Record<string, { readonly low: number; readonly high: number }>>
  /** Events judged, by oracle. */
  readonly oracles: Readonly<Record<string, number>>
  readonly decisions: ReadonlyArray<Decision>
  readonly connections: number
  /** Sizes the scenario asked for, with the values it got. */
  readonly sizes: Readonly<Record<string, number>>
}

/** Virtual milliseconds in which hosts must shut down and the world must fall silent after a run. */
const drainMs = 120_000
/** Event-loop turns without news before the asynchronous driver moves time on. */
const quietTurns = 3
/** Real milliseconds the asynchronous driver waits for the outside when the world is idle. */
const outsideMs = 500

/** A scenario: the program of a test. */
export type Scenario<E = unknown> = (sim: Sim) => Effect.Effect<unknown, E, HostServices | Scope.Scope>

interface Running {
  readonly sim: Sim
  readonly options: RunOptions
  body: Exit.Exit<unknown, unknown> | undefined
  closed: boolean
  stuck: "deadlock" | undefined
}

const begin = (scenario: Scenario, options: RunOptions): Running => {
  const sim = new Sim(options)
  const running: Running = { sim, options, body: undefined, closed: false, stuck: undefined }
  const whole = Effect.scoped(Effect.suspend(() => scenario(sim))).pipe(
    Effect.exit,
    Effect.tap((exit) =>
      Effect.sync(() => {
        running.body = exit
        sim.event("body.end", { ok: Exit.isSuccess(exit) })
      })
    ),
    // A failed body ends the run where it failed; the rest would only bury it.
    Effect.flatMap((exit) => Exit.isSuccess(exit) ? sim.calm : Effect.void)
  )
  const fiber = Effect.runForkWith(sim.driver.services)(whole as Effect.Effect<unknown>)
  fiber.addObserver(() => {
    running.closed = true
  })
  return running
}

const shutdown = (running: Running): void => {
  const { sim } = running
  running.closed = false
  const stops = sim.hosts.filter((host) => host !== sim.driver && host.alive).map((host) => host.stop)
  const fiber = Effect.runForkWith(sim.driver.services)(
    Effect.forEach(stops, (stop) => stop, { concurrency: "unbounded", discard: true })
  )
  fiber.addObserver(() => {
    running.closed = true
  })
}

/** True while the run should go on with its present phase. */
const unfinished = (running: Running): boolean => !running.closed && running.sim.world.halted === undefined

const finish = (running: Running, touches: ReadonlyArray<Tripwire.Touch>, outside: boolean): RunResult => {
  const { options, sim } = running
  const { ledger, world } = sim
  const parked = sim.parked()
  if (running.body !== undefined && Exit.isSuccess(running.body) && running.stuck === undefined && !world.halted) {
    for (const oracle of sim.oracles) {
      for (const finding of oracle.check()) ledger.violate(`${oracle.name}: ${finding.message}`, finding.details)
    }
  }
  const leftovers = options.leaks === false ? [] : sim.leftovers()
  const result: RunResult = {
    config: options.config,
    plan: options.plan,
    verdict: judge(running, leftovers, touches, outside, parked),
    violations: ledger.violations,
    hash: world.trace.hash,
    steps: world.steps,
    ops: world.ops,
    simulatedMs: world.now / 1000,
    events: world.trace.events(),
    eventCount: world.trace.count,
    parked,
    faults: Object.fromEntries(sim.nemesis.injected),
    buggified: Object.fromEntries(sim.buggified),
    sometimes: Object.fromEntries(ledger.fired),
    evaluated: Object.fromEntries(ledger.evaluated),
    watermarks: Object.fromEntries(ledger.watermarks),
    oracles: Object.fromEntries(sim.oracles.map((oracle) => [oracle.name, oracle.saw()])),
    decisions: world.decisions,
    connections: sim.network.connections,
    sizes: sim.sizes
  }
  for (const host of sim.hosts) host.discard()
  return result
}

const judge = (
  running: Running,
  leftovers: ReadonlyArray<string>,
  touches: ReadonlyArray<Tripwire.Touch>,
  outside: boolean,
  parked: ReadonlyArray<string>
): Verdict => {
  const { body, sim } = running
  const violation = sim.ledger.violations[0]
  const promise = touches.find((touch) => touch.promise)
  const touch = touches.find((touch) => !touch.promise)
  if (violation !== undefined) {
    return { kind: "violation", name: violation.name, message: violation.name }
  }
  if (touch !== undefined) {
    return { kind: "tripwire", name: touch.global, message: `${touch.global} was used at ${touch.frame}` }
  }
  const { halted } = sim.world
  if (halted !== undefined) return halted
  if (body !== undefined && Exit.isFailure(body)) {
    const text = String(toField(body.cause))
    return { kind: "defect", name: text, message: `the scenario failed: ${text}` }
  }
  if (running.stuck !== undefined) {
    const waiting = parked[0] ?? "nothing"
    if (promise !== undefined || outside) {
      const where = promise === undefined ? "" : ` at ${promise.frame}`
      return {
        kind: "outside wait",
        name: "outside wait",
        message: `the world is idle and ${waiting} waits on something outside${where}`
      }
    }
    return { kind: "deadlock", name: "deadlock", message: `the world is idle and ${waiting} waits` }
  }
  if (leftovers.length > 0) {
    return { kind: "leak", name: "leak", message: `left over at the end: ${leftovers.slice(0, 5).join("; ")}` }
  }
  return { kind: "pass", name: "pass", message: "" }
}

/** Runs a scenario with the synchronous driver. */
export const runSync = (scenario: Scenario, options: RunOptions): RunResult => {
  const body = () => driveSync(scenario, options)
  if (options.tripwire === false) return finish(body(), [], false)
  const { result, touches } = Tripwire.watch(body)
  return finish(result, touches, false)
}

const driveSync = (scenario: Scenario, options: RunOptions): Running => {
  const running = begin(scenario, options)
  const { world } = running.sim
  const drive = () => {
    while (unfinished(running)) {
      if (world.step()) continue
      if (unfinished(running)) running.stuck = "deadlock"
      return
    }
  }
  drive()
  if (running.stuck !== undefined || world.halted !== undefined || !Exit.isSuccess(running.body!)) return running
  shutdown(running)
  const until = world.now + drainMs * 1000
  drive()
  while (running.stuck === undefined && world.halted === undefined && world.next <= until && world.step());
  return running
}

const turn = () => new Promise<void>((resolve) => setImmediate(resolve))

/** Runs a scenario with the asynchronous driver. */
export const runAsync = async (scenario: Scenario, options: RunOptions): Promise<RunResult> => {
  const running = begin(scenario, options)
  const { world } = running.sim
  let outside = false
  /** Runs what is ready, gives the loop turns, and only then moves time; false when nothing can happen any more. */
  const step = async (goOn: () => boolean): Promise<boolean> => {
    if (world.runReady()) return true
    for (let quiet = 0; quiet < quietTurns; quiet++) {
      const ops = world.ops
      await turn()
      if (world.readyCount > 0 || world.ops !== ops || !goOn()) return true
    }
    return world.advance()
  }
  const drive = async () => {
    let idleSince: number | undefined
    while (unfinished(running)) {
      if (await step(() => unfinished(running))) {
        idleSince = undefined
        continue
      }
      if (!unfinished(running)) return
      idleSince ??= realMillis()
      if (realMillis() - idleSince > outsideMs) {
        running.stuck = "deadlock"
        outside = true
        return
      }
      await new Promise((resolve) => setTimeout(resolve, 1))
    }
  }
  await drive()
  if (running.stuck === undefined && world.halted === undefined && Exit.isSuccess(running.body!)) {
    shutdown(running)
    const until = world.now + drainMs * 1000
    await drive()
    const draining = () => running.stuck === undefined && world.halted === undefined && world.next <= until
    while (draining() && await step(draining));
  }
  return finish(running, [], outside)
}
