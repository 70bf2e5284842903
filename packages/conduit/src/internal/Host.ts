import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Scheduler from "effect/Scheduler"
import type * as Scope from "effect/Scope"
import type { EngineHost } from "./EngineOptions.ts"

/**
 * Random bytes for resume keys: the platform's crypto, unless a simulation provides its own.
 *
 * @category references
 * @since 0.1.0
 */
export const KeySource: Context.Reference<() => Uint8Array> = /* @__PURE__ */ Context.Reference<() => Uint8Array>(
  "@perigee/conduit/KeySource",
  { defaultValue: () => () => globalThis.crypto.getRandomValues(new Uint8Array(16)) }
)

/**
 * What an engine needs, from Effect's services: the scheduler gives turns, the clock gives time. Timers die with the
 * scope.
 */
export const make: Effect.Effect<EngineHost, never, Scope.Scope> = Effect.gen(function*() {
  const context = yield* Effect.context<never>()
  const scope = yield* Effect.scope
  const clock = yield* Clock.Clock
  const scheduler = yield* Scheduler.Scheduler
  const dispatcher = scheduler.makeDispatcher()
  const run = Effect.runForkWith(context)
  return {
    schedule: (task) => dispatcher.scheduleTask(task, 0),
    // Monotonic: a corrected wall clock must not look like a silent peer.
    now: () => Number(clock.monotonicTimeNanosUnsafe()) / 1e6,
    after: (millis, task) => {
      let cancelled = false
      const fiber = run(Effect.andThen(
        Effect.sleep(millis),
        Effect.sync(() => {
          if (!cancelled) task()
        })
      ))
      Fiber.runIn(fiber, scope)
      return () => {
        cancelled = true
        run(Fiber.interrupt(fiber))
      }
    }
  }
})
