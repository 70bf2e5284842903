import { assert, describe, it } from "@effect/vitest"
import { Lines } from "../../src/pulsar/Lines.ts"

const read = (chunks: ReadonlyArray<string>, longest = 8) => {
  const lines = new Lines(longest)
  return [...chunks.flatMap((chunk) => lines.push(Buffer.from(chunk))), ...lines.end()].map(({ bytes, number }) =>
    [number, bytes === undefined ? null : Buffer.from(bytes).toString()] as const
  )
}

describe("Lines", () => {
  it("cuts at either end of line, skips blank ones and counts them", () => {
    assert.deepStrictEqual(read(["a\n\nb\r\n\r\nc"]), [[1, "a"], [3, "b"], [5, "c"]])
    assert.deepStrictEqual(read(["a\n"]), [[1, "a"]])
    assert.deepStrictEqual(read([]), [])
  })

  it("gives the same lines however the bytes come", () => {
    const text = "one\ntwo\r\n\nfour\n12345678\r\nfive"
    const whole = read([text])
    for (let size = 1; size < text.length; size++) {
      const chunks = Array.from(
        { length: Math.ceil(text.length / size) },
        (_, index) => text.slice(index * size, (index + 1) * size)
      )
      assert.deepStrictEqual(read(chunks), whole, `in pieces of ${size}`)
    }
  })

  it("does not hold a line that is too long, and goes on behind it", () => {
    assert.deepStrictEqual(read(["12345678\n123456789\n1234", "5678901234567890", "123\nok"]), [
      [1, "12345678"],
      [2, null],
      [3, null],
      [4, "ok"]
    ])
  })
})
