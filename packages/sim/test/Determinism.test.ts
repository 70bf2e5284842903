// The same seed is the same run: a thousand times over, in other processes, threads, engine configurations, time zones.
import { assert, describe, it } from "@effect/vitest"
import { execFile } from "node:child_process"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { Campaign, CurrentHost, Seed } from "@perigee/sim"
import { Effect } from "effect"
import { digest, hashes, inWorkers } from "./fixtures/digest.ts"
import { emptyStore, receiver, sender } from "./fixtures/Line.ts"

const seeds = 12
const file = fileURLToPath(new URL("fixtures/digest.ts", import.meta.url))
let once: Promise<string> | undefined
const own = () => once ??= hashes(1, seeds).then(digest)
const run = promisify(execFile)
const inProcess = async (flags: ReadonlyArray<string>, env: Readonly<Record<string, string>> = {}) => {
  const { stdout } = await run(process.execPath, ["--conditions=@perigee/source", ...flags, file, String(seeds)], {
    env: { ...process.env, ...env }
  })
  return stdout
}

describe("determinism", () => {
  it("one seed, 1,000 runs, one hash", async () => {
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
  it("different seeds differ", async () => {
    assert.strictEqual(new Set(await hashes(1, 60)).size, 60)
  }, 60_000)
  it.each([
    ["another process", [], {}],
    ["a small young generation", ["--max-semi-space-size=1"], {}],
    ["a collection every few thousand allocations", ["--gc-interval=3000"], {}],
    ["no optimising compiler", ["--no-opt"], {}],
    ["another hash seed", ["--hash-seed=77", "--random-seed=5"], {}],
    ["another time zone and locale", [], { TZ: "Asia/Kathmandu", LANG: "de_DE.UTF-8" }]
  ])("the same traces in %s", async (_name, flags, env) => {
    assert.strictEqual(await inProcess(flags, env as Record<string, string>), await own())
  }, 60_000)
  it("the same traces in two worker threads", async () => {
    assert.strictEqual(await inWorkers(seeds, 2), await own())
  }, 60_000)
  it("the same traces in processes that compete for the machine", async () => {
    const all = await Promise.all([inProcess([]), inProcess([]), inProcess([])])
    assert.deepStrictEqual([...new Set(all)], [await own()])
  }, 60_000)
})
