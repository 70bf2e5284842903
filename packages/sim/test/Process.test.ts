import { assert, describe, it } from "@effect/vitest"
import { PortError } from "../src/world/Port.ts"
import { Cause, Effect, Exit, Stream } from "effect"
import { ChildProcess, ChildProcessSpawner } from "effect/process"
import { run } from "./fixtures/run.ts"

describe("child processes", () => {
  const spawner = ChildProcessSpawner.ChildProcessSpawner
  it("run registered programs with arguments, output and an exit code", () => {
    const result = run((sim) => {
      sim.program("greet", ({ args, stdout }) => Effect.as(stdout(`hello ${args.join(" ")}\n`), args.length))
      return sim.host("parent").run(Effect.gen(function*() {
        const text = yield* spawner.use((service) => service.string(ChildProcess.make("greet", ["big", "world"])))
        sim.always(text === "hello big world\n", "output", { text })
        const code = yield* spawner.use((service) => service.exitCode(ChildProcess.make("greet", ["x"])))
        sim.always(code === 1, "exit code")
      }))
    })
    assert.strictEqual(result.verdict.kind, "pass", result.verdict.message)
  })
  it("an unknown command is not found", () => {
    const result = run((sim) =>
      sim.host("parent").run(Effect.gen(function*() {
        const error = yield* Effect.flip(spawner.use((service) => service.exitCode(ChildProcess.make("nope"))))
        sim.always(error.reason._tag === "NotFound", "typed")
      }))
    )
    assert.strictEqual(result.verdict.kind, "pass", result.verdict.message)
  })
  it("SIGTERM lets finalizers run, SIGKILL does not, and the grace period ends by force", () => {
    const seen: Array<string> = []
    const result = run((sim) => {
      sim.program(
        "daemon",
        () => Effect.never.pipe(Effect.onInterrupt(() => Effect.sync(() => seen.push("cleaned up"))))
      )
      sim.program(
        "stubborn",
        () =>
          Effect.never.pipe(
            Effect.onInterrupt(() => Effect.andThen(Effect.sleep("1 hour"), Effect.sync(() => seen.push("never"))))
          )
      )
      return sim.host("parent").run(Effect.scoped(Effect.gen(function*() {
        const polite = yield* ChildProcess.make("daemon")
        yield* Effect.sleep(10)
        yield* polite.kill()
        sim.always((yield* polite.exitCode) === 128 + 15, "ended by SIGTERM")
        const brutal = yield* ChildProcess.make("daemon")
        yield* Effect.sleep(10)
        yield* brutal.kill({ killSignal: "SIGKILL" })
        sim.always((yield* brutal.exitCode) === 137, "ended by SIGKILL")
        const stubborn = yield* ChildProcess.make("stubborn")
        yield* Effect.sleep(10)
        const before = sim.now
        yield* stubborn.kill({ forceKillAfter: "5 seconds" })
        sim.always(Math.round(sim.now - before) === 5000, "after the grace period")
        sim.always(!(yield* stubborn.isRunning), "gone")
      })))
    })
    assert.strictEqual(result.verdict.kind, "pass", result.verdict.message)
    assert.deepStrictEqual(seen, ["cleaned up"])
  })
  it("die with their parent", () => {
    let ticks = 0
    const result = run((sim) => {
      sim.program("ticker", () => Effect.forever(Effect.andThen(Effect.sleep(10), Effect.sync(() => ticks++))))
      return Effect.gen(function*() {
        const parent = sim.host("parent")
        yield* Effect.forkChild(
          Effect.ignore(parent.run(Effect.scoped(Effect.andThen(ChildProcess.make("ticker"), Effect.never))))
        )
        yield* Effect.sleep(100)
        parent.kill()
        yield* Effect.sleep(1000)
      })
    })
    assert.strictEqual(result.verdict.kind, "pass", result.verdict.message)
    assert.isAtMost(ticks, 10)
    assert.isAbove(ticks, 5)
  })
})

describe("Port", () => {
  it("fails before, fails after, repeats, delays and hangs, and none of it after the calm", () => {
    const result = run((sim) =>
      Effect.gen(function*() {
        const port = sim.port("store", { failBefore: 0.1, failAfter: 0.1, duplicate: 0.1, hang: 0.1, delay: [1, 20] })
        const outcomes: Record<string, number> = {}
        const count = (key: string) => {
          outcomes[key] = (outcomes[key] ?? 0) + 1
        }
        for (let i = 0; i < 400; i++) {
          let effects = 0
          const exit = yield* Effect.exit(Effect.timeout(port.call("append", Effect.sync(() => ++effects)), "1 second"))
          if (Exit.isSuccess(exit)) count(`done ${effects}`)
          else {
            const error = exit.cause.reasons.find(Cause.isFailReason)!.error
            count(error instanceof PortError ? `${error.outcome} ${effects}` : `silent ${effects}`)
          }
        }
        const expected = ["done 1", "done 2", "notDone 0", "silent 0", "silent 1", "unknown 1"]
        sim.always(Object.keys(outcomes).sort().join() === expected.join(), "every outcome and no other", {
          seen: JSON.stringify(outcomes)
        })
        yield* sim.calm
        for (let i = 0; i < 100; i++) yield* port.call("append", Effect.void)
      })
    )
    assert.strictEqual(result.verdict.kind, "pass", `${result.verdict.message} ${JSON.stringify(result.violations)}`)
  })
})

describe("pipelines", () => {
  const lines = (stream: Stream.Stream<Uint8Array, unknown>) => Stream.splitLines(Stream.decodeText(stream))
  it("each command reads what the one before it writes, to the end", () => {
    const result = run((sim) => {
      sim.program(
        "count",
        ({ args, stdout }) =>
          Effect.as(Effect.forEach(Array.from({ length: Number(args[0]) }, (_, n) => n), (n) => stdout(`${n}\n`)), 0)
      )
      sim.program(
        "double",
        ({ stdin, stdout }) => Effect.as(Stream.runForEach(lines(stdin), (line) => stdout(`${Number(line) * 2}\n`)), 0)
      )
      sim.program("sum", ({ stdin, stdout }) =>
        Effect.gen(function*() {
          const sum = yield* Stream.runFold(lines(stdin), () => 0, (total, line) => total + Number(line))
          yield* stdout(String(sum))
          return 3
        }))
      return sim.host("parent").run(Effect.scoped(Effect.gen(function*() {
        const pipeline = ChildProcess.make("count", ["500"]).pipe(
          ChildProcess.pipeTo(ChildProcess.make("double")),
          ChildProcess.pipeTo(ChildProcess.make("sum"))
        )
        const child = yield* pipeline
        const text = yield* Stream.mkString(Stream.decodeText(child.stdout))
        sim.always(text === "249500", "the sum of all", { text })
        sim.always((yield* child.exitCode) === 3, "the exit code is that of the last")
      })))
    })
    assert.strictEqual(result.verdict.kind, "pass", `${result.verdict.message} ${JSON.stringify(result.violations)}`)
  })
  it("killing one kills all, and what nobody reads keeps nobody waiting", () => {
    const result = run((sim) => {
      sim.program("yes", ({ stdout }) => Effect.forever(stdout("y\n")))
      sim.program("deaf", () => Effect.never)
      return sim.host("parent").run(Effect.scoped(Effect.gen(function*() {
        const child = yield* ChildProcess.make("yes").pipe(ChildProcess.pipeTo(ChildProcess.make("deaf")))
        yield* Effect.sleep(100)
        yield* child.kill()
        sim.always(!(yield* child.isRunning), "gone")
      })))
    })
    assert.strictEqual(result.verdict.kind, "pass", result.verdict.message)
    assert.strictEqual(result.events.filter((event) => event.name === "process.exit").length, 2)
  })
  it("input can be a stream, nothing, or what is written to the handle until that ends", () => {
    const seen: Array<string> = []
    const result = run((sim) => {
      sim.program("cat", ({ stdin, stdout }) => Effect.as(Stream.runForEach(Stream.decodeText(stdin), stdout), 0))
      const read = (command: ChildProcess.StandardCommand, input?: Stream.Stream<Uint8Array>) =>
        Effect.scoped(Effect.gen(function*() {
          const child = yield* command
          if (input !== undefined) yield* Effect.forkScoped(Stream.run(input, child.stdin))
          seen.push(yield* Stream.mkString(Stream.decodeText(child.stdout)))
        }))
      const text = Stream.encodeText(Stream.make("a", "b"))
      return sim.host("parent").run(Effect.gen(function*() {
        yield* read(ChildProcess.make("cat", { stdin: text }))
        yield* read(ChildProcess.make("cat", { stdin: "ignore" }))
        yield* read(ChildProcess.make("cat"), text)
        const error = yield* Effect.flip(Effect.scoped(
          ChildProcess.make("cat").pipe(ChildProcess.pipeTo(ChildProcess.make("cat"), { from: "fd3" }))
        ))
        sim.always(error.reason._tag === "BadArgument", "other descriptors are refused")
      }))
    })
    assert.strictEqual(result.verdict.kind, "pass", result.verdict.message)
    assert.deepStrictEqual(seen, ["ab", "", "ab"])
  })
})

describe("streams of a child", () => {
  it("can be read while it runs", () => {
    const result = run((sim) => {
      sim.program(
        "counter",
        ({ stdout }) =>
          Effect.as(Effect.forEach([1, 2, 3], (n) => Effect.andThen(Effect.sleep(10), stdout(`${n}\n`))), 0)
      )
      return sim.host("parent").run(Effect.scoped(Effect.gen(function*() {
        const child = yield* ChildProcess.make("counter")
        const lines = yield* Stream.runCollect(Stream.splitLines(Stream.decodeText(child.stdout)))
        sim.always(lines.join() === "1,2,3", "all lines")
      })))
    })
    assert.strictEqual(result.verdict.kind, "pass", result.verdict.message)
  })
})
