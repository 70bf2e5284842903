import { assert, describe, it } from "@effect/vitest"
import { dedupId } from "../src/Batch.ts"
import { Dedup } from "../src/Dedup.ts"

describe("Dedup", () => {
  it("U01 the first is not a duplicate, its repeat is, and the size stays", () => {
    const dedup = new Dedup()
    assert.isTrue(dedup.isEmpty)
    assert.isFalse(dedup.isDuplicate("a"))
    assert.isTrue(dedup.isDuplicate("a"))
    assert.strictEqual(dedup.size, 1)
    assert.isFalse(dedup.isEmpty)
  })

  it("U02 distinct ids are independent", () => {
    const dedup = new Dedup()
    assert.deepStrictEqual(["a", "b", "c", "b"].map((id) => dedup.isDuplicate(id)), [false, false, false, true])
  })

  it("U03 U04 the oldest goes first, and is new again", () => {
    const dedup = new Dedup(2)
    for (const id of ["a", "b", "c"]) dedup.isDuplicate(id)
    assert.strictEqual(dedup.size, 2)
    assert.deepStrictEqual([dedup.isDuplicate("b"), dedup.isDuplicate("c")], [true, true])
    assert.isFalse(dedup.isDuplicate("a"))
  })

  it("U05 seeing an id again does not refresh it", () => {
    const dedup = new Dedup(2)
    for (const id of ["a", "b", "a", "c"]) dedup.isDuplicate(id)
    assert.isFalse(dedup.isDuplicate("a"))
    assert.isTrue(dedup.isDuplicate("c"))
  })

  it("U06 U08 capacities are moved into their range", () => {
    assert.deepStrictEqual(
      [0, -5, Number.NaN, 1024, 2 ** 24, 2 ** 24 + 1, Infinity].map((capacity) => new Dedup(capacity).capacity),
      [1, 1, 1, 1024, 2 ** 24, 2 ** 24, 2 ** 24]
    )
    assert.strictEqual(new Dedup().capacity, 4096)
  })

  it("U07 clear forgets", () => {
    const dedup = new Dedup()
    dedup.isDuplicate("a")
    dedup.clear()
    assert.isTrue(dedup.isEmpty)
    assert.isFalse(dedup.isDuplicate("a"))
  })

  it("U09 I37 the second copy of a batch is all duplicates, also after a restart under the same nonce", () => {
    const batch = (nonce: bigint, shard: number, start: number) =>
      Array.from({ length: 10 }, (_, i) => dedupId(nonce, shard, start, i))
    const dedup = new Dedup()
    const duplicates = (ids: ReadonlyArray<string>) => ids.filter((id) => dedup.isDuplicate(id)).length
    assert.strictEqual(duplicates(batch(7n, 0, 0)), 0)
    assert.strictEqual(duplicates(batch(7n, 0, 0)), 10)
    for (const [nonce, shard, start] of [[8n, 0, 0], [7n, 1, 0], [7n, 0, 10]] as const) {
      assert.strictEqual(duplicates(batch(nonce, shard, start)), 0)
    }
  })

  it("an event without an id is never a duplicate", () => {
    const dedup = new Dedup()
    assert.deepStrictEqual([dedup.isDuplicate(null), dedup.isDuplicate(null), dedup.size], [false, false, 0])
  })
})
