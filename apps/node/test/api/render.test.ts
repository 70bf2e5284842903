import { assert, describe, it } from "@effect/vitest"
import { eventJson, eventLine } from "../../src/api/render.ts"

const event = (raw: string | Uint8Array<ArrayBuffer>) => ({
  id: "7",
  shard: 1,
  raw: typeof raw === "string" ? new TextEncoder().encode(raw) : raw,
  insertionTs: BigInt("1795275868250000000"),
  dedupId: null,
  channel: "a\"b"
})

describe("render", () => {
  it("splices the payload in byte for byte", () => {
    assert.strictEqual(
      eventJson(event("{ \"n\": 1.0 }")),
      "{\"id\":\"7\",\"raw\":{ \"n\": 1.0 },\"insertion_ts\":\"1795275868250000000\",\"shard_id\":1,\"dedup_id\":null,\"channel\":\"a\\\"b\"}"
    )
  })

  it("gives what is no JSON as base64", () => {
    for (const raw of ["{broken", Uint8Array.of(0xff, 0xfe)]) {
      const found = JSON.parse(eventJson(event(raw)))
      assert.strictEqual(found.raw, null)
      assert.strictEqual(found.raw_base64, Buffer.from(event(raw).raw).toString("base64"))
      assert.strictEqual(found.channel, "a\"b")
    }
  })

  it("writes an event on one line", () => {
    const line = eventLine(event("{\r\n  \"a\": [\n1,\r2]\n}"))
    assert.notMatch(line, /[\r\n]/)
    assert.deepStrictEqual(JSON.parse(line).raw, { a: [1, 2] })
  })
})
