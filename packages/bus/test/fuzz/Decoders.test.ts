// Every decoder that reads bytes from outside, a few seconds each; FUZZ_MS makes it longer, FUZZ_INPUTS counts inputs instead.
import { assert, describe, it } from "@effect/vitest"
import { fuzzModule } from "@perigee/sim/fuzz"

const targets = new URL("targets.ts", import.meta.url)
const inputs = process.env["FUZZ_INPUTS"]
const realMs = inputs === undefined ? Number(process.env["FUZZ_MS"] ?? 2000) : 6 * 3_600_000
const runs = inputs === undefined ? Number.MAX_SAFE_INTEGER : Number(inputs)

describe("fuzzed decoders", () => {
  it.each(["cursorText", "cursorJson", "filterText", "filterJson", "ndjson"])("%s", async (target) => {
    const result = await fuzzModule(targets, target, { realMs, runs })
    const { crash } = result
    assert.isUndefined(
      crash,
      crash &&
        `${crash.kind} ${String(crash.error)} on ${JSON.stringify(new TextDecoder().decode(crash.minimised))} [${
          crash.minimised.join(",")
        }]`
    )
    assert.isAbove(result.executions, 100)
    assert.isAbove(result.corpus.length, 3)
    if (inputs !== undefined || process.env["FUZZ_MS"] !== undefined) {
      process.stderr.write(
        `${target}: ${result.executions} inputs, ${result.perSecond}/s, ${result.corpus.length} kept, ${result.places} places\n`
      )
    }
  }, realMs + 60_000)
})
