import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { spawn } from "node:child_process"
import { writeFileSync } from "node:fs"
import { request } from "node:http"
import { join } from "node:path"
import { perigee, spawnPerigee, startChild } from "../support/ChildNode.ts"
import { scratch, type TestNode, until } from "../support/TestNode.ts"

/** Streams lines until somebody ends it; ends with the answer, or with null when the connection broke. */
const endless = (node: TestNode) => {
  let sent = 0
  const answer = new Promise<{ readonly status: number; readonly body: any } | null>((resolve) => {
    const call = request(`${node.url}/v1/events`, {
      method: "POST",
      headers: { authorization: `Bearer ${node.token}`, "content-type": "application/x-ndjson" }
    }, (response) => {
      let text = ""
      response.on("data", (chunk: Buffer) => {
        text += chunk.toString()
      })
      response.on("end", () => {
        clearInterval(timer)
        resolve({ status: response.statusCode!, body: JSON.parse(text) })
      })
    })
    call.on("error", () => resolve(null))
    const timer = setInterval(() => {
      for (let i = 0; i < 50; i++) call.write(`{"i":${sent++}}\n`)
    }, 1)
    call.on("close", () => clearInterval(timer))
  })
  return { sent: () => sent, answer: Effect.promise(() => answer) }
}

describe("signals", { timeout: 120_000 }, () => {
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    it.live(`${signal} in the middle of an ingest: the answer says how much is stored, and that much is`, () =>
      Effect.gen(function*() {
        const dir = yield* scratch
        const progress = yield* Effect.scoped(Effect.gen(function*() {
          const node = yield* startChild(dir)
          const sender = endless(node)
          yield* until(() => sender.sent() > 2000, "it is under way")
          node.child.process.kill(signal)
          const answer = yield* sender.answer
          const ended = yield* node.child.ended
          assert.deepStrictEqual([ended.code, ended.signal], [0, null])
          assert.strictEqual(answer?.status, 503)
          assert.strictEqual(answer?.body.code, "E_STOPPING")
          return answer!.body.progress
        }))
        assert.isAbove(progress.durable, 0)
        const node = yield* startChild(dir)
        const seen = new Set<number>()
        let cursor = ""
        while (true) {
          const { body } = yield* node.json(`/v1/events?limit=10000${cursor}`)
          for (const event of body.events) seen.add(event.raw.i)
          if (!body.has_more) break
          cursor = `&cursor=${encodeURIComponent(body.next_cursor)}`
        }
        assert.strictEqual(seen.size, progress.durable)
        for (let i = 0; i < progress.durable; i++) assert.isTrue(seen.has(i))
      }))
  }

  it.live("a tail ends with the node, cleanly", () =>
    Effect.gen(function*() {
      const dir = yield* scratch
      const node = yield* startChild(dir)
      const response = yield* node.call("/v1/tail")
      const text = Effect.promise(() => response.text())
      yield* node.append("1\n")
      node.child.process.kill("SIGTERM")
      assert.include(yield* text, ": the node is stopping\n\n")
      assert.strictEqual((yield* node.child.ended).code, 0)
    }))

  it.live("the same Ctrl-C twice stops it once", () =>
    Effect.gen(function*() {
      const node = yield* startChild(yield* scratch)
      node.child.process.kill("SIGINT")
      node.child.process.kill("SIGINT")
      const { code, stderr } = yield* node.child.ended
      assert.deepStrictEqual([code, stderr], [0, ""])
    }))

  it.live(
    "an ingest that is interrupted says so by its exit code, and goes on where it was",
    () =>
      Effect.gen(function*() {
        const dir = yield* scratch
        const node = yield* startChild(join(dir, "state"))
        const file = join(dir, "lines.ndjson")
        const count = 400_000
        writeFileSync(file, Array.from({ length: count }, (_, i) => `{"i":${i},"text":"${"x".repeat(40)}"}\n`).join(""))
        const first = yield* spawnPerigee(["ingest", file, "--state", node.dir, "--json"])
        yield* until(
          () => Effect.runPromise(Effect.map(node.json("/v1/stats"), ({ body }) => body.bus.dispatched > 0)),
          "some of it is stored"
        )
        first.process.kill("SIGINT")
        const interrupted = yield* first.ended
        const whole = interrupted.code === 0
        assert.include([0, 130], interrupted.code)
        const second = yield* perigee(["ingest", file, "--state", node.dir, "--json"])
        assert.strictEqual(second.code, 0, second.stderr)
        const summary = JSON.parse(second.stdout)
        assert.strictEqual(summary.durable, count)
        if (!whole) assert.isAbove(summary.resumed_behind + summary.duplicates, 0)
        const { body } = yield* node.json("/v1/stats")
        assert.strictEqual(body.bus.dispatched, count)
      }),
    120_000
  )

  it.live("a reader that has seen enough ends a query without an error", () =>
    Effect.gen(function*() {
      const node = yield* startChild(yield* scratch)
      yield* node.append(Array.from({ length: 20_000 }, (_, i) => `{"i":${i},"text":"${"x".repeat(100)}"}\n`).join(""))
      const query = yield* spawnPerigee(["query", "--limit", "0", "--json", "--state", node.dir])
      const head = spawn("head", ["-n", "1"], { stdio: [query.process.stdout!, "pipe", "inherit"] })
      yield* Effect.promise(() => new Promise((done) => head.once("close", done)))
      query.process.stdout!.destroy()
      const { code, stderr } = yield* query.ended
      assert.deepStrictEqual([code, stderr], [0, ""])
    }))
})
