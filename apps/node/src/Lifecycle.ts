/**
 * Where a node is between its start and its end.
 */
import type { ShutdownReport } from "@perigee/bus"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

/** Tells requests that the node is stopping, before its listener closes and its bus drains. */
export class Lifecycle extends Context.Service<Lifecycle, {
  /** Milliseconds since the Unix epoch. */
  readonly startedAt: number
  readonly isStopping: () => boolean
  /** Ends when the node begins to stop. */
  readonly stopping: Effect.Effect<void>
  readonly stop: Effect.Effect<void>
  /** Notes how the bus ended. */
  readonly stopped: (report: ShutdownReport) => void
  /** What the bus left behind, once it has ended. */
  readonly report: () => ShutdownReport | undefined
}>()("perigee/Lifecycle") {
  static readonly layer = Layer.effect(
    Lifecycle,
    Effect.gen(function*() {
      const stopping = yield* Deferred.make<void>()
      const startedAt = yield* Clock.currentTimeMillis
      let isStopping = false
      let report: ShutdownReport | undefined
      return Lifecycle.of({
        startedAt,
        isStopping: () => isStopping,
        stopping: Deferred.await(stopping),
        stop: Effect.suspend(() => {
          isStopping = true
          return Deferred.succeed(stopping, undefined)
        }),
        stopped: (ended) => {
          report = ended
        },
        report: () => report
      })
    })
  )
}
