import * as Effect from "effect/Effect"

/** Wall clock in whole milliseconds since the epoch: a clock may count in fractions, the protocol does not. */
export const now: Effect.Effect<number> = Effect.clockWith((clock) => Effect.map(clock.currentTimeMillis, Math.floor))
