import { assert, describe, it } from "@effect/vitest"
import { Result, Schema } from "effect"
import { inspect } from "node:util"
import * as Cursor from "../src/Cursor.ts"

const text = (cursor: Cursor.Cursor): string => Result.getOrThrow(Cursor.encode(cursor))
const read = (text: string): Cursor.Cursor => Result.getOrThrow(Cursor.decode(text))
const base64 = (json: string): string => Buffer.from(json).toString("base64")
const at = (positions: Record<number, string>): Cursor.Cursor =>
  Cursor.make({ positions: new Map(Object.entries(positions).map(([shard, id]) => [Number(shard), id])) })
const refused = (text: string): Cursor.CursorErrorReason["_tag"] => {
  const result = Cursor.decode(text)
  if (Result.isSuccess(result)) return assert.fail(`accepted ${text.slice(0, 100)}`)
  assert.isNotEmpty(result.failure.reason.message)
  return result.failure.reason._tag
}

describe("text", () => {
  it("C01 three positions are kept, others absent", () => {
    const cursor = read(text(at({ 0: "1700-0", 5: "42", 65535: "01ARZ3" })))
    assert.strictEqual(Cursor.get(cursor, 0), "1700-0")
    assert.strictEqual(Cursor.get(cursor, 5), "42")
    assert.strictEqual(Cursor.get(cursor, 65535), "01ARZ3")
    assert.strictEqual(Cursor.get(cursor, 1), null)
  })
  it("C02 a hundred shards", () => {
    const cursor = Cursor.make({ positions: new Map(Array.from({ length: 100 }, (_, i) => [i, `${i * 7}`])) })
    assert.deepStrictEqual(read(text(cursor)), cursor)
  })
  it("C03 the empty cursor", () => {
    assert.strictEqual(text(Cursor.empty), "e30=")
    assert.deepStrictEqual(read("e30="), Cursor.empty)
  })
  it("C04 bad base64 and bad JSON are refused with the reason", () => {
    for (const bad of ["", "!", "e30", "e30==", "e31=", "e30=\n", " e30=", "e3 0=", "__8=", "💥"]) {
      assert.strictEqual(refused(bad), "NotBase64", JSON.stringify(bad))
    }
    for (
      const bad of [
        "",
        "null",
        "[]",
        "{",
        "{}x",
        "{\"0\":1}",
        "{\"0\":\"1\",}",
        "{\"0\" \"1\"}",
        "{'0':'1'}",
        "\ufeff{}"
      ]
    ) {
      if (bad !== "") assert.strictEqual(refused(base64(bad)), "NotJson", bad)
    }
    assert.strictEqual(refused(Buffer.from([0x7b, 0xff, 0x7d]).toString("base64")), "NotJson")
    assert.strictEqual(refused("A".repeat(Cursor.maxLength + 4)), "TooLong")
  })
  it("C05 a shard number has one spelling", () => {
    for (const key of ["00", "01", "-1", "+1", "1.0", "1e3", "65536", "99999", " 0", "", "x", "__proto__"]) {
      assert.strictEqual(
        refused(base64(JSON.stringify({ [key]: "1" }).replace("{}", `{"${key}":"1"}`))),
        "InvalidShard",
        key
      )
    }
    assert.strictEqual(Cursor.get(read(base64("{\"0\":\"1\"}")), 0), "1")
    assert.strictEqual(Cursor.get(read(base64("{\"65535\":\"1\"}")), 65535), "1")
  })
  it("duplicates are seen, also when they are spelt differently", () => {
    assert.strictEqual(refused(base64("{\"0\":\"1\",\"0\":\"2\"}")), "Duplicate")
    assert.strictEqual(refused(base64("{\"0\":\"1\",\"\\u0030\":\"2\"}")), "Duplicate")
    assert.strictEqual(refused(base64("{\"store\":\"a\",\"store\":\"a\"}")), "Duplicate")
    assert.strictEqual(refused(base64("{\"ahead\":{\"0\":[\"1\"],\"0\":[\"2\"]}}")), "Duplicate")
    assert.strictEqual(refused(base64("{\"ahead\":{\"0\":[\"1\",\"1\"]}}")), "Duplicate")
  })
  it("positions are bounded", () => {
    assert.strictEqual(refused(base64("{\"0\":\"\"}")), "InvalidPosition")
    assert.strictEqual(refused(base64(`{"0":"${"1".repeat(1025)}"}`)), "InvalidPosition")
    const many = JSON.stringify({ ahead: { 0: Array.from({ length: Cursor.maxAhead + 1 }, (_, i) => `${i}`) } })
    assert.strictEqual(refused(base64(many)), "InvalidPosition")
  })
  it("a plain cursor of the same layout is read, white space and key order apart", () => {
    assert.deepStrictEqual(read(base64(" { \"1\" : \"5-1\" , \"0\":\"4-0\" } ")), at({ 0: "4-0", 1: "5-1" }))
  })
  it("a plain cursor is written plainly", () => {
    assert.strictEqual(text(at({ 1: "5-1", 0: "4-0" })), base64("{\"0\":\"4-0\",\"1\":\"5-1\"}"))
  })
  it("a cursor of another store is refused", () => {
    const cursor = read(text(Cursor.make({ positions: new Map([[0, "1"]]), store: "a" })))
    assert.isTrue(Result.isSuccess(Cursor.checkStore(cursor, "a")))
    for (const other of ["b", null]) {
      const result = Cursor.checkStore(cursor, other)
      assert.isTrue(Result.isFailure(result) && result.failure.message.includes("cursor of another store"))
    }
    assert.isTrue(Result.isSuccess(Cursor.checkStore(at({ 0: "1" }), "b")))
  })
  it("an oversized cursor fails instead of becoming empty", () => {
    const positions = new Map(Array.from({ length: 65_536 }, (_, i) => [i, "x".repeat(60)]))
    const result = Cursor.encode(Cursor.make({ positions }))
    assert.isTrue(Result.isFailure(result) && result.failure.reason._tag === "TooLong")
  })
})

describe("advance", () => {
  const event = (shard: number, id: string) => ({ shard, id })
  it("C06 the furthest event of each shard", () => {
    const cursor = Cursor.advance(Cursor.empty, [event(0, "100-0"), event(1, "200-0"), event(0, "150-0")])
    assert.deepStrictEqual(cursor, at({ 0: "150-0", 1: "200-0" }))
  })
  it("C07 never back", () => {
    assert.deepStrictEqual(Cursor.advance(at({ 0: "200-0" }), [event(0, "100-0")]), at({ 0: "200-0" }))
  })
  it("C08 each shard on its own", () => {
    assert.deepStrictEqual(
      Cursor.advance(at({ 0: "200-0", 1: "200-0" }), [event(0, "100-0"), event(1, "300-0")]),
      at({ 0: "200-0", 1: "300-0" })
    )
  })
  it("C09 nothing changes nothing", () => {
    assert.deepStrictEqual(Cursor.advance(at({ 0: "1" }), []), at({ 0: "1" }))
  })
  it("C10, C11, C12, C13 numbers by value, Redis ids by both, ULIDs by text", () => {
    const upTo = (ids: ReadonlyArray<string>) =>
      Cursor.get(Cursor.advance(Cursor.empty, ids.map((id) => event(0, id))), 0)
    assert.strictEqual(upTo(Array.from({ length: 20 }, (_, i) => `${i + 1}`)), "20")
    assert.strictEqual(upTo(Array.from({ length: 20 }, (_, i) => `1700-${i + 1}`)), "1700-20")
    assert.strictEqual(upTo(["9", "10"]), "10")
    assert.strictEqual(upTo(["10", "9"]), "10")
    assert.strictEqual(upTo(["01ARZ3NDEKTSV4RRFFQ69G5FAV", "01BX5ZZKBKACTAV9WEVGEMMVRZ"]), "01BX5ZZKBKACTAV9WEVGEMMVRZ")
    assert.strictEqual(upTo(["01BX5ZZKBKACTAV9WEVGEMMVRZ", "01ARZ3NDEKTSV4RRFFQ69G5FAV"]), "01BX5ZZKBKACTAV9WEVGEMMVRZ")
  })
  it("C15 a change of class is passed over", () => {
    assert.deepStrictEqual(Cursor.advance(at({ 0: "42" }), [event(0, "1700-0")]), at({ 0: "42" }))
    assert.deepStrictEqual(Cursor.advance(at({ 0: "1700-0" }), [event(0, "9000")]), at({ 0: "1700-0" }))
  })
})

describe("positions", () => {
  it("C14 the comparator", () => {
    assert.strictEqual(Cursor.comparePositions("9", "10"), -1)
    assert.strictEqual(Cursor.comparePositions("0010", "9"), 1)
    assert.strictEqual(Cursor.comparePositions("007", "7"), 0)
    assert.strictEqual(Cursor.comparePositions("1700-9", "1700-10"), -1)
    assert.strictEqual(Cursor.comparePositions("1700-10", "1701-0"), -1)
    assert.strictEqual(Cursor.comparePositions("01ARZ3NDEKTSV4RRFFQ69G5FAV", "01BX5ZZKBKACTAV9WEVGEMMVRZ"), -1)
  })
  it("classes have bounds", () => {
    assert.strictEqual(Cursor.classOf("340282366920938463463374607431768211455"), "Numeric")
    assert.strictEqual(Cursor.classOf("340282366920938463463374607431768211456"), "Opaque")
    assert.strictEqual(Cursor.classOf("18446744073709551615-18446744073709551615"), "Redis")
    assert.strictEqual(Cursor.classOf("18446744073709551616-0"), "Opaque")
    for (const id of ["", "-1", "1-", "-", "1-2-3", "1.5", "١"]) assert.strictEqual(Cursor.classOf(id), "Opaque", id)
  })
  it("C16, C17, C18 setChecked: another class no, the same class and a first one yes", () => {
    const numeric = at({ 0: "42" })
    const refused = Cursor.setChecked(numeric, 0, "1700-0")
    assert.isTrue(Result.isFailure(refused) && refused.failure.reason._tag === "ClassChange")
    assert.deepStrictEqual(numeric, at({ 0: "42" }))
    assert.deepStrictEqual(Result.getOrThrow(Cursor.setChecked(numeric, 0, "7")), at({ 0: "7" }))
    assert.deepStrictEqual(Result.getOrThrow(Cursor.setChecked(numeric, 1, "1700-0")), at({ 0: "42", 1: "1700-0" }))
  })
  it("C19 values: empty, unknown shard, overwriting, copying, printing", () => {
    assert.strictEqual(Cursor.get(Cursor.empty, 3), null)
    assert.deepStrictEqual(Cursor.make(), Cursor.empty)
    const first = Cursor.set(Cursor.empty, 1, "1")
    const second = Cursor.set(first, 1, "2")
    assert.strictEqual(Cursor.get(first, 1), "1")
    assert.strictEqual(Cursor.get(second, 1), "2")
    assert.isTrue(Cursor.equals(structuredClone(second), second))
    assert.isFalse(Cursor.equals(first, second))
    assert.include(inspect(second), "positions")
  })
  it("a shard that is moved forgets what was returned ahead of it", () => {
    const cursor = Cursor.make({
      positions: new Map([[0, "1"]]),
      ahead: new Map([[0, new Set(["3"])], [1, new Set(["2"])]])
    })
    assert.deepStrictEqual(Cursor.set(cursor, 0, "9").ahead, new Map([[1, new Set(["2"])]]))
  })
})

describe("properties", () => {
  const Digits = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 2_000_000_000 }))
  const Position = Schema.NonEmptyString
  const Shard = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 65_535 }))
  it.prop("what is written is read back", {
    positions: Schema.Array(Schema.Tuple([Shard, Position])),
    ahead: Schema.Array(Schema.Tuple([Shard, Schema.NonEmptyArray(Position)])),
    store: Schema.NullOr(Schema.NonEmptyString),
    turn: Schema.NullOr(Shard)
  }, ({ ahead, positions, store, turn }) => {
    const cursor = Cursor.make({
      positions: new Map(positions),
      ahead: new Map(ahead.map(([shard, ids]) => [shard, new Set(ids)])),
      store,
      turn
    })
    const written = text(cursor)
    assert.isNotEmpty(written)
    assert.isTrue(Cursor.equals(read(written), cursor))
    assert.strictEqual(text(read(written)), written)
  }, { arbitrary: { runs: 300 } })

  it.prop("no text throws, and only the canonical one passes", { text: Schema.String }, ({ text }) => {
    for (const candidate of [text, base64(text), base64(`{${text}}`)]) {
      const result = Cursor.decode(candidate)
      if (Result.isSuccess(result)) {
        assert.isTrue(Cursor.equals(read(Result.getOrThrow(Cursor.encode(result.success))), result.success))
      }
    }
  }, { arbitrary: { runs: 500, size: 30 } })

  const Any = Schema.Union([Digits, Schema.Tuple([Digits, Digits]), Schema.String])
  const spell = (value: typeof Any.Type): string => Array.isArray(value) ? value.join("-") : String(value)
  it.prop("comparison is a total order", { a: Any, b: Any, c: Any }, (values) => {
    const [a, b, c] = [spell(values.a), spell(values.b), spell(values.c)]
    assert.strictEqual(Cursor.comparePositions(a, a), 0)
    assert.strictEqual(Cursor.comparePositions(a, b) + Cursor.comparePositions(b, a), 0)
    if (Cursor.comparePositions(a, b) <= 0 && Cursor.comparePositions(b, c) <= 0) {
      assert.isAtMost(Cursor.comparePositions(a, c), 0)
    }
  }, { arbitrary: { runs: 1000, size: 50 } })

  it.prop(
    "numbers and Redis ids compare as their numbers",
    { a: Digits, b: Digits, c: Digits, d: Digits },
    ({ a, b, c, d }) => {
      assert.strictEqual(Cursor.comparePositions(`${a}`, `${b}`), Math.sign(a - b))
      assert.strictEqual(
        Cursor.comparePositions(`${a}-${c}`, `${b}-${d}`),
        a === b ? Math.sign(c - d) : Math.sign(a - b)
      )
    },
    { arbitrary: { runs: 500, size: 1000 } }
  )
})
