import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { Bell } from "../../src/driver/Bell.ts"

/** A fiber that tells each time it was woken. */
const listening = (bell: Bell, log: Array<string>) =>
  Effect.forkChild(
    Effect.forever(Effect.gen(function*() {
      bell.reset()
      yield* bell.wait
      log.push("woken")
    })),
    { startImmediately: true }
  )

const waiting = (bell: Bell) => Effect.forkChild(bell.wait, { startImmediately: true })

/** Whoever waits from now on does so until it rings. */
const isSilent = Effect.fnUntraced(function*(bell: Bell) {
  const late = yield* waiting(bell)
  yield* Effect.yieldNow
  assert.isUndefined(late.pollUnsafe())
  bell.ring()
  yield* Fiber.join(late)
})

describe("a bell", () => {
  it.effect("wakes once whoever waits, when those who rang are through", () =>
    Effect.gen(function*() {
      const bell = new Bell()
      const log: Array<string> = []
      yield* listening(bell, log)
      for (let ring = 1; ring <= 3; ring++) {
        bell.ring()
        log.push(`rung ${ring}`)
      }
      yield* Effect.yieldNow
      assert.deepStrictEqual(log, ["rung 1", "rung 2", "rung 3", "woken"])
      yield* Effect.yieldNow
      assert.strictEqual(log.length, 4)
      bell.ring()
      yield* Effect.yieldNow
      assert.strictEqual(log.length, 5)
    }))

  it.effect("is heard by who comes later, unless it was reset", () =>
    Effect.gen(function*() {
      const bell = new Bell()
      bell.ring()
      yield* bell.wait
      bell.reset()
      yield* isSilent(bell)
    }))

  it.effect("leaves alone who was interrupted, before it rang or since", () =>
    Effect.gen(function*() {
      const bell = new Bell()
      const before = yield* waiting(bell)
      yield* Fiber.interrupt(before)
      const since = yield* waiting(bell)
      bell.ring()
      yield* Fiber.interrupt(since)
      bell.reset()
      yield* isSilent(bell)
    }))
})
