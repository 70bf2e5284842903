/** Ways to receive and to acknowledge, beside the stream: batches, listeners, lists. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Metric } from "effect"
import { TestClock } from "effect/testing"
import { Consumer, type Message, Producer } from "../../src/index.ts"
import { TestBroker } from "../../src/testing/index.ts"
import { bytes, layer, text } from "../support/client.ts"

const values = (messages: ReadonlyArray<Message<Uint8Array>>) => messages.map(({ value }) => text(value))
const earliest = { topic: "t", subscription: "s", initialPosition: "earliest" } as const

const sendAll = Effect.fnUntraced(function*(texts: ReadonlyArray<string>, topic = "t") {
  const producer = yield* Producer.make({ topic, batching: false })
  yield* producer.sendAll(texts.map((each) => ({ value: bytes(each) })))
})

describe("a batch of messages", () => {
  it.effect("is complete with its number, its bytes, or its time", () =>
    Effect.gen(function*() {
      const consumer = yield* Consumer.make(earliest)
      yield* sendAll(["a", "b", "c", "dddddddddd", "e"])
      assert.deepStrictEqual(values(yield* consumer.receiveBatch({ maxMessages: 2 })), ["a", "b"])
      // The one that goes over the limit is in it.
      assert.deepStrictEqual(values(yield* consumer.receiveBatch({ maxBytes: 5 })), ["c", "dddddddddd"])
      const waiting = yield* Effect.forkChild(consumer.receiveBatch({ maxWait: "3 seconds" }), {
        startImmediately: true
      })
      yield* TestClock.adjust("2 seconds")
      yield* sendAll(["f"])
      assert.isUndefined(waiting.pollUnsafe())
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(values(yield* Fiber.join(waiting)), ["e", "f"])
      const nothing = yield* Effect.forkChild(consumer.receiveBatch(), { startImmediately: true })
      yield* TestClock.adjust("100 millis")
      assert.deepStrictEqual(yield* Fiber.join(nothing), [])
      assert.deepStrictEqual(yield* consumer.receiveBatch({ maxMessages: 0 }), [])
      yield* consumer.close
      assert.strictEqual((yield* Effect.flip(consumer.receiveBatch())).reason._tag, "Closed")
    }).pipe(Effect.provide(layer())))
})

describe("a list of messages", () => {
  it.effect("is acknowledged with one command, and the broker's word is waited for", () =>
    Effect.gen(function*() {
      const broker = yield* TestBroker
      const consumer = yield* Consumer.make({ ...earliest, type: "shared" })
      yield* sendAll(["a", "b", "c", "d"])
      const messages = yield* consumer.receiveAll()
      yield* broker.fault({ command: "ACK", times: Infinity, action: { _tag: "Delay", millis: 10 } })
      const acking = yield* Effect.forkChild(consumer.ackAll(messages.filter((_, at) => at !== 1)), {
        startImmediately: true
      })
      yield* TestClock.adjust(9)
      assert.isUndefined(acking.pollUnsafe())
      yield* TestClock.adjust(1)
      yield* Fiber.join(acking)
      assert.strictEqual(yield* broker.faultsCaught, 1)
      assert.strictEqual((yield* broker.stats("t")).subscriptions["s"]!.backlog, 1)
    }).pipe(Effect.provide(layer())))
  it.effect("acknowledges within the time of a group, also when nothing was read since the last group", () =>
    Effect.gen(function*() {
      const broker = yield* TestBroker
      yield* sendAll(["a", "b", "c"])
      const consumer = yield* Consumer.make({ ...earliest, ackGroupTime: "100 millis" })
      const backlog = Effect.map(broker.stats("t"), ({ subscriptions }) => subscriptions["s"]!.backlog)
      const messages = [yield* consumer.receive, yield* consumer.receive, yield* consumer.receive]
      for (const [acked, message] of messages.entries()) {
        yield* message.ack
        yield* TestClock.adjust(99)
        assert.strictEqual(yield* backlog, 3 - acked)
        yield* TestClock.adjust(1)
        assert.strictEqual(yield* backlog, 2 - acked)
      }
    }).pipe(Effect.provide(layer())))
  it.effect("collects as many acknowledgements as the option says", () =>
    Effect.gen(function*() {
      const broker = yield* TestBroker
      const consumer = yield* Consumer.make({ ...earliest, ackGroupSize: 3, ackGroupTime: "1 hour" })
      yield* sendAll(["a", "b", "c", "d"])
      const messages = yield* consumer.receiveAll()
      const backlog = Effect.map(broker.stats("t"), ({ subscriptions }) => subscriptions["s"]!.backlog)
      messages[0].ackUnsafe()
      messages[1]!.ackUnsafe()
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* backlog, 4)
      messages[2]!.ackUnsafe()
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* backlog, 1)
      const error = yield* Effect.flip(Consumer.make({ ...earliest, ackGroupSize: 0 }))
      assert.strictEqual(error.reason._tag, "InvalidOptions")
    }).pipe(Effect.provide(layer())))
})

describe("a listener", () => {
  it.effect("hears every message once the one before is done with, acknowledges nothing by itself, and stops between two", () =>
    Effect.gen(function*() {
      const broker = yield* TestBroker
      const heard: Array<string> = []
      let busy = 0
      const listener = yield* Consumer.listen(earliest, (message) =>
        Effect.gen(function*() {
          assert.strictEqual(++busy, 1)
          yield* Effect.sleep("1 second")
          heard.push(text(message.value))
          busy--
        }))
      assert.notProperty(listener, "receive")
      yield* sendAll(["a", "b", "c"])
      yield* TestClock.adjust("1 second")
      yield* TestClock.adjust("500 millis")
      assert.deepStrictEqual(heard, ["a"])
      const stopping = yield* Effect.forkChild(listener.stop, { startImmediately: true })
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(stopping)
      assert.deepStrictEqual(heard, ["a", "b"])
      const { backlog, consumers } = (yield* broker.stats("t")).subscriptions["s"]!
      assert.deepStrictEqual([backlog, consumers.length], [3, 0])
    }).pipe(Effect.provide(layer())))
  it.effect("hears topics that come later, and ends with what its handler fails with", () =>
    Effect.gen(function*() {
      const heard: Array<string> = []
      const listener = yield* Consumer.listen(
        { ...earliest, topic: { namespace: "public/default", pattern: /many-/ } },
        (message) =>
          text(message.value) === "bad" ? Effect.fail("bad" as const) : Effect.sync(() => {
            heard.push(`${message.topic.slice(-1)}${text(message.value)}`)
            message.ackUnsafe()
          })
      )
      yield* sendAll(["x", "y"], "many-1")
      yield* TestClock.adjust(100)
      yield* sendAll(["x"], "many-2")
      yield* TestClock.adjust(100)
      assert.deepStrictEqual(heard, ["1x", "1y", "2x"])
      yield* sendAll(["bad"], "many-1")
      yield* TestClock.adjust(100)
      assert.strictEqual(yield* Effect.flip(listener.ended), "bad")
    }).pipe(Effect.provide(layer())))
})

describe("topics of a pattern", () => {
  it.effect("are told by the broker at once, over reconnects, and looked for by time where it does not tell", () =>
    Effect.gen(function*() {
      const broker = yield* TestBroker
      const pattern = { namespace: "public/default", pattern: /p-\d$/ }
      const consumer = yield* Consumer.make({ ...earliest, topic: pattern, topicsRefresh: 0 })
      const topics = Effect.map(consumer.topics, (all) => all.map((topic) => topic.slice(-3)).toSorted())
      yield* broker.createTopic("p-1")
      yield* broker.createTopic("other")
      yield* TestClock.adjust(10)
      assert.deepStrictEqual(yield* topics, ["p-1"])
      yield* broker.kill()
      yield* broker.createTopic("p-2")
      yield* broker.start()
      for (let second = 0; second < 5; second++) yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* topics, ["p-1", "p-2"])
      yield* broker.deleteTopic("p-1").pipe(Effect.ignore)
      yield* broker.createTopic("p-3")
      yield* TestClock.adjust(10)
      assert.include(yield* topics, "p-3")
      yield* broker.fault({
        command: "WATCH_TOPIC_LIST",
        times: Infinity,
        action: { _tag: "Reject", code: "NotAllowedError" }
      })
      const slow = yield* Consumer.make({
        ...earliest,
        subscription: "slow",
        topic: pattern,
        topicsRefresh: "1 minute"
      })
      yield* broker.createTopic("p-4")
      yield* TestClock.adjust("59 seconds")
      assert.isFalse((yield* slow.topics).some((topic) => topic.endsWith("p-4")))
      yield* TestClock.adjust("1 second")
      assert.isTrue((yield* slow.topics).some((topic) => topic.endsWith("p-4")))
    }).pipe(Effect.provide(layer())))
})

describe("the retry topic of a pattern", () => {
  it.effect("stays, though it does not match, and messages come back over it", () =>
    Effect.gen(function*() {
      const consumer = yield* Consumer.make({
        ...earliest,
        topic: { namespace: "public/default", pattern: /many-/ },
        type: "shared",
        topicsRefresh: "1 second",
        deadLetter: { maxRedeliveries: 1, retry: true, topic: "dead", retryTopic: "again" }
      })
      yield* sendAll(["x"], "many-1")
      yield* TestClock.adjust("5 seconds")
      const first = yield* consumer.receive
      yield* consumer.reconsumeLater(first, "1 second")
      yield* TestClock.adjust("1 second")
      const second = yield* consumer.receive
      assert.deepStrictEqual([text(second.value), second.topic.slice(-5)], ["x", "again"])
      // Once more than there may be: it goes to the dead letters at once.
      yield* consumer.reconsumeLater(second, "1 hour")
      const dead = yield* Consumer.make({ ...earliest, topic: "dead" })
      const letter = yield* dead.receive
      assert.deepInclude(letter.properties, { RECONSUMETIMES: "2", REAL_TOPIC: "persistent://public/default/many-1" })
    }).pipe(Effect.provide(layer())))
})

describe("statistics", () => {
  it.effect("are metrics of Effect too, with histograms of what took how long", () =>
    Effect.gen(function*() {
      const broker = yield* TestBroker
      const attributes = { topic: "persistent://public/default/t" }
      const producer = yield* Producer.make({ topic: "t", batching: false })
      const consumer = yield* Consumer.make(earliest)
      yield* broker.fault({ command: "SEND_RECEIPT", action: { _tag: "Delay", millis: 40 } })
      const sending = yield* Effect.forkChild(producer.send(bytes("abc")), { startImmediately: true })
      yield* TestClock.adjust(40)
      yield* Fiber.join(sending)
      yield* producer.send(bytes("d"))
      yield* TestClock.adjust(200)
      for (const message of yield* consumer.receiveAll()) message.ackUnsafe()
      yield* consumer.close
      const counter = (name: string) =>
        Effect.map(Metric.value(Metric.counter(name, { incremental: true, attributes })), ({ count }) => count)
      assert.deepStrictEqual(
        yield* Effect.all([
          counter("pulsar_producer_messages"),
          counter("pulsar_producer_bytes"),
          counter("pulsar_producer_stored"),
          counter("pulsar_consumer_received"),
          counter("pulsar_consumer_acked")
        ]),
        [2, 4, 2, 2, 2]
      )
      const { latency } = yield* producer.stats
      assert.deepInclude(latency, { count: 2, max: 40 })
      assert.isAtMost(latency.p50, 0.001)
      assert.strictEqual(latency.p99, 40)
    }).pipe(Effect.provide(layer()), Effect.provideService(Metric.MetricRegistry, new Map())))
  it.effect("have rates over the last whole interval, of all partitions together", () =>
    Effect.gen(function*() {
      const broker = yield* TestBroker
      yield* broker.setPartitions("parts", 2)
      const producer = yield* Producer.make({ topic: "parts", batching: false })
      const consumer = yield* Consumer.make({ ...earliest, topic: "parts" })
      const send = (count: number) =>
        producer.sendAll(Array.from({ length: count }, () => ({ value: new Uint8Array(100) })))
      yield* send(20)
      assert.deepStrictEqual((yield* producer.stats).rate, { messages: 0, bytes: 0 })
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual((yield* producer.stats).rate, { messages: 2, bytes: 200 })
      while ((yield* consumer.stats).received < 20) yield* consumer.receiveAll()
      yield* TestClock.adjust("5 seconds")
      yield* send(4)
      assert.deepStrictEqual((yield* producer.stats).rate, { messages: 2, bytes: 200 })
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual((yield* producer.stats).rate, { messages: 0.4, bytes: 40 })
      assert.strictEqual((yield* consumer.stats).rate.messages > 0, true)
    }).pipe(Effect.provide(layer({ statsInterval: "10 seconds" }))))
})
