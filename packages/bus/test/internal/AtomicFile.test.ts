import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { create, read, replace, tidy } from "../../src/internal/AtomicFile.ts"
import { directory } from "../utils/places.ts"

const text = (path: string) => readFileSync(path, "utf8")

describe("AtomicFile", () => {
  it.live("replace writes a private file, and leaves nothing beside it", () =>
    Effect.gen(function*() {
      const place = yield* directory
      const path = join(place, "file")
      for (const content of ["one", "two, longer", ""]) {
        yield* Effect.promise(() => replace(path, content))
        assert.strictEqual(text(path), content)
      }
      assert.strictEqual(statSync(path).mode & 0o777, 0o600)
      assert.deepStrictEqual(readdirSync(place), ["file"])
    }))

  it.live("replace that fails leaves things as they were", () =>
    Effect.gen(function*() {
      const place = yield* directory
      mkdirSync(join(place, "taken", "by a directory"), { recursive: true })
      const failure = yield* Effect.flip(Effect.tryPromise(() => replace(join(place, "taken"), "x")))
      assert.instanceOf(failure.cause, Error)
      assert.deepStrictEqual(readdirSync(place), ["taken"])
    }))

  it.live("tidy removes what killed writers of that file have left, and nothing else", () =>
    Effect.gen(function*() {
      const place = yield* directory
      const left = (name: string) => `${name}.0b6f3b4e-5f0a-4c0e-9f57-1d2c3b4a5968.tmp`
      const others = ["file", "file.tmp", "file.notes.tmp", left("file2")]
      for (const name of [...others, left("file")]) writeFileSync(join(place, name), "x")
      yield* Effect.promise(() => tidy(join(place, "file")))
      assert.deepStrictEqual(readdirSync(place).toSorted(), others.toSorted())
    }))

  it.live("create never touches a file that is there, and of many at once one wins", () =>
    Effect.gen(function*() {
      const place = yield* directory
      const path = join(place, "file")
      yield* Effect.promise(() => Promise.all(Array.from({ length: 20 }, (_, i) => create(path, `content ${i}`))))
      const first = text(path)
      assert.match(first, /^content \d+$/)
      yield* Effect.promise(() => create(path, "later"))
      assert.strictEqual(text(path), first)
      assert.deepStrictEqual(readdirSync(place), ["file"])
    }))

  it.live("read stops at its limit", () =>
    Effect.gen(function*() {
      const path = join(yield* directory, "file")
      assert.isUndefined(yield* Effect.promise(() => read(path, 10)))
      writeFileSync(path, "x".repeat(100_000))
      assert.strictEqual((yield* Effect.promise(() => read(path, 10)))!.length, 11)
      assert.strictEqual((yield* Effect.promise(() => read(path, 100_000)))!.length, 100_000)
    }))
})
