import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { PulsarSchema } from "../../src/index.ts"

const Point = Schema.Struct({
  name: Schema.NonEmptyString,
  x: Schema.Int,
  at: Schema.NullOr(Schema.Struct({ y: Schema.Finite })),
  tags: Schema.Array(Schema.String),
  counts: Schema.Record(Schema.String, Schema.Int),
  raw: Schema.Uint8Array
})
const definition = {
  type: "record",
  name: "Point",
  fields: [
    { name: "name", type: "string" },
    { name: "x", type: "int" },
    { name: "at", type: ["null", { type: "record", name: "At", fields: [{ name: "y", type: "double" }] }] },
    { name: "tags", type: { type: "array", items: "string" } },
    { name: "counts", type: { type: "map", values: "int" } },
    { name: "raw", type: "bytes" }
  ]
}
const schema = PulsarSchema.avro(Point, { definition })
const point: typeof Point.Type = {
  name: "p",
  x: -3,
  at: { y: 0.5 },
  tags: ["a", "ü"],
  counts: { k: 7 },
  raw: Uint8Array.of(1, 2)
}

const origin = (version: number, definitions: ReadonlyArray<PulsarSchema.Definition | undefined>) => ({
  keyBytes: undefined,
  schemaVersion: Uint8Array.of(version),
  definitionOf: (asked: Uint8Array) => Effect.succeed(definitions[asked[0]!])
})

describe("Avro", () => {
  it.effect("is the binary encoding of the definition: zigzag, blocks, the branch of a union", () =>
    Effect.gen(function*() {
      const bytes = yield* schema.encode(point)
      // "p", -3, branch 1 with 0.5, 2 tags and an end, 1 pair and an end, 2 bytes.
      assert.strictEqual(
        Buffer.from(bytes).toString("hex"),
        ["0270", "05", "02000000000000e03f", "04", "0261", "04c3bc", "00", "02", "026b", "0e", "00", "040102"].join("")
      )
      const back = yield* schema.decode(bytes)
      assert.deepStrictEqual({ ...back, raw: [...back.raw] }, { ...point, raw: [1, 2] })
      assert.deepInclude(schema.definition, { name: "Point", type: 4 })
    }))
  it.effect("refuses values and payloads that do not fit, in both schemas' words", () =>
    Effect.gen(function*() {
      assert.include((yield* Effect.flip(schema.encode({ ...point, x: 2 ** 40 }))).message, "invalid")
      assert.isNotEmpty((yield* Effect.flip(schema.encode({ ...point, name: "" as never }))).message)
      assert.isNotEmpty((yield* Effect.flip(schema.decode(Uint8Array.of(2)))).message)
      const empty = yield* schema.encode(point)
      assert.isNotEmpty((yield* Effect.flip(schema.decode(empty.subarray(0, empty.length - 1)))).message)
      assert.isNotEmpty((yield* Effect.flip(schema.decode(Uint8Array.of(...empty, 0)))).message)
    }))
  it.effect("reads what was written under another version by Avro's rules, and asks for each version's schema", () =>
    Effect.gen(function*() {
      const older = PulsarSchema.avro(Schema.Struct({ x: Schema.Int, gone: Schema.String }), {
        definition: {
          type: "record",
          name: "P",
          fields: [{ name: "x", type: "int" }, { name: "gone", type: "string" }]
        }
      })
      const newer = PulsarSchema.avro(Schema.Struct({ x: Schema.Int, added: Schema.String }), {
        definition: {
          type: "record",
          name: "P",
          fields: [{ name: "added", type: "string", default: "none" }, { name: "x", type: "long" }]
        }
      })
      const bytes = yield* older.encode({ x: 7, gone: "g" })
      const versions = [older.definition, newer.definition]
      assert.deepStrictEqual(yield* newer.decode(bytes, origin(0, versions)), { x: 7, added: "none" })
      assert.deepStrictEqual(yield* newer.decode(bytes, origin(0, versions)), { x: 7, added: "none" })
      const own = yield* newer.encode({ x: 1, added: "a" })
      assert.deepStrictEqual(yield* newer.decode(own, origin(1, versions)), { x: 1, added: "a" })
      // Under a schema that is no Avro, or none that the broker knows, the reader's own is all there is.
      assert.deepStrictEqual(yield* newer.decode(own, origin(0, [undefined])), { x: 1, added: "a" })
      const other = { name: "o", type: 4, data: new TextEncoder().encode("\"string\"") }
      assert.isNotEmpty((yield* Effect.flip(newer.decode(own, origin(0, [other])))).message)
    }))
  it.effect("a long is a number as far as numbers are whole, or a bigint", () =>
    Effect.gen(function*() {
      const long = { definition: { type: "record", name: "L", fields: [{ name: "n", type: "long" }] } }
      const numbers = PulsarSchema.avro(Schema.Struct({ n: Schema.Int }), long)
      const bigints = PulsarSchema.avro(Schema.Struct({ n: Schema.BigInt }), { ...long, longs: "bigint" })
      const large = yield* bigints.encode({ n: -9_223_372_036_854_775_808n })
      assert.deepStrictEqual(yield* bigints.decode(large), { n: -9_223_372_036_854_775_808n })
      assert.isNotEmpty((yield* Effect.flip(numbers.decode(large))).message)
      assert.deepStrictEqual(yield* numbers.decode(yield* bigints.encode({ n: 9_007_199_254_740_991n })), {
        n: 9_007_199_254_740_991
      })
      assert.isNotEmpty((yield* Effect.flip(bigints.encode({ n: 2n ** 63n }))).message)
    }))
  it("does not take a definition that is none", () => {
    assert.throws(() => PulsarSchema.avro(Point, { definition: { type: "nothing" } }))
  })
})
