import { assert, describe, it } from "@effect/vitest"
import { eventText, form, payloadOf } from "../../src/cli/eventText.ts"

const line = (raw: string, channel: string | null = null) =>
  `{"id":"1","raw":${raw},"insertion_ts":"1795275868250000000","shard_id":0,"dedup_id":"a:0:0:0","channel":${
    JSON.stringify(channel)
  }}`

describe("eventText", () => {
  it("finds the payload as it was spelled, whatever it or the channel contains", () => {
    const tricky = [
      "{\"raw\":1.0,\"x\":\",\\\"insertion_ts\\\":\\\"\"}",
      "\",\\\"raw\\\":\"",
      "null",
      "[1, 2]",
      "{\"insertion_ts\":\"0\"}"
    ]
    for (const raw of tricky) {
      for (const channel of [null, "a", ",\"insertion_ts\":\"1", ",\"raw\":"]) {
        assert.strictEqual(payloadOf(line(raw, channel)), raw)
      }
    }
  })

  it("prints what was asked for", () => {
    assert.strictEqual(eventText(line("{\"a\":1}"), "text"), "2026-11-21T15:44:28.250Z  {\"a\":1}\n")
    assert.strictEqual(eventText(line("{\"a\":1}"), "json"), "{\"a\":1}\n")
    assert.strictEqual(eventText(line("{\"a\":1}"), "envelope"), `${line("{\"a\":1}")}\n`)
    assert.deepStrictEqual(
      [
        form({ json: false, envelope: false }),
        form({ json: true, envelope: false }),
        form({ json: true, envelope: true })
      ],
      ["text", "json", "envelope"]
    )
  })
})
