/**
 * Child processes as simulated programs: a command is a registered Effect, a process is an incarnation with a
 * scheduler of its own, SIGKILL drops it and every other signal interrupts it.
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as PlatformError from "effect/PlatformError"
import type * as ChildProcess from "effect/process/ChildProcess"
import * as Spawner from "effect/process/ChildProcessSpawner"
import * as Queue from "effect/Queue"
import * as Scheduler from "effect/Scheduler"
import * as Sink from "effect/Sink"
import * as Stream from "effect/Stream"
import { SimScheduler } from "./Scheduler.ts"
import type { World } from "./World.ts"

/** What a simulated program sees of its process. */
export interface ProgramIo {
  readonly args: ReadonlyArray<string>
  readonly env: Readonly<Record<string, string | undefined>>
  readonly stdout: (text: string) => Effect.Effect<void>
  readonly stderr: (text: string) => Effect.Effect<void>
  readonly stdin: Stream.Stream<Uint8Array>
}

/** A program: its result is the exit code. A failure or defect exits with 1, an interruption by a signal with 128 + n. */
export type Program = (io: ProgramIo) => Effect.Effect<number, unknown>

/** Output chunks kept for a reader that does not read; the writer waits beyond. */
const pipeChunks = 64

const signals: Record<string, number> = { SIGHUP: 1, SIGINT: 2, SIGQUIT: 3, SIGKILL: 9, SIGTERM: 15 }

interface Running {
  readonly parent: string
  readonly die: () => void
}

/** The registry of simulated programs and the processes that run them. */
export class Programs {
  readonly #world: World
  readonly #registered = new Map<string, Program>()
  readonly #running = new Set<Running>()
  #pids = 100

  constructor(world: World) {
    this.#world = world
  }

  /** Makes `command` runnable on every host. */
  register(command: string, program: Program): void {
    this.#registered.set(command, program)
  }

  /** Processes that have not exited. */
  get running(): number {
    return this.#running.size
  }

  /** The spawner for one parent process is gone: its children die with it. */
  parentDied(host: string): void {
    for (const process of Array.from(this.#running)) {
      if (process.parent === host) process.die()
    }
  }

  spawner(host: string): Spawner.ChildProcessSpawner["Service"] {
    return Spawner.make((command) => this.#spawn(host, command))
  }

  #spawn(host: string, command: ChildProcess.Command): ReturnType<Spawner.ChildProcessSpawner["Service"]["spawn"]> {
    const world = this.#world
    return Effect.gen({ self: this }, function*() {
      if (command._tag !== "StandardCommand") {
        return yield* Effect.fail(
          PlatformError.badArgument({
            module: "ChildProcess",
            method: "spawn",
            description: "the simulated spawner runs single commands, not pipelines"
          })
        )
      }
      const program = this.#registered.get(command.command)
      if (program === undefined) {
        return yield* Effect.fail(
          PlatformError.systemError({
            _tag: "NotFound",
            module: "ChildProcess",
            method: "spawn",
            pathOrDescriptor: command.command,
            description: "no simulated program has this name"
          })
        )
      }
      const pid = ++this.#pids
      const name = `${host}/${pid}`
      const out = yield* Queue.bounded<Uint8Array, Cause.Done>(pipeChunks)
      const err = yield* Queue.bounded<Uint8Array, Cause.Done>(pipeChunks)
      const input = yield* Queue.bounded<Uint8Array, Cause.Done>(pipeChunks)
      const done = yield* Deferred.make<Spawner.ExitCode>()
      const scheduler = new SimScheduler(world, name)
      const context = Context.add(yield* Effect.context<never>(), Scheduler.Scheduler, scheduler)
      world.trace.append(host, "process.start", { pid, command: command.command })
      let signal: number | undefined
      const settle = (code: number) => {
        if (!this.#running.delete(running)) return
        world.trace.append(host, "process.exit", { pid, code })
        scheduler.kill()
        Queue.endUnsafe(out)
        Queue.endUnsafe(err)
        Deferred.doneUnsafe(done, Exit.succeed(Spawner.ExitCode(code)))
      }
      const running: Running = { parent: host, die: () => settle(137) }
      this.#running.add(running)
      const write = (queue: Queue.Queue<Uint8Array, Cause.Done>) => (text: string) =>
        Effect.asVoid(Queue.offer(queue, new TextEncoder().encode(text)))
      const fiber = Effect.runForkWith(context)(
        Effect.andThen(
          Effect.yieldNow,
          program({
            args: command.args.map(String),
            env: (command.options.env ?? {}) as Record<string, string | undefined>,
            stdout: write(out),
            stderr: write(err),
            stdin: Stream.fromQueue(input)
          })
        )
      )
      fiber.addObserver((exit) => {
        settle(Exit.isSuccess(exit) ? exit.value : Cause.hasInterruptsOnly(exit.cause) ? 128 + (signal ?? 0) : 1)
      })
      const kill = (options?: ChildProcess.KillOptions): Effect.Effect<void> =>
        Effect.suspend(() => {
          if (!this.#running.has(running)) return Effect.void
          signal = signals[options?.killSignal ?? "SIGTERM"] ?? 15
          if (signal === 9) {
            settle(137)
            return Effect.void
          }
          Effect.runForkWith(context)(Fiber.interrupt(fiber))
          const wait = Effect.asVoid(Deferred.await(done))
          if (options?.forceKillAfter === undefined) return wait
          return wait.pipe(
            Effect.timeoutOption(Duration.fromInputUnsafe(options.forceKillAfter)),
            Effect.andThen(Effect.sync(() => settle(137)))
          )
        })
      yield* Effect.addFinalizer(() =>
        kill({ killSignal: command.options.killSignal, forceKillAfter: command.options.forceKillAfter ?? "1 second" })
      )
      const stdin = Sink.forEach((chunk: Uint8Array) => Effect.asVoid(Queue.offer(input, chunk)))
      return Spawner.makeHandle({
        pid: Spawner.ProcessId(pid),
        exitCode: Deferred.await(done),
        isRunning: Effect.sync(() => this.#running.has(running)),
        kill,
        stdin,
        stdout: Stream.fromQueue(out),
        stderr: Stream.fromQueue(err),
        all: Stream.merge(Stream.fromQueue(out), Stream.fromQueue(err)),
        getInputFd: () => Sink.drain,
        getOutputFd: () => Stream.empty,
        unref: Effect.succeed(Effect.void)
      })
    })
  }
}
