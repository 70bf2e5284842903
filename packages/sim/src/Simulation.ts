/**
 * One run: a seed and a plan in, a verdict out. The synchronous driver executes the whole world inside one call, so
 * that nothing outside can interleave; the asynchronous one gives the event loop a turn between steps, for libraries
 * that insist on promises.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { type Assert, type Details, Ledger, type Violation } from "./Assert.ts"
import { BuggifyState } from "./Buggify.ts"
import { type Chaos, type Family, type Fault, Nemesis } from "./Nemesis.ts"
import type { Oracle } from "./Oracle.ts"
import * as Seed from "./Seed.ts"
import type { Field, TraceEvent } from "./Trace.ts"
import * as Tripwire from "./Tripwire.ts"
import { Host, type HostServices } from "./world/Host.ts"
import { Network, type NetworkConfig } from "./world/Network.ts"
import { toField } from "./world/Observability.ts"
import { Port, type PortOptions } from "./world/Port.ts"
import { type Program, Programs } from "./world/Process.ts"
import { type Branch, type Decision, type Limits, type ScheduleConfig, World } from "./world/World.ts"

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

/** A host layer that provides nothing. */
const emptyLayer = Layer.empty as Layer.Layer<any>

/** The handle that a scenario gets. */
export class Sim implements Assert {
  readonly world: World
  readonly network: Network
  readonly ledger: Ledger
  readonly nemesis: Nemesis
  readonly config: Config
  readonly #hosts: Array<Host<any>> = []
  readonly #prey: Array<Host<any>> = []
  readonly #oracles: Array<Oracle> = []
  readonly #programs: Programs
  readonly #buggify: BuggifyState
  readonly #chaos: Chaos
  readonly #sizes: Record<string, number> = {}
  /** The host that the scenario itself runs on; no fault touches it. */
  readonly driver: Host

  constructor(options: RunOptions) {
    const { config } = options
    this.config = config
    this.world = new World({
      seed: Seed.make(config.seed),
      schedule: config.schedule,
      limits: options.limits,
      fullTrace: options.fullTrace,
      tape: options.tape,
      record: options.recordSchedule,
      branches: options.branches,
      realNow: realMillis
    })
    this.network = new Network(this.world, config.network)
    this.ledger = new Ledger(this.world.trace)
    const { onSometimes } = options
    if (onSometimes !== undefined) this.ledger.onFirst = (name) => onSometimes(name, this.world.steps)
    this.#buggify = new BuggifyState(this.world, { enabled: config.buggify, disarmed: config.disarmed })
    this.#programs = new Programs(this.world)
    this.#chaos = {
      world: this.world,
      network: this.network,
      hosts: this.#prey,
      maxDead: config.maxDead,
      lateness: new Set()
    }
    this.nemesis = new Nemesis(this.#chaos, options.families)
    this.world.trace.observe((event) => {
      for (const oracle of this.#oracles) {
        const finding = oracle.observe(event)
        if (finding !== undefined) this.ledger.violate(`${oracle.name}: ${finding.message}`, finding.details)
      }
    })
    this.driver = this.#make<never>("sim", emptyLayer)
    this.driver.boot()
    this.nemesis.start(options.plan)
  }

  #make<R>(name: string, layer: Layer.Layer<R, any, HostServices>): Host<R> {
    const host = new Host<R>(
      {
        world: this.world,
        network: this.network,
        buggify: this.#buggify,
        ledger: this.ledger,
        programs: this.#programs,
        lateness: () => {
          let sum = 0
          for (const late of this.#chaos.lateness) sum += late()
          return sum
        }
      },
      name,
      layer
    )
    this.#hosts.push(host)
    return host
  }

  // --- the world ---------------------------------------------------------------------------------------------------

  /**
   * Adds a machine whose process runs `layer`, and starts it. Faults may kill it unless `stable`; after a kill the
   * layer is built again on what its disk kept.
   */
  host(name: string): Host
  host<R>(
    name: string,
    layer: Layer.Layer<R, any, HostServices>,
    options?: { readonly stable?: boolean | undefined; readonly boot?: boolean | undefined }
  ): Host<R>
  host(
    name: string,
    layer: Layer.Layer<any, any, HostServices> = emptyLayer,
    options: { readonly stable?: boolean | undefined; readonly boot?: boolean | undefined } = {}
  ): Host<any> {
    if (this.#hosts.some((host) => host.name === name)) throw new Error(`two hosts are named ${name}`)
    const host = this.#make(name, layer)
    if (options.stable !== true) this.#prey.push(host)
    if (options.boot !== false) host.boot()
    return host
  }

  /** Runs a program in a host's process; see {@link Host.run}. */
  workload<A, E, R>(host: Host<R>, program: Effect.Effect<A, E, R | HostServices>) {
    return host.run(program)
  }

  /** Makes a command runnable by `ChildProcess` on every host. */
  program(command: string, program: Program): void {
    this.#programs.register(command, program)
  }

  /** A port of a third-party client whose operations the simulation may delay, fail, lose or repeat. */
  port(name: string, options?: PortOptions): Port {
    return new Port(this.world, name, options, () => !this.#calmed)
  }

  /** A workload size: the given one, unless the run being shrunk asks for a smaller one. At least one. */
  count(name: string, size: number): number {
    return this.#sizes[name] = Math.max(1, Math.min(size, this.config.sizes[name] ?? size))
  }

  /** Virtual milliseconds since the start of the run. */
  get now(): number {
    return this.world.now / 1000
  }

  #calmed = false

  /** Ends the chaos: faults stop, links heal, machines come back. Completes when every host is ready again. */
  readonly calm: Effect.Effect<void> = Effect.suspend(() => {
    this.#calmed = true
    this.nemesis.stop()
    return Effect.forEach(
      this.#prey.filter((host) => host.alive),
      (host) => Effect.ignore(host.ready),
      { concurrency: "unbounded", discard: true }
    )
  })

  /**
   * Waits until a condition holds, looking after every `every` virtual milliseconds, and records a violation when it
   * does not within `within` milliseconds: the liveness bound of a calm phase.
   */
  eventually(
    condition: () => boolean,
    name: string,
    options: { readonly within: number; readonly every?: number | undefined }
  ): Effect.Effect<boolean> {
    const every = options.every ?? 10
    const deadline = this.now + options.within
    const look: Effect.Effect<boolean> = Effect.suspend(() => {
      if (condition()) {
        this.always(true, name)
        return Effect.succeed(true)
      }
      if (this.now >= deadline) {
        this.always(false, name, { within: options.within })
        return Effect.succeed(false)
      }
      return Effect.andThen(Effect.sleep(every), look)
    })
    return look
  }

  // --- properties --------------------------------------------------------------------------------------------------

  always(condition: boolean, name: string, details?: Details): void {
    this.ledger.always(condition, name, details)
  }

  sometimes(condition: boolean, name: string, details?: Details): void {
    this.ledger.sometimes(condition, name, details)
  }

  reachable(name: string, details?: Details): void {
    this.ledger.reachable(name, details)
  }

  unreachable(name: string, details?: Details): void {
    this.ledger.unreachable(name, details)
  }

  sometimesEach(name: string, value: string | number | boolean): void {
    this.ledger.sometimesEach(name, value)
  }

  watermark(name: string, value: number): void {
    this.ledger.watermark(name, value)
  }

  /** Appends an event to the trace, where oracles see it. */
  event(name: string, fields?: Readonly<Record<string, Field>>, host = "sim"): void {
    this.world.trace.append(host, name, fields)
  }

  /** Lets an oracle watch from now on. */
  oracle(oracle: Oracle): void {
    this.#oracles.push(oracle)
  }

  // --- the end -----------------------------------------------------------------------------------------------------

  get hosts(): ReadonlyArray<Host<any>> {
    return this.#hosts
  }

  get oracles(): ReadonlyArray<Oracle> {
    return this.#oracles
  }

  get buggified(): ReadonlyMap<string, number> {
    return this.#buggify.fired
  }

  get sizes(): Readonly<Record<string, number>> {
    return this.#sizes
  }

  /** Fibers that have not ended, by the named steps they are in. */
  parked(): ReadonlyArray<string> {
    return this.#hosts.flatMap((host) => host.parked())
  }

  /** What has not been given back. */
  leftovers(): ReadonlyArray<string> {
    const links = this.network.links.map((link) =>
      `link ${link.id} ${link.client.machine}>${link.server.machine}:${link.port}`
    )
    const listeners = this.network.listeners.map(({ machine, port }) => `listener ${machine}:${port}`)
    const files = this.#hosts.filter((host) => host.disk.openFiles > 0).map((host) =>
      `${host.disk.openFiles} open files on ${host.name}`
    )
    const processes = this.#programs.running > 0 ? [`${this.#programs.running} child processes`] : []
    const fibers = this.parked().map((fiber) => `fiber ${fiber}`)
    return [...fibers, ...links, ...listeners, ...files, ...processes]
  }
}

/** A scenario: the program of a test. */
export type Scenario<E = unknown> = (sim: Sim) => Effect.Effect<unknown, E, HostServices | Scope.Scope>

// Taken before any wire is in place: the engine's own limit is not the program's doing.
const hrtime = process.hrtime.bigint.bind(process.hrtime)
const realMillis = (): number => Number(hrtime() / 1_000_000n)

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
  if (halted !== undefined) return { kind: halted.kind, name: halted.kind, message: halted.message }
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
  while (running.stuck === undefined && world.halted === undefined && world.now < until && world.step());
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
    const draining = () => running.stuck === undefined && world.halted === undefined && world.now < until
    while (draining() && await step(draining));
  }
  return finish(running, [], outside)
}
