import { assert, describe, it } from "@effect/vitest"
import { type Outcome, Settlement } from "../../src/core/Settlement.ts"

const accept = (settlement: Settlement, count: number, log: Array<Outcome>) => {
  const run = settlement.open()
  settlement.accepted += count
  settlement.close(run, (outcome) => log.push(outcome))
  return run
}

describe("Settlement", () => {
  it("finishes runs in order, once, when their last event is settled", () => {
    const settlement = new Settlement()
    const log: Array<Outcome> = []
    accept(settlement, 3, log)
    accept(settlement, 2, log)
    settlement.settle(2)
    assert.strictEqual(log.length, 0)
    settlement.settle(3)
    settlement.settle(3)
    assert.strictEqual(log.length, 1)
    settlement.settle(5)
    assert.deepStrictEqual(log.map((outcome) => outcome.lost), [0, 0])
    assert.isFalse(settlement.isAwaited)
  })

  it("tells each run of its own losses only", () => {
    const settlement = new Settlement()
    const log: Array<Outcome> = []
    accept(settlement, 3, log)
    accept(settlement, 3, log)
    accept(settlement, 3, log)
    settlement.lose(3, 4, "evicted", undefined)
    settlement.lose(5, 5, "failed", "why")
    settlement.settle(9)
    assert.deepStrictEqual(log, [
      { lost: 1, loss: "evicted", cause: undefined },
      { lost: 2, loss: "evicted", cause: "why" },
      { lost: 0, loss: null, cause: undefined }
    ])
  })

  it("a run hears of losses from the moment it is opened", () => {
    const settlement = new Settlement()
    const log: Array<Outcome> = []
    const run = settlement.open()
    settlement.accepted = 2
    settlement.lose(1, 1, "evicted", undefined)
    settlement.accepted = 3
    settlement.close(run, (outcome) => log.push(outcome))
    settlement.settle(3)
    assert.strictEqual(log[0]!.lost, 1)
  })

  it("an empty run is finished at once, a dropped one never", () => {
    const settlement = new Settlement()
    const log: Array<Outcome> = []
    accept(settlement, 0, log)
    assert.strictEqual(log.length, 1)
    settlement.drop(accept(settlement, 1, log))
    settlement.settle(1)
    assert.strictEqual(log.length, 1)
  })
})
