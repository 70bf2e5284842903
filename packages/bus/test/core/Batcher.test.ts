import { assert, describe, it } from "@effect/vitest"
import { Batcher, highThroughput, lowLatency, standard } from "../../src/core/Batcher.ts"

const fixed = { ...standard, minSize: 10, maxSize: 100, adaptive: false }

describe("Batcher", () => {
  it("A01 cuts everything pending once the target is reached", () => {
    const batcher = new Batcher(fixed)
    assert.strictEqual(batcher.due(50, 0, false), 0)
    assert.strictEqual(batcher.due(100, 0, false), 100)
  })

  it("A02 cuts whatever is there for somebody who waits, and nothing of nothing", () => {
    const batcher = new Batcher(fixed)
    assert.strictEqual(batcher.due(50, 0, true), 50)
    assert.strictEqual(batcher.due(0, 1e9, true), 0)
  })

  it("A03 A04 A05 cuts by age", () => {
    const batcher = new Batcher({ ...fixed, maxDelay: 1 })
    assert.strictEqual(batcher.due(3, 0, false), 0)
    assert.strictEqual(batcher.due(3, 5, false), 3)
    assert.strictEqual(batcher.due(0, 5, false), 0)
    assert.deepStrictEqual([batcher.timeUntilDue(0), batcher.timeUntilDue(5), batcher.timeUntilDue(-50)], [1, 0, 1])
  })

  it("A06 the target grows with the rate and falls back with it", () => {
    const batcher = new Batcher({ ...standard, minSize: 100, maxSize: 10_000 })
    assert.strictEqual(batcher.target, 100)
    let now = 0
    for (let i = 0; i < 1000; i++) batcher.observe(10_000, now += 0.1)
    assert.isAbove(batcher.target, 100)
    for (let i = 0; i < 100; i++) batcher.observe(1, now += 100)
    assert.isBelow(batcher.target, 200)
  })

  it("A07 stays within its bounds at any rate", () => {
    const batcher = new Batcher({ ...standard, minSize: 1_000_000, maxSize: 1_000_000 })
    for (let i = 0; i < 100; i++) batcher.observe(Number.MAX_SAFE_INTEGER, i)
    assert.strictEqual(batcher.target, 1_000_000)
  })

  it("maxSize is a hard limit", () => assert.strictEqual(new Batcher(fixed).due(1e6, 0, false), 100))

  it("K04 the presets are in order", () => {
    assert.isBelow(lowLatency.maxDelay, highThroughput.maxDelay)
    assert.isBelow(lowLatency.maxSize, highThroughput.maxSize)
  })
})
