import { assert, describe, it } from "@effect/vitest"
import { fuzzModule, minimise, type ModuleOptions } from "@perigee/sim/fuzz"
import { mkdtempSync, readdirSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

const decoders = new URL("fixtures/Decoders.ts", import.meta.url)
const run = (target: string, options: ModuleOptions) => fuzzModule(decoders, target, options)

describe("fuzz", () => {
  it("finds a four-byte word by following coverage, and a blind search does not", async () => {
    const guided = await run("hidden", { runs: 300_000 })
    assert.strictEqual(guided.crash?.kind, "throw")
    assert.strictEqual(new TextDecoder().decode(guided.crash!.minimised), "GRID")
    assert.isUndefined((await run("blind", { runs: 2 * guided.executions })).crash)
  }, 60_000)
  it("finds a buffer made from a length that the input does not justify", async () => {
    const broken = await run("unboundedFrames", { runs: 50_000 })
    assert.strictEqual(broken.crash?.kind, "allocation")
    assert.isAtMost(broken.crash!.minimised.length, 5)
    const fixed = await run("boundedFrames", { runs: 20_000 })
    assert.isUndefined(fixed.crash)
    assert.isAbove(fixed.corpus.length, 3)
  }, 60_000)
  it("finds an input that takes too long, and one that never ends", async () => {
    assert.strictEqual((await run("slow", { runs: 20_000 })).crash?.kind, "slow")
    assert.isUndefined((await run("slowOnce", { runs: 2000 })).crash)
    const endless = await run("endless", { runs: 200_000, hangMs: 1000 })
    assert.strictEqual(endless.crash?.kind, "hang")
    assert.strictEqual(endless.crash!.input[0], 0x7b)
  }, 60_000)
  it("keeps what reached new code and starts from it", async () => {
    const folder = mkdtempSync(join(tmpdir(), "sim-fuzz-"))
    try {
      const first = await run("boundedFrames", { runs: 20_000, corpus: folder })
      assert.strictEqual(readdirSync(folder).length, first.corpus.length)
      const resumed = await run("boundedFrames", { runs: 1, corpus: folder })
      assert.isAbove(resumed.places, 2)
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  }, 60_000)
  it("minimises to what matters", () => {
    const noisy = new TextEncoder().encode("xxxxxxxxxxGRIDyyyyyyyyyyyyy")
    const target = {
      name: "anywhere",
      run: (input: Uint8Array) => {
        if (new TextDecoder().decode(input).includes("GRID")) throw new Error("found")
      }
    }
    assert.strictEqual(new TextDecoder().decode(minimise(target, noisy)), "GRID")
  })
  it("a target that does not exist is an error", async () => {
    let message = ""
    await run("nothing", { runs: 1 }).catch((error: Error) => {
      message = error.message
    })
    assert.include(message, "does not export nothing")
  })
})
