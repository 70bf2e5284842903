import { assert, describe, it } from "@effect/vitest"
import { Campaign, Seed, type Sim } from "@perigee/sim"
import { Clock, Console, Effect, Fiber, FileSystem, Layer, Random, type Scope, Semaphore } from "effect"
import { SecureRandom } from "effect/crypto"
import { SocketServer } from "effect/socket"
import { CurrentHost, layerServer } from "../src/index.ts"
import { fault, names, random, run, runAsync } from "./fixtures/run.ts"

describe("verdicts", () => {
  it("promises work under the asynchronous driver, the same way every time", async () => {
    const scenario: Parameters<typeof run>[0] = (sim) =>
      Effect.gen(function*() {
        const results = yield* Effect.forEach([3, 1, 2], (n) =>
          Effect.andThen(
            Effect.sleep(n),
            Effect.promise(async () => {
              await Promise.resolve()
              sim.event("async", { n })
              return n
            })
          ), { concurrency: "unbounded" })
        sim.always(results.join() === "3,1,2", "results")
      })
    const hashes = new Set<string>()
    for (let i = 0; i < 30; i++) {
      const result = await runAsync(scenario, { config: { schedule: random(0.5, 0.05) } })
      assert.strictEqual(result.verdict.kind, "pass", result.verdict.message)
      hashes.add(result.hash)
    }
    assert.strictEqual(hashes.size, 1)
  })
  it("the asynchronous driver reports a wait for something outside", async () => {
    const result = await runAsync(() => Effect.promise(() => new Promise<void>(() => {})))
    assert.strictEqual(result.verdict.kind, "outside wait")
  })
  it("a loop that never reaches the scheduler is interrupted and reported", async () => {
    const definition = Campaign.define(
      "hang",
      { sometimes: ["x"], limits: { realMs: 100 } },
      () =>
        Effect.gen(function*() {
          while (true) yield* Effect.void
        })
    )
    const { failure } = await Campaign.campaign(definition, { base: Seed.make(1), seeds: 5 })
    assert.strictEqual(failure?.result.verdict.kind, "livelock")
    // The wires of the interrupted run are down again.
    assert.notInclude(String(Date.now), "wrapped")
  })
  it("a failed scenario is a defect, a violation outranks it", () => {
    assert.strictEqual(run(() => Effect.fail(new Error("boom"))).verdict.kind, "defect")
    const both = run((sim) => {
      sim.always(false, "two is three", { got: 2 })
      return Effect.die("later")
    })
    assert.deepStrictEqual([both.verdict.kind, both.verdict.name], ["violation", "two is three"])
    assert.deepStrictEqual(both.violations[0]?.details, { got: 2 })
  })
  it("what is left over is a leak: fibers, links, listeners, files", () => {
    const fiber = run((sim) =>
      Effect.gen(function*() {
        const host = sim.host("leaky")
        yield* host.run(Effect.asVoid(Effect.forkDetach(
          Effect.fn("Leaky.loop")(function*() {
            yield* Effect.never
          })()
        )))
        yield* Effect.sleep(1)
      })
    )
    assert.strictEqual(fiber.verdict.kind, "leak")
    assert.include(fiber.verdict.message, "Leaky.loop (host leaky")
    const file = run((sim) =>
      sim.host("leaky").run(Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        yield* Effect.asVoid(
          Effect.forkDetach(Effect.scoped(Effect.andThen(fs.open("/x", { flag: "w" }), Effect.never)))
        )
        yield* Effect.sleep(10)
      }))
    )
    assert.include(file.verdict.message, "1 open files on leaky")
  })
  it("what is left over is a leak: timers, permits, and whatever else a scenario counts", () => {
    const left = (body: (sim: Sim) => Effect.Effect<unknown, unknown, Scope.Scope>) => run(body).verdict
    const timer = left((sim) =>
      sim.host("leaky").run(Effect.asVoid(Effect.forkDetach(Effect.sleep("400 days"), { startImmediately: true })))
    )
    assert.strictEqual(timer.kind, "leak")
    assert.include(timer.message, "1 timers on leaky")
    const permit = left((sim) =>
      Effect.gen(function*() {
        const semaphore = yield* Semaphore.make(3)
        sim.permits("to dial", semaphore)
        yield* semaphore.take(2)
        yield* semaphore.release(1)
      })
    )
    assert.deepStrictEqual([permit.kind, permit.message], [
      "leak",
      "left over at the end: permits to dial 2, 3 at first"
    ])
    const table = new Map([["kept", 1]])
    const entries = left((sim) =>
      Effect.sync(() => {
        sim.resource("sessions", () => table.size)
        table.set("forgotten", 2)
      })
    )
    assert.include(entries.message, "sessions 2, 1 at first")
    const fine = left((sim) =>
      Effect.gen(function*() {
        const semaphore = yield* Semaphore.make(3)
        sim.permits("to dial", semaphore)
        yield* semaphore.withPermit(Effect.sleep(10))
        yield* Effect.forkScoped(semaphore.withPermit(Effect.never))
        yield* Effect.sleep(10)
      })
    )
    assert.strictEqual(fine.kind, "pass", fine.message)
  })
  it.each([
    ["Date.now", () => Date.now()],
    ["new Date()", () => new Date()],
    ["Math.random", () => Math.random()],
    ["setTimeout", () => clearTimeout(setTimeout(() => {}, 0))],
    ["queueMicrotask", () => queueMicrotask(() => {})],
    ["process.nextTick", () => process.nextTick(() => {})],
    ["performance.now", () => performance.now()],
    ["process.hrtime.bigint", () => process.hrtime.bigint()],
    ["crypto.getRandomValues", () => crypto.getRandomValues(new Uint8Array(1))],
    ["crypto.randomUUID", () => crypto.randomUUID()],
    ["fetch", () => void fetch("http://127.0.0.1:1").catch(() => {})]
  ])("%s trips the wire, with its place", (name, touch) => {
    const result = run(() => Effect.sync(touch))
    assert.strictEqual(result.verdict.kind, "tripwire")
    assert.strictEqual(result.verdict.name, name)
    assert.include(result.verdict.message, "Simulation.test.ts")
  })
  it("the wires are down after a run, and dates with arguments are free", () => {
    const before = [Date, Date.now, Math.random, setTimeout, Promise.prototype.then, process.nextTick, performance.now]
    const result = run(() => Effect.sync(() => new Date(0)))
    assert.strictEqual(result.verdict.kind, "pass", result.verdict.message)
    const after = [Date, Date.now, Math.random, setTimeout, Promise.prototype.then, process.nextTick, performance.now]
    assert.isTrue(before.every((value, i) => value === after[i]))
  })
})

describe("a simulated process", () => {
  it("draws randomness from the seed: the same again, another for another seed", () => {
    const draw = (seed: number) => {
      const drawn: Array<unknown> = []
      run(() =>
        Effect.gen(function*() {
          const secure = yield* SecureRandom.SecureRandom
          drawn.push(yield* Random.next, yield* Random.nextInt, yield* secure.uuidV4(), yield* secure.uuidV7())
          drawn.push(yield* secure.ulid, Array.from(yield* secure.randomBytes(4)))
        }), { seed })
      return drawn
    }
    assert.deepStrictEqual(draw(1), draw(1))
    assert.notDeepEqual(draw(1), draw(2))
  })
  it("writes logs, spans and console output into the trace", () => {
    const result = run((sim) =>
      sim.host("talker").run(
        Effect.gen(function*() {
          yield* Effect.log("sent").pipe(Effect.annotateLogs({ seq: 7 }))
          yield* Console.error("careful")
          const span = yield* Effect.currentSpan
          sim.event("span", { id: span.spanId, trace: span.traceId })
        }).pipe(Effect.withSpan("work"))
      )
    )
    assert.strictEqual(result.verdict.kind, "pass", result.verdict.message)
    const log = result.events.find((event) => event.name === "log")!
    assert.deepStrictEqual([log.host, log.fields], ["talker", { level: "Info", message: "sent", seq: 7 }])
    assert.include(names(result), "console")
    const again = run((sim) => sim.host("talker").run(Effect.void))
    assert.strictEqual(again.verdict.kind, "pass")
  })
  it("builds its layer again after a kill and finds what it had written", () => {
    const boots: Array<string> = []
    const App = Layer.effectDiscard(Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const known = yield* fs.exists("/mark")
      boots.push(known ? "again" : "first")
      yield* fs.writeFileString("/mark", "x")
    }))
    const result = run((sim) =>
      Effect.gen(function*() {
        const host = sim.host("app", App)
        yield* host.ready
        host.kill()
        yield* Effect.sleep(10)
        host.reboot()
        yield* host.ready
      })
    )
    assert.strictEqual(result.verdict.kind, "pass", result.verdict.message)
    assert.deepStrictEqual(boots, ["first", "again"])
  })
  it("loses unsynced bytes with the power, keeps them through a kill", () => {
    const write = (path: string, sync: boolean) =>
      Effect.scoped(Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const file = yield* fs.open(path, { flag: "w" })
        yield* file.writeAll(new Uint8Array([1, 2, 3]))
        if (sync) yield* file.sync
      }))
    const exists = (path: string) => FileSystem.FileSystem.use((fs) => fs.exists(path))
    let lost = 0
    for (let seed = 0; seed < 20; seed++) {
      const result = run((sim) =>
        Effect.gen(function*() {
          const host = sim.host("box")
          yield* host.run(write("/synced", true))
          yield* host.run(write("/unsynced", false))
          host.kill()
          host.reboot()
          sim.always(yield* host.run(exists("/unsynced")), "a kill keeps the page cache")
          host.kill({ power: true })
          host.reboot()
          sim.always(yield* host.run(exists("/synced")), "synced bytes survive the power cut")
          if (!(yield* host.run(exists("/unsynced")))) lost++
        }), { seed })
      assert.strictEqual(result.verdict.kind, "pass", result.verdict.message)
    }
    assert.isAbove(lost, 0)
    assert.isBelow(lost, 20)
  })
  it("a failed boot is told to whoever uses the host", () => {
    const result = run((sim) =>
      sim.host("broken", Layer.effectDiscard(Effect.fail(new Error("no config")))).run(Effect.void)
    )
    assert.strictEqual(result.verdict.kind, "defect")
    assert.include(result.verdict.message, "no config")
  })
  it("stops in order: finalizers run, links close", () => {
    const seen: Array<string> = []
    const App = Layer.effectDiscard(Effect.gen(function*() {
      const server = yield* SocketServer.SocketServer
      yield* Effect.addFinalizer(() => Effect.sync(() => seen.push("finalizer")))
      yield* Effect.forkScoped(server.run((socket) => Effect.scoped(Effect.flatMap(socket.reader, ({ pull }) => pull))))
    })).pipe(Layer.provide(layerServer(1)))
    const result = run((sim) =>
      Effect.gen(function*() {
        const host = sim.host("app", App)
        yield* host.ready
        const { socket } = yield* CurrentHost
        yield* Effect.scoped(Effect.gen(function*() {
          const { pull } = yield* socket("app:1").reader
          yield* Effect.forkChild(Effect.andThen(Effect.sleep(10), host.stop))
          const error = yield* Effect.flip(pull)
          sim.always(error.reason._tag === "SocketCloseError", "the client sees the end")
        }))
      })
    )
    assert.strictEqual(result.verdict.kind, "pass", result.verdict.message)
    assert.deepStrictEqual(seen, ["finalizer"])
  })
})

describe("the beginning of a run", () => {
  it("nothing goes wrong during the setup, and everything planned goes wrong after it", () => {
    const result = run((sim) =>
      Effect.gen(function*() {
        const host = sim.host("prey")
        yield* sim.setup(Effect.gen(function*() {
          yield* Effect.sleep(1000)
          for (let i = 0; i < 3; i++) sim.event("publish")
          sim.always(host.deaths === 0, "alive in the setup")
        }))
        yield* Effect.sleep(60)
        sim.always(host.deaths === 1, "killed 50 ms after it", { deaths: host.deaths })
        yield* Effect.sleep(100)
        for (let i = 0; i < 3; i++) sim.event("publish")
        yield* Effect.sleep(1)
        sim.always(host.deaths === 2, "killed at the second event after it", { deaths: host.deaths })
      }), {
      plan: [fault("kill", 50, { for: 10 }), fault("kill", 0, { for: 10, on: { event: "publish", nth: 2 } })]
    })
    assert.strictEqual(result.verdict.kind, "pass", `${result.verdict.message} ${JSON.stringify(result.violations)}`)
  })
  it("a name can move to another machine", () => {
    const served: Array<string> = []
    const server = (name: string) =>
      Layer.effectDiscard(Effect.gen(function*() {
        const server = yield* SocketServer.SocketServer
        yield* Effect.forkScoped(
          server.run((socket) => Effect.scoped(Effect.andThen(Effect.sync(() => served.push(name)), socket.reader)))
        )
      })).pipe(Layer.provide(layerServer(1)))
    const result = run((sim) =>
      Effect.gen(function*() {
        const [first, second] = [sim.host("db-1", server("db-1")), sim.host("db-2", server("db-2"))]
        const { socket } = yield* CurrentHost
        const dial = Effect.scoped(Effect.andThen(socket("db:1").reader, Effect.sleep(100)))
        sim.always((yield* Effect.exit(dial))._tag === "Failure", "no such name yet")
        sim.resolve("db", first)
        yield* dial
        sim.resolve("db", second)
        yield* dial
      })
    )
    assert.strictEqual(result.verdict.kind, "pass", result.verdict.message)
    assert.deepStrictEqual(served, ["db-1", "db-2"])
  })
  it("shrinking tries fewer machines of a cluster", async () => {
    const definition = Campaign.define("cluster", { sometimes: ["x"] }, (sim) =>
      Effect.gen(function*() {
        const nodes = sim.cluster("node", 7, () => Layer.empty)
        yield* Effect.forEach(nodes, (node) => node.ready)
        sim.always(nodes.length < 3, "a cluster of three is too many")
      }))
    const { failure } = await Campaign.campaign(definition, { base: Seed.make(1), seeds: 5 })
    assert.deepStrictEqual(failure?.shrunk?.recipe.config.sizes, { "hosts node": 3 })
  })
})

describe("a process that is asked to stop", () => {
  const stopping = (release: Effect.Effect<void>, level: number) => {
    const seen: Array<string> = []
    const App = Layer.effectDiscard(Effect.acquireRelease(
      Effect.sync(() => void seen.push("start")),
      () => Effect.andThen(release, Effect.sync(() => void seen.push("released")))
    ))
    const result = run((sim) =>
      Effect.gen(function*() {
        const host = sim.host("app", App)
        yield* Effect.forkChild(Effect.ignore(host.run(Effect.forever(Effect.andThen(
          Effect.sleep(10),
          Effect.sync(() => seen.at(-1) === "released" && seen.push("ran on"))
        )))))
        yield* Effect.sleep(1000)
        yield* sim.calm
        yield* host.run(Effect.sync(() => seen.push("used")))
        seen.push(`${host.boots} boots, ${host.deaths} deaths`)
      }), { plan: [fault("stop", 100, { for: 200, level })] })
    assert.strictEqual(result.verdict.kind, "pass", result.verdict.message)
    return seen
  }
  it("runs its finalizers, ends with everything in it, and is started again", () => {
    assert.deepStrictEqual(stopping(Effect.sleep(50), 1000), [
      "start",
      "released",
      "start",
      "used",
      "2 boots, 0 deaths",
      "released"
    ])
  })
  it("is killed when that takes longer than its time of grace", () => {
    assert.deepStrictEqual(stopping(Effect.sleep(500), 100), [
      "start",
      "start",
      "used",
      "2 boots, 1 deaths",
      "released"
    ])
  })
})

describe("the end of a run", () => {
  it("the calm heals everything and boots what faults had killed", () => {
    const result = run((sim) =>
      Effect.gen(function*() {
        const host = sim.host("prey")
        yield* host.ready
        yield* Effect.sleep(100)
        sim.always(!host.alive, "dead in the chaos")
        yield* sim.calm
        sim.always(host.alive, "alive in the calm")
        yield* host.run(Effect.void)
      }), { plan: [fault("kill", 50, { for: 1_000_000 })] })
    assert.strictEqual(result.verdict.kind, "pass", result.verdict.message)
  })
  it.each(["crashStorm", "swizzle", "partition", "kill", "crash", "stop"])(
    "nothing of a fault goes on in the calm: %s",
    (kind) => {
      const result = run((sim) =>
        Effect.gen(function*() {
          const host = sim.host("prey")
          yield* Effect.sleep(500)
          yield* sim.calm
          const { deaths } = host
          const events = sim.world.trace.count
          yield* Effect.sleep(10_000)
          sim.always(host.alive && host.deaths === deaths && sim.world.trace.count === events, "quiet")
          yield* host.stop
          yield* Effect.sleep(10_000)
          sim.always(!host.alive, "what was stopped stays stopped")
        }), { plan: [fault(kind, 10, { for: 3000, level: 5, pick: 0xffffffff })] })
      assert.strictEqual(result.verdict.kind, "pass", result.verdict.message)
    }
  )
  it("eventually is a liveness bound", () => {
    const result = run((sim) => sim.eventually(() => false, "progress", { within: 100 }))
    assert.deepStrictEqual([result.verdict.kind, result.verdict.name], ["violation", "progress"])
    const fine = run((sim) =>
      Effect.gen(function*() {
        const start = yield* Clock.currentTimeMillis
        const fiber = yield* Effect.forkChild(Effect.sleep(50))
        yield* sim.eventually(() => fiber.pollUnsafe() !== undefined, "progress", { within: 100 })
        yield* Fiber.join(fiber)
        sim.always((yield* Clock.currentTimeMillis) - start < 100, "in time")
      })
    )
    assert.strictEqual(fine.verdict.kind, "pass", fine.verdict.message)
  })
})
