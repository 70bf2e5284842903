/** What changes under a consumer of a real broker: partitions, topics of a pattern, other consumers; and a listener. */
import { assert, describe, layer } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { Consumer, MemoryReused, type Message, Producer, PulsarClient } from "../../src/index.ts"
import { bytes, text } from "../support/client.ts"
import { PulsarBroker, skipReason } from "../support/PulsarBroker.ts"

const client = Layer.unwrap(Effect.map(PulsarBroker, ({ serviceUrl }) => PulsarClient.layer({ serviceUrl })))
const earliest = { subscription: "s", initialPosition: "earliest" } as const

/** Looks until it is so, for as long as a busy machine may take. */
const until = <E, R>(what: string, condition: Effect.Effect<boolean, E, R>) =>
  condition.pipe(
    Effect.delay(50),
    Effect.repeat({ until: (so) => so }),
    Effect.timeoutOrElse({ duration: "30 seconds", orElse: () => Effect.die(new Error(`never: ${what}`)) })
  )

describe.skipIf(skipReason() !== undefined)("a consumer of Apache Pulsar", () => {
  layer(client.pipe(Layer.provideMerge(PulsarBroker.shared)), { timeout: "5 minutes", excludeTestServices: true })(
    (it) => {
      it.effect("of a pattern hears at once of topics that come and go", () =>
        Effect.gen(function*() {
          const broker = yield* PulsarBroker
          const namespace = yield* broker.namespace()
          const path = `persistent/${namespace}`
          const consumer = yield* Consumer.make({
            ...earliest,
            topic: { namespace, pattern: /\/want-\d$/ },
            // Nothing is looked for by time: only the broker can have told.
            topicsRefresh: 0
          })
          const topics = Effect.map(consumer.topics, (all) => all.map((topic) => topic.slice(-6)).toSorted().join())
          yield* broker.admin("PUT", `${path}/other-1`)
          yield* broker.admin("PUT", `${path}/want-1`)
          yield* until("the first topic", Effect.map(topics, (all) => all === "want-1"))
          const producer = yield* Producer.make({ topic: `persistent://${namespace}/want-2`, batching: false })
          yield* producer.send(bytes("x"))
          const message = yield* consumer.receive
          assert.deepStrictEqual([text(message.value), message.topic.slice(-6)], ["x", "want-2"])
          yield* message.ackConfirmed
          yield* broker.admin("DELETE", `${path}/want-1?force=true`)
          yield* until("the first topic is gone", Effect.map(topics, (all) => all === "want-2"))
          // It does not come back because somebody was subscribed to it, and the others go on.
          yield* Effect.sleep("1 second")
          const there = (yield* broker.admin("GET", `persistent/${namespace}`)) as ReadonlyArray<string>
          assert.deepStrictEqual(there.map((topic) => topic.slice(-7)).toSorted(), ["other-1", "/want-2"].toSorted())
          yield* producer.send(bytes("y"))
          assert.strictEqual(text((yield* consumer.receive).value), "y")
          yield* broker.admin("PUT", `${path}/want-1`)
          yield* until("the first topic is back", Effect.map(topics, (all) => all === "want-1,want-2"))
          const back = yield* Producer.make({ topic: `persistent://${namespace}/want-1`, batching: false })
          yield* back.send(bytes("z"))
          assert.strictEqual(text((yield* consumer.receive).value), "z")
        }).pipe(Effect.scoped))
      it.effect("that uses memory again reads every message whole until it is acknowledged, late ones too", () =>
        Effect.gen(function*() {
          const count = 20_000
          const topic = `persistent://${yield* (yield* PulsarBroker).namespace()}/again`
          const producer = yield* Producer.make({ topic })
          const value = (index: number) => new Uint8Array(600 + (index % 900)).fill(index & 0xff)
          for (let from = 0; from < count; from += 500) {
            yield* producer.sendAll(
              Array.from({ length: 500 }, (_, at) => ({ key: `k${from + at}`, value: value(from + at) }))
            )
          }
          const consumer = yield* Consumer.make({ ...earliest, topic, reuseMemory: true })
          // One in a hundred waits until thousands of others were read into the memory around it.
          const late: Array<{ readonly index: number; readonly message: Message<Uint8Array> }> = []
          const settle = ({ index, message }: typeof late[number]) => {
            assert.strictEqual(message.key, `k${index}`)
            assert.isTrue(Buffer.from(message.value).equals(value(index)))
            message.ackUnsafe()
            assert.throws(() => message.value, MemoryReused)
            assert.throws(() => message.key, MemoryReused)
          }
          for (let index = 0; index < count;) {
            for (const message of yield* consumer.receiveAll()) {
              const one = { index: index++, message }
              if (one.index % 100 === 7) late.push(one)
              else settle(one)
              if (late.length > 100) settle(late.shift()!)
            }
          }
          for (const one of late) settle(one)
          yield* consumer.flushAcks
          assert.strictEqual((yield* consumer.stats).acked, count)
        }).pipe(Effect.scoped))
      it.effect("of partitions follows their number, and so does a producer", () =>
        Effect.gen(function*() {
          const broker = yield* PulsarBroker
          const namespace = yield* broker.namespace()
          const topic = `persistent://${namespace}/grows`
          yield* broker.admin("PUT", `persistent/${namespace}/grows/partitions`, 1)
          const consumer = yield* Consumer.make({ ...earliest, topic, topicsRefresh: "300 millis" })
          const producer = yield* Producer.make({ topic, batching: false, partitionsRefresh: "300 millis" })
          yield* broker.admin("POST", `persistent/${namespace}/grows/partitions`, 3)
          yield* until("three partitions", Effect.map(producer.partitions, (count) => count === 3))
          yield* until("three parts", Effect.map(consumer.topics, ({ length }) => length === 3))
          yield* producer.sendAll(Array.from({ length: 6 }, (_, at) => ({ value: bytes(`${at}`) })))
          const seen: Array<string> = []
          while (seen.length < 6) {
            for (const message of yield* consumer.receiveAll()) {
              seen.push(`${message.id.partition} ${text(message.value)}`)
            }
          }
          assert.strictEqual(new Set(seen.map((each) => each[0])).size, 3)
          assert.deepStrictEqual(seen.map((each) => each.slice(2)).toSorted(), ["0", "1", "2", "3", "4", "5"])
        }).pipe(Effect.scoped))
      it.effect("may delete its subscription under others by force only", () =>
        Effect.gen(function*() {
          const broker = yield* PulsarBroker
          const namespace = yield* broker.namespace()
          const topic = `persistent://${namespace}/forced`
          const one = yield* Consumer.make({ ...earliest, topic, type: "shared" })
          const told: Array<string> = []
          yield* Consumer.make({ ...earliest, topic, type: "shared", onEvent: ({ event }) => told.push(event._tag) })
          const refused = yield* Effect.flip(one.unsubscribe())
          assert.strictEqual(refused.reason._tag, "Refused")
          yield* one.unsubscribe(true)
          // The other one is put out, and subscribes anew.
          yield* until("the other one is told", Effect.sync(() => told.includes("ConsumerClosed")))
        }).pipe(Effect.scoped))
      it.effect("that takes its time over what it has is not taken for one that hears nothing", () =>
        Effect.gen(function*() {
          const broker = yield* PulsarBroker
          const namespace = yield* broker.namespace()
          for (const type of ["exclusive", "shared", "failover", "keyShared"] as const) {
            const topic = `persistent://${namespace}/${type}`
            const consumer = yield* Consumer.make({ ...earliest, topic, type, stallTimeout: "300 millis" })
            const producer = yield* Producer.make({ topic, batching: false })
            yield* producer.sendAll([{ value: bytes("a") }, { value: bytes("b") }])
            const messages = yield* consumer.receiveBatch({ maxMessages: 2, maxWait: "10 seconds" })
            assert.strictEqual(messages.length, 2)
            yield* until("a silence", Effect.map(consumer.stats, ({ stalls }) => stalls > 0))
            assert.deepStrictEqual(yield* consumer.receiveBatch({ maxWait: "700 millis" }), [], type)
            yield* consumer.ackAll(messages)
          }
        }).pipe(Effect.scoped))
      it.effect("gives a listener everything, in order, and takes its acknowledgements", () =>
        Effect.gen(function*() {
          const broker = yield* PulsarBroker
          const namespace = yield* broker.namespace()
          const topic = `persistent://${namespace}/heard`
          const heard: Array<string> = []
          const listener = yield* Consumer.listen({ ...earliest, topic }, (message) =>
            Effect.andThen(Effect.sync(() => void heard.push(text(message.value))), message.ack))
          const producer = yield* Producer.make({ topic })
          const values = Array.from({ length: 500 }, (_, at) =>
            `${at}`)
          yield* producer.sendAll(values.map((value) => ({ value: bytes(value) })))
          yield* until("all are heard", Effect.sync(() => heard.length === 500))
          assert.deepStrictEqual(heard, values)
          yield* listener.stop
          const rest = yield* Consumer.make({ ...earliest, topic })
          assert.deepStrictEqual(yield* rest.receiveBatch({ maxWait: "300 millis" }), [])
          yield* producer.sendAll(values.slice(0, 10).map((value) => ({ value: bytes(value) })))
          const batch = yield* rest.receiveBatch({ maxMessages: 10, maxWait: "20 seconds" })
          assert.strictEqual(batch.length, 10)
          yield* rest.ackAll(batch)
          const { consumers } = ((yield* broker.admin("GET", `persistent/${namespace}/heard/stats`)) as {
            readonly subscriptions: {
              readonly s: { readonly msgBacklog: number; readonly consumers: ReadonlyArray<object> }
            }
          }).subscriptions.s
          assert.strictEqual(consumers.length, 1)
        }).pipe(Effect.scoped))
    }
  )
})
