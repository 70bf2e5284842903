// What the simulator promises, item by item, in one place: `npm test -- --project sim Acceptance`.
import { assert, describe, it } from "@effect/vitest"
import { Campaign, Corpus, CurrentHost, layerServer, Nemesis, Seed, type Sim } from "@perigee/sim"
import { Clock, Deferred, Effect, Fiber, FileSystem, Layer, Random } from "effect"
import { SocketServer } from "effect/socket"
import { execFile } from "node:child_process"
import { globSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { remember } from "../src/Scenario.ts"
import { digest, hashes, inWorkers } from "./fixtures/digest.ts"
import { defects, line } from "./fixtures/lineCampaign.ts"
import { emptyStore, receiver, sender } from "./fixtures/Line.ts"
import { otherNodes, stripped } from "./fixtures/otherNode.ts"
import { fault, names, run } from "./fixtures/run.ts"

const root = fileURLToPath(new URL("../../..", import.meta.url))
const path = (name: string) => fileURLToPath(new URL(name, import.meta.url))
const execute = promisify(execFile)

/** Runs Node as a user's shell would: without the marks of the test runner around it. */
const node = (args: ReadonlyArray<string>, env: Readonly<Record<string, string>> = {}) =>
  new Promise<{ readonly code: number; readonly text: string }>((resolve) => {
    const { NODE_TEST_CONTEXT: _context, VITEST: _vitest, ...clean } = process.env
    execFile(
      process.execPath,
      args,
      { cwd: root, env: { ...clean, ...env } },
      (error, stdout, stderr) => resolve({ code: error === null ? 0 : Number(error.code ?? 1), text: stdout + stderr })
    )
  })
const onSources = ["--conditions=@perigee/source"]

const withFolder = async <A>(use: (folder: string) => Promise<A>): Promise<A> => {
  const folder = mkdtempSync(join(tmpdir(), "sim-acceptance-"))
  try {
    return await use(folder)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

describe("the same seed gives the same trace", () => {
  const seeds = 12
  const file = path("fixtures/digest.ts")
  let once: Promise<string> | undefined
  const own = () => once ??= hashes(1, seeds).then(digest)
  const inProcess = async (flags: ReadonlyArray<string>, env: Readonly<Record<string, string>> = {}) => {
    const { stdout } = await execute(process.execPath, [...onSources, ...flags, file, String(seeds)], {
      env: { ...process.env, ...env }
    })
    return stdout
  }

  it("in 1,000 runs", async () => {
    const definition = Campaign.define(
      "thousand",
      { faults: ["cut", "clog", "kill"], sometimes: ["x"] },
      (sim) =>
        Effect.gen(function*() {
          const store = emptyStore()
          sim.host("rx", receiver(store))
          const { socket } = yield* CurrentHost
          yield* sender(socket("rx:1"), 20)
        })
    )
    const recipe = Campaign.recipeOf(definition, Seed.make(11))
    const seen = new Set<string>()
    for (let i = 0; i < 1000; i++) seen.add((await Campaign.run(definition, recipe)).hash)
    assert.strictEqual(seen.size, 1)
  }, 120_000)
  it.each([
    ["another process", [], {}],
    ["a small young generation", ["--max-semi-space-size=1"], {}],
    ["a collection every few thousand allocations", ["--gc-interval=3000"], {}],
    ["no optimising compiler", ["--no-opt"], {}],
    ["another hash seed", ["--hash-seed=77", "--random-seed=5"], {}],
    ["another time zone and locale", [], { TZ: "Asia/Kathmandu", LANG: "de_DE.UTF-8" }]
  ])("in %s", async (_name, flags, env) => {
    assert.strictEqual(await inProcess(flags, env as Record<string, string>), await own())
  }, 60_000)
  it("in two worker threads", async () => {
    assert.strictEqual(await inWorkers(seeds, 2), await own())
  }, 60_000)
  it("in processes that compete for the machine", async () => {
    const all = await Promise.all([inProcess([]), inProcess([]), inProcess([])])
    assert.deepStrictEqual([...new Set(all)], [await own()])
  }, 60_000)
  const others = otherNodes()
  it.skipIf(others.length === 0)(
    `on other versions of Node: ${others.map(({ version }) => version).join(", ") || "skipped, none on this machine"}`,
    async () => {
      const folder = stripped("other-node", ["digest.ts", "Line.ts"])
      try {
        const script = join(folder, "test/fixtures/digest.js")
        for (const { path, version } of others) {
          const { stdout } = await execute(path, [script, String(seeds)])
          assert.strictEqual(stdout, await own(), version)
        }
      } finally {
        rmSync(folder, { recursive: true, force: true })
      }
    },
    60_000
  )
})

it("different seeds give different traces", async () => {
  assert.strictEqual(new Set(await hashes(1, 60)).size, 60)
}, 60_000)

it("a kill runs no finalizer, no timer and no task of the process", () => {
  const seen: Array<string> = []
  const say = (text: string) => Effect.sync(() => void seen.push(text))
  const App = Layer.effectDiscard(Effect.gen(function*() {
    yield* Effect.acquireRelease(say("acquired"), () => say("released"))
    yield* Effect.addFinalizer(() => say("finalizer"))
    yield* Effect.forkScoped(Effect.ensuring(Effect.never, say("interrupted")))
    yield* Effect.forkDetach(Effect.andThen(Effect.sleep(200), say("timer")))
  }))
  const result = run((sim) =>
    Effect.gen(function*() {
      const host = sim.host("app", App, { stable: true })
      const work = yield* Effect.forkChild(Effect.exit(host.run(
        Effect.onInterrupt(Effect.ensuring(Effect.never, say("ensured")), () => say("onInterrupt"))
      )))
      yield* Effect.sleep(100)
      host.kill()
      sim.always((yield* Fiber.join(work))._tag === "Failure", "the caller is told")
      yield* Effect.sleep(1000)
    })
  )
  assert.strictEqual(result.verdict.kind, "pass", result.verdict.message)
  assert.deepStrictEqual(seen, ["acquired"])
})

it("a restart after a power cut sees what was synced, and of the rest no more than was written", () => {
  const kept = new Set<number>()
  for (let seed = 1; seed <= 40; seed++) {
    const result = run((sim) =>
      Effect.gen(function*() {
        const host = sim.host("box")
        yield* host.run(Effect.scoped(Effect.gen(function*() {
          const fs = yield* FileSystem.FileSystem
          const file = yield* fs.open("/f", { flag: "a" })
          yield* file.writeAll(new Uint8Array(3).fill(1))
          yield* file.sync
          yield* file.writeAll(new Uint8Array(3).fill(2))
        })))
        host.kill({ power: true })
        host.reboot()
        const bytes = yield* host.run(FileSystem.FileSystem.use((fs) => fs.readFile("/f")))
        sim.always(["111", "111222"].includes(bytes.join("")), "synced bytes, and perhaps the others")
        kept.add(bytes.length)
      }), { seed })
    assert.strictEqual(result.verdict.kind, "pass", result.verdict.message)
  }
  assert.deepStrictEqual([...kept].sort(), [3, 6])
})

it("a deadlock names the step that is parked", () => {
  const waitForAck = Effect.fn("Producer.waitForAck")(function*() {
    yield* Deferred.await(yield* Deferred.make<void>())
  })
  const result = run(() => waitForAck())
  assert.strictEqual(result.verdict.kind, "deadlock")
  assert.include(result.verdict.message, "Producer.waitForAck (host sim")
})

it("a promise under the synchronous driver is reported with its fiber", () => {
  const fetchIt = Effect.fn("Client.fetch")(function*() {
    yield* Effect.promise(() => Promise.resolve(1))
  })
  const result = run(() => fetchIt())
  assert.strictEqual(result.verdict.kind, "outside wait")
  assert.include(result.verdict.message, "Client.fetch (host sim")
})

it("speed is measured, with its goal, by `npm run bench -- sim`", () => {
  const { machine, rows } = JSON.parse(readFileSync(join(root, "bench/results/sim.json"), "utf8")) as {
    readonly machine: string
    readonly rows: ReadonlyArray<{ readonly work: string; readonly ours: number; readonly unit: string }>
  }
  const rates = rows.filter((row) => row.unit === "seeds/min")
  for (const { ours, work } of rates) process.stderr.write(`${machine}: ${work}: ${Math.round(ours)} seeds a minute\n`)
  assert.isTrue(rates.some((row) => row.work.includes("bus")))
})

it("10,000 seeds in one process leave the heap where it was", async () => {
  const definition = Campaign.define(
    "small",
    { sometimes: ["ran"], faults: ["cut"], exploration: 0 },
    (sim) =>
      Effect.gen(function*() {
        yield* Effect.sleep(yield* Random.nextIntBetween(1, 100))
        sim.always(true, "ran")
        sim.reachable("ran")
      })
  )
  setFlagsFromString("--expose-gc")
  const collectGarbage = runInNewContext("gc") as () => void
  const measure = () => {
    collectGarbage()
    return process.memoryUsage().heapUsed
  }
  const campaign = (seeds: number) => Campaign.campaign(definition, { base: Seed.make(1), seeds })
  await campaign(500)
  const before = measure()
  await campaign(10_000)
  // One retained world a seed would be hundreds of megabytes.
  assert.isBelow((measure() - before) / 1_048_576, 3)
}, 120_000)

describe("every kind of fault can be seen by the program that it hits", () => {
  const echo = Layer.effectDiscard(Effect.gen(function*() {
    const server = yield* SocketServer.SocketServer
    yield* Effect.forkScoped(server.run((socket) =>
      Effect.gen(function*() {
        const { pull } = yield* socket.reader
        const writer = yield* socket.writer
        while (true) yield* writer.writeAll(yield* pull)
      }).pipe(Effect.scoped, Effect.ignore)
    ))
  })).pipe(Layer.provide(layerServer(7)))

  const text = (chunk: string | Uint8Array) => typeof chunk === "string" ? chunk : new TextDecoder().decode(chunk)

  /** What two programs see in two seconds: one that talks over connections, one that writes files and reads its clock. */
  const observe = (plan: ReadonlyArray<Nemesis.Fault>) => {
    const seen: Array<string> = []
    const dialled = Effect.gen(function*() {
      const { socket } = yield* CurrentHost
      const connection = socket("srv:7")
      const { pull } = yield* connection.reader
      const writer = yield* connection.writer
      for (let i = 0; i < 8; i++) {
        yield* writer.write(`${i}`.repeat(200))
        seen.push((yield* pull).map(text).join("|"))
        yield* Effect.sleep(10)
      }
    }).pipe(Effect.scoped, Effect.timeout("300 millis"))
    const store = (n: number) =>
      Effect.scoped(Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const file = yield* fs.open("/log", { flag: "a+" })
        yield* file.writeAll(new Uint8Array(40).fill(n))
        yield* file.sync
        seen.push((yield* fs.readFile("/log")).join(""))
        seen.push(String(yield* Clock.currentTimeMillis))
        yield* Effect.sleep(25)
      }))
    const result = run((sim) =>
      Effect.gen(function*() {
        sim.host("srv", echo)
        const box = sim.host("box")
        const loop = (work: Effect.Effect<unknown, unknown, CurrentHost>) =>
          Effect.gen(function*() {
            while (sim.now < 2000) {
              const exit = yield* Effect.result(work)
              seen.push(`${sim.now} ${exit._tag === "Success" ? "done" : String(exit.failure)}`)
              yield* Effect.sleep(5)
            }
          })
        let n = 0
        yield* Effect.all([
          loop(dialled),
          loop(Effect.suspend(() => Effect.timeout(box.run(store(++n)), "2 seconds")))
        ], { concurrency: "unbounded" })
      }), { plan })
    assert.strictEqual(result.verdict.kind, "pass", result.verdict.message)
    return { seen: seen.join("\n"), result }
  }
  const strengths: Readonly<Record<string, Partial<Nemesis.Fault>>> = {
    dns: { pick: 0 },
    bitFlip: { level: 100 },
    slowAccept: { level: 2000 },
    slowDisk: { level: 1000 },
    clockJump: { level: 3600 },
    drift: { level: 500 },
    lateTimers: { level: 150 },
    stop: { level: 1000 },
    crashStorm: { level: 3 }
  }
  const usual = observe([]).seen

  it.each(Nemesis.families.map(({ group, name }) => ({ group, name })))("$name", ({ group, name }) => {
    const target = group === "network" ? {} : { target: "box" }
    const { result, seen } = observe([fault(name, 150, { for: 800, pick: 1, level: 1, ...target, ...strengths[name] })])
    assert.include(names(result), name === "crashAtOperation" ? "power.lost" : name)
    assert.notStrictEqual(seen, usual)
  })
})

it("a stored plan replays after the program has changed its random draws", () =>
  withFolder(async (folder) => {
    const definition = line("cursor stored before delivery")
    const { failure } = await Campaign.campaign(definition, { base: Seed.make(1), seeds: 300 })
    const file = remember(definition, failure!, folder)!
    const entry = Corpus.parse(readFileSync(file, "utf8"), file)
    const changed: Campaign.Definition = {
      ...definition,
      scenario: (sim: Sim) => Effect.andThen(Effect.forEach([1, 2, 3], () => Random.next), definition.scenario(sim))
    }
    const result = await Campaign.run(changed, entry)
    assert.strictEqual(result.verdict.name, entry.verdict.name)
    assert.isAtMost(entry.plan.length, 6)
  }), 60_000)

it("the corpus is replayed before any seed", () =>
  withFolder(async (folder) => {
    const defect = { PLANTED_DEFECT: "cursor stored before delivery", PLANTED_CORPUS: folder }
    const test = [...onSources, "--test", path("fixtures/planted/line.ts")]
    await node(test, defect)
    const [name] = readdirSync(folder)
    const file = join(folder, name!)
    writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, "utf8")), status: "fixed", note: "mended" }))
    const again = await node(test, defect)
    assert.strictEqual(again.code, 1)
    assert.include(again.text, `${name} was fixed and fails again`)
    assert.notInclude(again.text, "replay: ")
  }), 60_000)

it("a `sometimes` that never happened fails", async () => {
  const definition = Campaign.define("shy", { sometimes: ["rare"] }, (sim) =>
    Effect.sync(() => {
      sim.always(true, "fine")
      sim.sometimes(false, "rare")
    }))
  const { gaps } = await Campaign.campaign(definition, { base: Seed.make(1), seeds: 10 })
  assert.deepStrictEqual(gaps, ["sometimes \"rare\" never happened in 10 seeds"])
})

describe("planted defects are all caught, and shrink to six faults or fewer", () => {
  // Those of the oracles are in Oracle.test.ts, of schedules in Scheduler.test.ts, of the bus in its own test/mutants.
  it.each(defects)("%s", async (defect) => {
    const { failure } = await Campaign.campaign(line(defect, { shrinkMs: 5000 }), { base: Seed.make(1), seeds: 300 })
    assert.isDefined(failure)
    assert.isTrue(failure!.reproduced)
    assert.isAtMost(failure!.shrunk!.recipe.plan.length, 6)
  }, 60_000)
})

it(
  "a planted bug is found, shrunk, stored, and replayed in a fresh process with the one command that was printed",
  () =>
    withFolder(async (folder) => {
      const env = { PLANTED_DEFECT: "cursor stored before delivery", PLANTED_CORPUS: folder }
      const found = await node([...onSources, "--test", path("fixtures/planted/line.ts")], env)
      assert.strictEqual(found.code, 1, found.text)
      assert.match(found.text, /shrunk {2}\d+ faults? to [0-6]\b/)
      assert.strictEqual(readdirSync(folder).length, 1)
      const [, command] = /replay: (.+)/.exec(found.text)!
      const trace = / trace {3}([\da-f]{16}) \(reproduced\)/.exec(found.text)![1]!
      const { NODE_TEST_CONTEXT: _context, VITEST: _vitest, ...clean } = process.env
      // The host's own Node may be too old to read TypeScript; a user of it would not have come this far.
      const PATH = `${join(root, "node_modules/.bin")}:${process.env["PATH"]}`
      const again = await execute("sh", ["-c", command!], { cwd: root, env: { ...clean, ...env, PATH } }).then(
        () => assert.fail("the replay passes"),
        (error: { readonly stdout: string; readonly stderr: string }) => error.stdout + error.stderr
      )
      assert.include(again, `trace ${trace} violation`)
    }),
  60_000
)

describe("the package", () => {
  const imports = (file: string) =>
    [...readFileSync(file, "utf8").matchAll(/(?:from|import) ?\(?"([^"]+)"/g)].map((match) => match[1]!)

  it("depends on effect and on Node alone: no native module, no install script", () => {
    const found = globSync("packages/sim/src/**/*.ts", { cwd: root }).flatMap((file) => imports(root + file))
    assert.isAbove(found.length, 100)
    assert.deepStrictEqual(found.filter((name) => !/^(?:effect\/|node:|\.)/.test(name)), [])
    const manifest = JSON.parse(readFileSync(`${root}packages/sim/package.json`, "utf8")) as Record<string, object>
    assert.deepStrictEqual(Object.keys(manifest["peerDependencies"]!), ["effect"])
    assert.isUndefined(manifest["dependencies"])
    assert.notProperty(manifest["scripts"], "install")
  })
  it("is imported by no product source", () => {
    const sources = globSync(["packages/*/src/**/*.ts", "apps/*/src/**/*.ts"], { cwd: root })
      .filter((file) => !file.startsWith("packages/sim/"))
    assert.isAbove(sources.length, 100)
    for (const file of sources) {
      assert.deepStrictEqual(imports(root + file).filter((name) => name.startsWith("@perigee/sim")), [], file)
    }
  })
  it("works under plain `node --test`", async () => {
    const { code, text } = await node([...onSources, "--test", path("fixtures/planted/line.ts")], { SIM_SEEDS: "20" })
    assert.strictEqual(code, 0, text)
    assert.match(text, /pass 1\b/)
  }, 60_000)
  it("works under vitest", async () => {
    const runner = join(root, "node_modules/vitest/vitest.mjs")
    const { code, text } = await node([runner, "run", "--project", "sim", "test/sim/line.test.ts"], { SIM_SEEDS: "20" })
    assert.strictEqual(code, 0, text)
    assert.match(text, /1 passed/)
  }, 60_000)
})
