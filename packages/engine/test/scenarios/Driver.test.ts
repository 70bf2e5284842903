/** A connection and its socket when the broker, or the way to it, is at its worst: a socket by hand on the other side. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Fiber, Layer, Logger, Redacted, References } from "effect"
import { Socket } from "effect/socket"
import { TestClock } from "effect/testing"
import { Auth, Consumer, Producer, PulsarClient } from "../../src/index.ts"
import { Connection } from "@perigee/proto"
import { Driver } from "../../src/driver/Driver.ts"
import { TestBroker } from "../../src/testing/index.ts"
import { bytes, layer, text } from "../support/client.ts"
import { ScriptedTransport } from "../support/ScriptedTransport.ts"

const pass = (millis: number, step = 50) =>
  Effect.gen(function*() {
    for (let at = 0; at < millis; at += step) yield* TestClock.adjust(step)
  })

/** The broker in the process behind a transport that a test can spoil. */
const scripted = (options = {}, broker = {}) =>
  PulsarClient.layerTransport({ serviceUrl: "pulsar://broker-0.test:6650", operationTimeout: "3 seconds", ...options })
    .pipe(
      Layer.provideMerge(ScriptedTransport.layer),
      Layer.provideMerge(TestBroker.layer(broker))
    )

describe("a broker that stops reading", () => {
  it.effect("is left after the time of an operation, whatever else goes on, and everything is sent on the next connection", () =>
    Effect.gen(function*() {
      const wire = yield* ScriptedTransport
      const producer = yield* Producer.make({ topic: "t", batching: false, sendTimeout: 0 })
      wire.stuck = true
      const sending = yield* Effect.forkChild(
        Effect.forEach(["a", "b"], (value) => producer.send(bytes(value)), { concurrency: 2 }),
        { startImmediately: true }
      )
      yield* pass(2900)
      assert.strictEqual(wire.dials, 1)
      wire.stuck = false
      yield* pass(1000)
      assert.strictEqual(wire.dials, 2)
      yield* Fiber.join(sending)
      const stored = yield* (yield* TestBroker).stored("t")
      assert.deepStrictEqual(stored.map(({ payload }) => text(payload)), ["a", "b"])
    }).pipe(Effect.provide(scripted())))
  it.effect("and is silent is left when it answers no ping, though a write to it never ends", () =>
    Effect.gen(function*() {
      const wire = yield* ScriptedTransport
      const broker = yield* TestBroker
      const producer = yield* Producer.make({ topic: "t", batching: false, sendTimeout: 0 })
      wire.stuck = true
      yield* broker.fault({ command: "PONG", direction: "outbound", times: Infinity, action: { _tag: "Drop" } })
      const sending = yield* Effect.forkChild(producer.send(bytes("a")), { startImmediately: true })
      yield* pass(9900)
      assert.strictEqual(wire.dials, 1)
      wire.stuck = false
      yield* pass(1000)
      assert.strictEqual(wire.dials, 2)
      yield* Fiber.join(sending)
    }).pipe(Effect.provide(scripted({ keepAlive: "5 seconds", operationTimeout: "10 minutes" }))))
  it.effect("is left after the same time when the connection is closing", () =>
    Effect.gen(function*() {
      const clock = yield* Clock.Clock
      const connection = new Connection()
      const driver = new Driver(connection, () => clock.currentTimeMillisUnsafe(), () => undefined)
      const stuck = Socket.make({
        reader: Effect.succeed({ pull: Effect.never, upgrade: Socket.SocketUpgradeError.unsupported }),
        writer: Effect.succeed({ write: () => Effect.never, writeAll: () => Effect.never })
      })
      yield* Effect.forkScoped(driver.timers)
      const begin = () => connection.begin(driver.now(), { method: "none", data: undefined })
      const session = yield* Effect.forkChild(Effect.scoped(driver.run(stuck, begin, 1000)), {
        startImmediately: true
      })
      connection.close()
      driver.notify()
      yield* TestClock.adjust(1000)
      assert.strictEqual(yield* Fiber.join(session), "the broker did not read for 1000 ms")
    }).pipe(Effect.scoped))
  it.effect("or reads slowly does not keep its answers from being read: writes go in turns of 256 KiB", () =>
    Effect.gen(function*() {
      const wire = yield* ScriptedTransport
      const producer = yield* Producer.make({ topic: "t", batching: false, maxPending: 100 })
      wire.writes.length = 0
      wire.slow = 100
      const sending = yield* Effect.forkChild(
        producer.sendAll(Array.from({ length: 40 }, () => ({ value: new Uint8Array(50_000) }))),
        { startImmediately: true }
      )
      yield* TestClock.adjust(350)
      // Three turns are written, the rest waits: what they carried is acknowledged already.
      const { pending } = yield* producer.stats
      assert.isBelow(pending, 30)
      assert.isAbove(pending, 10)
      yield* pass(2000)
      yield* Fiber.join(sending)
      assert.isAtMost(Math.max(...wire.writes), 256 * 1024 + 60_000)
      assert.isAtLeast(wire.writes.length, 7)
    }).pipe(Effect.provide(scripted())))
})

describe("a pause between dials", () => {
  it.effect("goes on growing while connections break at once, and starts over after one that held", () =>
    Effect.gen(function*() {
      const wire = yield* ScriptedTransport
      const broker = yield* TestBroker
      yield* Producer.make({ topic: "t" })
      yield* broker.fault({ command: "LOOKUP_RESPONSE", times: 5, action: { _tag: "Disconnect" } })
      yield* broker.disconnect()
      yield* pass(12_000, 10)
      const short = wire.times.slice(1).map((at, index) => at - wire.times[index]!)
      // 100 ms doubling, each up to a fifth shorter.
      const pauses = short.slice(1, 5)
      for (let at = 1; at < pauses.length; at++) assert.isAbove(pauses[at]!, 1.3 * pauses[at - 1]!)
      const before = wire.times.length
      yield* broker.disconnect()
      yield* pass(200, 10)
      assert.strictEqual(
        wire.times.length,
        before + 1,
        "after a session that held the first pause is the shortest again"
      )
    }).pipe(Effect.provide(scripted({ operationTimeout: "30 seconds" }))))
})

describe("one connection", () => {
  it.effect("serves all that ask for it at once; more only where options say so", () =>
    Effect.gen(function*() {
      const wire = yield* ScriptedTransport
      yield* Effect.all(Array.from({ length: 8 }, (_, at) => Producer.make({ topic: `t${at}` })), {
        concurrency: "unbounded"
      })
      assert.strictEqual(wire.dials, 1)
    }).pipe(Effect.provide(scripted())))
  it.effect("more where options say so, in turn", () =>
    Effect.gen(function*() {
      const wire = yield* ScriptedTransport
      for (let at = 0; at < 6; at++) yield* Producer.make({ topic: `t${at}` })
      assert.strictEqual(wire.dials, 3)
      const { connections } = yield* PulsarClient
      assert.deepStrictEqual((yield* connections).map(({ residents }) => residents), [2, 2, 2])
    }).pipe(Effect.provide(scripted({ connectionsPerBroker: 3 }))))
})

describe("a lookup", () => {
  it.effect("that is sent around in a circle ends, and says so", () =>
    Effect.gen(function*() {
      const broker = yield* TestBroker
      yield* broker.answerLookups((_, at) => ({ _tag: "Redirect", serviceUrl: `pulsar://broker-${1 - at}.test:6650` }))
      const opening = yield* Effect.forkChild(Effect.flip(Producer.make({ topic: "t" })), { startImmediately: true })
      yield* pass(31_000, 500)
      const error = yield* Fiber.join(opening)
      assert.include(error.message, "redirects")
    }).pipe(Effect.provide(layer({}, { brokers: 2 }))))
})

describe("a topic that migrates", () => {
  it.effect("is followed to a cluster that is allowed, twice in a row, and to no other", () =>
    Effect.gen(function*() {
      const broker = yield* TestBroker
      const producer = yield* Producer.make({ topic: "t", batching: false })
      const consumer = yield* Consumer.make({ topic: "t", subscription: "s", initialPosition: "earliest" })
      const homes = Effect.map((yield* PulsarClient).connections, (all) =>
        all.filter(({ residents }) => residents > 0).map(({ address }) => address))
      assert.deepStrictEqual(yield* homes, ["broker-0.test:6650"])
      yield* broker.migrate("t", "pulsar://elsewhere.test:6650")
      yield* pass(1000)
      assert.deepStrictEqual(yield* homes, ["broker-0.test:6650"])
      for (const at of [1, 0]) {
        yield* broker.assign("t", at)
        yield* broker.migrate("t", `pulsar://broker-${at}.test:6650`)
        yield* pass(1000)
        assert.deepStrictEqual(yield* homes, [`broker-${at}.test:6650`])
        const sending = yield* Effect.forkChild(producer.send(bytes(`at ${at}`)), { startImmediately: true })
        yield* pass(500)
        yield* Fiber.join(sending)
        const message = yield* consumer.receive
        assert.strictEqual(text(message.value), `at ${at}`)
        yield* message.ackConfirmed
      }
    }).pipe(Effect.provide(
      layer({ migrationHosts: ["broker-0.test", "broker-1.test"] }, { brokers: 2 })
    )))
})

describe("what is logged", () => {
  it.effect("says where and why, and neither a token nor a payload", () => {
    const lines: Array<string> = []
    const logger = Logger.make(({ fiber, message }) => lines.push(`${JSON.stringify(message)} ${fiber.id}`))
    return Effect.gen(function*() {
      const broker = yield* TestBroker
      const producer = yield* Producer.make({ topic: "t", batching: false })
      yield* producer.send(bytes("pay10ad"))
      yield* broker.challenge
      yield* broker.disconnect()
      yield* pass(1000)
      yield* broker.kill()
      yield* pass(3000)
      assert.isTrue(lines.some((line) => line.includes("broker-0.test:6650")), lines.join("\n"))
      assert.isFalse(lines.some((line) => /t0psecret|pay10ad/.test(line)), lines.join("\n"))
    }).pipe(
      Effect.provide(layer({ auth: Auth.token(Redacted.make("t0psecret")) }, { tokens: ["t0psecret"] })),
      Effect.provide(Logger.layer([logger])),
      Effect.provideService(References.MinimumLogLevel, "Trace")
    )
  })
})
