import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Result, Schema } from "effect"
import { inspect } from "node:util"
import * as Filter from "../src/Filter.ts"
import * as FieldPath from "../src/internal/FieldPath.ts"

const parsed = (text: string): Filter.Filter => Result.getOrThrow(Filter.fromJsonString(text))
const refused = (text: string): Filter.FilterErrorReason => {
  const result = Filter.fromJsonString(text)
  if (Result.isSuccess(result)) return assert.fail(`accepted ${text.slice(0, 100)}`)
  return result.failure.reason
}
/** Evaluates both ways; they must agree. */
const both = (filter: Filter.Filter, value: unknown): boolean => {
  const interpreted = Filter.matches(filter, value)
  assert.strictEqual(Filter.compile(filter)(value), interpreted)
  return interpreted
}

describe("evaluation", () => {
  it("F01 equality of a member: equal, different, missing", () => {
    const filter = Filter.eq("type", "token")
    assert.isTrue(both(filter, { type: "token" }))
    assert.isFalse(both(filter, { type: "other" }))
    assert.isFalse(both(filter, { other: "token" }))
  })
  it("F02 a nested path", () => {
    assert.isTrue(both(Filter.eq("user.profile.name", "Ada"), { user: { profile: { name: "Ada" } } }))
    assert.isFalse(both(Filter.eq("user.profile.name", "Ada"), { user: { profile: {} } }))
  })
  it("F03 a path through an array", () => {
    assert.isTrue(both(Filter.eq("items.0.name", "a"), { items: [{ name: "a" }, { name: "b" }] }))
    assert.isFalse(both(Filter.eq("items.1.name", "a"), { items: [{ name: "a" }, { name: "b" }] }))
  })
  it("F04 and", () => {
    const filter = Filter.and(Filter.eq("a", 1), Filter.eq("b", 2))
    assert.isTrue(both(filter, { a: 1, b: 2 }))
    assert.isFalse(both(filter, { a: 1, b: 3 }))
  })
  it("F05 or", () => {
    const filter = Filter.or(Filter.eq("a", 1), Filter.eq("a", 2))
    assert.isTrue(both(filter, { a: 2 }))
    assert.isFalse(both(filter, { a: 3 }))
  })
  it("F06 not", () => {
    assert.isFalse(both(Filter.not(Filter.eq("a", 1)), { a: 1 }))
    assert.isTrue(both(Filter.not(Filter.eq("a", 1)), {}))
  })
  it("F07 and of equality, or and not", () => {
    const filter = Filter.and(
      Filter.eq("type", "token"),
      Filter.or(Filter.eq("level", 1), Filter.eq("level", 2)),
      Filter.not(Filter.eq("draft", true))
    )
    assert.isTrue(both(filter, { type: "token", level: 2 }))
    assert.isFalse(both(filter, { type: "other", level: 2 }))
    assert.isFalse(both(filter, { type: "token", level: 3 }))
    assert.isFalse(both(filter, { type: "token", level: 1, draft: true }))
  })
  it("F09 256 negations evaluate", () => {
    let filter = Filter.eq("a", 1)
    for (let i = 0; i < 256; i++) filter = Filter.not(filter)
    assert.isTrue(both(filter, { a: 1 }))
    assert.isTrue(Result.isSuccess(Filter.validate(filter)))
  })
  it("F14 compiled and interpreted agree on a mixed filter", () => {
    const filter = parsed(`{"$or":[
      {"$and":[{"path":"kind","value":"a"},{"$eq":{"path":"list.1","value":2}}]},
      {"$not":{"$or":[{"path":"kind","value":"a"},{"path":"deep.x.y","value":null}]}}
    ]}`)
    const events = [
      { kind: "a", list: [1, 2] },
      { kind: "a", list: [2, 1] },
      { kind: "b", deep: { x: { y: null } } },
      { kind: "b", deep: { x: {} } },
      []
    ]
    assert.deepStrictEqual(events.map((event) => both(filter, event)), [true, false, false, true, true])
  })
  it("F15 a path is split once, its indices recognised", () => {
    assert.deepStrictEqual(FieldPath.split("items.42.foo"), [
      { key: "items", index: -1 },
      { key: "42", index: 42 },
      { key: "foo", index: -1 }
    ])
  })
  it("F16 path lookup", () => {
    const value = { a: { b: 1 }, list: [{ c: 2 }, 3], "0": "zero" }
    const get = (path: string) => FieldPath.get(value, FieldPath.split(path))
    assert.strictEqual(get("a.b"), 1)
    assert.strictEqual(get("list.1"), 3)
    assert.strictEqual(get("list.0.c"), 2)
    assert.strictEqual(get("0"), "zero")
    assert.strictEqual(get("x"), undefined)
    assert.strictEqual(get("a.x.y"), undefined)
    assert.strictEqual(get(""), value)
  })
  it("F17 no step leads into a primitive", () => {
    for (const value of [1, "text", true, null]) {
      assert.strictEqual(FieldPath.get(value, FieldPath.split("length")), undefined)
      assert.isFalse(both(Filter.exists("0"), value))
    }
  })
  it("F18 an array takes canonical indices within its length only", () => {
    for (const path of ["x", "2", "-1", "01", "+1", "1.0", "length", "99999999999999999999"]) {
      assert.strictEqual(FieldPath.get([1, 2], FieldPath.split(path)), undefined, path)
    }
  })
  it("F19, F20 empty lists match nothing, and their negation everything", () => {
    assert.isFalse(both(Filter.and(), {}))
    assert.isFalse(both(Filter.or(), {}))
    assert.isTrue(both(Filter.not(Filter.and()), {}))
  })
  it("F21, F22, F23 one child stands for itself, two use the logic", () => {
    for (const join of [Filter.and, Filter.or]) {
      assert.isTrue(both(join(Filter.eq("a", 1)), { a: 1 }))
      assert.isFalse(both(join(Filter.eq("a", 1)), { a: 2 }))
      assert.isTrue(both(join(Filter.not(Filter.eq("a", 1))), { a: 2 }))
      assert.isTrue(both(join(Filter.and(Filter.eq("a", 1), Filter.eq("b", 1))), { a: 1, b: 1 }))
      assert.isTrue(both(join(Filter.or(Filter.eq("a", 1), Filter.eq("b", 1))), { b: 1 }))
    }
    assert.isFalse(both(Filter.and(Filter.eq("a", 1), Filter.eq("b", 1)), { a: 1 }))
    assert.isTrue(both(Filter.or(Filter.eq("a", 1), Filter.eq("b", 1)), { a: 1 }))
  })
  it("equality is structural, key order apart, and never coerces", () => {
    assert.isTrue(both(Filter.eq("", { a: 1, b: [1, { c: null }] }), { b: [1, { c: null }], a: 1 }))
    assert.isFalse(both(Filter.eq("a", [1, 2]), { a: [2, 1] }))
    assert.isFalse(both(Filter.eq("a", [1]), { a: [1, 2] }))
    assert.isFalse(both(Filter.eq("a", {}), { a: [] }))
    assert.isFalse(both(Filter.eq("a", "1"), { a: 1 }))
    assert.isFalse(both(Filter.eq("a", null), {}))
    assert.isTrue(both(Filter.eq("a", null), { a: null }))
    assert.isFalse(both(Filter.eq("a", { x: 1 }), { a: { x: 1, y: 1 } }))
  })
  it("one number has one value, however it is spelt", () => {
    assert.isTrue(both(parsed(`{"path":"a","value":1.0}`), JSON.parse(`{"a":1}`)))
    assert.isTrue(both(parsed(`{"path":"a","value":100}`), JSON.parse(`{"a":1e2}`)))
  })
  it("only members that the payload carried are found", () => {
    for (const name of ["__proto__", "constructor", "toString", "hasOwnProperty"]) {
      assert.isFalse(both(Filter.exists(name), {}), name)
      assert.isFalse(both(Filter.exists(`a.${name}.name`), { a: {} }), name)
      assert.isTrue(both(Filter.exists(name), JSON.parse(`{"${name}":1}`)), name)
    }
    assert.isTrue(both(parsed(`{"path":"__proto__.x","value":1}`), JSON.parse(`{"__proto__":{"x":1}}`)))
    assert.isFalse(both(parsed(`{"path":"","value":{"__proto__":1}}`), {}))
  })
  it("exists, in and ranges", () => {
    assert.isTrue(both(Filter.exists("a"), { a: null }))
    assert.isTrue(both(Filter.oneOf("a", [1, "x", [1], null]), { a: [1] }))
    assert.isTrue(both(Filter.oneOf("a", [1, "x", [1], null]), { a: null }))
    assert.isFalse(both(Filter.oneOf("a", [1, "x"]), {}))
    assert.isFalse(both(Filter.oneOf("a", []), { a: 1 }))
    const numbers = [1, 2, 3]
    const ranges = [Filter.gt, Filter.gte, Filter.lt, Filter.lte]
    assert.deepStrictEqual(ranges.map((range) => numbers.filter((a) => both(range("a", 2), { a }))), [
      [3],
      [2, 3],
      [1],
      [
        1,
        2
      ]
    ])
    assert.isTrue(both(Filter.gt("a", "b"), { a: "c" }))
    assert.isTrue(both(Filter.lt("a", "b"), { a: "B" }))
    for (const a of ["3", true, null, [3], { b: 3 }, undefined]) assert.isFalse(both(Filter.gt("a", 2), { a }))
    assert.isFalse(both(Filter.gt("a", "2"), { a: 3 }))
    assert.isFalse(both(Filter.lte("a", 2), {}))
  })
  it("F32, F33 equality of filters is by structure", () => {
    const filter = Filter.and(Filter.eq("a", { x: 1, y: 2 }), Filter.gt("b", 1))
    assert.isTrue(Filter.equals(filter, structuredClone(filter)))
    assert.isTrue(Filter.equals(filter, Filter.and(Filter.eq("a", { y: 2, x: 1 }), Filter.gt("b", 1))))
    assert.isFalse(Filter.equals(filter, Filter.and(Filter.gt("b", 1), Filter.eq("a", { x: 1, y: 2 }))))
    assert.isFalse(Filter.equals(Filter.gt("b", 1), Filter.gte("b", 1)))
    assert.strictEqual(both(structuredClone(filter), { a: { x: 1, y: 2 }, b: 2 }), true)
  })
  it("F34, F35 what is printed names the shape", () => {
    assert.include(inspect(Filter.not(Filter.eq("a", 1))), "Not")
    assert.include(inspect(Filter.builder.eq("a", 1)), "filters")
  })
})

describe("builder", () => {
  it("F10 two conditions, and", () => {
    assert.deepStrictEqual(
      Filter.builder.eq("a", 1).eq("b", 2).and(),
      Filter.and(Filter.eq("a", 1), Filter.eq("b", 2))
    )
  })
  it("F11 one condition stays bare", () => {
    assert.deepStrictEqual(Filter.builder.eq("a", 1).and(), Filter.eq("a", 1))
    assert.deepStrictEqual(Filter.builder.eq("a", 1).or(), Filter.eq("a", 1))
  })
  it("F12 two conditions, or", () => {
    assert.deepStrictEqual(
      Filter.builder.eq("a", 1).add(Filter.exists("b")).or(),
      Filter.or(Filter.eq("a", 1), Filter.exists("b"))
    )
  })
  it("a builder is a value: what is added to a copy stays there", () => {
    const base = Filter.builder.eq("a", 1)
    base.eq("b", 2)
    assert.deepStrictEqual(base.and(), Filter.eq("a", 1))
  })
})

describe("wire form", () => {
  it("F08 ten thousand negations are refused, by text and by value", () => {
    const text = `${"{\"$not\":".repeat(10_000)}{"path":"a","value":1}${"}".repeat(10_000)}`
    assert.deepStrictEqual(refused(text), { _tag: "TooDeep", limit: 128 })
    assert.isTrue(Result.isFailure(Filter.fromJson(JSON.parse(text))))
    const value = `{"path":"a","value":${"[".repeat(10_000)}${"]".repeat(10_000)}}`
    assert.deepStrictEqual(refused(value), { _tag: "TooDeep", limit: 128 })
  })
  it("128 levels are read, 129 are not", () => {
    const nested = (levels: number) =>
      `${"{\"$not\":".repeat(levels - 1)}{"path":"a","value":1}${"}".repeat(levels - 1)}`
    assert.isTrue(both(parsed(nested(128)), { a: 2 }))
    assert.deepStrictEqual(refused(nested(129)), { _tag: "TooDeep", limit: 128 })
  })
  it("F13 a round trip keeps the meaning", () => {
    const filter = Filter.and(Filter.eq("a", 1), Filter.not(Filter.or(Filter.eq("b.0", "x"), Filter.eq("c", null))))
    const again = parsed(JSON.stringify(Filter.toJson(filter)))
    assert.isTrue(Filter.equals(again, filter))
    for (const event of [{ a: 1 }, { a: 1, b: ["x"] }, { a: 1, c: null }, { a: 2 }]) {
      assert.strictEqual(both(again, event), both(filter, event))
    }
  })
  it("F24 to F30 the $eq form: plain, nested, number, boolean, inside and, or, not", () => {
    assert.isTrue(both(parsed(`{"$eq":{"path":"a","value":"x"}}`), { a: "x" }))
    assert.isTrue(both(parsed(`{"$eq":{"path":"a.b","value":"x"}}`), { a: { b: "x" } }))
    assert.isTrue(both(parsed(`{"$eq":{"path":"a","value":7}}`), { a: 7 }))
    assert.isTrue(both(parsed(`{"$eq":{"path":"a","value":true}}`), { a: true }))
    assert.isTrue(both(parsed(`{"$and":[{"$eq":{"path":"a","value":1}},{"path":"b","value":2}]}`), { a: 1, b: 2 }))
    assert.isTrue(both(parsed(`{"$or":[{"$eq":{"path":"a","value":1}},{"path":"b","value":2}]}`), { b: 2 }))
    assert.isTrue(both(parsed(`{"$not":{"$eq":{"path":"a","value":1}}}`), { a: 2 }))
  })
  it("F31 both forms of equality are one", () => {
    assert.deepStrictEqual(parsed(`{"$eq":{"path":"a","value":1}}`), parsed(`{"path":"a","value":1}`))
  })
  it("the other operators", () => {
    assert.deepStrictEqual(parsed(`{"$exists":{"path":"a"}}`), Filter.exists("a"))
    assert.deepStrictEqual(parsed(`{"$in":{"path":"a","values":[1,"x",null]}}`), Filter.oneOf("a", [1, "x", null]))
    assert.deepStrictEqual(parsed(`{"$gte":{"path":"a","value":6}}`), Filter.gte("a", 6))
    assert.deepStrictEqual(parsed(`{"$lt":{"path":"a","value":"m"}}`), Filter.lt("a", "m"))
  })
  it("what is no filter is refused with its place", () => {
    const cases: ReadonlyArray<readonly [string, Filter.FilterErrorReason]> = [
      [`{"$xor":[]}`, { _tag: "UnknownOperator", at: "", operator: "$xor" }],
      [`{"$and":[{"path":"a","value":1},{"$regex":{}}]}`, {
        _tag: "UnknownOperator",
        at: "/$and/1",
        operator: "$regex"
      }],
      [`{"$not":{"path":"a"}}`, { _tag: "Shape", at: "/$not", message: `"value" is missing` }],
      [`{"path":"a","value":1,"extra":2}`, { _tag: "Shape", at: "", message: `unexpected member "extra"` }],
      [`{"$and":[],"$or":[]}`, { _tag: "Shape", at: "", message: `"$and" must be the only member` }],
      [`{"path":1,"value":1}`, { _tag: "Shape", at: "/path", message: "a path must be a string" }],
      [`{"$gt":{"path":"a","value":null}}`, {
        _tag: "Shape",
        at: "/$gt/value",
        message: "a comparison takes a number or a string"
      }],
      [`{"$in":{"path":"a","values":1}}`, { _tag: "Shape", at: "/$in/values", message: "a list was expected" }],
      [`{"$and":{}}`, { _tag: "Shape", at: "/$and", message: "a list was expected" }],
      [`[]`, { _tag: "Shape", at: "", message: "a filter is an object" }],
      [`null`, { _tag: "Shape", at: "", message: "a filter is an object" }],
      [`{}`, { _tag: "Shape", at: "", message: `"path" is missing` }],
      [`{"__proto__":{"path":"a","value":1}}`, { _tag: "Shape", at: "", message: `"path" is missing` }]
    ]
    for (const [text, reason] of cases) assert.deepStrictEqual(refused(text), reason, text)
    assert.strictEqual(refused(`{"path":`)._tag, "Syntax")
    assert.strictEqual(refused(" ".repeat(300_000))._tag, "TooLarge")
    assert.isTrue(Result.isFailure(Filter.fromJson({ path: "a", value: undefined })))
    assert.isTrue(Result.isFailure(Filter.fromJson({ path: "a", value: Number.NaN })))
  })
  it("a filter from untyped code is checked before use", () => {
    const untyped = (value: unknown) => Result.isSuccess(Filter.validate(value as Filter.Filter))
    for (
      const value of [null, undefined, "a", {}, { _tag: "And" }, { _tag: "Not", filter: null }, { path: "a", value: 1 }]
    ) {
      assert.isFalse(untyped(value))
    }
    assert.isFalse(untyped({ _tag: "Compare", operator: "like", path: "a", value: 1 }))
    let deep = Filter.eq("a", 1)
    for (let i = 0; i < 100_000; i++) deep = Filter.not(deep)
    assert.isFalse(untyped(deep))
  })
  it.effect("is a Schema, as a value and as text", () =>
    Effect.gen(function*() {
      const filter = Filter.and(Filter.eq("a", 1), Filter.gt("b", 2))
      assert.deepStrictEqual(yield* Schema.decodeUnknownEffect(Filter.FromJson)(Filter.toJson(filter)), filter)
      assert.deepStrictEqual(yield* Schema.encodeEffect(Filter.FromJson)(filter), Filter.toJson(filter))
      assert.deepStrictEqual(yield* Schema.decodeEffect(Filter.FromText)("a=1 and b>2"), filter)
      assert.strictEqual(yield* Schema.encodeEffect(Filter.FromText)(filter), "a=1 and b>2")
      assert.deepStrictEqual(yield* Schema.decodeEffect(Filter.FromText)(JSON.stringify(Filter.toJson(filter))), filter)
      const error = yield* Effect.flip(Schema.decodeEffect(Filter.FromText)("a=1 and"))
      assert.include(error.message, "column 8")
      assert.isTrue(Exit.isFailure(yield* Effect.exit(Schema.decodeUnknownEffect(Filter.FromJson)({ $nor: [] }))))
    }))
})

describe("text syntax", () => {
  const read = (text: string): Filter.Filter => Result.getOrThrow(Filter.fromText(text))
  const column = (text: string): number | null => {
    const result = Filter.fromText(text)
    if (Result.isSuccess(result)) return assert.fail(`accepted ${text}`)
    assert.strictEqual(result.failure.reason._tag, "Syntax")
    return (result.failure.reason as Extract<Filter.FilterErrorReason, { _tag: "Syntax" }>).column
  }
  it("conditions", () => {
    assert.deepStrictEqual(read("magnitude>=6"), Filter.gte("magnitude", 6))
    assert.deepStrictEqual(read(" magnitude  <  -1.5e2 "), Filter.lt("magnitude", -150))
    assert.deepStrictEqual(read("source=us"), Filter.eq("source", "us"))
    assert.deepStrictEqual(read("place.name=\"Honshu, \\\"Japan\\\"\""), Filter.eq("place.name", "Honshu, \"Japan\""))
    assert.deepStrictEqual(read("a==true"), Filter.eq("a", true))
    assert.deepStrictEqual(read("a=null"), Filter.eq("a", null))
    assert.deepStrictEqual(read("a=\"6\""), Filter.eq("a", "6"))
    assert.deepStrictEqual(read("time>2026-01-01T00:00:00Z"), Filter.gt("time", "2026-01-01T00:00:00Z"))
    assert.deepStrictEqual(read("a!=1"), Filter.not(Filter.eq("a", 1)))
    assert.deepStrictEqual(read("a=[1,{\"b\":\"]\"}]"), Filter.eq("a", [1, { b: "]" }]))
    assert.deepStrictEqual(read("\"or\" exists"), Filter.exists("or"))
    assert.deepStrictEqual(read("order exists"), Filter.exists("order"))
    assert.deepStrictEqual(read("\"\"=1"), Filter.eq("", 1))
    assert.deepStrictEqual(read("net in (us, \"a b\",3)"), Filter.oneOf("net", ["us", "a b", 3]))
  })
  it("and binds tighter than or; parentheses and not", () => {
    const [a, b, c] = [Filter.eq("a", 1), Filter.eq("b", 2), Filter.eq("c", 3)]
    assert.deepStrictEqual(read("a=1 and b=2 or c=3"), Filter.or(Filter.and(a, b), c))
    assert.deepStrictEqual(read("a=1 and (b=2 or c=3)"), Filter.and(a, Filter.or(b, c)))
    assert.deepStrictEqual(read("not a=1 and b=2 and c=3"), Filter.and(Filter.not(a), b, c))
    assert.deepStrictEqual(read("not (a=1 or b=2)"), Filter.not(Filter.or(a, b)))
    assert.deepStrictEqual(read("(a=1)and(b=2)"), Filter.and(a, b))
  })
  it("errors point at the column", () => {
    assert.strictEqual(column(""), 1)
    assert.strictEqual(column("a"), 2)
    assert.strictEqual(column("a="), 3)
    assert.strictEqual(column("a=1 and"), 8)
    assert.strictEqual(column("a=1 b=2"), 5)
    assert.strictEqual(column("(a=1"), 5)
    assert.strictEqual(column("a=1)"), 4)
    assert.strictEqual(column("a=\"open"), 3)
    assert.strictEqual(column("and=1"), 1)
    assert.strictEqual(column("a>true"), 3)
    assert.strictEqual(column("a=1e999"), 3)
    assert.strictEqual(column("a in (1"), 8)
    assert.strictEqual(column("a=[1"), 3)
    assert.strictEqual(column("a=>1"), 3)
    assert.strictEqual(column(`${"not ".repeat(200)}a=1`), 513)
    assert.strictEqual(column(`${"(".repeat(100_000)}a=1`), 129)
    assert.strictEqual(column(`a=${"[".repeat(100_000)}`), 131)
  })
})

describe("properties", () => {
  const Path = Schema.Literals(["", "a", "b", "a.b", "a.0", "a.1.b", "0", "__proto__", "or", "x y"])
  const Primitive = Schema.NullOr(Schema.Literals([true, false, 0, 1, 2, -1.5, "", "a", "b", "1", "ä\"\\"]))
  const Value = Schema.Union([
    Primitive,
    Schema.Array(Primitive),
    Schema.Record(Schema.Literals(["a", "b", "0"]), Primitive)
  ])
  const Payload = Schema.Union([
    Value,
    Schema.Struct({ a: Value, b: Schema.optionalKey(Value), "0": Schema.optionalKey(Primitive) }),
    Schema.Struct({ a: Schema.Array(Value) })
  ])
  const Leaf = Schema.Union([
    Schema.TaggedStruct("Equals", { path: Path, value: Value }),
    Schema.TaggedStruct("Exists", { path: Path }),
    Schema.TaggedStruct("In", { path: Path, values: Schema.Array(Value) }),
    Schema.TaggedStruct("Compare", {
      operator: Schema.Literals(["gt", "gte", "lt", "lte"]),
      path: Path,
      value: Schema.Literals([0, 1, "a", "b"])
    })
  ])
  const above = <S extends Schema.Codec<Filter.Filter>>(below: S) =>
    Schema.Union([
      Leaf,
      Schema.TaggedStruct("And", { filters: Schema.Array(below) }),
      Schema.TaggedStruct("Or", { filters: Schema.Array(below) }),
      Schema.TaggedStruct("Not", { filter: below })
    ]) as Schema.Codec<Filter.Filter>
  const Any = above(above(above(Leaf as Schema.Codec<Filter.Filter>)))

  it.prop("compiled = interpreted", { filter: Any, payload: Payload }, ({ filter, payload }) => {
    assert.strictEqual(Filter.compile(filter)(payload), Filter.matches(filter, payload))
  }, { arbitrary: { runs: 1000 } })

  it.prop("the wire form is read back as it was", { filter: Any }, ({ filter }) => {
    const text = JSON.stringify(Filter.toJson(filter))
    assert.isTrue(Filter.equals(Result.getOrThrow(Filter.fromJsonString(text)), filter))
    assert.isTrue(Result.isSuccess(Filter.validate(filter)))
  }, { arbitrary: { runs: 300 } })

  it.prop("the text form keeps the meaning", { filter: Any, payload: Payload }, ({ filter, payload }) => {
    const again = Result.getOrThrow(Filter.fromText(Filter.toText(filter)))
    assert.strictEqual(Filter.matches(again, payload), Filter.matches(filter, payload))
  }, { arbitrary: { runs: 1000 } })

  it.prop("no text throws", { text: Schema.String }, ({ text }) => {
    Filter.fromText(text)
    Filter.fromJsonString(text)
  }, { arbitrary: { runs: 500, size: 40 } })
})
