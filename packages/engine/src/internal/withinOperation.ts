/** The time an operation has. */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type { Internals } from "../PulsarClient.ts"
import { isPassing, PulsarError } from "../PulsarError.ts"

/** One budget over an operation that asks the broker, retried while the trouble passes. */
export const withinOperation = <A>(
  { core }: Internals,
  operation: string,
  effect: Effect.Effect<A, PulsarError>
): Effect.Effect<A, PulsarError> => {
  let last: PulsarError | undefined
  return effect.pipe(
    Effect.tapError((error) => Effect.sync(() => void (last = error))),
    Effect.retry({
      schedule: Schedule.exponential("100 millis").pipe(Schedule.upTo({ times: 20 })),
      while: isPassing
    }),
    Effect.timeoutOrElse({
      duration: core.settings.operationTimeout,
      orElse: () => Effect.fail(new PulsarError({ reason: { _tag: "Timeout", operation, last } }))
    })
  )
}
