import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Redacted } from "effect"
import { TestClock } from "effect/testing"
import { Auth, Consumer, Producer, PulsarClient, type PulsarError } from "../../src/index.ts"
import { TestBroker } from "../../src/testing/index.ts"
import { bytes, layer, text, transport } from "../support/client.ts"

/** Runs something that needs time to pass, a step at a time. */
const passing = <A, E, R>(effect: Effect.Effect<A, E, R>, step: number, steps: number): Effect.Effect<A, E, R> =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(effect, { startImmediately: true })
    for (let count = 0; count < steps && fiber.pollUnsafe() === undefined; count++) yield* TestClock.adjust(step)
    return yield* Fiber.join(fiber)
  })

const stored = (topic: string) =>
  Effect.flatMap(
    TestBroker,
    (broker) => Effect.map(broker.stored(topic), (entries) => entries.map(({ payload }) => text(payload)))
  )

describe("a lost connection", () => {
  it.effect("is dialed again; what had no receipt is sent again, in order, once by deduplication", () =>
    Effect.gen(function*() {
      const broker = yield* TestBroker
      const producer = yield* Producer.make({ topic: "t", name: "p", batching: false })
      const consumer = yield* Consumer.make({ topic: "t", subscription: "s", initialPosition: "earliest" })
      // The receipts of the first three are lost with the connection.
      yield* broker.fault({ command: "SEND_RECEIPT", times: 3, action: { _tag: "Drop" } })
      const sends = yield* Effect.forkChild(
        Effect.forEach(["a", "b", "c", "d"], (value) => producer.send(bytes(value)), { concurrency: "unbounded" }),
        { startImmediately: true }
      )
      yield* TestClock.adjust(10)
      yield* broker.disconnect()
      assert.isFalse(yield* producer.isConnected)
      const receipts = yield* passing(Fiber.join(sends), 100, 100)
      assert.strictEqual(receipts.length, 4)
      assert.deepStrictEqual(yield* stored("t"), ["a", "b", "c", "d"])
      const seen: Array<string> = []
      while (seen.length < 4) {
        for (const message of yield* passing(consumer.receiveAll(), 100, 100)) {
          seen.push(text(message.value))
          message.ackUnsafe()
        }
      }
      assert.deepStrictEqual(seen, ["a", "b", "c", "d"])
      const [connection] = yield* (yield* PulsarClient).connections
      assert.strictEqual(connection!.sessions, 2)
    }).pipe(Effect.provide(layer({}, { deduplication: true }))))

  it.effect("delivers again what was not acknowledged, and nothing that was", () =>
    Effect.gen(function*() {
      const broker = yield* TestBroker
      const producer = yield* Producer.make({ topic: "t", batching: false })
      const consumer = yield* Consumer.make({ topic: "t", subscription: "s", initialPosition: "earliest" })
      for (const value of ["a", "b", "c"]) yield* producer.send(bytes(value))
      const [a, b] = yield* consumer.receiveAll()
      yield* a!.ackConfirmed
      assert.strictEqual(text(b!.value), "b")
      yield* broker.restart()
      const again = [yield* passing(consumer.receive, 100, 200), yield* passing(consumer.receive, 100, 200)]
      assert.deepStrictEqual(again.map(({ value }) => text(value)), ["b", "c"])
    }).pipe(Effect.provide(layer())))

  it.effect("while the broker is down, sends wait, and end at their time", () =>
    Effect.gen(function*() {
      const broker = yield* TestBroker
      const producer = yield* Producer.make({ topic: "t", batching: false, sendTimeout: "5 seconds" })
      yield* broker.kill()
      const error = yield* passing(Effect.flip(producer.send(bytes("x"))), 500, 11)
      assert.deepStrictEqual(error.reason._tag, "NotDone")
      const fiber = yield* Effect.forkChild(producer.send(bytes("y")), { startImmediately: true })
      yield* broker.start()
      yield* passing(Fiber.join(fiber), 500, 20)
      assert.deepStrictEqual(yield* stored("t"), ["y"])
      const { notDone, stored: done } = yield* producer.stats
      assert.deepStrictEqual([notDone, done], [1, 1])
    }).pipe(Effect.provide(layer())))

  it.effect("without an answer ends as unknown", () =>
    Effect.gen(function*() {
      const broker = yield* TestBroker
      const producer = yield* Producer.make({ topic: "t", batching: false, sendTimeout: "5 seconds" })
      yield* broker.fault({ command: "SEND_RECEIPT", times: Infinity, action: { _tag: "Drop" } })
      const error = yield* passing(Effect.flip(producer.send(bytes("x"))), 1000, 6)
      assert.strictEqual(error.reason._tag, "Unknown")
      assert.deepStrictEqual(yield* stored("t"), ["x"])
    }).pipe(Effect.provide(layer())))
})

describe("a broker that never comes back", () => {
  it.effect("is given up after the attempts allowed: what was pending ends, and what follows fails", () =>
    Effect.gen(function*() {
      const broker = yield* TestBroker
      const producer = yield* Producer.make({ topic: "t", batching: false, sendTimeout: 0 })
      const consumer = yield* Consumer.make({ topic: "t", subscription: "s" })
      yield* broker.fault({ command: "SEND_RECEIPT", times: 1, action: { _tag: "Drop" } })
      const written = yield* Effect.forkChild(Effect.flip(producer.send(bytes("x"))), { startImmediately: true })
      yield* TestClock.adjust(10)
      assert.strictEqual(text((yield* consumer.receive).value), "x")
      const receiving = yield* Effect.forkChild(Effect.flip(consumer.receive), { startImmediately: true })
      yield* broker.kill()
      const waiting = yield* Effect.forkChild(Effect.flip(producer.send(bytes("y"))), { startImmediately: true })
      const unknown = yield* passing(Fiber.join(written), 500, 100)
      assert.strictEqual(unknown.reason._tag, "Unknown")
      assert.strictEqual((yield* Fiber.join(waiting)).reason._tag, "NotDone")
      const later = yield* passing(Effect.flip(producer.send(bytes("z"))), 500, 100)
      assert.strictEqual(later.reason._tag, "NotDone")
      assert.strictEqual((yield* Fiber.join(receiving)).reason._tag, "Connect")
    }).pipe(Effect.provide(layer({ maxAttempts: 3 }))))
})

describe("a topic that moves", () => {
  it.effect("is followed to its new broker, told or not", () =>
    Effect.gen(function*() {
      const broker = yield* TestBroker
      yield* broker.createTopic("t")
      yield* broker.assign("t", 0)
      const producer = yield* Producer.make({ topic: "t", batching: false })
      const consumer = yield* Consumer.make({ topic: "t", subscription: "s", initialPosition: "earliest" })
      for (const [index, tell] of [true, false].entries()) {
        yield* broker.unload("t", { to: 1 - index, tell })
        yield* passing(producer.send(bytes(`${index}`)), 100, 100)
        const message = yield* passing(consumer.receive, 100, 100)
        assert.strictEqual(text(message.value), `${index}`)
        yield* message.ackConfirmed
      }
      assert.isAtLeast((yield* (yield* PulsarClient).connections).length, 2)
    }).pipe(Effect.provide(layer({}, { brokers: 2 }))))

  it.effect("is found over redirects", () =>
    Effect.gen(function*() {
      const broker = yield* TestBroker
      yield* broker.createTopic("t")
      yield* broker.assign("t", 2)
      const producer = yield* Producer.make({ topic: "t", batching: false })
      yield* producer.send(bytes("x"))
      assert.deepStrictEqual(yield* stored("t"), ["x"])
    }).pipe(Effect.provide(layer({}, { brokers: 3 }))))

  it.effect("is retried while the broker is not ready, within the time of an operation", () =>
    Effect.gen(function*() {
      const broker = yield* TestBroker
      yield* broker.fault({ command: "PRODUCER", times: 3, action: { _tag: "Reject", code: "ServiceNotReady" } })
      const producer = yield* passing(Producer.make({ topic: "t", batching: false }), 200, 50)
      yield* producer.send(bytes("x"))
      yield* broker.fault({
        command: "SUBSCRIBE",
        times: Infinity,
        action: { _tag: "Reject", code: "ServiceNotReady" }
      })
      const error = yield* passing(Effect.flip(Consumer.make({ topic: "t", subscription: "s" })), 1000, 31)
      assert.strictEqual(error.reason._tag, "Timeout")
      assert.include(error.message, "ServiceNotReady")
      yield* broker.clearFaults
      yield* broker.fault({ command: "SUBSCRIBE", action: { _tag: "Reject", code: "AuthorizationError" } })
      const refused = yield* Effect.flip(Consumer.make({ topic: "t", subscription: "s" }))
      assert.include(refused.message, "AuthorizationError")
    }).pipe(Effect.provide(layer())))
})

describe("no broker", () => {
  const reasonOf = (error: PulsarError) => error.reason._tag

  it.effect("at the address ends as a timeout that says why", () =>
    Effect.gen(function*() {
      const error = yield* passing(Effect.flip(Producer.make({ topic: "t" })), 1000, 31)
      assert.strictEqual(reasonOf(error), "Timeout")
      assert.include(error.message, "nowhere.test:6650")
    }).pipe(Effect.provide(layer({ serviceUrl: "pulsar://nowhere.test" }))))

  it.effect("at the first address, but at the second", () =>
    Effect.gen(function*() {
      const producer = yield* passing(Producer.make({ topic: "t", batching: false }), 100, 20)
      yield* producer.send(bytes("x"))
    }).pipe(Effect.provide(layer({ serviceUrl: "pulsar://nowhere.test,broker-0.test" }))))

  it.effect("that accepts and is silent holds nobody longer than an operation", () =>
    Effect.gen(function*() {
      const broker = yield* TestBroker
      yield* broker.fault({ command: "CONNECT", times: Infinity, action: { _tag: "Drop" } })
      const error = yield* passing(Effect.flip(Producer.make({ topic: "t" })), 1000, 31)
      assert.strictEqual(reasonOf(error), "Timeout")
    }).pipe(Effect.provide(layer())))

  it.effect("for bad options: nothing is dialed", () =>
    Effect.gen(function*() {
      const urls = ["http://x", "pulsar://", "pulsar://a:0", ""]
      for (const serviceUrl of urls) {
        const error = yield* Effect.flip(Effect.provide(PulsarClient, PulsarClient.layer({ serviceUrl })))
        assert.strictEqual(reasonOf(error), "InvalidOptions", serviceUrl)
      }
      const bad = [
        Producer.make({ topic: "a/b" }),
        Producer.make({ topic: "t", maxPending: 0 }),
        Producer.make({ topic: "t", batching: { maxMessages: 1 } }),
        Consumer.make({ topic: "t", subscription: "" }),
        Consumer.make({ topic: "t", subscription: "s", receiverQueue: -1 }),
        Consumer.make({ topic: "t", subscription: "s", ackTimeout: 10 }),
        Consumer.make({ topic: "t", subscription: "s", deadLetter: { maxRedeliveries: 1 } })
      ]
      for (const make of bad) {
        assert.strictEqual(
          reasonOf(yield* Effect.flip(make as Effect.Effect<never, PulsarError, never>)),
          "InvalidOptions"
        )
      }
      assert.deepStrictEqual(yield* (yield* PulsarClient).connections, [])
    }).pipe(Effect.provide(layer())))
})

describe("credentials", () => {
  const secret = Redacted.make("t0psecret")

  it.effect("are sent, asked for again, and refused in words without the secret", () =>
    Effect.gen(function*() {
      const broker = yield* TestBroker
      const producer = yield* Producer.make({ topic: "t", batching: false })
      yield* broker.challenge
      yield* producer.send(bytes("x"))
      assert.strictEqual((yield* (yield* PulsarClient).connections)[0]!.sessions, 1)
    }).pipe(Effect.provide(layer({ auth: Auth.token(secret) }, { tokens: ["t0psecret"] }))))

  it.effect("that are wrong fail at once", () =>
    Effect.gen(function*() {
      const error = yield* passing(Effect.flip(Producer.make({ topic: "t" })), 1000, 40)
      assert.include(JSON.stringify(error.message), "uthentication")
      assert.notInclude(error.message, "t0psecret")
    }).pipe(Effect.provide(layer({ auth: Auth.token(secret) }, { tokens: ["other"] }))))

  it.effect("that cannot be had fail at once, without their provider's words", () =>
    Effect.gen(function*() {
      const error = yield* passing(Effect.flip(Producer.make({ topic: "t" })), 1000, 40)
      assert.include(error.message, "no token credentials")
      assert.notInclude(error.message, "t0psecret")
    }).pipe(Effect.provide(layer({ auth: Auth.token(Effect.fail({ message: "vault says t0psecret" })) }))))
})

describe("bounds", () => {
  it.effect("of pending messages make a send wait, or fail", () =>
    Effect.gen(function*() {
      const broker = yield* TestBroker
      const waiting = yield* Producer.make({ topic: "t", batching: false, maxPending: 2 })
      const failing = yield* Producer.make({ topic: "t", batching: false, maxPending: 2, whenFull: "fail" })
      yield* broker.fault({ command: "SEND_RECEIPT", times: Infinity, action: { _tag: "Delay", millis: 1000 } })
      const all = yield* Effect.forkChild(
        Effect.forEach([1, 2, 3, 4, 5], (n) => waiting.send(bytes(`${n}`)), { concurrency: "unbounded" }),
        { startImmediately: true }
      )
      assert.strictEqual((yield* waiting.stats).pending, 2)
      yield* passing(Fiber.join(all), 500, 20)
      yield* Effect.forkChild(Effect.all([failing.send(bytes("a")), failing.send(bytes("b"))], { concurrency: 2 }), {
        startImmediately: true
      })
      const error = yield* Effect.flip(failing.send(bytes("c")))
      assert.include(error.message, "too many")
      yield* TestClock.adjust(2000)
    }).pipe(Effect.provide(layer())))

  it.effect("of memory are the client's, and are given back", () =>
    Effect.gen(function*() {
      const broker = yield* TestBroker
      const client = yield* PulsarClient
      const producer = yield* Producer.make({ topic: "t", batching: false })
      yield* broker.fault({ command: "SEND_RECEIPT", times: 2, action: { _tag: "Delay", millis: 1000 } })
      const first = yield* Effect.forkChild(producer.send(bytes("x".repeat(80))), { startImmediately: true })
      assert.strictEqual(yield* client.pendingBytes, 80)
      const error = yield* Effect.flip(producer.send(bytes("x".repeat(80))))
      assert.strictEqual(error.reason._tag, "NotDone")
      yield* passing(Fiber.join(first), 500, 4)
      assert.strictEqual(yield* client.pendingBytes, 0)
    }).pipe(Effect.provide(layer({ memoryLimit: 100, whenMemoryFull: "fail" }))))
})

describe("leaving", () => {
  it.effect("a scope sends what is open, closes at the broker, and hangs up", () =>
    Effect.gen(function*() {
      const broker = yield* TestBroker
      yield* Effect.scoped(Effect.gen(function*() {
        const producer = yield* Producer.make({ topic: "t", batching: { maxDelay: "1 hour" } })
        yield* Consumer.make({ topic: "t", subscription: "s" })
        yield* Effect.forkChild(producer.send(bytes("last")), { startImmediately: true })
      })).pipe(Effect.provide(Layer.fresh(PulsarClient.layerTransport({ serviceUrl: "pulsar://broker-0.test" }))))
      assert.deepStrictEqual(yield* stored("t"), ["last"])
      const stats = yield* broker.stats("t")
      assert.deepStrictEqual([stats.producers.length, stats.subscriptions["s"]!.consumers.length], [0, 0])
      assert.strictEqual(yield* broker.connections, 0)
    }).pipe(Effect.provide(transport.pipe(Layer.provideMerge(TestBroker.layer())))))

  it.effect("an interrupted open leaves no name behind; an interrupted receive loses nothing", () =>
    Effect.gen(function*() {
      const broker = yield* TestBroker
      yield* broker.fault({ command: "PRODUCER_SUCCESS", action: { _tag: "Drop" } })
      const opening = yield* Effect.forkChild(Effect.scoped(Producer.make({ topic: "t", name: "n" })), {
        startImmediately: true
      })
      yield* Effect.repeat(TestClock.adjust(1), { times: 20 })
      yield* Fiber.interrupt(opening)
      const producer = yield* passing(Producer.make({ topic: "t", name: "n", batching: false }), 500, 20)
      const consumer = yield* Consumer.make({ topic: "t", subscription: "s", initialPosition: "earliest" })
      const receiving = yield* Effect.forkChild(consumer.receive, { startImmediately: true })
      yield* Fiber.interrupt(receiving)
      yield* producer.send(bytes("x"))
      assert.strictEqual(text((yield* consumer.receive).value), "x")
    }).pipe(Effect.provide(layer())))
})
