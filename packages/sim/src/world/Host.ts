/**
 * A simulated machine with one process: its own scheduler, clock, randomness, disk and network identity. Killing it
 * drops everything the process was doing; booting it builds the application's layer again on what the disk kept.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as Context from "effect/Context"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Data from "effect/Data"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Path from "effect/Path"
import * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import * as Random from "effect/Random"
import * as Scheduler from "effect/Scheduler"
import * as Scope from "effect/Scope"
import * as Socket from "effect/socket/Socket"
import * as SocketServer from "effect/socket/SocketServer"
import * as Tracer from "effect/Tracer"
import * as Assert from "../Assert.ts"
import * as Buggify from "../Buggify.ts"
import * as SimClock from "./Clock.ts"
import { SimDisk } from "./Disk.ts"
import type { Network } from "./Network.ts"
import { makeConsole, makeLogger, makeTracer, toField } from "./Observability.ts"
import type { Programs } from "./Process.ts"
import { makeRandom, makeSecureRandom } from "./Random.ts"
import { SimScheduler } from "./Scheduler.ts"
import * as SimSocket from "./Socket.ts"
import type { World } from "./World.ts"

/** The process that was to answer has been killed. */
export class HostDown extends Data.TaggedError("HostDown")<{ readonly host: string }> {
  override get message(): string {
    return `host ${this.host} is down`
  }
}

/** The host that a program runs on, for layers that need its network. */
export class CurrentHost extends Context.Service<CurrentHost, {
  readonly name: string
  /** A socket that dials `name:port` each time its reader is acquired. */
  readonly socket: (
    address: string,
    options?: { readonly openTimeout?: Duration.Input | undefined }
  ) => Socket.Socket
  /** A server socket on a port of this host; 0 picks a free one. */
  readonly listen: (
    port: number
  ) => Effect.Effect<SocketServer.SocketServer["Service"], SocketServer.SocketServerError, Scope.Scope>
}>()("@perigee/sim/CurrentHost") {}

/** What every program on a host finds in its environment. */
export type HostServices =
  | CurrentHost
  | FileSystem.FileSystem
  | Path.Path
  | SecureRandom.SecureRandom
  | ChildProcessSpawner.ChildProcessSpawner

/** What the parts of a world that hosts share need from it. */
export interface Surroundings {
  readonly world: World
  readonly network: Network
  readonly buggify: Buggify.Buggify
  readonly ledger: Assert.Ledger
  readonly programs: Programs
  readonly lateness: () => number
}

/** How a process ends against its will. */
export interface KillOptions {
  /** The whole machine loses power: unsynced bytes are lost and peers are not told. */
  readonly power?: boolean | undefined
  /** With `power`: single sectors of unsynced writes may survive. On by default. */
  readonly torn?: boolean | undefined
  /** With `power`: the disk comes back empty. */
  readonly wipe?: boolean | undefined
}

interface Incarnation<R> {
  readonly number: number
  readonly scheduler: SimScheduler
  readonly base: Context.Context<HostServices>
  readonly scope: Scope.Closeable
  fiber: Fiber.Fiber<unknown, unknown> | undefined
  /** Settled once: with the built services, with the failure of the build, or by death. */
  services: Context.Context<R | HostServices> | undefined
  failure: Cause.Cause<unknown> | undefined
  /** It has been asked to stop. */
  closing: boolean
  readonly waiting: Set<() => void>
}

let pathService: Context.Context<Path.Path> | undefined

const path = (): Context.Context<Path.Path> => pathService ??= Effect.runSync(Effect.scoped(Layer.build(Path.layer)))

/** A host whose layer provides `R`. */
export class Host<R = never> {
  readonly name: string
  readonly disk: SimDisk
  readonly clock = new SimClock.ClockState()
  readonly #around: Surroundings
  readonly #layer: Layer.Layer<any, any, any>
  #current: Incarnation<R> | undefined
  #boots = 0
  /** Processes that were killed here. */
  deaths = 0
  /** The process was stopped in order and is not expected back. */
  stopped = false
  /** The process is shutting down in order. */
  stopping = false
  readonly #old: Array<SimScheduler> = []

  constructor(around: Surroundings, name: string, layer: Layer.Layer<R, any, HostServices>) {
    this.#around = around
    this.name = name
    this.#layer = layer
    this.disk = new SimDisk(around.world, name)
    around.network.setName(name, name)
  }

  /** A process is running (or booting) here. */
  get alive(): boolean {
    return this.#current !== undefined
  }

  /** Times a process was started here. */
  get boots(): number {
    return this.#boots
  }

  get paused(): boolean {
    return this.#current?.scheduler.paused === true
  }

  /** Starts the process unless it runs. Its layer is built in the background. */
  boot(): void {
    if (this.#current !== undefined) return
    this.stopped = false
    const { world } = this.#around
    const number = ++this.#boots
    const name = number === 1 ? this.name : `${this.name}#${number}`
    const scheduler = new SimScheduler(world, name)
    const scope = Scope.makeUnsafe()
    const base = this.#context(scheduler)
    const incarnation: Incarnation<R> = {
      number,
      scheduler,
      base,
      scope,
      fiber: undefined,
      services: undefined,
      failure: undefined,
      closing: false,
      waiting: new Set()
    }
    this.#current = incarnation
    world.trace.append(this.name, "boot", { number })
    const build = Layer.buildWithScope(this.#layer as Layer.Layer<R, unknown, HostServices>, scope)
    const fiber = Effect.runForkWith(base)(build as Effect.Effect<Context.Context<R>, unknown>)
    incarnation.fiber = fiber
    const settle = (exit: Exit.Exit<Context.Context<R>, unknown>) => {
      if (Exit.isSuccess(exit)) {
        incarnation.services = Context.merge(base, exit.value) as Context.Context<R | HostServices>
        world.trace.append(this.name, "ready", { number })
      } else if (incarnation.closing) {
        // Whoever waits for it hears that the host is down, once it is.
        world.trace.append(this.name, "boot.stopped", { number })
        return
      } else {
        incarnation.failure = exit.cause
        world.trace.append(this.name, "boot.failed", { number, cause: toField(exit.cause) })
      }
      this.#notify(incarnation)
    }
    fiber.addObserver(settle)
  }

  #notify(incarnation: Incarnation<R>): void {
    const waiting = [...incarnation.waiting]
    incarnation.waiting.clear()
    for (const wake of waiting) wake()
  }

  #context(scheduler: SimScheduler): Context.Context<HostServices> {
    const { buggify, ledger, lateness, network, programs, world } = this.#around
    const host = CurrentHost.of({
      name: this.name,
      socket: (address, options) => SimSocket.makeClient(network, scheduler, this.name, address, options),
      listen: (port) => SimSocket.makeServer(network, scheduler, this.name, port)
    })
    return Context.make(CurrentHost, host).pipe(
      Context.add(Scheduler.Scheduler, scheduler),
      Context.add(Clock.Clock, SimClock.make(world, scheduler, this.clock, lateness)),
      Context.add(Random.Random, makeRandom(world, this.name)),
      Context.add(SecureRandom.SecureRandom, makeSecureRandom(world, this.name)),
      Context.add(FileSystem.FileSystem, this.disk.fileSystem(scheduler)),
      Context.add(ChildProcessSpawner.ChildProcessSpawner, programs.spawner(this.name)),
      Context.add(Logger.CurrentLoggers, new Set([makeLogger(world, this.name)])),
      Context.add(Tracer.Tracer, makeTracer(this.name)),
      Context.add(Console.Console, makeConsole(world, this.name)),
      Context.add(Buggify.Buggify, buggify),
      Context.add(Assert.Assert, ledger),
      Context.merge(path())
    )
  }

  /**
   * Runs a program in the process, with the services of its layer, once they are built. Fails with {@link HostDown}
   * when the process dies first; the program then never runs again and none of its finalizers do.
   */
  run<A, E>(program: Effect.Effect<A, E, R | HostServices>): Effect.Effect<A, E | HostDown> {
    return Effect.callback<A, E | HostDown>((resume) => {
      const incarnation = this.#current
      if (incarnation === undefined) return resume(Effect.fail(new HostDown({ host: this.name })))
      let fiber: Fiber.Fiber<A, E> | undefined
      let settled = false
      const settle = (outcome: Effect.Effect<A, E | HostDown>) => {
        if (settled) return
        settled = true
        incarnation.waiting.delete(wake)
        resume(outcome)
      }
      const wake = () => {
        if (this.#current !== incarnation) return settle(Effect.fail(new HostDown({ host: this.name })))
        if (incarnation.failure !== undefined) return settle(Effect.die(Cause.squash(incarnation.failure)))
        if (incarnation.services === undefined || fiber !== undefined) return
        fiber = Effect.runForkWith(incarnation.services)(program as Effect.Effect<A, E, R | HostServices>)
        fiber.addObserver((exit) => settle(exit))
        incarnation.waiting.add(wake)
      }
      incarnation.waiting.add(wake)
      if (incarnation.services !== undefined || incarnation.failure !== undefined) wake()
      return Effect.suspend(() => {
        settled = true
        incarnation.waiting.delete(wake)
        return fiber === undefined || !incarnation.scheduler.alive ? Effect.void : Fiber.interrupt(fiber)
      })
    })
  }

  /** Completes when the layer is built. Fails with {@link HostDown} when the process dies first. */
  get ready(): Effect.Effect<void, HostDown> {
    return this.run(Effect.void)
  }

  /** Ends the process at once: no finalizer runs, nothing it had scheduled happens. */
  kill(options: KillOptions = {}): void {
    const incarnation = this.#current
    const { network, world } = this.#around
    if (incarnation === undefined && options.power !== true) return
    world.trace.append(
      this.name,
      options.power === true ? "power.lost" : "killed",
      options.wipe === true ? { wiped: true } : {}
    )
    this.#current = undefined
    this.stopping = false
    this.deaths++
    incarnation?.scheduler.kill()
    this.disk.forgetHandles()
    if (options.power === true) {
      network.powerLost(this.name)
      this.disk.crash({ torn: options.torn !== false })
      if (options.wipe === true) this.disk.model.wipe()
    } else network.processDied(this.name)
    this.#around.programs.parentDied(this.name)
    if (incarnation !== undefined) this.#notify(incarnation)
  }

  /** Starts the machine again after a kill. A no-op while it runs, and after an orderly {@link stop}: then {@link boot} it. */
  reboot(): void {
    if (this.#current !== undefined || this.stopped) return
    this.#around.network.powerRestored(this.name)
    this.boot()
  }

  /**
   * Ends the process as a supervisor does: in order, and by force when that has not ended after `grace` virtual
   * milliseconds. Whatever still runs when the layer's finalizers have run ends with the process. `ended` is called in
   * either case, and not when the process was killed meanwhile.
   */
  terminate(grace: number, ended: () => void): void {
    const incarnation = this.#current
    if (incarnation === undefined || this.stopping) return
    const { network, programs, world } = this.#around
    this.stopping = true
    const outlast = world.after(grace * 1000, () => {
      if (this.#current !== incarnation) return
      this.stopping = false
      this.kill()
      ended()
    })
    const fiber = Effect.runForkWith(incarnation.base)(this.stop)
    fiber.addObserver(() => {
      outlast()
      if (this.#current !== undefined || !incarnation.scheduler.alive) return
      this.stopping = false
      this.#old.splice(this.#old.indexOf(incarnation.scheduler), 1)
      incarnation.scheduler.kill()
      this.disk.forgetHandles()
      network.processDied(this.name)
      programs.parentDied(this.name)
      ended()
    })
  }

  /** Freezes the process: its timers fire late and together when it is resumed. */
  pause(): void {
    if (this.#current === undefined || this.#current.scheduler.paused) return
    this.#around.world.trace.append(this.name, "paused")
    this.#current.scheduler.pause()
  }

  resume(): void {
    if (this.#current === undefined || !this.#current.scheduler.paused) return
    this.#around.world.trace.append(this.name, "resumed")
    this.#current.scheduler.resume()
  }

  /** Stops the process in order: its layer's finalizers run. Completes when they have. */
  readonly stop: Effect.Effect<void> = Effect.suspend(() => {
    const incarnation = this.#current
    if (incarnation === undefined) return Effect.void
    incarnation.closing = true
    const closing = Effect.andThen(
      incarnation.fiber === undefined ? Effect.void : Fiber.interrupt(incarnation.fiber),
      Scope.close(incarnation.scope, Exit.void)
    )
    return Effect.andThen(
      Effect.callback<void>((resume) => {
        const fiber = Effect.runForkWith(incarnation.base)(closing)
        const done = () => resume(Effect.void)
        incarnation.waiting.add(done)
        fiber.addObserver(done)
        return Effect.sync(() => void incarnation.waiting.delete(done))
      }),
      Effect.sync(() => {
        if (this.#current !== incarnation) return
        this.#current = undefined
        this.stopped = true
        this.#old.push(incarnation.scheduler)
        this.#around.world.trace.append(this.name, "stopped")
        this.#notify(incarnation)
      })
    )
  })

  /** The environment of programs on this host. Only for a running process; its layer may not be built yet. */
  get services(): Context.Context<R | HostServices> {
    const incarnation = this.#current
    if (incarnation === undefined) throw new HostDown({ host: this.name })
    return incarnation.services ?? incarnation.base as Context.Context<R | HostServices>
  }

  /** Fibers of this host that have not ended, described by the steps they are in. */
  parked(): ReadonlyArray<string> {
    return [
      ...this.#old.flatMap((scheduler) => scheduler.parked()),
      ...(this.#current?.scheduler.parked() ?? [])
    ]
  }

  /** Timers of this host's processes that have neither fired nor been cancelled. */
  get timers(): number {
    return this.#old.reduce((sum, scheduler) => sum + scheduler.timers, this.#current?.scheduler.timers ?? 0)
  }

  /** Drops everything without a word; the run is over. */
  discard(): void {
    this.#current?.scheduler.kill()
    for (const scheduler of this.#old) scheduler.kill()
    this.#current = undefined
  }
}

/** A `Socket` that dials `name:port` from the host it is built on. */
export const layerSocket = (
  address: string,
  options?: { readonly openTimeout?: Duration.Input | undefined }
): Layer.Layer<Socket.Socket, never, CurrentHost> =>
  Layer.effect(Socket.Socket, Effect.map(CurrentHost, (host) => host.socket(address, options)))

/** A `SocketServer` on a port of the host it is built on. */
export const layerServer = (
  port: number
): Layer.Layer<SocketServer.SocketServer, SocketServer.SocketServerError, CurrentHost> =>
  Layer.effect(SocketServer.SocketServer, Effect.flatMap(CurrentHost, (host) => host.listen(port)))
