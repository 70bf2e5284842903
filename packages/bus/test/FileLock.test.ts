import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Scope } from "effect"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { TestClock } from "effect/testing"
import * as FileLock from "../src/FileLock.ts"
import { directory } from "./utils/places.ts"

const source = new URL("../src/FileLock.ts", import.meta.url).href

/** Another process that takes the lock, says so, and keeps it. */
const holder = (path: string) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const program = `
        import * as Effect from "effect/Effect"
        import * as Scope from "effect/Scope"
        const { acquire } = await import(${JSON.stringify(source)})
        const scope = await Effect.runPromise(Scope.make())
        await Effect.runPromise(Scope.provide(acquire(${JSON.stringify(path)}), scope))
        console.log("held")
        setInterval(() => {}, 1000)`
      const child = spawn(process.execPath, ["--input-type=module", "-e", program], {
        cwd: import.meta.dirname,
        stdio: ["ignore", "pipe", "inherit"]
      })
      await once(child.stdout, "data")
      return child
    }),
    (child) =>
      Effect.promise(async () => {
        if (child.exitCode === null && child.signalCode === null) {
          child.kill("SIGKILL")
          await once(child, "exit")
        }
      })
  )

describe("FileLock", () => {
  it.effect("keeps a second owner of the same process out, and says who has it", () =>
    Effect.gen(function*() {
      const path = join(yield* directory, "lock")
      yield* TestClock.setTime(1_767_225_600_000)
      const scope = yield* Scope.make()
      yield* Scope.provide(FileLock.acquire(path), scope)
      const error = yield* Effect.flip(Effect.scoped(FileLock.acquire(path)))
      assert.deepStrictEqual(error.reason, { _tag: "Held", pid: process.pid, since: 1_767_225_600_000 })
      assert.strictEqual(
        error.message,
        `${path} is held by another process (pid ${process.pid}, since 2026-01-01T00:00:00.000Z)`
      )
      yield* Scope.close(scope, Exit.void)
      yield* Effect.scoped(FileLock.acquire(path))
    }))

  it.live("keeps another process out until that is killed", () =>
    Effect.gen(function*() {
      const path = join(yield* directory, "lock")
      const child = yield* holder(path)
      const error = yield* Effect.flip(Effect.scoped(FileLock.acquire(path)))
      assert.strictEqual(error.reason._tag === "Held" ? error.reason.pid : 0, child.pid)
      yield* Effect.promise(async () => {
        child.kill("SIGKILL")
        await once(child, "exit")
      })
      yield* Effect.scoped(FileLock.acquire(path))
    }))

  it.live("names a missing directory, and what is not a lock", () =>
    Effect.gen(function*() {
      const place = yield* directory
      const missing = yield* Effect.flip(Effect.scoped(FileLock.acquire(join(place, "none", "lock"))))
      assert.deepStrictEqual(missing.reason, { _tag: "NoDirectory", directory: join(place, "none") })
      writeFileSync(join(place, "other"), "something else entirely".repeat(100))
      const other = yield* Effect.flip(Effect.scoped(FileLock.acquire(join(place, "other"))))
      assert.strictEqual(other.reason._tag, "Io")
      assert.include(other.message, "file is not a database")
    }))
})
