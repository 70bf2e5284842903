/** Ends a bus: refuses newcomers, drains the lanes, saves marks, flushes, and reports what was lost. Bounded, whatever the adapter does. */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type { ShutdownReport } from "../EventBus.ts"
import type * as Flush from "./Flush.ts"
import type { Parts } from "./Parts.ts"

/** What each step of a shutdown gets at least, when the time for all of it is over. */
const LAST_CALL = Duration.seconds(1)

/** Waits for `effect` no longer than `limit`, also when it cannot be interrupted: then it is left behind. */
const within = <A, E>(effect: Effect.Effect<A, E>, limit: Duration.Duration): Effect.Effect<Option.Option<A>, E> =>
  Effect.flatMap(
    Effect.forkDetach(effect, { startImmediately: true }),
    (fiber) =>
      Effect.tap(
        Effect.timeoutOption(Fiber.join(fiber), limit),
        (result) => Effect.sync(() => Option.isNone(result) && fiber.interruptUnsafe())
      )
  )

export const make = Effect.fnUntraced(function*(
  parts: Parts,
  workers: ReadonlyArray<Fiber.Fiber<void>>,
  { flushAdapter, unansweredFlush }: ReturnType<typeof Flush.make>
) {
  const { adapter, clock, identity, lanes, producers, settings, stored } = parts
  const now = () => clock.currentTimeMillisUnsafe()

  const drain: Effect.Effect<ShutdownReport> = Effect.gen(function*() {
    const deadline = now() + Duration.toMillis(settings.shutdownTimeout)
    const timeLeft = () => Duration.max(LAST_CALL, Duration.millis(Math.max(0, deadline - now())))
    parts.phase = "closing"
    for (const lane of lanes) {
      lane.refuseWaiting()
      lane.wake()
    }
    const drained = yield* Effect.timeoutOption(Fiber.awaitAll(workers), settings.shutdownTimeout)
    // A hung adapter keeps its worker: leave it behind, and say what went down with it.
    if (Option.isNone(drained)) yield* within(Fiber.interruptAll(workers), LAST_CALL)
    let stranded = 0
    for (const lane of lanes) {
      lane.strand(producers)
      stranded += lane.stranded
    }
    // The last batches carried prefixes that did not count one another: a producer that comes back need not send those again.
    const marks = producers.prefixes
    if (marks.length > 0) {
      yield* within(
        Effect.suspend(() => adapter.saveMarks(marks)),
        Duration.min(settings.adapterTimeout, timeLeft())
      ).pipe(
        Effect.catchCause((cause) => Effect.logWarning("the marks of named producers were not saved", cause))
      )
    }
    const flushed = yield* Effect.exit(
      Effect.flatMap(
        within(flushAdapter, timeLeft()),
        (answer) => Option.isSome(answer) ? Effect.void : unansweredFlush
      )
    )
    if (stranded === 0) yield* identity.release(new Map(lanes.map((lane) => [lane.id, lane.nextSequence])))
    const flushError = Exit.isFailure(flushed)
      ? flushed.cause.reasons.find((reason) => reason._tag === "Fail")?.error ?? null
      : null
    if (stranded > 0) yield* Effect.logError("the bus shut down with a loss", { stranded })
    parts.phase = "closed"
    stored.beat()
    return { stranded, lossy: stranded > 0, flushError }
  })

  const report = yield* Deferred.make<ShutdownReport>()
  let started = false
  // Runs detached from its caller: a caller that is interrupted does not leave a bus half shut down.
  const shutdown: Effect.Effect<ShutdownReport> = Effect.suspend(() => {
    if (started) return Deferred.await(report)
    started = true
    return Effect.andThen(
      Effect.forkDetach(Effect.onExit(drain, (exit) => Deferred.done(report, exit)), { startImmediately: true }),
      Deferred.await(report)
    )
  })
  return shutdown
})
