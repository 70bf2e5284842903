// Every oracle has a planted defect that it must catch, and a correct history that it must let pass.
import { assert, describe, it } from "@effect/vitest"
import { Campaign, Oracle, Seed, type Trace } from "@perigee/sim"
import { Effect } from "effect"
import { run } from "./fixtures/run.ts"

type Line = readonly [name: string, fields?: Readonly<Record<string, Trace.Field>>, host?: string]

const judge = (oracle: Oracle.Oracle, history: ReadonlyArray<Line>) => {
  const result = run((sim) =>
    Effect.sync(() => {
      sim.oracle(oracle)
      for (const [name, fields, host] of history) sim.event(name, fields, host)
    })
  )
  assert.isAbove(result.oracles[oracle.name]!, 0)
  return result.verdict.kind === "pass" ? "pass" : result.verdict.name
}

const pair = { promised: "accepted", happened: "delivered", id: "id" }
const accepted = (id: number): Line => ["accepted", { id }]
const delivered = (id: number): Line => ["delivered", { id }]
const start = (op: number, write: boolean, value = ""): Line => ["register.start", { op, key: "k", write, value }]
const ok = (op: number, value = ""): Line => ["register.ok", { op, value }]

const cases: ReadonlyArray<{
  readonly make: () => Oracle.Oracle
  readonly correct: ReadonlyArray<Line>
  readonly planted: Readonly<Record<string, ReadonlyArray<Line>>>
}> = [
  {
    make: () => Oracle.exactlyOnce(pair),
    correct: [accepted(1), accepted(2), delivered(2), delivered(1)],
    planted: {
      "exactly once: happened twice": [accepted(1), delivered(1), delivered(1)],
      "exactly once: promised and never happened": [accepted(1), accepted(2), delivered(1)]
    }
  },
  {
    make: () => Oracle.atLeastOnce(pair),
    correct: [accepted(1), delivered(1), delivered(1)],
    planted: { "at least once: promised and never happened": [accepted(1)] }
  },
  {
    make: () => Oracle.atMostOnce(pair),
    correct: [accepted(1)],
    planted: { "at most once: happened twice": [delivered(1), delivered(1)] }
  },
  {
    make: () => Oracle.inOrder({ event: "e", sequence: "n", key: "shard", contiguous: true }),
    correct: [["e", { n: 1, shard: "a" }], ["e", { n: 7, shard: "b" }], ["e", { n: 2, shard: "a" }]],
    planted: {
      "in order: out of order": [["e", { n: 1, shard: "a" }], ["e", { n: 3, shard: "a" }]]
    }
  },
  {
    make: () =>
      Oracle.conservation({
        total: 0,
        amounts: { taken: (event) => -Number(event.fields["n"]), given: (event) => Number(event.fields["n"]) }
      }),
    correct: [["taken", { n: 3 }], ["given", { n: 3 }]],
    planted: { "conservation: does not add up": [["taken", { n: 3 }], ["given", { n: 2 }]] }
  },
  {
    make: () =>
      Oracle.singleOwner({ acquired: "lock", released: "unlock", resource: "r", owner: "who", lost: ["killed"] }),
    correct: [
      ["lock", { r: "x", who: "a" }],
      ["unlock", { r: "x", who: "a" }],
      ["lock", { r: "x", who: "b" }],
      ["killed", {}, "b"],
      ["lock", { r: "x", who: "a" }]
    ],
    planted: { "single owner: two owners": [["lock", { r: "x", who: "a" }], ["lock", { r: "x", who: "b" }]] }
  },
  {
    make: () => Oracle.bounded({ event: "queue", field: "size", high: 3 }),
    correct: [["queue", { size: 3 }], ["queue", { size: 0 }]],
    planted: { "bounded: out of bounds": [["queue", { size: 4 }]] }
  },
  {
    make: () => Oracle.settlesOnce({ started: "send", settled: ["sent", "failed"], id: "id" }),
    correct: [["send", { id: 1 }], ["failed", { id: 1 }]],
    planted: {
      "settles once: settled twice": [["send", { id: 1 }], ["sent", { id: 1 }], ["failed", { id: 1 }]],
      "settles once: started and never settled": [["send", { id: 1 }], ["send", { id: 2 }], ["sent", { id: 2 }]]
    }
  },
  {
    make: () => Oracle.linearizableRegister("0"),
    correct: [
      start(1, true, "a"),
      start(2, false),
      ok(2, "0"),
      ok(1),
      start(3, false),
      ok(3, "a"),
      start(4, true, "lost?"),
      ["register.unknown", { op: 4 }],
      start(5, false),
      ok(5, "lost?")
    ],
    planted: {
      "linearizable: not linearizable": [start(1, true, "a"), ok(1), start(2, false), ok(2, "0")]
    }
  }
]

describe("Oracle", () => {
  it("none is without a planted defect", () => {
    const oracles = Object.keys(Oracle).filter((name) => name !== "make")
    assert.strictEqual(cases.length, oracles.length, oracles.join())
    assert.isTrue(cases.every(({ planted }) => Object.keys(planted).length > 0))
  })
  for (const { correct, make, planted } of cases) {
    const { name } = make()
    it(`${name}: lets a correct history pass`, () => {
      assert.strictEqual(judge(make(), correct), "pass")
    })
    it.each(Object.keys(planted))(`${name}: catches "%s"`, (defect) => {
      assert.strictEqual(judge(make(), planted[defect]!), defect)
    })
  }
  it("linearizable: judges a thousand operations of five clients", () => {
    const history: Array<Line> = []
    let value = "0"
    for (let i = 0; i < 200; i++) {
      const ids = Array.from({ length: 5 }, (_, client) => i * 5 + client)
      for (const id of ids) history.push(start(id, id % 2 === 0, `v${id}`))
      for (const id of ids) {
        if (id % 2 === 0) value = `v${id}`
        history.push(ok(id, id % 2 === 0 ? "" : value))
      }
    }
    assert.strictEqual(judge(Oracle.linearizableRegister("0"), history), "pass")
  })
  it("an oracle that saw nothing fails the campaign", async () => {
    const definition = Campaign.define("blind", { sometimes: ["ran"] }, (sim) =>
      Effect.sync(() => {
        sim.oracle(Oracle.exactlyOnce(pair, "blind oracle"))
        sim.reachable("ran")
      }))
    const { gaps } = await Campaign.campaign(definition, { base: Seed.make(1), seeds: 3 })
    assert.deepStrictEqual(gaps, ["oracle \"blind oracle\" saw nothing in 3 seeds"])
  })
})
