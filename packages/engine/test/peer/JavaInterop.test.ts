/**
 * The Java client on the other side of every wire feature: what it writes we read, what we write it reads, byte for byte.
 */
import { assert, describe, layer } from "@effect/vitest"
import { Effect, Layer, Schema } from "effect"
import { createHash } from "node:crypto"
import { Consumer, type Message, MessageId, Producer, PulsarClient, PulsarSchema } from "../../src/index.ts"
import { type JavaMessage, type JavaOutgoing, JavaPeer, pattern } from "../support/JavaPeer.ts"
import { PulsarBroker, skipReason } from "../support/PulsarBroker.ts"

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex")
const hex = (bytes: Uint8Array | undefined) => bytes === undefined ? undefined : Buffer.from(bytes).toString("hex")
const fromHex = (text: string) => Uint8Array.from(Buffer.from(text, "hex"))

/** What both sides must agree on. */
interface View {
  readonly place: string
  readonly sha256: string
  readonly size: number
  readonly keyBytes: string | undefined
  readonly keyIsBase64: boolean
  readonly orderingKey: string | undefined
  readonly properties: Readonly<Record<string, string>>
  readonly eventTime: number
  readonly sequenceId: string
  readonly producer: string
}

const ofJava = (message: JavaMessage): View => ({
  place: `${message.id.ledger}:${message.id.entry}:${message.id.partition}:${message.id.batchIndex}`,
  sha256: message.sha256,
  size: message.size,
  keyBytes: message.keyBytes,
  keyIsBase64: message.keyIsBase64 ?? false,
  orderingKey: message.orderingKey,
  properties: message.properties,
  eventTime: message.eventTime,
  sequenceId: message.sequenceId,
  producer: message.producer
})

const ofOurs = (message: Message<Uint8Array>): View => ({
  place: MessageId.format(message.id),
  sha256: sha256(message.value),
  size: message.value.length,
  keyBytes: hex(message.keyBytes),
  keyIsBase64: message.received.keyIsBase64,
  orderingKey: hex(message.orderingKey),
  properties: message.properties,
  eventTime: message.eventTime,
  sequenceId: message.sequenceId.toString(),
  producer: message.producerName
})

const outgoing: ReadonlyArray<JavaOutgoing & { readonly payload: string }> = [
  { payload: "" },
  { payload: "00ff7f80" },
  {
    payload: Buffer.from("Grüße, 世界 😀").toString("hex"),
    key: "clé 😀",
    properties: { "naïve": "ünïcode", empty: "" }
  },
  { payload: hex(pattern(3000))!, keyBytes: "00ff10", eventTime: 1_700_000_000_123 },
  { payload: "61".repeat(500), key: "k", orderingKey: "ff0001", properties: { b: "2", a: "1" }, eventTime: 1 }
]

const expected = (
  message: JavaOutgoing & { readonly payload: string },
  place: string,
  sequence: number,
  producer: string
): View => ({
  place,
  sha256: sha256(fromHex(message.payload)),
  size: message.payload.length / 2,
  keyBytes: message.keyBytes ?? (message.key === undefined ? undefined : hex(new TextEncoder().encode(message.key))),
  keyIsBase64: message.keyBytes !== undefined,
  orderingKey: message.orderingKey,
  properties: message.properties ?? {},
  eventTime: message.eventTime ?? 0,
  sequenceId: String(sequence),
  producer
})

const toOurs = (message: JavaOutgoing & { readonly payload: string }): Producer.Outgoing<Uint8Array> => ({
  value: fromHex(message.payload),
  ...(message.key === undefined ? {} : { key: message.key }),
  ...(message.keyBytes === undefined ? {} : { keyBytes: fromHex(message.keyBytes) }),
  ...(message.orderingKey === undefined ? {} : { orderingKey: fromHex(message.orderingKey) }),
  ...(message.properties === undefined ? {} : { properties: message.properties }),
  ...(message.eventTime === undefined ? {} : { eventTime: message.eventTime })
})

const receive = <A>(consumer: Consumer.Consumer<A>, count: number) =>
  Effect.gen(function*() {
    const messages: Array<Message<A>> = []
    while (messages.length < count) messages.push(...(yield* consumer.receiveAll(count - messages.length)))
    return messages
  }).pipe(Effect.timeout("20 seconds"))

const codecs = ["none", "lz4", "zlib", "zstd", "snappy"] as const

const Client = Layer.unwrap(Effect.map(PulsarBroker, ({ serviceUrl }) => PulsarClient.layer({ serviceUrl })))
const Peers = Layer.merge(Client, JavaPeer.layer).pipe(Layer.provideMerge(PulsarBroker.shared))

const fresh = Effect.gen(function*() {
  const broker = yield* PulsarBroker
  const namespace = yield* broker.namespace()
  return { java: yield* JavaPeer, url: broker.serviceUrl, topic: `persistent://${namespace}/a`, broker }
})

const earliest = { subscription: "s", initialPosition: "earliest" } as const

describe.skipIf(skipReason() !== undefined)("with the Java client", () => {
  layer(Peers, { timeout: "5 minutes", excludeTestServices: true })((it) => {
    it.effect.each(codecs.flatMap((compression) => [true, false].map((batching) => ({ compression, batching }))))(
      "we read what it writes: $compression, batching $batching",
      ({ batching, compression }) =>
        Effect.gen(function*() {
          const { java, topic, url } = yield* fresh
          const { ids, producer } = yield* java.produce({
            url,
            topic,
            compression: compression.toUpperCase(),
            batching,
            batch: 3
          }, outgoing)
          const consumer = yield* Consumer.make({ topic, ...earliest })
          const messages = yield* receive(consumer, outgoing.length)
          assert.deepStrictEqual(
            messages.map(ofOurs),
            outgoing.map((message, at) => {
              const { batchIndex, entry, ledger, partition } = ids[at]!.id
              return expected(message, `${ledger}:${entry}:${partition}:${batchIndex}`, at, producer)
            })
          )
          assert.strictEqual(messages.some(({ id }) => id.batchIndex >= 0), batching)
        }).pipe(Effect.scoped)
    )
    it.effect.each(codecs.flatMap((compression) => [true, false].map((batching) => ({ compression, batching }))))(
      "it reads what we write: $compression, batching $batching",
      ({ batching, compression }) =>
        Effect.gen(function*() {
          const { java, topic, url } = yield* fresh
          const producer = yield* Producer.make({ topic, compression, batching: batching ? { maxMessages: 3 } : false })
          const receipts = yield* producer.sendAll(outgoing.map(toOurs))
          const name = yield* producer.name
          const received = yield* java.consume({ url, topic, subscription: "s", count: outgoing.length })
          assert.deepStrictEqual(
            received.map(ofJava),
            outgoing.map((message, at) => expected(message, MessageId.format(receipts[at]!.id), at, name))
          )
          assert.strictEqual(received.some(({ id }) => id.batchIndex >= 0), batching)
        }).pipe(Effect.scoped)
    )
    it.effect("messages in chunks, both ways", () =>
      Effect.gen(function*() {
        const { java, topic, url } = yield* fresh
        const size = 12_000_000
        const bytes = pattern(size)
        yield* java.produce({ url, topic, chunking: true, compression: "NONE" }, [{ repeat: size, key: "k" }, {
          payload: "01"
        }])
        const consumer = yield* Consumer.make({ topic, ...earliest })
        const [large, small] = yield* receive(consumer, 2)
        assert.deepStrictEqual([large!.value.length, sha256(large!.value), large!.key], [size, sha256(bytes), "k"])
        assert.deepStrictEqual(small!.value, Uint8Array.of(1))
        yield* large!.ackConfirmed
        yield* small!.ackConfirmed
        const producer = yield* Producer.make({ topic, chunking: true, batching: false, compression: "lz4" })
        const receipt = yield* producer.send(pattern(size + 1), { properties: { a: "1" } })
        const plain = yield* Producer.make({ topic, chunking: true, batching: false })
        yield* plain.send(bytes)
        yield* consumer.close
        const received = yield* java.consume({ url, topic, subscription: "s", count: 2 })
        assert.deepStrictEqual(received.map(({ sha256, size }) => ({ sha256, size })), [
          { sha256: sha256(pattern(size + 1)), size: size + 1 },
          { sha256: sha256(bytes), size }
        ])
        assert.deepStrictEqual(received[0]!.properties, { a: "1" })
        assert.strictEqual(ofJava(received[0]!).place, MessageId.format(receipt.id))
      }).pipe(Effect.scoped), { timeout: 60_000 })
    it.effect("small chunks of its own choice", () =>
      Effect.gen(function*() {
        const { java, topic, url } = yield* fresh
        yield* java.produce({ url, topic, chunking: true, chunkSize: 700, compression: "ZSTD" }, [{
          payload: hex(pattern(3000))!
        }, { repeat: 90_000 }])
        const consumer = yield* Consumer.make({ topic, ...earliest })
        const messages = yield* receive(consumer, 2)
        assert.deepStrictEqual(messages.map(({ value }) => sha256(value)), [
          sha256(pattern(3000)),
          sha256(pattern(90_000))
        ])
      }).pipe(Effect.scoped))
    it.effect("batches by key", () =>
      Effect.gen(function*() {
        const { java, topic, url } = yield* fresh
        const messages = Array.from(
          { length: 12 },
          (_, at) => ({ payload: hex(Uint8Array.of(at))!, key: `k${at % 3}` })
        )
        yield* java.produce({ url, topic, batching: true, keyBased: true }, messages)
        const consumer = yield* Consumer.make({ topic, ...earliest, type: "keyShared" })
        const received = yield* receive(consumer, 12)
        for (const key of ["k0", "k1", "k2"]) {
          assert.deepStrictEqual(
            received.filter((message) => message.key === key).map(({ value }) => value[0]),
            messages.filter((message) => message.key === key).map(({ payload }) => Number.parseInt(payload, 16))
          )
        }
      }).pipe(Effect.scoped))
    it.effect("tombstones", () =>
      Effect.gen(function*() {
        const { java, topic, url } = yield* fresh
        yield* java.produce({ url, topic }, [{ key: "gone" }, { key: "kept", payload: "" }])
        yield* java.produce({ url, topic, batching: true }, [{ key: "gone" }, { key: "kept", payload: "01" }])
        const consumer = yield* Consumer.make({ topic, ...earliest })
        const messages = yield* receive(consumer, 4)
        assert.deepStrictEqual(messages.map(({ isNull, key }) => [key, isNull]), [["gone", true], ["kept", false], [
          "gone",
          true
        ], ["kept", false]])
        for (const message of messages) yield* message.ackConfirmed
        yield* consumer.close
        const producer = yield* Producer.make({ topic })
        yield* producer.sendNull("gone")
        const [tombstone] = yield* java.consume({ url, topic, subscription: "s", count: 1 })
        assert.deepInclude(tombstone, { key: "gone", size: 0 })
      }).pipe(Effect.scoped))
    it.effect("acknowledgements of single messages of a batch, both ways", () =>
      Effect.gen(function*() {
        const { java, topic, url } = yield* fresh
        const batch = Array.from({ length: 5 }, (_, at) => ({ payload: `0${at}` }))
        yield* java.produce({ url, topic, batching: true }, batch)
        const ours = yield* Consumer.make({ topic, ...earliest, type: "shared", batchIndexAck: true })
        const messages = yield* receive(ours, 5)
        yield* messages[1]!.ackConfirmed
        yield* messages[3]!.ackConfirmed
        yield* ours.close
        const theirs = yield* java.consume({ url, topic, subscription: "s", type: "Shared", count: 3, ack: "0" })
        assert.deepStrictEqual(theirs.map(({ payload }) => payload), ["00", "02", "04"])
        const again = yield* Consumer.make({ topic, ...earliest, type: "shared", batchIndexAck: true })
        const rest = yield* receive(again, 2)
        assert.deepStrictEqual(rest.map(({ value }) => value[0]), [2, 4])
        yield* rest[0]!.ackConfirmed
        yield* rest[1]!.ackConfirmed
        yield* again.close
        assert.deepStrictEqual(yield* java.consume({ url, topic, subscription: "s", type: "Shared", idle: 1000 }), [])
      }).pipe(Effect.scoped))
    it.effect("keys that fall on the same partitions", () =>
      Effect.gen(function*() {
        const { broker, java, topic, url } = yield* fresh
        yield* broker.admin("PUT", `${topic.replace("://", "/")}/partitions`, 4)
        const keys = ["a", "b", "key1", "clé", "😀", "k7", "k8", "k9", "order-12345"]
        const { ids } = yield* java.produce({ url, topic }, keys.map((key) => ({ payload: "00", key })))
        const producer = yield* Producer.make({ topic })
        const receipts = yield* producer.sendAll(keys.map((key) => ({ value: Uint8Array.of(0), key })))
        assert.deepStrictEqual(receipts.map(({ id }) => id.partition), ids.map(({ id }) => id.partition))
        assert.isAbove(new Set(receipts.map(({ id }) => id.partition)).size, 1)
      }).pipe(Effect.scoped))
  })
})

const Order = Schema.Struct({
  id: Schema.String,
  quantity: Schema.Int,
  total: Schema.Finite,
  price: Schema.Finite,
  paid: Schema.Boolean,
  tags: Schema.NullOr(Schema.Array(Schema.String)),
  stock: Schema.NullOr(Schema.Record(Schema.String, Schema.Int)),
  address: Schema.NullOr(Schema.Struct({ street: Schema.String, number: Schema.Int }))
})

/** Java's Avro allows null wherever a field is an object. */
const NullableOrder = Schema.Struct({
  ...Order.fields,
  id: Schema.NullOr(Schema.String),
  address: Schema.NullOr(Schema.Struct({ street: Schema.NullOr(Schema.String), number: Schema.Int }))
})

interface AvroRecord {
  readonly fields: ReadonlyArray<object>
}

const order: typeof Order.Type = {
  id: "ä-1",
  quantity: -3,
  total: 9_007_199_254_740_991,
  price: 0.1,
  paid: true,
  tags: ["x", "y"],
  stock: { a: 1 },
  address: { street: "S", number: 7 }
}

describe.skipIf(skipReason() !== undefined)("schemas with the Java client", () => {
  layer(Peers, { timeout: "5 minutes", excludeTestServices: true })((it) => {
    const primitives = [
      { name: "string", schema: PulsarSchema.string, value: "Grüße 😀", java: "Grüße 😀" },
      { name: "bool", schema: PulsarSchema.boolean, value: true, java: true },
      { name: "int8", schema: PulsarSchema.int8, value: -128, java: -128 },
      { name: "int16", schema: PulsarSchema.int16, value: -12_345, java: -12_345 },
      { name: "int32", schema: PulsarSchema.int32, value: 2_147_483_647, java: 2_147_483_647 },
      { name: "int64", schema: PulsarSchema.int64, value: -9_223_372_036_854_775_808n, java: "-9223372036854775808" },
      { name: "float", schema: PulsarSchema.float, value: 1.5, java: 1.5 },
      { name: "double", schema: PulsarSchema.double, value: 0.1, java: 0.1 },
      {
        name: "timestamp",
        schema: PulsarSchema.timestamp,
        value: new Date(1_700_000_000_123),
        java: 1_700_000_000_123
      },
      { name: "date", schema: PulsarSchema.date, value: new Date(-1), java: -1 },
      { name: "time", schema: PulsarSchema.time, value: 86_399_000, java: 86_399_000 },
      {
        name: "instant",
        schema: PulsarSchema.instant,
        value: { seconds: -1n, nanos: 123_456_789 },
        java: "1969-12-31T23:59:59.123456789Z"
      },
      { name: "localDate", schema: PulsarSchema.localDate, value: 19_675, java: "2023-11-14" },
      { name: "localTime", schema: PulsarSchema.localTime, value: 80_000_000_000_001n, java: "22:13:20.000000001" },
      {
        name: "localDateTime",
        schema: PulsarSchema.localDateTime,
        value: { day: 19_675, nanos: 80_000_000_000_001n },
        java: "2023-11-14T22:13:20.000000001"
      },
      {
        name: "keyValueInline",
        schema: PulsarSchema.keyValue(PulsarSchema.string, PulsarSchema.string),
        value: { key: "schlüssel", value: "😀" },
        java: { key: "schlüssel", value: "😀" }
      },
      {
        name: "keyValueSeparated",
        schema: PulsarSchema.keyValue(PulsarSchema.string, PulsarSchema.string, "separated"),
        value: { key: "schlüssel", value: "😀" },
        java: { key: "schlüssel", value: "😀" }
      }
    ] as ReadonlyArray<
      {
        readonly name: string
        readonly schema: PulsarSchema.PulsarSchema<unknown>
        readonly value: unknown
        readonly java: unknown
      }
    >
    it.effect.each(primitives)(
      "$name, both ways on one topic",
      ({ java: value, name, schema, value: ours }) =>
        Effect.gen(function*() {
          const { java, topic, url } = yield* fresh
          yield* java.produce({ url, topic, schema: name }, [{ value }])
          const consumer = yield* Consumer.make({ topic, ...earliest, schema })
          const [message] = yield* receive(consumer, 1)
          assert.deepStrictEqual(message!.value, ours)
          assert.strictEqual(hex(message!.schemaVersion), "0000000000000000")
          yield* message!.ackConfirmed
          yield* consumer.close
          const producer = yield* Producer.make({ topic, schema })
          yield* producer.send(ours)
          const [received] = yield* java.consume({ url, topic, subscription: "s", schema: name, count: 1 })
          assert.deepStrictEqual(received!.value, value)
          assert.strictEqual(received!.schemaVersion, "0000000000000000")
        }).pipe(Effect.scoped)
    )
    it.effect("JSON records: its definition is ours, and a definition that does not fit is refused", () =>
      Effect.gen(function*() {
        const { broker, java, topic, url } = yield* fresh
        yield* java.produce({ url, topic, schema: "json" }, [{ value: { ...order, total: String(order.total) } }])
        const registered = yield* broker.admin("GET", `schemas/${topic.replace("persistent://", "")}/schema`)
        const avro = JSON.parse((registered as { readonly data: string }).data) as object
        const schema = PulsarSchema.json(Order, { name: "Order", avro })
        const consumer = yield* Consumer.make({ topic, ...earliest, schema })
        const [message] = yield* receive(consumer, 1)
        assert.deepStrictEqual(message!.value, order)
        yield* message!.ackConfirmed
        yield* consumer.close
        const producer = yield* Producer.make({ topic, schema })
        yield* producer.send(order)
        const [received] = yield* java.consume({ url, topic, subscription: "s", schema: "json", count: 1 })
        assert.deepStrictEqual(received!.value, order)
        const other = PulsarSchema.json(Schema.Struct({ id: Schema.Int }), {
          name: "Order",
          avro: { type: "record", name: "Order", fields: [{ name: "id", type: "int" }] }
        })
        const refused = yield* Effect.flip(Producer.make({ topic, schema: other }))
        assert.deepInclude(refused.reason, { _tag: "Refused", name: "IncompatibleSchema", retryable: false })
      }).pipe(Effect.scoped))
    it.effect("Avro records, both ways, under its definition; a newer version is read by Avro's rules on either side", () =>
      Effect.gen(function*() {
        const { broker, java, topic, url } = yield* fresh
        yield* java.produce({ url, topic, schema: "avro" }, [{ value: { ...order, total: String(order.total) } }])
        const registered = yield* broker.admin("GET", `schemas/${topic.replace("persistent://", "")}/schema`)
        const definition = JSON.parse((registered as { readonly data: string }).data) as AvroRecord
        const schema = PulsarSchema.avro(NullableOrder, { definition })
        const consumer = yield* Consumer.make({ topic, ...earliest, schema })
        const [message] = yield* receive(consumer, 1)
        assert.deepStrictEqual(message!.value, order)
        assert.strictEqual(hex(message!.schemaVersion), "0000000000000000")
        yield* message!.ackConfirmed
        yield* consumer.close
        const producer = yield* Producer.make({ topic, schema })
        yield* producer.send(order)
        const [received] = yield* java.consume({ url, topic, subscription: "s", schema: "avro", count: 1 })
        assert.deepStrictEqual(received!.value, order)
        // A version with one more field: old messages have its default, and Java reads the new ones without it.
        const wider = PulsarSchema.avro(
          Schema.Struct({ ...NullableOrder.fields, note: Schema.NullOr(Schema.String) }),
          {
            definition: {
              ...definition,
              fields: [...definition.fields, { name: "note", type: ["null", "string"], default: null }]
            }
          }
        )
        const newer = yield* Producer.make({ topic, schema: wider })
        yield* newer.send({ ...order, note: "fragile" })
        const again = yield* Consumer.make({ topic, ...earliest, subscription: "wide", schema: wider })
        const all = yield* receive(again, 3)
        assert.deepStrictEqual(all.map(({ value }) => value.note), [null, null, "fragile"])
        assert.deepStrictEqual(all.map(({ schemaVersion }) => hex(schemaVersion)!.at(-1)), ["0", "0", "1"])
        const narrow = yield* Consumer.make({ topic, ...earliest, subscription: "narrow", schema })
        assert.deepStrictEqual((yield* receive(narrow, 3)).map(({ value }) => value), [order, order, order])
        const theirs = yield* java.consume({ url, topic, subscription: "java", schema: "avro", count: 3 })
        assert.deepStrictEqual(theirs.map(({ value }) => value), [order, order, order])
        const client = yield* PulsarClient
        const first = yield* client.schemaOf(topic, new Uint8Array(8))
        assert.deepStrictEqual(JSON.parse(new TextDecoder().decode(first!.definition.data)), definition)
        assert.strictEqual(hex((yield* client.schemaOf(topic))!.version), "0000000000000001")
        const other = PulsarSchema.avro(Schema.Struct({ id: Schema.Int }), {
          definition: { type: "record", name: "Order", fields: [{ name: "id", type: "int" }] }
        })
        const refused = yield* Effect.flip(Producer.make({ topic, schema: other }))
        assert.deepInclude(refused.reason, { _tag: "Refused", name: "IncompatibleSchema", retryable: false })
      }).pipe(Effect.scoped))
    it.effect("batches by key that we write, read by Java, each with its key on the entry", () =>
      Effect.gen(function*() {
        const { java, topic, url } = yield* fresh
        const producer = yield* Producer.make({ topic, batching: { byKey: true, maxDelay: "1 second" } })
        const receipts = yield* producer.sendAll(
          Array.from({ length: 9 }, (_, at) => ({ value: Uint8Array.of(at), key: `k${at % 3}` }))
        )
        assert.strictEqual(new Set(receipts.map(({ id }) => id.entry)).size, 3)
        const all = yield* java.consume({ url, topic, subscription: "s", type: "Key_Shared", count: 9 })
        for (const key of ["k0", "k1", "k2"]) {
          const ofKey = all.filter((message) => message.key === key)
          assert.deepStrictEqual(
            ofKey.map(({ payload }) => Number.parseInt(payload!, 16)),
            [0, 3, 6].map((at) => at + Number(key[1]))
          )
          assert.strictEqual(new Set(ofKey.map(({ id }) => id.entry)).size, 1)
        }
      }).pipe(Effect.scoped))
  })
})
