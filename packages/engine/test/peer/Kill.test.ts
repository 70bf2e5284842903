/** The broker dies by SIGKILL, again and again, while messages come and go. `KILLS` (default 20) says how often. */
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Fiber, Layer, Ref } from "effect"
import { Consumer, Producer, PulsarClient } from "../../src/index.ts"
import { PulsarBroker, skipReason } from "../support/PulsarBroker.ts"
import { bytes, text } from "../support/client.ts"

const kills = Number(process.env["KILLS"] ?? 20)

const client = Layer.unwrap(
  Effect.map(PulsarBroker, ({ serviceUrl }) => PulsarClient.layer({ serviceUrl, backoff: { max: "1 second" } }))
).pipe(Layer.provideMerge(PulsarBroker.layer()))

describe.skipIf(skipReason() !== undefined)("SIGKILL of the broker", () => {
  it.live(
    `loses no acknowledged message, duplicates none, keeps the order (${kills} times)`,
    () =>
      Effect.gen(function*() {
        const broker = yield* PulsarBroker
        const topic = `persistent://${yield* broker.namespace({ deduplication: true })}/kill`
        const consumer = yield* Consumer.make({
          topic,
          subscription: "s",
          initialPosition: "earliest",
          ackGroupTime: 10
        })
        const producer = yield* Producer.make({
          topic,
          name: "p",
          sendTimeout: 0,
          maxPending: 200,
          batching: { maxMessages: 20, maxDelay: 2 }
        })
        const stop = yield* Ref.make(false)
        const sent = yield* Ref.make(0)
        const sending = yield* Effect.forkChild(Effect.gen(function*() {
          let next = 0
          while (!(yield* Ref.get(stop))) {
            const from = next
            next += 50
            const receipts = yield* producer.sendAll(
              Array.from({ length: 50 }, (_, index) => ({ value: bytes(`${from + index}`) }))
            )
            assert.strictEqual(receipts.length, 50)
            yield* Ref.set(sent, next)
            yield* Effect.sleep(5)
          }
        }))
        const seen: Array<number> = []
        const receiving = yield* Effect.forkChild(Effect.forever(Effect.gen(function*() {
          for (const message of yield* consumer.receiveAll()) {
            seen.push(Number(text(message.value)))
            message.ackUnsafe()
          }
        })))
        const recoveries: Array<number> = []
        for (let round = 0; round < kills; round++) {
          yield* Effect.sleep(300 + ((round * 97) % 400))
          yield* broker.kill
          yield* broker.restart
          const before = yield* Ref.get(sent)
          const [recovery] = yield* Effect.timed(
            Effect.repeat(Effect.sleep(20), { until: () => Effect.map(Ref.get(sent), (now) => now > before) }).pipe(
              Effect.timeout("60 seconds")
            )
          )
          recoveries.push(Duration.toMillis(recovery))
        }
        yield* Ref.set(stop, true)
        yield* Fiber.join(sending)
        const total = yield* Ref.get(sent)
        yield* Effect.repeat(Effect.sleep(50), { until: () => Effect.sync(() => new Set(seen).size >= total) }).pipe(
          Effect.timeout("60 seconds")
        )
        yield* Fiber.interrupt(receiving)
        // A message that was delivered and not yet acknowledged when the broker died comes again: the first sight of each counts.
        const first: Array<number> = []
        const known = new Set<number>()
        for (const number of seen) {
          if (!known.has(number)) first.push(number)
          known.add(number)
        }
        assert.deepStrictEqual(first, Array.from({ length: total }, (_, index) => index))
        // What the topic holds, read from its beginning by another: everything once.
        const other = yield* Consumer.make({ topic, subscription: "other", initialPosition: "earliest" })
        const stored: Array<number> = []
        while (stored.length < total) {
          for (const message of yield* other.receiveAll()) stored.push(Number(text(message.value)))
        }
        assert.deepStrictEqual(stored, first)
        assert.deepStrictEqual(yield* other.receiveWithin("500 millis"), [])
        process.stdout.write(
          `${total} messages over ${kills} kills; from "broker serves" to the next receipt: ${
            recoveries.map((millis) => `${Math.round(millis)} ms`).join(", ")
          }\n`
        )
      }).pipe(Effect.provide(client)),
    900_000
  )
})
