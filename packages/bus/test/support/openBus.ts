import { assert } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Scope } from "effect"
import { TestClock } from "effect/testing"
import type { EventBusOptions } from "../../src/BusConfig.ts"
import { EventBus } from "../../src/EventBus.ts"
import { type Script, ScriptedAdapter } from "./ScriptedAdapter.ts"

/** A bus over a scripted adapter, open until the end of the test or `close`. */
export const open = Effect.fnUntraced(function*(options: EventBusOptions = {}, script: Script | ScriptedAdapter = {}) {
  const adapter = script instanceof ScriptedAdapter ? script : new ScriptedAdapter(script)
  const scope = yield* Scope.make()
  // A test may leave a hanging adapter behind: time passes until the shutdown gives it up.
  yield* Effect.addFinalizer(() =>
    Effect.gen(function*() {
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
      yield* TestClock.adjust("1 day")
      yield* Fiber.join(closing)
    })
  )
  const context = yield* Layer.buildWithScope(EventBus.layer(options).pipe(Layer.provide(adapter.layer)), scope)
  const bus = yield* Effect.provide(EventBus, context)
  return { bus, adapter, close: Scope.close(scope, Exit.void) }
})

export const numbered = (count: number, from = 0) => Array.from({ length: count }, (_, i) => `{"i":${from + i}}`)

/** accepted = dispatched + evicted + failed + stranded, and nothing pending. */
export const assertSettled = Effect.fnUntraced(function*(bus: EventBus["Service"]) {
  const stats = yield* bus.stats
  assert.strictEqual(stats.pending, 0)
  assert.strictEqual(stats.accepted, stats.dispatched + stats.evicted + stats.failed + stats.stranded)
  assert.strictEqual(stats.dropped, stats.rejected + stats.evicted + stats.failed + stats.stranded)
  return stats
})
