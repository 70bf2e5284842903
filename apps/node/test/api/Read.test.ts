import { Adapter } from "@perigee/bus"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { startNode, type TestNode } from "../support/TestNode.ts"

const lines = (count: number): string =>
  Array.from({ length: count }, (_, i) => `{"i":${i},"odd":${i % 2 === 1}}\n`).join("")

const pages = Effect.fnUntraced(function*(node: TestNode, query: string) {
  const found: Array<number> = []
  let cursor: string | null = null
  let polls = 0
  while (true) {
    const at: string = cursor === null ? "" : `&cursor=${encodeURIComponent(cursor)}`
    const { body, status } = yield* node.json(`/v1/events?${query}${at}`)
    assert.strictEqual(status, 200)
    polls++
    found.push(...body.events.map((event: any) => event.raw.i))
    cursor = body.next_cursor
    if (!body.has_more) return { found, polls, cursor }
  }
})

describe("GET /v1/events", () => {
  it.live("pages through everything once", () =>
    Effect.gen(function*() {
      const node = yield* startNode({ bus: { shards: 4 } })
      yield* node.append(lines(1000))
      const { cursor, found, polls } = yield* pages(node, "limit=77")
      assert.sameMembers(found, Array.from({ length: 1000 }, (_, i) => i))
      assert.isAtLeast(polls, 13)
      yield* node.append("{\"i\":1000}\n")
      const { body } = yield* node.json(`/v1/events?cursor=${encodeURIComponent(cursor!)}`)
      assert.deepStrictEqual(body.events.map((event: any) => event.raw.i), [1000])
    }))

  it.live("orders by time of insertion over all shards", () =>
    Effect.gen(function*() {
      const node = yield* startNode({ bus: { shards: 4 } })
      yield* node.append(lines(300))
      const { found } = yield* pages(node, "limit=50&order=insertion_ts")
      assert.deepStrictEqual(found, Array.from({ length: 300 }, (_, i) => i))
    }))

  it.live("filters, as text and as JSON", () =>
    Effect.gen(function*() {
      const node = yield* startNode({ bus: { shards: 2 } })
      yield* node.append(lines(100))
      const text = yield* pages(node, `filter=${encodeURIComponent("i>=90 and odd=true")}`)
      assert.sameMembers(text.found, [91, 93, 95, 97, 99])
      const json = yield* pages(node, `filter=${encodeURIComponent("{\"$lt\":{\"path\":\"i\",\"value\":2}}")}`)
      assert.sameMembers(json.found, [0, 1])
    }))

  it.live("reads some shards only", () =>
    Effect.gen(function*() {
      const node = yield* startNode({ bus: { shards: 4 } })
      yield* node.append(lines(100))
      const some = yield* node.json("/v1/events?shards=0,2&limit=1000")
      const others = yield* node.json("/v1/events?shards=1,3&limit=1000")
      assert.deepStrictEqual([...new Set(some.body.events.map((event: any) => event.shard_id))].sort(), [0, 2])
      assert.strictEqual(some.body.events.length + others.body.events.length, 100)
    }))

  it.live("answers line by line when asked to", () =>
    Effect.gen(function*() {
      const node = yield* startNode({ bus: { shards: 1 } })
      yield* node.json("/v1/events", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: "{\n  \"a\": 1\n}"
      })
      yield* node.append("2\n")
      const response = yield* node.call("/v1/events", { headers: { accept: "application/x-ndjson" } })
      assert.strictEqual(response.headers.get("content-type"), "application/x-ndjson")
      assert.strictEqual(response.headers.get("perigee-has-more"), "false")
      assert.isString(response.headers.get("perigee-next-cursor"))
      const text = yield* Effect.promise(() => response.text())
      assert.deepStrictEqual(text.trimEnd().split("\n").map((line) => JSON.parse(line).raw), [{ a: 1 }, 2])
    }))

  it.live("ends a page early when events are large", () =>
    Effect.gen(function*() {
      const node = yield* startNode({ bus: { shards: 1 }, limits: { maxPageBytes: 100_000 } })
      yield* node.append(`"${"x".repeat(10_000)}"\n`.repeat(200))
      const { body } = yield* node.json("/v1/events?limit=200")
      assert.isBelow(body.events.length, 80)
      assert.isTrue(body.has_more)
    }))

  it.live("refuses wrong parameters with a code for each", () =>
    Effect.gen(function*() {
      const node = yield* startNode()
      yield* node.append("1\n")
      const cases: ReadonlyArray<readonly [string, string]> = [
        ["cursor=forged", "E_CURSOR"],
        [`cursor=${btoa("{\"v\":1}")}`, "E_CURSOR"],
        ["filter=%7B%22%24where%22%3A1%7D", "E_FILTER"],
        ["filter=a%3E%3D", "E_FILTER"],
        [`filter=${encodeURIComponent("{\"$not\":".repeat(500) + "1" + "}".repeat(500))}`, "E_FILTER"],
        ["shards=65535", "E_SHARD"],
        ["shards=-1", "E_SHARD"],
        ["shards=0,x", "E_SHARD"],
        ["limit=-1", "E_REQUEST"],
        ["limit=1.5", "E_REQUEST"],
        ["limit=abc", "E_REQUEST"],
        ["order=random", "E_REQUEST"],
        ["channel=", "E_REQUEST"]
      ]
      for (const [query, code] of cases) {
        const { body, status } = yield* node.json(`/v1/events?${query}`)
        assert.deepStrictEqual([status, body.code], [400, code], query)
      }
    }))

  it.live("refuses the cursor of another store", () =>
    Effect.gen(function*() {
      const node = yield* startNode()
      yield* node.append("1\n")
      const own = (yield* node.json("/v1/events")).body.next_cursor as string
      const text = Buffer.from(own, "base64url").toString("utf8")
      const foreign = Buffer.from(text.replace("scripted-store", "other-store-00")).toString("base64url")
      assert.notStrictEqual(own, foreign)
      const { body, status } = yield* node.json(`/v1/events?cursor=${foreign}`)
      assert.deepStrictEqual([status, body.code], [400, "E_CURSOR"])
    }))

  it.live("says when the store cannot be read", () =>
    Effect.gen(function*() {
      const script = { onPoll: () => Effect.void as Effect.Effect<void, Adapter.AdapterError> }
      const node = yield* startNode({ bus: { shards: 1 }, script })
      yield* node.append("1\n")
      script.onPoll = () => Effect.fail(Adapter.adapterError("scripted", "Fatal", "disk I/O error"))
      const { body, status } = yield* node.json("/v1/events")
      assert.isTrue(status === 503 ? body.code === "E_STORE" : body.failed_shards.length === 1)
    }))
})
