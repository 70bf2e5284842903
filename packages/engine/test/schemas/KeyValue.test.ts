import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { TestClock } from "effect/testing"
import { Consumer, Producer, PulsarClient, PulsarSchema } from "../../src/index.ts"
import { layer } from "../support/client.ts"

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex")

describe("a key and a value", () => {
  it.effect("inline are both in the payload, each behind its length", () =>
    Effect.gen(function*() {
      const schema = PulsarSchema.keyValue(PulsarSchema.string, PulsarSchema.int32)
      const bytes = yield* schema.encode({ key: "k", value: 5 })
      assert.strictEqual(hex(bytes), "000000016b0000000400000005")
      assert.deepStrictEqual(yield* schema.decode(bytes), { key: "k", value: 5 })
      assert.isUndefined(schema.keyOf)
      assert.deepStrictEqual(schema.definition!.properties, {
        "key.schema.name": "String",
        "key.schema.type": "STRING",
        "key.schema.properties": "{}",
        "value.schema.name": "INT32",
        "value.schema.type": "INT32",
        "value.schema.properties": "{}",
        "kv.encoding.type": "INLINE"
      })
      for (const bad of ["", "000000016b", "000000ff6b00000000", "000000016b000000ff"]) {
        const error = yield* Effect.flip(schema.decode(Uint8Array.from(Buffer.from(bad, "hex"))))
        assert.include(error.message, "key and a value")
      }
    }))
  it.effect("define both: their definitions, each behind its length", () =>
    Effect.sync(() => {
      const json = PulsarSchema.json(Schema.Struct({}), { avro: { type: "record", name: "R", fields: [] } })
      const { data, type } = PulsarSchema.keyValue(PulsarSchema.bytes, json, "separated").definition!
      const text = "{\"type\":\"record\",\"name\":\"R\",\"fields\":[]}"
      assert.strictEqual(type, 15)
      assert.strictEqual(
        hex(data),
        "00000000" + text.length.toString(16).padStart(8, "0") + Buffer.from(text).toString("hex")
      )
    }))
  it.effect("separated travel as key and payload of the message, over the wire and back", () =>
    Effect.gen(function*() {
      const schema = PulsarSchema.keyValue(PulsarSchema.string, PulsarSchema.string, "separated")
      const producer = yield* Producer.make({ topic: "t", schema })
      const consumer = yield* Consumer.make({ topic: "t", subscription: "s", schema, initialPosition: "earliest" })
      const sends = yield* Effect.forkChild(
        Effect.all([
          producer.send({ key: "schlüssel", value: "wert" }),
          producer.sendAll([{ value: { key: "a", value: "1" } }, { value: { key: "b", value: "2" } }])
        ], { concurrency: 2 }),
        { startImmediately: true }
      )
      yield* TestClock.adjust(10)
      assert.isDefined(sends.pollUnsafe())
      const messages = yield* consumer.receiveAll()
      assert.deepStrictEqual(messages.map(({ value }) => value), [
        { key: "schlüssel", value: "wert" },
        { key: "a", value: "1" },
        { key: "b", value: "2" }
      ])
      assert.strictEqual(messages[0].received.payload.length, 4)
      assert.isTrue(messages[0].received.keyIsBase64)
      const known = yield* (yield* PulsarClient).schemaOf("t")
      assert.strictEqual(known!.definition.type, 15)
      assert.strictEqual(known!.definition.properties!["kv.encoding.type"], "SEPARATED")
    }).pipe(Effect.provide(layer())))
})
