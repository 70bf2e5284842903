import { assert, describe, it } from "@effect/vitest"
import { ago, count, rate, size, table } from "../../src/cli/Output.ts"

describe("Output", () => {
  it("writes figures for people", () => {
    assert.strictEqual(count(38_094), "38,094")
    assert.deepStrictEqual([rate(0, 0), rate(500, 1000), rate(112_400, 1000)], ["0/s", "500/s", "112 k/s"])
    assert.deepStrictEqual([ago(5.9), ago(65), ago(7500), ago(90_000)], ["5 s", "1 min 5 s", "2 h 5 min", "1 d 1 h"])
    assert.deepStrictEqual([size(12), size(1500), size(2.5e9)], ["12 B", "1.5 kB", "2.5 GB"])
    assert.strictEqual(table([["a", "1"], ["long", "2"]]), "  a     1\n  long  2")
  })
})
