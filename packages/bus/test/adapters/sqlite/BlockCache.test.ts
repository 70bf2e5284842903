import { assert, it } from "@effect/vitest"
import { BlockCache } from "../../../src/adapters/sqlite/internal/BlockCache.ts"
import { batch, payloads } from "../../../src/conformance/Batches.ts"
import { Block, encode } from "../../../src/internal/StoredBlock.ts"

const block = (shard: number, first = 1): Block => {
  const [encoded] = encode(batch({ shard, payloads: payloads(10) }), 1_000_000)
  return new Block(new Uint8Array(encoded!.buffer), shard, first)
}

it("finds the block of a shard by the positions it holds", () => {
  const cache = new BlockCache(1_000_000)
  const held = block(3, 11)
  cache.set(held)
  assert.deepStrictEqual([10, 11, 20, 21].map((position) => cache.get(3, position) === held), [
    false,
    true,
    true,
    false
  ])
  assert.isUndefined(cache.get(4, 11))
  cache.delete(3)
  cache.delete(3)
  assert.isUndefined(cache.get(3, 11))
})

it("holds as many bytes as it may, and drops the longest unused", () => {
  const { byteLength } = block(0)
  const cache = new BlockCache(byteLength * 3)
  for (const shard of [0, 1, 2]) cache.set(block(shard))
  cache.get(0, 1)
  cache.set(block(3))
  assert.deepStrictEqual([0, 1, 2, 3].map((shard) => cache.get(shard, 1) !== undefined), [true, false, true, true])
  for (let i = 0; i < 100; i++) cache.set(block(0))
  assert.deepStrictEqual([0, 1, 2, 3].map((shard) => cache.get(shard, 1) !== undefined), [true, false, true, true])
})
