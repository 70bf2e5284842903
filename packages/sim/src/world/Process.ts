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
import * as Redacted from "effect/Redacted"
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

  #spawn(host: string, command: ChildProcess.Command): Spawned {
    return command._tag === "StandardCommand" ? this.#start(host, command) : this.#pipeline(host, command)
  }

  /** Every command of a pipeline is a process; each reads what the one before it writes. Killing it kills them from the end. */
  #pipeline(host: string, command: ChildProcess.PipedCommand): Spawned {
    return Effect.gen({ self: this }, function*() {
      const left = yield* this.#spawn(host, command.left)
      const { from = "stdout", to = "stdin" } = command.options
      if (to !== "stdin" || (from !== "stdout" && from !== "stderr" && from !== "all")) {
        return yield* unsupported(`simulated pipelines connect stdout, stderr or all to stdin, not ${from} to ${to}`)
      }
      if (command.right._tag !== "StandardCommand") return yield* unsupported("a pipeline grows to its right end only")
      const right = yield* this.#start(host, command.right, left[from])
      return Spawner.makeHandle({
        pid: right.pid,
        exitCode: right.exitCode,
        isRunning: right.isRunning,
        kill: (options) => Effect.andThen(Effect.ignore(right.kill(options)), Effect.ignore(left.kill(options))),
        stdin: left.stdin,
        stdout: right.stdout,
        stderr: right.stderr,
        all: right.all,
        getInputFd: right.getInputFd,
        getOutputFd: right.getOutputFd,
        unref: right.unref
      })
    })
  }

  #start(host: string, command: ChildProcess.StandardCommand, piped?: Spawner.ChildProcessHandle["stdout"]): Spawned {
    const world = this.#world
    return Effect.gen({ self: this }, function*() {
      const program = this.#registered.get(command.command)
      if (program === undefined) {
        return yield* PlatformError.systemError({
          _tag: "NotFound",
          module: "ChildProcess",
          method: "spawn",
          pathOrDescriptor: command.command,
          description: "no simulated program has this name"
        })
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
            args: command.args.map((word) => Redacted.isRedacted(word) ? String(Redacted.value(word)) : String(word)),
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
      const { endOnDone, source } = inputOf(command.options.stdin)
      const endInput = Effect.sync(() => void Queue.endUnsafe(input))
      // Nobody reads what is written to a process that has ended.
      const stdin = Sink.forEach((chunk: Uint8Array) =>
        Effect.asVoid(Effect.raceFirst(Queue.offer(input, chunk), Deferred.await(done)))
      ).pipe(Sink.ensuring(endOnDone ? endInput : Effect.void))
      const feed = piped ?? source
      if (feed === "none") yield* endInput
      else if (feed !== "pipe") yield* Effect.forkScoped(Effect.ignore(Stream.run(feed, stdin)))
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

type Spawned = ReturnType<Spawner.ChildProcessSpawner["Service"]["spawn"]>

const unsupported = (description: string) =>
  Effect.fail(PlatformError.badArgument({ module: "ChildProcess", method: "spawn", description }))

/** Where a process reads from when no pipeline feeds it, and whether its input ends with what feeds it. */
const inputOf = (stdin: ChildProcess.CommandOptions["stdin"]) => {
  const config = stdin === undefined || typeof stdin === "string" || Stream.isStream(stdin) ? { stream: stdin } : stdin
  const { stream = "pipe" } = config
  return {
    endOnDone: !("endOnDone" in config) || config.endOnDone !== false,
    // The standard input of a simulated machine is empty.
    source: stream === "ignore" || stream === "inherit"
      ? "none" as const
      : stream === "overlapped"
      ? "pipe" as const
      : stream
  }
}
