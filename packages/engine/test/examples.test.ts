import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock, TestConsole } from "effect/testing"
import * as hello from "../examples/hello.ts"
import * as letters from "../examples/letters.ts"

const play = Effect.fnUntraced(function*({ layer, program }: typeof hello | typeof letters) {
  const fiber = yield* Effect.forkChild(Effect.scoped(program as Effect.Effect<void>).pipe(Effect.provide(layer)), {
    startImmediately: true
  })
  for (let step = 0; step < 200 && fiber.pollUnsafe() === undefined; step++) yield* TestClock.adjust(10)
  assert.strictEqual(fiber.pollUnsafe()?._tag, "Success")
  return (yield* TestConsole.logLines).map(String)
})

it.effect("the example of the README prints what the README says", () =>
  Effect.gen(function*() {
    assert.deepStrictEqual(yield* play(hello), ["stored in entry", "0", "table 4", "wants", "two coffees"])
  }))

it.effect("the example of letters shows every try and where it ends", () =>
  Effect.gen(function*() {
    assert.deepStrictEqual(yield* play(letters), [
      "table 7: cannot make -1 cups, try 1",
      "table 4: 2 cups",
      "table 4: 1 cups",
      "table 7: cannot make -1 cups, try 2",
      "table 7: cannot make -1 cups, try 3",
      "put aside: b of persistent://public/default/orders"
    ])
  }))
