import { assert, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { Cursor } from "../../../src/testing/core/Cursor.ts"

const SIZE = 12
const BATCH = 3

const Step = Schema.Union([
  Schema.TaggedStruct("Ack", { index: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: SIZE - 1 })) }),
  Schema.TaggedStruct("Part", {
    index: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: SIZE - 1 })),
    remaining: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 7 }))
  }),
  Schema.TaggedStruct("Below", { index: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: SIZE })) }),
  Schema.TaggedStruct("Reset", { index: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: SIZE })) })
])

it.effect.prop("agrees with a table of open messages", { steps: Schema.Array(Step) }, ({ steps }) =>
  Effect.sync(() => {
    const cursor = new Cursor(0)
    const table = Array.from({ length: SIZE }, () => 0b111)
    for (const step of steps) {
      switch (step._tag) {
        case "Ack":
          cursor.ack(step.index)
          table[step.index] = 0
          break
        case "Part":
          cursor.ackPart(step.index, BATCH, [BigInt(step.remaining)])
          table[step.index]! &= step.remaining
          break
        case "Below":
          cursor.ackBelow(step.index)
          table.fill(0, 0, step.index)
          break
        case "Reset":
          cursor.reset(step.index)
          table.fill(0, 0, step.index).fill(0b111, step.index)
      }
      const ones = (bits: number) => bits.toString(2).replaceAll("0", "").length
      assert.deepStrictEqual(table.map((_, index) => cursor.openCount(index, BATCH)), table.map(ones))
      const open = table.findIndex((bits) => bits !== 0)
      assert.strictEqual(cursor.head, open < 0 ? Math.max(cursor.head, SIZE) : open)
    }
    const restored = new Cursor(0)
    restored.restore(cursor.state)
    assert.deepStrictEqual(restored.state, cursor.state)
  }), { arbitrary: { runs: 300, size: 40 } })

it("keeps what a longer batch leaves open beyond 64 messages", () => {
  const cursor = new Cursor(0)
  cursor.ackPart(0, 70, [0xffff_ffff_ffff_ffffn, 0b1n])
  assert.strictEqual(cursor.openCount(0, 70), 65)
  // Words that the wire leaves out are empty.
  cursor.ackPart(0, 70, [0b1n])
  assert.deepStrictEqual(cursor.openOf(0), [1n, 0n])
  assert.isTrue(cursor.ackPart(0, 70, []))
  assert.isTrue(cursor.isAcked(0))
})
