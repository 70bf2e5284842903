import { assert, describe, it } from "@effect/vitest"
import { AntiThrash, recommended } from "../src/AntiThrash.ts"
import { Backoff, delayAfter } from "../src/Backoff.ts"

const first = (backoff: Backoff, count: number) =>
  Array.from({ length: count }, () => Math.round(backoff.next() * 10) / 10)

describe("Backoff", () => {
  it("gives the published delays for a seed", () => {
    assert.deepStrictEqual(first(new Backoff({ seed: 1n }), 6), [95.3, 198.6, 374.8, 721.6, 1566.4, 2934.4])
    assert.deepStrictEqual(first(new Backoff({ seed: 42n }), 6), [94.5, 190.2, 386.8, 747.2, 1401.6, 3036.8])
    assert.deepStrictEqual(first(new Backoff(), 6), [95.2, 175.8, 332.4, 696, 1508.8, 3145.6])
  })

  it("doubles up to its maximum, within 20 % below", () => {
    const backoff = new Backoff({ initial: 100, max: 1000, seed: 7n })
    for (const base of [100, 200, 400, 800, 1000, 1000, 1000]) {
      const delay = backoff.next()
      assert.isTrue(delay <= base && delay >= base * 0.8, `${delay} of ${base}`)
    }
    backoff.reset()
    assert.isAtMost(backoff.next(), 100)
  })

  it("snaps to the maximum at the mandatory stop", () => {
    const backoff = new Backoff({ initial: 100, max: 5000, mandatoryStop: 250 })
    backoff.next()
    assert.strictEqual(backoff.next(), 5000)
    assert.isAtMost(backoff.next(), 5000)
  })

  it("knows the delay after the k-th failure", () => {
    assert.strictEqual(Math.round(delayAfter({}, 3) * 10) / 10, 332.4)
  })
})

describe("AntiThrash", () => {
  it("cools down after enough quick drops, once", () => {
    const guard = new AntiThrash(recommended)
    const begun: Array<boolean> = []
    for (let index = 0; index < 7; index++) {
      guard.attached(index * 100)
      begun.push(guard.dropped(index * 100 + 10))
    }
    assert.deepStrictEqual(begun, [false, false, false, false, true, false, false])
    assert.strictEqual(guard.cooldownUntil, 30_410)
    assert.isTrue(guard.succeeded())
    assert.isUndefined(guard.cooldownUntil)
    assert.isFalse(guard.succeeded())
  })

  it("ignores late drops, slow series, and everything when off", () => {
    const late = new AntiThrash(recommended)
    const slow = new AntiThrash(recommended)
    const off = new AntiThrash()
    for (let index = 0; index < 9; index++) {
      late.attached(index * 100)
      assert.isFalse(late.dropped(index * 100 + 51))
      slow.attached(index * 1000)
      assert.isFalse(slow.dropped(index * 1000 + 1))
      off.attached(0)
      assert.isFalse(off.dropped(0))
    }
  })
})
