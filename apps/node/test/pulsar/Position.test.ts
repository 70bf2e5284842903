import { assert, describe, it } from "@effect/vitest"
import { MessageId } from "@perigee/engine"
import { parse } from "../../src/pulsar/Position.ts"

describe("Position", () => {
  it("reads what people write", () => {
    const now = Date.UTC(2026, 0, 31, 12)
    assert.deepStrictEqual(parse("beginning", now), { _tag: "Earliest" })
    assert.deepStrictEqual(parse("now", now), { _tag: "Latest" })
    assert.deepStrictEqual(parse("15m", now), { _tag: "Since", millis: now - 900_000 })
    assert.deepStrictEqual(parse("2026-01-31T12:00:00Z", now), { _tag: "Since", millis: now })
    assert.deepStrictEqual(parse("12:34", now), { _tag: "At", id: MessageId.make(BigInt(12), BigInt(34)) })
    assert.deepStrictEqual(parse("12:34:-1:5", now), {
      _tag: "At",
      id: MessageId.make(BigInt(12), BigInt(34), -1, 5)
    })
  })

  it("refuses everything else", () => {
    for (
      const text of [
        "",
        "yesterday",
        "12",
        "12:",
        "-1:-1",
        "12:34:5:6:7",
        "15 m",
        "1e3m",
        "2026-13-45",
        "12345678901234567890:1"
      ]
    ) {
      assert.isUndefined(parse(text, 0), text)
    }
  })
})
