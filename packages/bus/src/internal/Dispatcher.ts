/**
 * The asynchronous half of a shard: sleeps until there is something to send, cuts a batch, and sees it through.
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import { type AdapterError, adapterError } from "../Adapter.ts"
import type { BatchFailure } from "../BusConfig.ts"
import type { Lane, Shipment } from "../core/Lane.ts"
import { backoff } from "../core/Retry.ts"
import type { Parts } from "./Parts.ts"

interface Attempt {
  readonly error: AdapterError
  readonly timedOut: boolean
}

/** Sends one batch until it is stored, refused for good, or out of attempts. Succeeds with null when stored. */
export const deliver = (
  { adapter, identity, settings }: Parts,
  lane: Lane,
  shipment: Shipment
): Effect.Effect<(Attempt & { readonly attempts: number }) | null> => {
  const { batch } = shipment
  const upTo = Math.min(batch.sequenceStart + batch.count, Number.MAX_SAFE_INTEGER)
  // No id may be used before a restart would skip it: the reservation comes first.
  const once: Effect.Effect<Attempt | null> = identity.reserve(batch.shard, upTo).pipe(
    Effect.mapError((error): Attempt => ({
      error: adapterError(adapter.name, "Transient", error.message, error),
      timedOut: false
    })),
    Effect.andThen(
      Effect.mapError(Effect.suspend(() => adapter.append(batch)), (error): Attempt => ({ error, timedOut: false }))
    ),
    Effect.as(null),
    Effect.catch(Effect.succeed<Attempt>),
    Effect.timeoutOrElse({
      duration: settings.adapterTimeout,
      orElse: () => {
        shipment.abandoned = true
        return Effect.succeed<Attempt>({
          error: adapterError(
            adapter.name,
            "Transient",
            `no answer within ${Duration.format(settings.adapterTimeout)}`
          ),
          timedOut: true
        })
      }
    }),
    Effect.catchDefect((defect) =>
      Effect.succeed<Attempt>({
        error: adapterError(adapter.name, "Fatal", "the adapter died", defect),
        timedOut: true
      })
    )
  )
  return Effect.gen(function*() {
    let unknown = false
    for (let attempt = 0;; attempt++) {
      const failure = yield* once
      if (failure === null) return null
      unknown ||= failure.timedOut
      if (!failure.error.isRetryable || attempt >= settings.retries) {
        return { error: failure.error, timedOut: unknown, attempts: attempt + 1 }
      }
      lane.retries++
      yield* Effect.sleep(backoff(attempt, yield* Random.next))
    }
  })
}

/** The worker of one shard. Ends when the bus closes and the ring is empty; interrupted, it leaves its batch with an unknown fate. */
export const work = (
  parts: Parts,
  lane: Lane,
  onBatchFailed: (failure: BatchFailure) => Effect.Effect<void>
): Effect.Effect<void> => {
  const { channels, clock, identity, producers, settings, stored } = parts
  const isClosing = () => parts.phase !== "open"
  // A raise resumes this fiber inside the producer's call. One turn later the producer is through with what it had: a batch, not an event.
  const sleepUntilRaised = Effect.andThen(
    Effect.callback<void>((resume) => {
      const stop = lane.signal.sleep(() => resume(Effect.void))
      return Effect.sync(stop)
    }),
    Effect.yieldNow
  )
  const isUrgent = () =>
    isClosing() || lane.settlement.isAwaited || lane.isContended || lane.isCrowded || stored.isAwaited

  const settle = (
    shipment: Shipment,
    failure: (Attempt & { readonly attempts: number }) | null
  ): Effect.Effect<void> => {
    if (failure === null) {
      lane.stored(shipment, producers)
      stored.beat()
      lane.admitWaiting()
      return Effect.void
    }
    const { attempts, error, timedOut } = failure
    const failed: BatchFailure = { batch: shipment.batch, error, attempts, unknown: timedOut }
    return Effect.suspend(() => onBatchFailed(failed)).pipe(
      Effect.timeout(settings.adapterTimeout),
      Effect.catchCause((cause) => Effect.logError("the handler of failed batches failed", Cause.squash(cause))),
      Effect.andThen(
        Effect.logError("a batch was given up", {
          shard: lane.id,
          events: shipment.batch.count,
          attempts,
          error: error.message
        })
      ),
      Effect.ensuring(Effect.sync(() => {
        lane.lost(shipment, timedOut ? "unknown" : "failed", "failed", error, producers)
        lane.admitWaiting()
      }))
    )
  }

  return Effect.gen(function*() {
    // The age of a batch is measured by waiting too: timestamps can be ahead of the clock, by an hour when that was set back.
    let overdue = false
    while (true) {
      const now = clock.currentTimeMillisUnsafe()
      lane.observeArrivals(now)
      if (lane.ring.isEmpty) {
        if (isClosing()) return
        lane.wakeAt = 1
        yield* sleepUntilRaised
        continue
      }
      const age = now - lane.ring.headMillis
      const size = lane.batcher.due(lane.ring.length, age, overdue || isUrgent())
      if (size === 0) {
        lane.wakeAt = lane.batcher.target
        overdue = yield* Effect.raceFirst(
          Effect.as(sleepUntilRaised, false),
          Effect.as(Effect.sleep(lane.batcher.timeUntilDue(age)), true)
        )
        lane.wakeAt = Number.POSITIVE_INFINITY
        continue
      }
      overdue = false
      const shipment = lane.ship(size, identity.nonce, channels.names, producers)
      lane.admitWaiting()
      if (shipment === null) continue
      yield* deliver(parts, lane, shipment).pipe(
        Effect.flatMap((failure) => settle(shipment, failure)),
        Effect.onInterrupt(() => Effect.sync(() => lane.lost(shipment, "unknown", "stranded", undefined, producers)))
      )
    }
  })
}
