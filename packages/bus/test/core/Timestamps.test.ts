import { assert, describe, it } from "@effect/vitest"
import { Timestamps } from "../../src/core/Timestamps.ts"

describe("Timestamps", () => {
  it("T01 T02 increase strictly, whatever the clock reads", () => {
    const timestamps = new Timestamps()
    let last = timestamps.last
    assert.strictEqual(last, BigInt(0))
    const clock = (i: number) => i % 5 === 0 ? 1000 - i : i % 7 === 0 ? Number.NaN : 1000 + Math.floor(i / 3)
    for (let i = 0; i < 10_000; i++) {
      timestamps.next(clock(i))
      assert.isTrue(timestamps.last > last)
      last = timestamps.last
    }
  })

  it("T10 follow the clock when it moves", () => {
    const timestamps = new Timestamps()
    timestamps.next(1000)
    const first = timestamps.last
    timestamps.next(1050)
    assert.strictEqual(timestamps.last - first, BigInt(50_000_000))
  })

  it("T08 two generators are independent; one continues after a given value", () => {
    const a = new Timestamps()
    a.next(500)
    const b = new Timestamps(BigInt("1700000000000999999"))
    b.next(500)
    assert.strictEqual(a.last, BigInt(500_000_000))
    assert.strictEqual(b.last, BigInt("1700000000001000000"))
  })

  it("T09 fail hard when they run out, before repeating a value", () => {
    const timestamps = new Timestamps(BigInt(Number.MAX_SAFE_INTEGER) * BigInt(1_000_000) + BigInt(999_999))
    assert.throws(() => timestamps.next(0), RangeError)
  })
})
