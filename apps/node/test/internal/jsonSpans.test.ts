import { assert, describe, it } from "@effect/vitest"
import { jsonSpans } from "../../src/internal/jsonSpans.ts"

const encoder = new TextEncoder()
const decoder = new TextDecoder()
const limits = { maxDepth: 4, maxEventBytes: 64 }

const spans = (text: string): ReadonlyArray<string> => {
  const found = jsonSpans(encoder.encode(text), limits)
  assert.notProperty(found, "_tag", text)
  return (found as ReadonlyArray<Uint8Array>).map((span) => decoder.decode(span))
}
const failure = (body: string | Uint8Array) => {
  const found = jsonSpans(typeof body === "string" ? encoder.encode(body) : body, limits)
  assert.property(found, "_tag")
  return found
}

describe("jsonSpans", () => {
  it("takes a value as it is spelled", () => {
    assert.deepStrictEqual(spans(" {\"n\": 1.0e3, \"big\": 12345678901234567890}\n"), [
      "{\"n\": 1.0e3, \"big\": 12345678901234567890}"
    ])
    assert.deepStrictEqual(spans("42"), ["42"])
    assert.deepStrictEqual(spans("\"[1,2]\""), ["\"[1,2]\""])
  })

  it("cuts an array into its elements", () => {
    assert.deepStrictEqual(spans("[]"), [])
    assert.deepStrictEqual(spans("[ ]"), [])
    assert.deepStrictEqual(spans("[1]"), ["1"])
    assert.deepStrictEqual(spans(" [ {\"a\":[1,2]} , [3, [4]],\n\"]\\\",[\" , null ] "), [
      "{\"a\":[1,2]}",
      "[3, [4]]",
      "\"]\\\",[\"",
      "null"
    ])
  })

  it("refuses what is no JSON without quoting it", () => {
    for (const text of ["", " ", "{", "[1", "{\"a\":}", "[1,]", "{}{}", "secret", "[\"a]"]) {
      const found = failure(text)
      assert.propertyVal(found, "_tag", "Json", text)
      assert.notInclude(JSON.stringify(found), "secret")
    }
  })

  it("refuses bytes that are no UTF-8", () => {
    assert.propertyVal(failure(Uint8Array.of(0x22, 0xff, 0x22)), "_tag", "Utf8")
    assert.propertyVal(failure(Uint8Array.of(0x22, 0xed, 0xa0, 0x80, 0x22)), "_tag", "Utf8")
  })

  it("counts the depth of an event, not that of the array around it", () => {
    assert.deepStrictEqual(spans("[[[[[1]]]]]"), ["[[[[1]]]]"])
    assert.deepStrictEqual(spans("{\"a\":{\"b\":{\"c\":{}}}}"), ["{\"a\":{\"b\":{\"c\":{}}}}"])
    assert.deepStrictEqual(failure("[[[[[[1]]]]]]"), { _tag: "Depth", offset: 5 })
    assert.deepStrictEqual(failure("{\"a\":{\"a\":{\"a\":{\"a\":{}}}}}"), { _tag: "Depth", offset: 20 })
  })

  it("ends at the first byte too deep, however much follows", () => {
    assert.deepStrictEqual(failure("[".repeat(5_000_000)), { _tag: "Depth", offset: 5 })
  })

  it("names the event that is too large", () => {
    assert.deepStrictEqual(failure(`[1,"${"x".repeat(63)}"]`), { _tag: "Size", index: 1, bytes: 65 })
    assert.lengthOf(spans(`["${"x".repeat(62)}"]`), 1)
  })
})
