import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock, TestConsole } from "effect/testing"
import { layer, program } from "../examples/hello.ts"

it.effect("the example of the README prints what the README says", () =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(Effect.scoped(program).pipe(Effect.provide(layer)), {
      startImmediately: true
    })
    for (let step = 0; step < 50 && fiber.pollUnsafe() === undefined; step++) yield* TestClock.adjust(10)
    const lines = yield* TestConsole.logLines
    assert.deepStrictEqual(lines.map(String), ["stored in entry", "0", "table 4", "wants", "two coffees"])
  }))
