import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import { readEnvelope } from "../../src/pulsar/messageText.ts"

const read = (document: unknown) =>
  readEnvelope(Buffer.from(typeof document === "string" ? document : JSON.stringify(document)))

describe("readEnvelope", () => {
  it("takes text or bytes, and what belongs to a message", () => {
    const plain = Result.getOrThrow(read({ payload: "é" }))
    assert.deepStrictEqual([...plain.value], [0xc3, 0xa9])
    const full = Result.getOrThrow(
      read({ payload_base64: "AAE=", key_base64: "/w==", properties: { a: "b" }, event_time: 5, unknown: "ignored" })
    )
    assert.deepStrictEqual([...full.value], [0, 1])
    assert.deepStrictEqual([...full.keyBytes!], [255])
    assert.deepStrictEqual([full.properties, full.eventTime], [{ a: "b" }, 5])
    assert.strictEqual(Result.getOrThrow(read({ payload: "", event_time: "1970-01-01T00:00:01Z" })).eventTime, 1000)
  })

  it("says why it does not take a line", () => {
    const cases: ReadonlyArray<readonly [unknown, string]> = [
      ["{", "it is no JSON"],
      ["\u0000", "it is no JSON"],
      [{}, "one of payload and payload_base64"],
      [{ payload: null }, "one of payload and payload_base64"],
      [{ payload: "a", payload_base64: "" }, "one of payload and payload_base64"],
      [{ payload: 1 }, "no message with a payload"],
      [{ payload: "a", properties: { a: 1 } }, "no message with a payload"],
      [{ payload_base64: "?" }, "payload_base64 is no base64"],
      [{ payload: "a", key_base64: "A" }, "key_base64 is no base64"],
      [{ payload: "a", event_time: "soon" }, "event_time is no time"],
      [{ payload: "a", event_time: -1 }, "event_time is no time"]
    ]
    for (const [document, why] of cases) {
      const result = read(document)
      assert.isTrue(Result.isFailure(result), JSON.stringify(document))
      assert.include(Result.isFailure(result) ? result.failure : "", why)
    }
    const invalid = readEnvelope(Uint8Array.of(0xff))
    assert.strictEqual(Result.isFailure(invalid) && invalid.failure, "it is no UTF-8")
  })
})
