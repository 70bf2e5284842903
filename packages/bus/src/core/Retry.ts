/**
 * Pauses between attempts at the same batch.
 */

const BASE_MILLIS = 100
const MAX_EXPONENT = 5

/**
 * Milliseconds to wait after failed attempt number `attempt` (from 0): 100, 200, … 3,200, 3,200 …, each spread over ± a quarter by `random`
 * in [0, 1), so that shards that failed together do not come back together.
 */
export const backoff = (attempt: number, random: number): number => {
  const base = BASE_MILLIS * 2 ** Math.min(attempt, MAX_EXPONENT)
  return Math.max(1, Math.round(base * (0.75 + random / 2)))
}
