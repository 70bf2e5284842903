import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { parseAll } from "../../src/bridge/BridgeSpec.ts"

const refusal = (...texts: ReadonlyArray<string>) =>
  Effect.map(Effect.flip(parseAll(texts)), ({ code, exit, message }) => {
    assert.deepStrictEqual([code, exit], ["E_BRIDGE", 2])
    return message
  })

describe("BridgeSpec", () => {
  it.effect("reads directions, names of topics and options", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* parseAll(["out:a=orders", "in:b=t/n/x?from=end&name=other"]), [
        {
          direction: "out",
          channel: "a",
          topic: "persistent://public/default/orders",
          name: undefined,
          from: "beginning"
        },
        { direction: "in", channel: "b", topic: "persistent://t/n/x", name: "other", from: "end" }
      ])
    }))

  it.effect("says what is wrong", () =>
    Effect.gen(function*() {
      assert.include(yield* refusal("orders"), "this is no bridge")
      assert.include(yield* refusal("out:=t"), "this is no bridge")
      assert.include(yield* refusal("out:a=b/c"), "b/c is no topic")
      assert.include(yield* refusal("out:a=http://b/c/d"), "is no topic")
      assert.include(yield* refusal("out:a=t?from=here"), "from is beginning or end")
      assert.include(yield* refusal("out:a=t?colour=red"), "there is no option colour")
      assert.include(yield* refusal("out:a=t?name="), "a name has")
      assert.include(yield* refusal("out:a=t", "out:a=persistent://public/default/t"), "it is there twice")
    }))

  it.effect("refuses circles, however long, and nothing but circles", () =>
    Effect.gen(function*() {
      assert.include(yield* refusal("out:a=t", "in:a=t"), "makes a circle")
      assert.include(yield* refusal("out:a=t", "in:b=t", "out:b=u", "in:a=u"), "makes a circle")
      assert.lengthOf(yield* parseAll(["out:a=t", "in:b=t", "out:b=u", "out:a=u"]), 4)
    }))
})
