import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, type Scope } from "effect"
import { rawConnection, startNode, type TestNode, until } from "../support/TestNode.ts"

interface Reader {
  readonly status: number
  readonly text: () => string
  readonly events: () => ReadonlyArray<{ readonly id: string; readonly raw: any }>
  readonly ended: () => boolean
}

const follow = (
  node: TestNode,
  query: string,
  headers: Record<string, string> = {}
): Effect.Effect<Reader, never, Scope.Scope> =>
  Effect.gen(function*() {
    const abort = yield* Effect.acquireRelease(Effect.sync(() => new AbortController()), (controller) =>
      Effect.sync(() => controller.abort()))
    const response = yield* node.call(`/v1/tail${query}`, { headers, signal: abort.signal })
    let text = ""
    let ended = false
    const decoder = new TextDecoder()
    void (async () => {
      try {
        for await (const chunk of response.body!) {
          text += decoder.decode(chunk, { stream: true })
        }
      } catch {
        // The test has seen enough.
      }
      ended = true
    })()
    return {
      status: response.status,
      text: () =>
        text,
      events: () =>
        text.split("\n\n").flatMap((frame) => {
          const id = /^id: (.*)$/m.exec(frame)?.[1]
          const data = [...frame.matchAll(/^data: (.*)$/gm)].map((match) => match[1]).join("\n")
          return id === undefined || data === "" ? [] : [{ id, raw: JSON.parse(data).raw }]
        }),
      ended: () => ended
    }
  })

describe("GET /v1/tail", () => {
  it.live("gives stored events, then live ones", () =>
    Effect.gen(function*() {
      const node = yield* startNode()
      yield* node.append("1\n2\n")
      const reader = yield* follow(node, "")
      yield* until(() => reader.events().length === 2, "the stored ones")
      yield* node.append("3\n")
      yield* until(() => reader.events().length === 3, "the live one")
      assert.sameMembers(reader.events().map((event) => event.raw), [1, 2, 3])
    }))

  it.live("begins at the end, behind a cursor, or where Last-Event-ID says", () =>
    Effect.gen(function*() {
      const node = yield* startNode({ bus: { shards: 1 } })
      yield* node.append("1\n2\n3\n")
      const all = yield* follow(node, "")
      yield* until(() => all.events().length === 3, "the stored ones")
      const second = all.events()[1]!.id
      const live = yield* follow(node, "?from=end")
      const behind = yield* follow(node, `?from=${encodeURIComponent(second)}`)
      const resumed = yield* follow(node, "?from=beginning", { "last-event-id": second })
      yield* until(() => live.text().includes("live events only"), "it is there")
      yield* Effect.sleep("50 millis")
      yield* node.append("4\n")
      yield* until(
        () => live.events().length > 0 && behind.events().length === 2 && resumed.events().length === 2,
        "the fourth"
      )
      assert.deepStrictEqual(live.events().map((event) => event.raw), [4])
      assert.deepStrictEqual(behind.events().map((event) => event.raw), [3, 4])
      assert.deepStrictEqual(resumed.events().map((event) => event.raw), [3, 4])
    }))

  it.live("loses nothing of a reader that began at the end and was cut before its first event", () =>
    Effect.gen(function*() {
      const node = yield* startNode()
      yield* node.append("1\n2\n")
      const place = yield* Effect.scoped(Effect.gen(function*() {
        const reader = yield* follow(node, "?from=end")
        yield* until(() => reader.text().includes("live events only"), "it is there")
        return /^id: (.*)$/m.exec(reader.text())![1]!
      }))
      yield* node.append("3\n")
      const reader = yield* follow(node, "?from=end", { "last-event-id": place })
      yield* until(() => reader.events().length === 1, "the one in between")
      assert.deepStrictEqual(reader.events().map((event) => event.raw), [3])
    }))

  it.live("resumes without a gap or a repetition wherever it was cut", () =>
    Effect.gen(function*() {
      const node = yield* startNode({ bus: { shards: 4 } })
      yield* node.append(Array.from({ length: 500 }, (_, i) => `${i}\n`).join(""))
      const seen: Array<number> = []
      let last: string | undefined
      for (let cut = 0; seen.length < 500; cut++) {
        yield* Effect.scoped(Effect.gen(function*() {
          const reader = yield* follow(node, "", last === undefined ? {} : { "last-event-id": last })
          const wanted = Math.min(500 - seen.length, 1 + cut * 37 % 61)
          yield* until(() => reader.events().length >= wanted, "some more")
          const taken = reader.events().slice(0, wanted)
          seen.push(...taken.map((event) => event.raw))
          last = taken.at(-1)!.id
        }))
      }
      assert.lengthOf(seen, 500)
      assert.strictEqual(new Set(seen).size, 500)
    }))

  it.live("filters by content and channel", () =>
    Effect.gen(function*() {
      const node = yield* startNode()
      const reader = yield* follow(node, `?channel=a&filter=${encodeURIComponent("n>1")}`)
      yield* node.append("{\"n\":1}\n{\"n\":2}\n", "?channel=a")
      yield* node.append("{\"n\":3}\n", "?channel=b")
      yield* node.append("{\"n\":4}\n", "?channel=a")
      yield* until(() => reader.events().length === 2, "two that match")
      assert.deepStrictEqual(reader.events().map((event) => event.raw.n), [2, 4])
    }))

  it.live("keeps the spelling of a payload of several lines", () =>
    Effect.gen(function*() {
      const node = yield* startNode()
      const reader = yield* follow(node, "")
      yield* node.json("/v1/events", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: "{\n  \"a\": 1.0\n}"
      })
      yield* until(() => reader.events().length === 1, "it")
      assert.include(reader.text(), "data:   \"a\": 1.0\n")
    }))

  it.live("sends comments while nothing happens", () =>
    Effect.gen(function*() {
      const node = yield* startNode({ limits: { tailHeartbeat: Duration.millis(50) } })
      const reader = yield* follow(node, "")
      yield* until(() => reader.text().split(": still here").length > 3, "three heartbeats")
    }))

  it.live("refuses a wrong start before the stream begins", () =>
    Effect.gen(function*() {
      const node = yield* startNode()
      for (const query of ["?from=nowhere", "?from=end&shards=99999", "?filter=%3D"]) {
        assert.strictEqual((yield* node.json(`/v1/tail${query}`)).status, 400, query)
      }
      assert.strictEqual(
        (yield* node.json("/v1/tail", { headers: { "last-event-id": "forged" } })).body.code,
        "E_CURSOR"
      )
    }))

  it.live("has a place for so many readers, and frees it when one goes", () =>
    Effect.gen(function*() {
      const node = yield* startNode({ limits: { maxTails: 1 } })
      const tails = Effect.map(node.json("/v1/stats"), ({ body }) => body.tails as number)
      yield* Effect.scoped(Effect.gen(function*() {
        yield* follow(node, "")
        yield* until(() => Effect.runPromise(Effect.map(tails, (count) => count === 1)), "one reader")
        const { body, status } = yield* node.json("/v1/tail")
        assert.deepStrictEqual([status, body.code], [503, "E_TAILS"])
      }))
      yield* until(() => Effect.runPromise(Effect.map(tails, (count) => count === 0)), "no reader")
      assert.strictEqual((yield* follow(node, "")).status, 200)
    }))

  it.live("cuts a reader that stops reading, and holds little of what it left", () =>
    Effect.gen(function*() {
      const node = yield* startNode({ limits: { tailStall: Duration.millis(500) } })
      const line = `"${"x".repeat(10_000)}"\n`
      for (let i = 0; i < 20; i++) yield* node.append(line.repeat(100))
      const { closed, socket } = yield* rawConnection(node.port)
      socket.write(`GET /v1/tail HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer ${node.token}\r\n\r\n`)
      socket.pause()
      yield* until(
        () => Effect.runPromise(Effect.map(node.json("/v1/stats"), ({ body }) => body.tails === 1)),
        "it is there"
      )
      yield* until(
        () => Effect.runPromise(Effect.map(node.json("/v1/stats"), ({ body }) => body.tails === 0)),
        "it was cut"
      )
      socket.resume()
      yield* closed
    }))
})
