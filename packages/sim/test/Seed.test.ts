import { assert, describe, it } from "@effect/vitest"
import { Seed } from "@perigee/sim"

describe("Seed", () => {
  it("reads decimal and hexadecimal numbers of 64 bits", () => {
    assert.deepStrictEqual(Seed.make(2), { hi: 0, lo: 2, text: "2" })
    assert.strictEqual(Seed.make("0xffffffffffffffff").text, "18446744073709551615")
    assert.deepStrictEqual(Seed.make(4294967297n), { hi: 1, lo: 1, text: "4294967297" })
  })
  it.each(["", "x", "-1", "1.5", "18446744073709551616", "0x", "0x11111111111111111", "1e3"])(
    "refuses %j by name",
    (input) => {
      assert.throws(() => Seed.make(input), Seed.SeedError, "not a seed")
    }
  )
  it("wraps at the end", () => {
    assert.strictEqual(Seed.add(Seed.make("0xffffffffffffffff"), 2).text, "1")
  })
})
