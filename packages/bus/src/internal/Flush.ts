/** Waits until what was accepted is settled, and has the adapter flush. */
import * as Effect from "effect/Effect"
import { type AdapterError, adapterError } from "../Adapter.ts"
import type { FlushReport } from "../EventBus.ts"
import { allSettled, type Parts } from "./Parts.ts"

export const make = ({ adapter, lanes, settings }: Parts) => {
  const unansweredFlush = Effect.fail(adapterError(adapter.name, "Transient", "the flush had no answer in time"))
  const flushAdapter = adapter.flush.pipe(
    Effect.timeoutOrElse({
      duration: settings.adapterTimeout,
      orElse: () => unansweredFlush
    }),
    Effect.catchDefect((defect) => Effect.fail(adapterError(adapter.name, "Fatal", "the adapter died", defect)))
  )

  const flush: Effect.Effect<FlushReport, AdapterError> = Effect.suspend(() => {
    const targets = lanes.map((lane) => ({ lane, ordinal: lane.settlement.accepted }))
    return allSettled(lanes).pipe(
      Effect.timeoutOption(settings.adapterTimeout),
      Effect.andThen(flushAdapter),
      Effect.map(() => {
        const outstanding = targets.reduce(
          (sum, { lane, ordinal }) => sum + Math.max(0, ordinal - lane.settlement.settled),
          0
        )
        return { complete: outstanding === 0, outstanding }
      })
    )
  })
  return { flush, flushAdapter, unansweredFlush }
}
