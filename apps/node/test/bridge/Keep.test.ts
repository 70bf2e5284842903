import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { readdirSync, statSync, writeFileSync } from "node:fs"
import { dirname } from "node:path"
import { keep } from "../../src/bridge/Keep.ts"
import { scratch } from "../support/TestNode.ts"

const Place = Schema.Struct({ at: Schema.Int })

describe("Keep", () => {
  it.live("finds what was saved last, each bridge its own", () =>
    Effect.gen(function*() {
      const dir = yield* scratch
      const one = keep(dir, ["in", "a"])
      const other = keep(dir, ["in", "b"])
      assert.isUndefined(yield* one.load(Place))
      yield* one.save(Place, { at: 1 })
      yield* one.save(Place, { at: 2 })
      yield* other.save(Place, { at: 3 })
      assert.deepStrictEqual([yield* one.load(Place), yield* other.load(Place)], [{ at: 2 }, { at: 3 }])
      assert.lengthOf(readdirSync(dirname(one.path)), 2)
      assert.strictEqual(statSync(one.path).mode & 0o777, 0o600)
    }))

  it.live("does not guess what a damaged file meant", () =>
    Effect.gen(function*() {
      const one = keep(yield* scratch, ["in", "a"])
      yield* one.save(Place, { at: 1 })
      for (const content of ["", "{", "{\"at\":\"1\"}"]) {
        writeFileSync(one.path, content)
        assert.include((yield* Effect.flip(one.load(Place))).message, "is damaged")
      }
    }))
})
