// What a user can get wrong: each has a verdict of its own, is never a pass, and never hangs.
import { assert, describe, it } from "@effect/vitest"
import { Campaign, Corpus, Nemesis, Replay, Seed, type Simulation } from "@perigee/sim"
import { Effect } from "effect"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { replayCorpus } from "../src/Scenario.ts"

/** The verdict of a campaign over a few seeds, with bounds that a test can wait for. */
const verdict = async (
  scenario: Simulation.Scenario,
  options: Partial<Campaign.Options> = {}
): Promise<Simulation.Verdict | undefined> => {
  const limits = { opsPerInstant: 20_000, realMs: 500, steps: 100_000 }
  const definition = Campaign.define("bad input", { sometimes: ["x"], limits, shrinkMs: 1, ...options }, scenario)
  const { failure } = await Campaign.campaign(definition, { base: Seed.make(1), seeds: 5 })
  return failure?.result.verdict
}

describe("a workload that never ends", () => {
  it("is a livelock when it yields for ever at one moment", async () => {
    const spin = Effect.fn("Poller.spin")(function*() {
      while (true) yield* Effect.yieldNow
    })
    const { kind, message } = (await verdict(() => spin()))!
    assert.strictEqual(kind, "livelock")
    assert.include(message, "Poller.spin")
  })
  it("is a livelock when it never comes back to the scheduler", async () => {
    const { kind, message } = (await verdict(() =>
      Effect.gen(function*() {
        while (true) yield* Effect.void
      }), { limits: { realMs: 100 } }))!
    assert.strictEqual(kind, "livelock")
    assert.include(message, "never reaches the scheduler")
  })
  it.each([
    ["steps", { steps: 1000 }, "1000 steps taken"],
    ["simulated time", { simulatedMs: 60_000 }, "60000 simulated milliseconds passed"],
    ["real time", { realMs: 50, steps: 1e12 }, "50 real milliseconds passed"]
  ])("is over budget when time goes on: %s", async (_name, limits, expected) => {
    const { kind, message } = (await verdict(() => Effect.forever(Effect.sleep("1 second")), { limits }))!
    assert.strictEqual(kind, "budget")
    assert.include(message, expected)
  })
  it("is over budget when it floods the trace", async () => {
    const { kind, message } = (await verdict(
      (sim) => Effect.forever(Effect.andThen(Effect.sleep(1), Effect.sync(() => sim.event("tick")))),
      { limits: { events: 100 } }
    ))!
    assert.deepStrictEqual([kind, message], ["budget", "100 trace events recorded"])
  })
  it("is a deadlock when nothing can wake it", async () => {
    assert.strictEqual((await verdict(() => Effect.never))?.kind, "deadlock")
  })
})

describe("product code that touches real time", () => {
  it("trips a wire, with its place", async () => {
    const { kind, message } = (await verdict(() => Effect.sync(() => Date.now())))!
    assert.strictEqual(kind, "tripwire")
    assert.match(message, /Date\.now was used at .*BadInput\.test\.ts:\d+/)
  })
  it("waits for something outside when it waits for a timer of the engine", async () => {
    const { kind, message } = (await verdict(
      () => Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 10_000))),
      { tripwire: false }
    ))!
    // Without the tripwire it can only be told that the world is idle.
    assert.strictEqual(kind, "deadlock")
    assert.include(message, "the world is idle")
    const awaited = (await verdict(() => Effect.promise(() => Promise.resolve(1))))!
    assert.strictEqual(awaited.kind, "outside wait")
  })
  it("is nondeterminism when a value of it reaches the trace, with the first differing event", async () => {
    let last = 0
    const { kind, message } = (await verdict((sim) =>
      Effect.sync(() => {
        const now = Math.max(last + 1, performance.timeOrigin + Number(process.hrtime.bigint() / 1000n))
        last = now
        sim.event("same")
        sim.event("stamped", { now })
        sim.always(false, "look closer")
      }), { tripwire: false }))!
    assert.strictEqual(kind, "nondeterminism")
    assert.match(message, /first differing event #\d+: .*stamped now=\d+.* \| .*stamped now=\d+/)
  })
})

describe("a mistake in what is asked for", () => {
  it.each(["", "x", "-1", "1.5", "18446744073709551616", "0x", "1e3"])("seed %j", (text) => {
    assert.throws(() => Seed.make(text), Seed.SeedError, "not a seed")
  })
  it.each(["4+", "4+fast", "4+1", "4+1:", "4+:2", "4+1:x", "x+quiet"])("replay %j", (text) => {
    assert.throws(() => Replay.parse(text), Seed.SeedError, "not a seed")
  })
  it("a replay text says what it was made from", () => {
    for (const text of ["4", "18446744073709551615+quiet", "4+170:99+2000:3"]) {
      assert.strictEqual(Replay.format(Replay.parse(text)), text)
    }
  })
  it("a scenario without `sometimes`", () => {
    assert.throws(() => Campaign.define("x", { sometimes: [] }, () => Effect.void), Campaign.ScenarioError, "sometimes")
  })
  it("a fault that there is not", () => {
    assert.throws(
      () => Campaign.define("x", { sometimes: ["y"], faults: ["cutt"] }, () => Effect.void),
      Nemesis.UnknownFault,
      "\"cutt\""
    )
  })
  it.each([
    ["of another version", JSON.stringify({ version: 2 }), "has version 2, this simulator reads 1"],
    ["that is not JSON", "{", "is not JSON"],
    ["that is incomplete", JSON.stringify({ version: 1, test: "bad input" }), "is incomplete"]
  ])("a corpus entry %s", async (_name, text, problem) => {
    const folder = mkdtempSync(join(tmpdir(), "sim-bad-"))
    try {
      writeFileSync(join(folder, "bad-input-00000000.json"), text)
      const definition = Campaign.define("bad input", { sometimes: ["x"] }, () => Effect.void)
      const error = await replayCorpus(definition, folder).then(() => undefined, (error: unknown) => error)
      assert.instanceOf(error, Corpus.CorpusError)
      assert.include((error as Error).message, `bad-input-00000000.json: ${problem}`)
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  })
})
