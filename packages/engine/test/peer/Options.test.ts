/** Options that a real broker acts on or shows: who gets which key, where a subscription begins, who may produce, what is written next to a name. */
import { assert, describe, layer } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { Consumer, Producer, PulsarClient } from "../../src/index.ts"
import { bytes, text } from "../support/client.ts"
import { PulsarBroker, skipReason } from "../support/PulsarBroker.ts"

const client = Layer.unwrap(
  Effect.map(PulsarBroker, ({ serviceUrl }) => PulsarClient.layer({ serviceUrl, operationTimeout: "10 seconds" }))
)
const earliest = { subscription: "s", initialPosition: "earliest" } as const

interface Stats {
  readonly publishers: ReadonlyArray<
    { readonly producerName: string; readonly metadata: Readonly<Record<string, string>> }
  >
  readonly subscriptions: Readonly<
    Record<string, {
      readonly consumers: ReadonlyArray<
        { readonly consumerName: string; readonly metadata: Readonly<Record<string, string>> }
      >
      readonly subscriptionProperties: Readonly<Record<string, string>>
    }>
  >
}

const fresh = Effect.fnUntraced(function*(domain = "persistent") {
  const broker = yield* PulsarBroker
  const namespace = yield* broker.namespace()
  return {
    topic: `${domain}://${namespace}/a`,
    stats: Effect.map(broker.admin("GET", `${domain}/${namespace}/a/stats`), (stats) => stats as Stats)
  }
})

const drain = (consumer: Consumer.Consumer<Uint8Array>) =>
  Effect.gen(function*() {
    const messages = yield* consumer.receiveBatch({ maxWait: "1 second" })
    if (messages.length > 0) yield* consumer.ackAll(messages)
    return messages
  })

describe.skipIf(skipReason() !== undefined)("options and Apache Pulsar", () => {
  layer(client.pipe(Layer.provideMerge(PulsarBroker.shared)), { timeout: "5 minutes", excludeTestServices: true })(
    (it) => {
      it.effect("fixed ranges of Key_Shared share the keys; a range that is taken is refused", () =>
        Effect.gen(function*() {
          const { topic } = yield* fresh()
          const open = (start: number, end: number) =>
            Consumer.make({
              ...earliest,
              topic,
              type: "keyShared",
              keyShared: { sticky: [[start, end]], allowOutOfOrder: false }
            })
          const low = yield* open(0, 32_767)
          const high = yield* open(32_768, 65_535)
          const error = yield* Effect.flip(open(32_000, 40_000))
          assert.deepInclude(error.reason, { _tag: "Refused", name: "ConsumerAssignError" }, error.message)
          const producer = yield* Producer.make({ topic, batching: { byKey: true } })
          const keys = Array.from({ length: 60 }, (_, at) => `key-${at % 20}`)
          yield* producer.sendAll(keys.map((key) => ({ key, value: bytes(key) })))
          const [ofLow, ofHigh] = yield* Effect.all([drain(low), drain(high)], { concurrency: 2 })
          assert.strictEqual(ofLow.length + ofHigh.length, 60)
          const lowKeys = new Set(ofLow.map(({ key }) => key))
          assert.isAbove(lowKeys.size, 0)
          assert.isTrue(ofHigh.every(({ key }) => !lowKeys.has(key)) && ofHigh.length > 0)
        }).pipe(Effect.scoped))
      it.effect("a subscription may begin in the past, and one may be there before the first message", () =>
        Effect.gen(function*() {
          const { stats, topic } = yield* fresh()
          const producer = yield* Producer.make({ topic, batching: false, initialSubscription: "waiting" })
          assert.deepStrictEqual(Object.keys((yield* stats).subscriptions), ["waiting"])
          yield* producer.sendAll([{ value: bytes("a") }, { value: bytes("b") }])
          const back = yield* Consumer.make({ topic, subscription: "back", startRollback: "1 hour" })
          const now = yield* Consumer.make({ topic, subscription: "now" })
          const waiting = yield* Consumer.make({ topic, subscription: "waiting" })
          for (const consumer of [back, waiting]) {
            assert.deepStrictEqual((yield* drain(consumer)).map(({ value }) => text(value)), ["a", "b"])
          }
          assert.deepStrictEqual(yield* drain(now), [])
        }).pipe(Effect.scoped))
      it.effect("names and properties are shown by the broker", () =>
        Effect.gen(function*() {
          const { stats, topic } = yield* fresh()
          yield* Producer.make({ topic, name: "me", properties: { of: "producer" } })
          yield* Consumer.make({
            ...earliest,
            topic,
            name: "you",
            properties: { of: "consumer" },
            subscriptionProperties: { of: "subscription" }
          })
          const { publishers, subscriptions } = yield* stats
          assert.deepStrictEqual(publishers.map(({ metadata, producerName }) => [producerName, metadata["of"]]), [
            ["me", "producer"]
          ])
          assert.deepStrictEqual(
            subscriptions["s"]!.consumers.map(({ consumerName, metadata }) => [
              consumerName,
              metadata["of"]
            ]),
            [["you", "consumer"]]
          )
          assert.deepStrictEqual(subscriptions["s"]!.subscriptionProperties, { of: "subscription" })
        }).pipe(Effect.scoped))
      it.effect("a producer that fences takes the topic, and the one before it stays out", () =>
        Effect.gen(function*() {
          const { topic } = yield* fresh()
          const first = yield* Producer.make({
            topic,
            accessMode: "exclusive",
            batching: false,
            sendTimeout: "5 seconds"
          })
          yield* first.send(bytes("a"))
          const second = yield* Producer.make({ topic, accessMode: "exclusiveWithFencing", batching: false })
          yield* second.send(bytes("b"))
          const error = yield* Effect.flip(first.send(bytes("c")))
          assert.include(["NotDone", "Unknown"], error.reason._tag, error.message)
          yield* Effect.sleep("1 second")
          yield* second.send(bytes("d"))
          const consumer = yield* Consumer.make({ ...earliest, topic })
          assert.deepStrictEqual((yield* drain(consumer)).map(({ value }) => text(value)), ["a", "b", "d"])
        }).pipe(Effect.scoped))
      it.effect("a topic that is not persistent gives to who is there", () =>
        Effect.gen(function*() {
          const { topic } = yield* fresh("non-persistent")
          const producer = yield* Producer.make({ topic, batching: false })
          yield* producer.send(bytes("nobody hears"))
          const consumer = yield* Consumer.make({ topic, subscription: "s" })
          yield* producer.send(bytes("somebody does"))
          assert.deepStrictEqual((yield* drain(consumer)).map(({ value }) => text(value)), ["somebody does"])
        }).pipe(Effect.scoped))
      it.effect("what makes no sense to the broker is refused as a decision", () =>
        Effect.gen(function*() {
          const { topic } = yield* fresh()
          const compacted = yield* Effect.flip(
            Consumer.make({ ...earliest, topic, type: "shared", readCompacted: true })
          )
          assert.deepInclude(compacted.reason, { _tag: "Refused", name: "NotAllowedError", retryable: false })
          const nowhere = yield* Effect.flip(Producer.make({ topic: "persistent://no-tenant/no-namespace/a" }))
          assert.strictEqual(nowhere.reason._tag, "Refused", nowhere.message)
        }).pipe(Effect.scoped))
    }
  )
})
