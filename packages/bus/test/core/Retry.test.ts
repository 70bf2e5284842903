import { assert, it } from "@effect/vitest"
import { backoff } from "../../src/core/Retry.ts"

it("B16 doubles to 3.2 seconds and spreads by a quarter each way", () => {
  const range = (attempt: number) => [backoff(attempt, 0), backoff(attempt, 1 - Number.EPSILON)]
  assert.deepStrictEqual([0, 1, 4, 5, 6, 1000].map(range), [
    [75, 125],
    [150, 250],
    [1200, 2000],
    [2400, 4000],
    [2400, 4000],
    [2400, 4000]
  ])
  assert.isAtLeast(new Set(Array.from({ length: 16 }, (_, shard) => backoff(2, shard / 16))).size, 4)
})
