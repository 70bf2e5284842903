import { assert, describe, it } from "@effect/vitest"
import { Assert, Buggify, Campaign, Corpus, Replay, Report, Seed } from "@perigee/sim"
import { Effect, Random } from "effect"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { remember, replayCorpus } from "../src/Scenario.ts"
import { line } from "./fixtures/lineCampaign.ts"
import { fault, run } from "./fixtures/run.ts"

const campaign = (definition: Campaign.Definition, seeds: number) =>
  Campaign.campaign(definition, { base: Seed.make(1), seeds })

const withFolder = async <A>(use: (folder: string) => Promise<A>): Promise<A> => {
  const folder = mkdtempSync(join(tmpdir(), "sim-corpus-"))
  try {
    return await use(folder)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

describe("Campaign", () => {
  it("shrinks a failure of more than fifty faults to six or fewer", async () => {
    const definition = line("no keepalive", {
      faults: [
        "cut",
        "close",
        "halfOpen",
        "clog",
        "swizzle",
        "partition",
        "oneWay",
        "fragment",
        "refuse",
        "kill",
        "pause"
      ]
    })
    let best: Awaited<ReturnType<typeof Campaign.run>> | undefined
    for (let seed = 1; seed < 400 && best === undefined; seed++) {
      const recipe = Campaign.recipeOf(definition, Seed.make(seed))
      if (recipe.plan.length < 50) continue
      const result = await Campaign.run(definition, recipe)
      if (result.verdict.kind !== "pass") best = result
    }
    assert.isDefined(best)
    const failure = await Campaign.investigate(definition, best!, best!, Replay.ofSeed(Seed.make(best!.config.seed)))
    assert.isAtLeast(failure.shrunk!.before.faults, 50)
    assert.isAtMost(failure.shrunk!.recipe.plan.length, 6)
    // Without a keepalive only a link that dies in silence does harm.
    assert.include(failure.shrunk!.recipe.plan.map(({ kind }) => kind), "halfOpen")
    assert.strictEqual(failure.shrunk!.result.verdict.kind, best!.verdict.kind)
  })

  it("reports what the reader needs", async () => {
    const { failure } = await campaign(line("no session fence"), 300)
    const report = Report.formatFailure(line("no session fence"), failure!, {
      place: { node: "v24", commit: "abc" },
      replay: "SIM_SEED=9 npm test",
      saved: "corpus/x.json"
    })
    for (
      const part of [
        "no gap, no duplicate, in order",
        "replay: SIM_SEED=9 npm test",
        "config  node v24 · commit abc · policy",
        "families ",
        "(reproduced)",
        "shrunk ",
        "plan saved to corpus/x.json",
        "VIOLATION"
      ]
    ) assert.include(report, part)
  })

  it("a `sometimes` that never happens fails the campaign", async () => {
    const definition = Campaign.define("shy", { sometimes: ["rare", "common"] }, (sim) =>
      Effect.sync(() => {
        sim.always(true, "fine")
        sim.sometimes(false, "rare")
        sim.reachable("common")
      }))
    const { gaps } = await campaign(definition, 10)
    assert.deepStrictEqual(gaps, ["sometimes \"rare\" never happened in 10 seeds"])
  })
  it("so does an `always` that was declared and never looked at", async () => {
    const definition = Campaign.define(
      "looks away",
      { sometimes: ["ran"], always: ["judged", "forgotten"] },
      (sim) =>
        Effect.sync(() => {
          sim.reachable("ran")
          sim.always(true, "judged")
        })
    )
    const { gaps } = await campaign(definition, 10)
    assert.deepStrictEqual(gaps, ["always \"forgotten\" was never looked at in 10 seeds"])
  })
  it("a campaign that checked nothing fails", async () => {
    const definition = Campaign.define(
      "vacuous",
      { sometimes: ["ran"] },
      (sim) => Effect.sync(() => sim.reachable("ran"))
    )
    assert.include((await campaign(definition, 3)).gaps[0]!, "nothing was checked")
  })
  it("a fixed plan can be triggered by an event instead of a time", () => {
    const result = run((sim) =>
      Effect.gen(function*() {
        const host = sim.host("server")
        for (let i = 1; i <= 5; i++) {
          sim.event("publish", { i })
          yield* Effect.sleep(10)
          sim.sometimes(!host.alive, "dead", { i })
        }
      }), { plan: [fault("kill", 0, { on: { event: "publish", nth: 3 }, for: 1000 })] })
    assert.strictEqual(result.events.find((event) => event.name === "sometimes")?.fields["i"], 3)
  })
  it("the first run has no faults, and one in fifty is run twice", async () => {
    const { tally } = await campaign(line(undefined, { exploration: 0 }), 100)
    assert.strictEqual(tally.runs, 100)
    assert.strictEqual(tally.doubled, 2)
  })
})

/** Fails when nothing goes wrong. */
const quietly = Campaign.define(
  "fair weather",
  { sometimes: ["x"], faults: ["kill"], shrinkMs: 1 },
  (sim) =>
    Effect.gen(function*() {
      const host = sim.host("prey")
      yield* Effect.sleep("20 seconds")
      sim.always(host.deaths > 0, "a kill was survived")
    })
)

describe("exploration", () => {
  /** Three rare events in a row: one fresh seed in a million shows the last. */
  const rare = (exploration: number) =>
    Campaign.define(
      "three in a row",
      { sometimes: ["a", "b"], exploration, shrinkMs: 1 },
      (sim) =>
        Effect.gen(function*() {
          for (const stage of ["a", "b", "c"]) {
            yield* Effect.sleep(1)
            sim.always(true, "evaluated")
            if ((yield* Random.nextIntBetween(0, 99)) !== 7) return
            if (stage === "c") sim.unreachable("the end of the chain")
            sim.reachable(stage)
            // The draw after a discovery belongs to the next stage, which a branch draws anew.
            yield* Effect.sleep(1)
          }
        })
    )
  it("reaches by branching from discoveries what fresh seeds miss", async () => {
    const explored = await campaign(rare(0.5), 3000)
    assert.strictEqual(explored.failure?.result.verdict.name, "the end of the chain")
    assert.isAbove(explored.failure!.replay.branches.length, 0)
    const fresh = await campaign(rare(0), 3000)
    assert.isUndefined(fresh.failure)
  }, 60_000)
  it("states that no run has shown before are branched from too", async () => {
    // Nothing tells of the first two steps but an event in the trace.
    const silent = (exploration: number) =>
      Campaign.define(
        "events in a row",
        { sometimes: ["ran"], exploration, shrinkMs: 1 },
        (sim) =>
          Effect.gen(function*() {
            sim.always(true, "evaluated")
            sim.reachable("ran")
            for (const stage of ["a", "b", "c"]) {
              yield* Effect.sleep(1)
              if ((yield* Random.nextIntBetween(0, 99)) !== 7) return
              if (stage === "c") sim.unreachable("the end of the chain")
              sim.event(`reached ${stage}`)
              yield* Effect.sleep(1)
            }
          })
      )
    assert.strictEqual((await campaign(silent(0.5), 3000)).failure?.result.verdict.name, "the end of the chain")
    assert.isUndefined((await campaign(silent(0), 3000)).failure)
  }, 60_000)
  it("what the report prints replays a branch, and the first run without faults", async () => {
    for (const definition of [rare(0.5), quietly]) {
      const { failure } = await campaign(definition, 3000)
      const text = Replay.format(failure!.replay)
      const { branches, ...rest } = Replay.parse(text)
      const recipe = Campaign.recipeOfReplay(definition, { branches, ...rest })
      const again = await Campaign.run(definition, recipe, { branches })
      assert.deepStrictEqual([again.hash, again.verdict.kind], [failure!.result.hash, "violation"], text)
      assert.include(text, "+")
    }
  }, 60_000)
  it("a branch is part of what is stored, and replays", async () => {
    const definition = rare(0.5)
    const { failure } = await campaign(definition, 3000)
    await withFolder(async (folder) => {
      remember(definition, failure!, folder)
      const { open, problems } = await replayCorpus(definition, folder)
      assert.deepStrictEqual([open.length, problems.length], [1, 0])
    })
  }, 60_000)
})

describe("Corpus", () => {
  const failing = async (folder: string) => {
    const definition = line("cursor stored before delivery")
    const { failure } = await campaign(definition, 300)
    const file = remember(definition, failure!, folder)!
    return { definition, file, entry: Corpus.parse(readFileSync(file, "utf8"), file) }
  }
  const edit = (file: string, change: Partial<Corpus.Entry>) =>
    writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, "utf8")), ...change }))

  it("an open entry that fails as recorded is listed, not failed", () =>
    withFolder(async (folder) => {
      const { definition } = await failing(folder)
      const { open, problems } = await replayCorpus(definition, folder)
      assert.strictEqual(open.length, 1)
      assert.deepStrictEqual(problems, [])
    }))
  it("an open entry that passes must be marked as fixed, a fixed one that fails is a regression", () =>
    withFolder(async (folder) => {
      const { definition, file } = await failing(folder)
      const fixed: Campaign.Definition = { ...line(undefined), name: definition.name }
      assert.include((await replayCorpus(fixed, folder)).problems[0]!, "passes now")
      edit(file, { status: "fixed", note: "deliver before the cursor" })
      assert.deepStrictEqual((await replayCorpus(fixed, folder)).problems, [])
      assert.include((await replayCorpus(definition, folder)).problems[0]!, "fails again")
    }))
  it("an entry that fails in another way is a new failure", () =>
    withFolder(async (folder) => {
      const { definition, file } = await failing(folder)
      edit(file, { verdict: { kind: "deadlock", name: "deadlock" } })
      assert.include((await replayCorpus(definition, folder)).problems[0]!, "fails in another way")
    }))
  it("refuses what it cannot read, by file name", () => {
    const entry = { version: 1, test: "t", seed: "1", plan: [], config: { schedule: {} }, verdict: {}, status: "open" }
    assert.throws(() => Corpus.parse("{", "a.json"), Corpus.CorpusError, "a.json: is not JSON")
    assert.throws(() => Corpus.parse("null", "a.json"), Corpus.CorpusError, "version")
    assert.throws(
      () => Corpus.parse(JSON.stringify({ ...entry, version: 2 }), "a.json"),
      Corpus.CorpusError,
      "version 2"
    )
    assert.throws(() => Corpus.parse(JSON.stringify({ ...entry, plan: 1 }), "a.json"), Corpus.CorpusError, "incomplete")
    assert.throws(
      () => Corpus.parse(JSON.stringify({ ...entry, status: "wontfix", note: "" }), "a.json"),
      Corpus.CorpusError,
      "without a note"
    )
    assert.strictEqual(Corpus.parse(JSON.stringify(entry), "a.json").test, "t")
  })
})

describe("Buggify and Assert in shipping code", () => {
  const shipping = Effect.gen(function*() {
    const buggify = yield* Buggify.Buggify
    const check = yield* Assert.Assert
    const fired = buggify.point("rare path", 0.5)
    const size = buggify.knob("window", 64, [1, 2])
    check.always(size > 0, "a window has room")
    check.sometimes(fired, "rare path")
    check.watermark("window", size)
    check.sometimesEach("window", size)
    return { fired, size }
  })
  it("do nothing outside a simulation", () => {
    assert.deepStrictEqual(Effect.runSync(shipping), { fired: false, size: 64 })
  })
  it("are armed by seed and label alone, and some seeds fire", () => {
    const sizes = new Set<number>()
    let fired = 0
    for (let seed = 0; seed < 60; seed++) {
      const once = run((sim) => sim.host("h").run(shipping), { seed, config: { buggify: true } })
      const twice = run((sim) => sim.host("h").run(shipping), { seed, config: { buggify: true } })
      assert.strictEqual(once.hash, twice.hash)
      if (once.sometimes["rare path"]! > 0) fired++
      sizes.add(once.watermarks["window"]!.low)
      const off = run((sim) => sim.host("h").run(shipping), {
        seed,
        config: { buggify: true, disarmed: ["rare path", "window"] }
      })
      assert.deepStrictEqual([off.sometimes["rare path"], off.watermarks["window"]], [0, { low: 64, high: 64 }])
    }
    assert.isAbove(fired, 5)
    assert.isBelow(fired, 30)
    assert.deepStrictEqual([...sizes].sort(), [1, 2, 64])
  })
})
