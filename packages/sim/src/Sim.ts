/**
 * The handle of a scenario: hosts, faults, workload sizes, properties, and what is left at the end.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Semaphore from "effect/Semaphore"
import { type Assert, type Details, Ledger } from "./Assert.ts"
import { BuggifyState } from "./Buggify.ts"
import { realMillis } from "./internal/realMillis.ts"
import { type Chaos, type Fault, Nemesis } from "./Nemesis.ts"
import type { Oracle } from "./Oracle.ts"
import * as Seed from "./Seed.ts"
import type { Config, RunOptions } from "./Simulation.ts"
import type { Field } from "./Trace.ts"
import { Host, type HostServices } from "./world/Host.ts"
import { Network } from "./world/Network.ts"
import { Port, type PortOptions } from "./world/Port.ts"
import { type Program, Programs } from "./world/Process.ts"
import { World } from "./world/World.ts"

/** A host layer that provides nothing. */
const emptyLayer = Layer.empty as Layer.Layer<any>

/** Waits while a process that was asked to end still does, and is started again. */
const restarted = (host: Host<any>): Effect.Effect<void> =>
  Effect.suspend(() => host.stopping ? Effect.andThen(Effect.sleep(1), restarted(host)) : Effect.void)

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
  readonly #plan: ReadonlyArray<Fault>
  readonly #resources: Array<{ readonly name: string; readonly read: () => number; readonly before: number }> = []
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
    const { onState } = options
    if (onState !== undefined) {
      this.world.trace.observe(({ host, name }) => {
        const boots = this.#hosts.find((known) => known.name === host)?.boots ?? 0
        onState(`${name} ${host} ${Math.min(boots, 3)}`, this.world.steps)
      })
    }
    this.driver = this.#make<never>("sim", emptyLayer)
    this.driver.boot()
    this.#plan = options.plan
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

  /**
   * Adds up to `size` machines that run the same program: `name-1`, `name-2` and so on. Shrinking a failure tries fewer.
   */
  cluster<R>(
    name: string,
    size: number,
    layer: (index: number) => Layer.Layer<R, any, HostServices>,
    options?: { readonly stable?: boolean | undefined }
  ): ReadonlyArray<Host<R>> {
    return Array.from(
      { length: this.count(`hosts ${name}`, size) },
      (_, index) => this.host(`${name}-${index + 1}`, layer(index), options)
    )
  }

  /** Lets a name lead to another machine from now on, as after a failover. Connections that are open stay where they are. */
  resolve(name: string, host: { readonly name: string }): void {
    this.network.setName(name, host.name)
    this.event("dns.changed", { name, host: host.name }, "net")
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

  /**
   * Runs what has to be in place before anything goes wrong. Faults are held back; the times of the plan count from its
   * end. Call it first: what happened before it is not undone.
   */
  setup<A, E, R>(program: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> {
    return Effect.suspend(() => {
      this.nemesis.hold()
      return Effect.tap(program, () =>
        Effect.sync(() => {
          this.event("setup.end")
          this.nemesis.start(this.#plan)
        }))
    })
  }

  #calmed = false

  /** Ends the chaos: faults stop, links heal, machines come back. Completes when every host is ready again. */
  readonly calm: Effect.Effect<void> = Effect.suspend(() => {
    this.#calmed = true
    this.nemesis.stop()
    return Effect.forEach(
      this.#prey.filter((host) => host.alive),
      (host) => Effect.andThen(restarted(host), Effect.ignore(host.ready)),
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

  /**
   * Watches something that is taken and given back, free permits or the entries of a table: at the end of an orderly run
   * it must read what it reads now, or the run fails as a leak.
   */
  resource(name: string, read: () => number): void {
    this.#resources.push({ name, read, before: read() })
  }

  /** {@link resource} for the free permits of a semaphore. */
  permits(name: string, semaphore: Semaphore.Semaphore): void {
    this.resource(`permits ${name}`, () => Effect.runSync(semaphore.release(0)))
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
    const timers = this.#hosts.filter((host) => host.timers > 0).map((host) => `${host.timers} timers on ${host.name}`)
    const resources = this.#resources.flatMap(({ before, name, read }) => {
      const after = read()
      return after === before ? [] : [`${name} ${after}, ${before} at first`]
    })
    return [...fibers, ...timers, ...links, ...listeners, ...files, ...processes, ...resources]
  }
}
