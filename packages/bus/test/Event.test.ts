import { assert, describe, it } from "@effect/vitest"
import { Result, Schema } from "effect"
import * as Event from "../src/Event.ts"

const utf8 = new TextEncoder()
const event = (raw: string | Uint8Array<ArrayBuffer>, fields: Partial<Event.StoredEvent> = {}): Event.StoredEvent => ({
  id: "7",
  shard: 3,
  raw: typeof raw === "string" ? utf8.encode(raw) : raw,
  insertionTs: BigInt("1795273429513000001"),
  dedupId: null,
  channel: null,
  ...fields
})

describe("stored events", () => {
  it("V06 keep their fields; text is exact, or an error", () => {
    assert.deepStrictEqual(Event.text(event("ä {")), Result.succeed("ä {"))
    assert.isTrue(Result.isFailure(Event.text(event(new Uint8Array([0xff, 0xfe, 0xfd])))))
    assert.deepStrictEqual(Event.json(event("{\"a\":[1]}")), Result.succeed({ a: [1] }))
    assert.isTrue(Result.isFailure(Event.json(event("{"))))
    assert.isTrue(Result.isFailure(Event.json(event("\ufeff{}"))))
  })
  it("V07 are written as JSON with the payload inside, or not at all", () => {
    assert.deepStrictEqual(
      Event.toJson(event("{\"a\":1}", { channel: "c\"" })),
      Result.succeed(
        "{\"id\":\"7\",\"raw\":{\"a\":1},\"insertion_ts\":\"1795273429513000001\",\"shard_id\":3,\"dedup_id\":null,\"channel\":\"c\\\"\"}"
      )
    )
    // None of these may break out of its place.
    for (const raw of ["{", "", "1,\"shard_id\":9", "{}}", "nul"]) {
      assert.isTrue(Result.isFailure(Event.toJson(event(raw))), raw)
    }
  })
  it("V08 keep white space, the spelling of numbers and the order of keys", () => {
    const raw = "{ \"b\" : 1.0,\n\t\"a\":1e2, \"n\": 12345678901234567890 }"
    assert.include(Result.getOrThrow(Event.toJson(event(raw))), `"raw":${raw},`)
  })
  it("V09 always have all members, null where the store knows nothing", () => {
    const keys = ["id", "raw", "insertion_ts", "shard_id", "dedup_id", "channel"]
    for (const dedupId of [null, "1f:3:0:7"]) {
      const json = JSON.parse(Result.getOrThrow(Event.toJson(event("1", { dedupId })))) as Record<string, unknown>
      assert.deepStrictEqual(Object.keys(json), keys)
      assert.strictEqual(json["dedup_id"], dedupId)
    }
  })
  it.prop("no payload forges another member", { text: Schema.String }, ({ text }) => {
    for (const raw of [text, JSON.stringify(text)]) {
      const json = Event.toJson(event(raw))
      if (Result.isSuccess(json)) {
        const parsed = JSON.parse(json.success) as Record<string, unknown>
        assert.deepStrictEqual([parsed["id"], parsed["shard_id"]], ["7", 3])
        assert.deepStrictEqual(parsed["raw"], JSON.parse(raw))
      }
    }
  }, { arbitrary: { runs: 300, size: 30 } })
})
