import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { Worker } from "node:worker_threads"
import { WorkerLink } from "../../../src/adapters/sqlite/internal/WorkerLink.ts"

type Body = "echo" | "refuse" | "throw" | "exit" | "ignore"

const program = `
  const { parentPort } = require("node:worker_threads")
  parentPort.postMessage({ opened: "hello" })
  parentPort.on("message", ({ id, body }) => {
    if (body === "echo") parentPort.postMessage([{ id, value: body }])
    if (body === "refuse") parentPort.postMessage([{ id, failure: { tag: "Full", message: "no room" } }])
    if (body === "throw") throw new Error("boom")
    if (body === "exit") process.exit(3)
  })`

const link = Effect.acquireRelease(
  Effect.sync(() => new WorkerLink<Body, string>("test", new Worker(program, { eval: true }))),
  (link) => Effect.andThen(Effect.sync(() => link.terminate()), link.ended)
)

describe("WorkerLink", () => {
  it.live("passes on answers and failures", () =>
    Effect.gen(function*() {
      const worker = yield* link
      assert.strictEqual(yield* worker.opened, "hello")
      assert.strictEqual(yield* worker.ask("echo"), "echo")
      const error = yield* Effect.flip(worker.ask("refuse"))
      assert.strictEqual(error.message, "test: Full: no room")
    }))

  for (
    const [death, why] of [["throw", "its thread failed: boom"], ["exit", "its thread ended with code 3"]] as const
  ) {
    it.live(`a thread that ends by ${death} fails what is under way as Transient, then everything as Fatal`, () =>
      Effect.gen(function*() {
        const worker = yield* link
        const asked = yield* Effect.forEach(
          ["ignore", "ignore", death] as const,
          (body) => Effect.forkChild(Effect.flip(worker.ask(body)), { startImmediately: true })
        )
        for (const fiber of asked) {
          const error = yield* Fiber.join(fiber)
          assert.deepStrictEqual([error.reason._tag, error.reason.message], ["Transient", why])
        }
        assert.isFalse(worker.isAlive)
        const later = yield* Effect.flip(worker.ask("echo"))
        assert.deepStrictEqual([later.reason._tag, later.reason.message], ["Fatal", why])
        yield* worker.ended
      }))
  }

  it.live("interruption stops the waiting, not the work; its answer is still seen", () =>
    Effect.gen(function*() {
      const worker = yield* link
      const seen: Array<string> = []
      const asked = yield* Effect.forkChild(worker.ask<string>("echo", [], (value) => seen.push(value)), {
        startImmediately: true
      })
      yield* Fiber.interrupt(asked)
      yield* worker.ask("echo")
      assert.deepStrictEqual(seen, ["echo"])
    }))

  it.live("a thread that ends before it says hello is an Io failure", () =>
    Effect.gen(function*() {
      const worker = new WorkerLink<Body, string>("test", new Worker("process.exit(1)", { eval: true }))
      assert.deepStrictEqual(yield* Effect.flip(worker.opened), { _tag: "Io", detail: "its thread ended with code 1" })
    }))
})
