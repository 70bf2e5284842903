/**
 * Apache Pulsar is killed with SIGKILL while a producer and a consumer are at work, again and again. `KILLS` sets how often; 20 unless given.
 */
import { assert, describe, layer } from "@effect/vitest"
import { Duration, Effect, Fiber, Layer, Random, Ref, Semaphore } from "effect"
import { Consumer, Producer, PulsarClient } from "../../src/index.ts"
import { PulsarBroker, skipReason } from "../support/PulsarBroker.ts"

const KILLS = Number(process.env["KILLS"] ?? 20)
/** Messages in one `sendAll`, and how many of those are under way. */
const CHUNK = 25
const UNDER_WAY = 4

const number = (bytes: Uint8Array): number => new DataView(bytes.buffer, bytes.byteOffset).getUint32(0)

const payload = (value: number): Uint8Array => {
  const bytes = new Uint8Array(100)
  new DataView(bytes.buffer).setUint32(0, value)
  return bytes
}

const Peer = PulsarBroker.layer()
const Client = Layer.unwrap(
  Effect.map(
    PulsarBroker,
    ({ serviceUrl }) => PulsarClient.layer({ serviceUrl, backoff: { initial: "50 millis", max: "500 millis" } })
  )
).pipe(Layer.provideMerge(Peer))

const median = (values: ReadonlyArray<number>): number => values.toSorted((a, b) => a - b)[values.length >>> 1] ?? 0

describe.skipIf(skipReason() !== undefined)("a broker that is killed", () => {
  layer(Client, { timeout: "5 minutes", excludeTestServices: true })((it) => {
    it.effect(
      `${KILLS} times loses no acknowledged message, repeats none, and keeps the order`,
      () =>
        Effect.gen(function*() {
          const broker = yield* PulsarBroker
          const { connections } = yield* PulsarClient
          const topic = `persistent://${yield* broker.namespace({ deduplication: true })}/kill`
          // Keeps everything until the end, and is what the outcome is judged by.
          yield* Effect.scoped(Consumer.make({ topic, subscription: "audit", initialPosition: "earliest" }))
          const producer = yield* Producer.make({ topic, name: "only", sendTimeout: 0, maxPending: 1000 })
          const consumer = yield* Consumer.make({ topic, subscription: "live", initialPosition: "earliest" })

          const stop = yield* Ref.make(false)
          const room = yield* Semaphore.make(UNDER_WAY)
          const stored: Array<number> = []
          const trouble: Array<string> = []
          let sent = 0
          const sendChunk = Effect.suspend(() => {
            const values = Array.from({ length: CHUNK }, () => sent++)
            return producer.sendAll(values.map((value) => ({ value: payload(value) }))).pipe(
              Effect.tap(() => Effect.sync(() => stored.push(...values))),
              Effect.catch((error) => Effect.sync(() => trouble.push(error.message))),
              Effect.ensuring(room.release(1))
            )
          })
          const producing = yield* Effect.gen(function*() {
            while (!(yield* Ref.get(stop))) {
              yield* room.take(1)
              // Started at once, so that chunks are queued in the order of their numbers.
              yield* Effect.forkScoped(sendChunk, { startImmediately: true })
              yield* Effect.sleep(1)
            }
          }).pipe(Effect.forkScoped)

          const seen = new Set<number>()
          let last = -1
          let repeats = 0
          const consuming = yield* Effect.gen(function*() {
            while (true) {
              for (const message of yield* consumer.receiveAll()) {
                const value = number(message.value)
                if (seen.has(value)) repeats++
                else {
                  assert.strictEqual(value, last + 1, "the live consumer sees each message for the first time in order")
                  last = value
                  seen.add(value)
                }
                message.ackUnsafe()
              }
            }
          }).pipe(Effect.forkScoped)

          const recovery: Array<number> = []
          for (let kill = 0; kill < KILLS; kill++) {
            yield* Effect.sleep(Duration.millis(yield* Random.nextIntBetween(100, 700)))
            yield* broker.kill
            yield* broker.restart
            const before = { stored: stored.length, seen: seen.size }
            const [duration] = yield* Effect.timed(
              Effect.sync(() => stored.length > before.stored && seen.size > before.seen).pipe(
                Effect.delay(5),
                Effect.repeat({ until: (recovered) => recovered }),
                // More than the minute that a broker gives itself to load a topic (`topicLoadTimeoutSeconds`).
                Effect.timeoutOrElse({
                  duration: "150 seconds",
                  orElse: () =>
                    Effect.flatMap(
                      Effect.all([producer.stats, consumer.stats, connections]),
                      (state) =>
                        Effect.die(
                          new Error(
                            `no work 150 seconds after kill ${kill + 1}: ${stored.length - before.stored} stored, ${
                              seen.size - before.seen
                            } seen, ${JSON.stringify(state)}`
                          )
                        )
                    )
                })
              )
            )
            recovery.push(Duration.toMillis(duration))
          }

          yield* Ref.set(stop, true)
          yield* Fiber.join(producing)
          yield* room.take(UNDER_WAY)
          yield* Effect.sync(() => seen.size).pipe(
            Effect.delay(20),
            Effect.repeat({ until: (count) => count >= stored.length }),
            Effect.timeout("60 seconds")
          )
          yield* Fiber.interrupt(consuming)

          const audit = yield* Consumer.make({ topic, subscription: "audit" })
          const kept: Array<number> = []
          while (kept.length < sent) {
            const messages = yield* audit.receiveWithin("10 seconds", 1000)
            if (messages.length === 0) break
            for (const message of messages) kept.push(number(message.value))
          }
          assert.deepStrictEqual(trouble, [], "every send was acknowledged in the end")
          assert.strictEqual(stored.length, sent)
          assert.deepStrictEqual(kept, Array.from({ length: sent }, (_, at) => at), "stored once each, in order")
          yield* Effect.sync(() =>
            process.stderr.write(
              `${KILLS} kills: ${sent} messages acknowledged and stored once, ${repeats} redelivered to the live consumer; `
                + `work resumed ${median(recovery).toFixed(0)} ms (median), ${
                  Math.max(...recovery).toFixed(0)
                } ms (most) after the broker served\n`
            )
          )
        }).pipe(Effect.scoped),
      { timeout: 120_000 + KILLS * 20_000 }
    )
  })
})
