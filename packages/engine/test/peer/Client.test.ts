/** The client against Apache Pulsar, and the Java client on the other side. */
import { assert, describe, layer } from "@effect/vitest"
import { Effect, Fiber, Layer, Stream } from "effect"
import { createHash } from "node:crypto"
import { Consumer, Producer, PulsarClient, PulsarSchema, Reader, TableView } from "../../src/index.ts"
import { JavaPeer, pattern } from "../support/JavaPeer.ts"
import { PulsarBroker, skipReason } from "../support/PulsarBroker.ts"
import { bytes, text } from "../support/client.ts"

const digest = (payload: Uint8Array) => createHash("sha256").update(payload).digest("hex")

const client = Layer.unwrap(Effect.map(PulsarBroker, ({ serviceUrl }) => PulsarClient.layer({ serviceUrl })))
const everything = Layer.mergeAll(client, JavaPeer.layer).pipe(Layer.provideMerge(PulsarBroker.shared))

const fresh = Effect.fnUntraced(function*(name: string, options = {}) {
  const broker = yield* PulsarBroker
  return `persistent://${yield* broker.namespace(options)}/${name}`
})

describe.skipIf(skipReason() !== undefined)("the client and Apache Pulsar", () => {
  layer(everything, { timeout: "5 minutes", excludeTestServices: true })((it) => {
    it.effect("a message there and back, acknowledged", () =>
      Effect.gen(function*() {
        const topic = yield* fresh("t")
        const consumer = yield* Consumer.make({ topic, subscription: "s", initialPosition: "earliest" })
        const producer = yield* Producer.make({ topic })
        const receipt = yield* producer.send(bytes("hello"), { key: "k", properties: { a: "b" }, eventTime: 5 })
        const message = yield* consumer.receive
        assert.deepStrictEqual([text(message.value), message.key, message.properties, message.eventTime], [
          "hello",
          "k",
          { a: "b" },
          5
        ])
        assert.strictEqual(message.id.entry, receipt.id.entry)
        yield* message.ackConfirmed
        yield* consumer.close
        const again = yield* Consumer.make({ topic, subscription: "s" })
        assert.deepStrictEqual(yield* again.receiveWithin("300 millis"), [])
        assert.deepStrictEqual(yield* (yield* PulsarClient).partitionsOf(topic), 0)
      }))

    it.effect("many, in batches and alone, with every compression, in order", () =>
      Effect.gen(function*() {
        for (const compression of ["none", "lz4", "zlib", "zstd", "snappy"] as const) {
          const topic = yield* fresh(compression)
          const values = Array.from(
            { length: 3000 },
            (_, index) => ({ value: bytes(`message number ${index}`), key: `k${index % 7}` })
          )
          const batched = yield* Producer.make({ topic, compression })
          yield* batched.sendAll(values.slice(0, 2900))
          yield* batched.close
          const plain = yield* Producer.make({ topic, compression, batching: false })
          yield* plain.sendAll(values.slice(2900))
          const consumer = yield* Consumer.make({ topic, subscription: "s", initialPosition: "earliest" })
          const seen = yield* consumer.stream.pipe(
            Stream.tap((message) => message.ack),
            Stream.take(3000),
            Stream.map((message) => text(message.value)),
            Stream.runCollect
          )
          assert.deepStrictEqual(seen, values.map(({ value }) => text(value)), compression)
          yield* consumer.flushAcks
        }
      }))

    it.effect("what we write, Java reads: compressions, batches, keys, chunks", () =>
      Effect.gen(function*() {
        const broker = yield* PulsarBroker
        const java = yield* JavaPeer
        for (const compression of ["none", "lz4", "zlib", "zstd", "snappy"] as const) {
          for (const batching of [false, { maxMessages: 5, maxDelay: "10 millis" }] as const) {
            const topic = yield* fresh(`ours-${compression}-${batching !== false}`)
            const producer = yield* Producer.make({ topic, compression, batching, chunking: true, name: "ours" })
            const receipts = yield* producer.sendAll([
              { value: bytes("plain") },
              { value: new Uint8Array(0), properties: { a: "1", "ü": "ß" }, eventTime: 17 },
              { value: pattern(5000), keyBytes: Uint8Array.of(0xff, 0) },
              { value: pattern(100), key: "schlüssel", orderingKey: Uint8Array.of(1, 2) },
              { value: pattern(6_000_000), key: "large" }
            ])
            const received = yield* java.consume({ url: broker.serviceUrl, topic, subscription: "s", count: 5 })
            assert.deepStrictEqual(
              received.map(({ sha256 }) => sha256),
              [bytes("plain"), new Uint8Array(0), pattern(5000), pattern(100), pattern(6_000_000)].map(digest),
              `${compression} ${batching !== false}`
            )
            assert.deepInclude(received[1], { eventTime: 17, properties: { a: "1", "ü": "ß" } })
            assert.deepInclude(received[2], { keyBytes: "ff00", keyIsBase64: true })
            assert.deepInclude(received[3], { key: "schlüssel", orderingKey: "0102" })
            assert.deepStrictEqual(received.map(({ sequenceId }) => sequenceId), ["0", "1", "2", "3", "4"])
            assert.deepStrictEqual(
              received.slice(0, 4).map(({ id }) => `${id.ledger}:${id.entry}:${id.batchIndex}`),
              receipts.slice(0, 4).map(({ id }) => `${id.ledger}:${id.entry}:${id.batchIndex}`)
            )
            assert.isTrue(received.every(({ producer }) => producer === "ours"))
            yield* producer.close
          }
        }
      }), 240_000)

    it.effect("what Java writes, we read: compressions, batches, keys, chunks", () =>
      Effect.gen(function*() {
        const broker = yield* PulsarBroker
        const java = yield* JavaPeer
        for (const compression of ["NONE", "LZ4", "ZLIB", "ZSTD", "SNAPPY"]) {
          for (const shape of [{ batching: true, batch: 3 }, { batching: false, chunking: true }]) {
            const topic = yield* fresh(`theirs-${compression}-${shape.batching}`)
            const size = shape.batching ? 3000 : 6_000_000
            yield* java.produce({ url: broker.serviceUrl, topic, compression, ...shape }, [
              { payload: "00ff", key: "k", properties: { a: "1" }, eventTime: 17 },
              { payload: "", orderingKey: "0102" },
              { repeat: size, keyBytes: "ff00" }
            ])
            const consumer = yield* Consumer.make({
              topic,
              subscription: "s",
              initialPosition: "earliest",
              onEvent: ({ event }) => {
                if (event._tag === "MessageDropped") process.stderr.write(`${topic}: ${event.why}\n`)
              }
            })
            const seen = yield* consumer.stream.pipe(
              Stream.take(3),
              Stream.tap((message) => message.ack),
              Stream.runCollect
            )
            assert.deepStrictEqual(
              seen.map(({ value }) => digest(value)),
              [Uint8Array.of(0, 255), new Uint8Array(0), pattern(size)].map(digest),
              compression
            )
            assert.deepStrictEqual([seen[0]!.key, seen[0]!.properties, seen[0]!.eventTime], ["k", { a: "1" }, 17])
            assert.deepStrictEqual([...seen[1]!.orderingKey!], [1, 2])
            assert.deepStrictEqual([...seen[2]!.keyBytes!], [255, 0])
            yield* consumer.flushAcks
            yield* consumer.close
            const rest = yield* Consumer.make({ topic, subscription: "s" })
            assert.deepStrictEqual(yield* rest.receiveWithin("200 millis"), [])
            yield* rest.close
          }
        }
      }), 240_000)

    it.effect("partitions, by the same hash as Java's", () =>
      Effect.gen(function*() {
        const broker = yield* PulsarBroker
        const java = yield* JavaPeer
        const topic = yield* fresh("parts")
        yield* broker.admin("PUT", `${topic.replace("://", "/")}/partitions`, 4)
        const producer = yield* Producer.make({ topic })
        assert.strictEqual(yield* producer.partitions, 4)
        const keys = Array.from({ length: 40 }, (_, index) => `key-${index}`)
        yield* producer.sendAll(keys.map((key) => ({ key, value: bytes(key) })))
        yield* java.produce({ url: broker.serviceUrl, topic }, keys.map((key) => ({ key, payload: "00" })))
        const consumer = yield* Consumer.make({ topic, subscription: "s", initialPosition: "earliest" })
        assert.strictEqual((yield* consumer.topics).length, 4)
        const seen = yield* consumer.stream.pipe(
          Stream.take(80),
          Stream.tap((message) => message.ack),
          Stream.runCollect
        )
        const places = new Map<string, Set<string>>()
        for (const { key, topic } of seen) places.set(key!, (places.get(key!) ?? new Set()).add(topic))
        assert.isTrue([...places.values()].every((topics) => topics.size === 1))
        assert.strictEqual(new Set(seen.map(({ topic }) => topic)).size, 4)
      }))

    it.effect("all four subscription types", () =>
      Effect.gen(function*() {
        for (const type of ["shared", "keyShared", "failover"] as const) {
          const topic = yield* fresh(type)
          const one = yield* Consumer.make({ topic, subscription: "s", type, receiverQueue: 10 })
          const two = yield* Consumer.make({ topic, subscription: "s", type, receiverQueue: 10 })
          const producer = yield* Producer.make({ topic, batching: false })
          yield* producer.sendAll(
            Array.from({ length: 60 }, (_, index) => ({ value: bytes(`${index}`), key: `k${index % 10}` }))
          )
          const collect = (consumer: Consumer.Consumer<Uint8Array>) =>
            Effect.gen(function*() {
              const keys: Array<string> = []
              while (true) {
                const messages = yield* consumer.receiveWithin("700 millis")
                if (messages.length === 0) return keys
                for (const message of messages) {
                  keys.push(message.key!)
                  message.ackUnsafe()
                }
              }
            })
          const [a, b] = yield* Effect.all([collect(one), collect(two)], { concurrency: 2 })
          assert.strictEqual(a.length + b.length, 60, type)
          if (type === "failover") assert.strictEqual(Math.min(a.length, b.length), 0)
          if (type === "keyShared") assert.deepStrictEqual(a.filter((key) => b.includes(key)), [])
          yield* one.close
          yield* two.close
        }
        const topic = yield* fresh("exclusive")
        yield* Consumer.make({ topic, subscription: "s" })
        const second = yield* Effect.flip(
          Consumer.make({ topic, subscription: "s" }).pipe(
            Effect.provide(
              Layer.fresh(
                PulsarClient.layer({ serviceUrl: (yield* PulsarBroker).serviceUrl, operationTimeout: "2 seconds" })
              )
            )
          )
        )
        assert.include(second.message, "ConsumerBusy")
      }))

    it.effect("negative acknowledgement, ack timeout, redeliver all, dead letters, later again", () =>
      Effect.gen(function*() {
        const topic = yield* fresh("again")
        const consumer = yield* Consumer.make({
          topic,
          subscription: "s",
          type: "shared",
          nackDelay: "50 millis",
          ackTimeout: "1 second",
          deadLetter: { maxRedeliveries: 2, retry: true }
        })
        const dead = yield* Consumer.make({ topic: `${topic}-s-DLQ`, subscription: "d", initialPosition: "earliest" })
        const producer = yield* Producer.make({ topic, batching: false })
        yield* producer.send(bytes("bad"), { key: "k" })
        const first = yield* consumer.receive
        yield* first.nack
        const second = yield* consumer.receive
        assert.strictEqual(second.redeliveryCount, 1)
        // Not acknowledged: the timeout brings it back, for the second and last time, and then once too often.
        const third = yield* consumer.receive
        assert.strictEqual(third.redeliveryCount, 2)
        const fiber = yield* Effect.forkChild(consumer.receive)
        const letter = yield* dead.receive
        assert.deepStrictEqual([text(letter.value), letter.key, letter.properties["REAL_TOPIC"]], ["bad", "k", topic])
        assert.match(letter.properties["ORIGIN_MESSAGE_ID"]!, /^\d+:\d+:-1:-1$/)
        yield* producer.send(bytes("later"))
        const soon = yield* Fiber.join(fiber)
        yield* consumer.reconsumeLater(soon, "200 millis")
        const back = yield* consumer.receive
        assert.deepStrictEqual([text(back.value), back.properties["RECONSUMETIMES"]], ["later", "1"])
        assert.include(back.topic, "-s-RETRY")
        yield* back.ackConfirmed
        yield* producer.send(bytes("all"))
        yield* consumer.receive
        yield* consumer.redeliverAll
        assert.strictEqual(text((yield* consumer.receive).value), "all")
      }))

    it.effect("seek in every form, last message, has more, pause and resume", () =>
      Effect.gen(function*() {
        const topic = yield* fresh("seek")
        const producer = yield* Producer.make({ topic, batching: false })
        const receipts = []
        for (let index = 0; index < 5; index++) receipts.push(yield* producer.send(bytes(`${index}`)))
        const consumer = yield* Consumer.make({ topic, subscription: "s", initialPosition: "earliest" })
        const drain = Effect.map(consumer.receiveWithin("500 millis"), (messages) =>
          messages.map(({ value }) => text(value)))
        const all = yield* consumer.stream.pipe(Stream.take(5), Stream.runCollect)
        yield* consumer.seek("earliest")
        assert.strictEqual(text((yield* consumer.receive).value), "0")
        yield* consumer.seek(receipts[2]!.id)
        assert.strictEqual(text((yield* consumer.receive).value), "2")
        yield* consumer.seek(all[1]!.publishTime)
        assert.include(["0", "1"], text((yield* consumer.receive).value))
        yield* consumer.seek("latest")
        assert.deepStrictEqual(yield* drain, [])
        assert.strictEqual((yield* consumer.lastMessageId).entry, receipts[4]!.id.entry)
        assert.isTrue(yield* consumer.hasMessageAfter(receipts[3]!.id))
        assert.isFalse(yield* consumer.hasMessageAfter(receipts[4]!.id))
        yield* producer.send(bytes("5"))
        assert.strictEqual(text((yield* consumer.receive).value), "5")
      }))

    it.effect("a reader reads to the end and follows; a table view holds the newest", () =>
      Effect.gen(function*() {
        const topic = yield* fresh("read")
        const producer = yield* Producer.make({ topic, schema: PulsarSchema.string })
        yield* producer.sendAll(
          Array.from({ length: 30 }, (_, index) => ({ value: `v${index}`, key: `k${index % 3}` }))
        )
        const reader = yield* Reader.make({ topic, schema: PulsarSchema.string })
        const values = yield* reader.untilNow.pipe(Stream.map(({ value }) => value), Stream.runCollect)
        assert.strictEqual(values.length, 30)
        assert.isFalse(yield* reader.hasNext)
        yield* producer.send("more", { key: "k0" })
        assert.isTrue(yield* reader.hasNext)
        assert.strictEqual((yield* reader.read).value, "more")
        const table = yield* TableView.make({ topic, schema: PulsarSchema.string })
        assert.deepStrictEqual([...(yield* table.entries)].sort(), [["k0", "more"], ["k1", "v28"], ["k2", "v29"]])
        yield* producer.sendNull("k1")
        yield* table.changes.pipe(
          Stream.takeUntil(({ key, value }) => key === "k1" && value === undefined),
          Stream.runDrain
        )
        assert.isUndefined(yield* table.get("k1"))
      }))

    it.effect("deduplication knows a name and its numbers; access modes exclude", () =>
      Effect.gen(function*() {
        const topic = yield* fresh("dedup", { deduplication: true })
        const first = yield* Producer.make({ topic, name: "p", batching: false })
        for (let index = 0; index < 3; index++) yield* first.send(bytes(`${index}`))
        yield* first.close
        const second = yield* Producer.make({ topic, name: "p", batching: false })
        assert.strictEqual(yield* second.lastSequenceId, 2)
        assert.isFalse((yield* second.send(bytes("3"))).duplicate)
        yield* second.close
        const repeating = yield* Producer.make({ topic, name: "p", batching: false, initialSequenceId: 1 })
        assert.isTrue((yield* repeating.send(bytes("again"))).duplicate)
        yield* repeating.close
        const owner = yield* Producer.make({ topic, accessMode: "exclusive" })
        const refused = yield* Effect.flip(Producer.make({ topic, accessMode: "exclusive" }))
        assert.match(refused.message, /ProducerFenced|ProducerBusy/)
        const heir = yield* Effect.forkChild(Producer.make({ topic, accessMode: "waitForExclusive" }))
        yield* Effect.sleep("300 millis")
        assert.isUndefined(heir.pollUnsafe())
        yield* owner.close
        yield* Fiber.await(heir)
        assert.strictEqual(heir.pollUnsafe()!._tag, "Success")
      }))

    it.effect("schemas are registered, versioned, and refused", () =>
      Effect.gen(function*() {
        const topic = yield* fresh("schema")
        const numbers = yield* Producer.make({ topic, schema: PulsarSchema.int64 })
        yield* numbers.send(-5n)
        const consumer = yield* Consumer.make({
          topic,
          subscription: "s",
          schema: PulsarSchema.int64,
          initialPosition: "earliest"
        })
        const message = yield* consumer.receive
        assert.strictEqual(message.value, -5n)
        assert.strictEqual(message.schemaVersion!.length, 8)
        const refused = yield* Effect.flip(Producer.make({ topic, schema: PulsarSchema.string }))
        assert.include(refused.message, "IncompatibleSchema")
      }))

    it.effect("delayed delivery, batch index acknowledgement, topics of a pattern", () =>
      Effect.gen(function*() {
        const topic = yield* fresh("delayed")
        const consumer = yield* Consumer.make({ topic, subscription: "s", type: "shared" })
        const producer = yield* Producer.make({ topic })
        yield* producer.send(bytes("late"), { deliverAfter: "1500 millis" })
        yield* producer.send(bytes("now"))
        assert.strictEqual(text((yield* consumer.receive).value), "now")
        assert.strictEqual(text((yield* consumer.receive).value), "late")
        const namespace = topic.slice("persistent://".length).split("/").slice(0, 2).join("/")
        const pattern = yield* Consumer.make({
          topic: { namespace, pattern: /delay/ },
          subscription: "p",
          initialPosition: "earliest"
        })
        assert.deepStrictEqual(yield* pattern.topics, [topic])
        assert.strictEqual((yield* pattern.receiveWithin("2 seconds")).length > 0, true)
      }))

    it.effect("unsubscribe, a topic that may not be made, a message too large", () =>
      Effect.gen(function*() {
        const broker = yield* PulsarBroker
        const topic = yield* fresh("misc")
        const consumer = yield* Consumer.make({ topic, subscription: "s" })
        yield* consumer.unsubscribe()
        const stats = yield* broker.admin("GET", `${topic.replace("://", "/")}/stats`)
        assert.deepStrictEqual(Object.keys((stats as { subscriptions: object }).subscriptions), [])
        const producer = yield* Producer.make({ topic })
        const error = yield* Effect.flip(producer.send(new Uint8Array(6 * 1024 * 1024)))
        assert.strictEqual(error.reason._tag, "NotDone")
        assert.include(error.message, "chunking")
        const missing = yield* Effect.flip(
          Consumer.make({ topic: yield* fresh("missing"), subscription: "s", createTopic: false })
        )
        assert.include(missing.message, "TopicNotFound")
      }))
  })
})
