import * as Effect from "effect/Effect"

/** Wall clock in whole milliseconds since the epoch. */
export const now: Effect.Effect<number> = Effect.clockWith((clock) => clock.currentTimeMillis)
