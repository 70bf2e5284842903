/** Sharp edges of a client, one by one, each as a broker or a wire brings it about. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Logger, Random } from "effect"
import { TestClock } from "effect/testing"
import { Commands } from "@perigee/proto/wire"
import { Consumer, Producer, PulsarClient } from "../../src/index.ts"
import { MemoryBudget } from "../../src/internal/MemoryBudget.ts"
import { TestBroker } from "../../src/testing/index.ts"
import { bytes, layer, text } from "../support/client.ts"
import { ScriptedTransport } from "../support/ScriptedTransport.ts"

const { Type } = Commands
const earliest = { topic: "t", subscription: "s", initialPosition: "earliest" } as const

const pass = (millis: number, step = 50) =>
  Effect.gen(function*() {
    for (let at = 0; at < millis; at += step) yield* TestClock.adjust(step)
  })

const scripted = (options = {}, broker = {}) =>
  PulsarClient.layerTransport({ serviceUrl: "pulsar://broker-0.test:6650", ...options }).pipe(
    Layer.provideMerge(ScriptedTransport.layer),
    Layer.provideMerge(TestBroker.layer(broker))
  )

/** How often commands of a type were written. */
const count = (type: number) =>
  Effect.map(ScriptedTransport, ({ said }) => said.filter(({ command }) => command.type === type).length)

describe("opening", () => {
  it.effect("looks a topic up first, and asks nothing about the partitions of a partition", () =>
    Effect.gen(function*() {
      const { said } = yield* ScriptedTransport
      yield* Producer.make({ topic: "t" })
      yield* Consumer.make(earliest)
      yield* Effect.yieldNow
      const order = said.map(({ command }) => command.type).filter((type) => type !== Type.CONNECT)
      assert.deepStrictEqual(order, [
        Type.PARTITIONED_METADATA,
        Type.LOOKUP,
        Type.PRODUCER,
        Type.PARTITIONED_METADATA,
        Type.LOOKUP,
        Type.SUBSCRIBE,
        Type.FLOW
      ])
      yield* Producer.make({ topic: "t-partition-3" })
      assert.strictEqual(yield* count(Type.PARTITIONED_METADATA), 2)
    }).pipe(Effect.provide(scripted())))
  it.effect("goes through the proxy where the broker says so, with the broker's address and without a scheme", () =>
    Effect.gen(function*() {
      const wire = yield* ScriptedTransport
      const broker = yield* TestBroker
      yield* broker.answerLookups(() => ({
        _tag: "Connect",
        serviceUrl: "pulsar://inside.test:6651",
        throughProxy: true
      }))
      yield* Producer.make({ topic: "t" })
      yield* Producer.make({ topic: "u" })
      const connects = wire.said.filter(({ command }) => command.type === Type.CONNECT)
      assert.deepStrictEqual(
        connects.map(({ address, command }) => [address, command.connect!.proxyToBrokerUrl]),
        [["broker-0.test:6650", ""], ["broker-0.test:6650", "inside.test:6651"]]
      )
    }).pipe(Effect.provide(scripted())))
  it.effect("dials no broker whose address makes no sense", () =>
    Effect.gen(function*() {
      const wire = yield* ScriptedTransport
      const broker = yield* TestBroker
      yield* broker.answerLookups(() => ({ _tag: "Connect", serviceUrl: "ptlsar://broker-1.test:6650" }))
      const opening = yield* Effect.forkChild(Effect.flip(Producer.make({ topic: "t" })), { startImmediately: true })
      yield* pass(31_000, 500)
      assert.include((yield* Fiber.join(opening)).message, "a broker names an address")
      assert.strictEqual(wire.dials, 1)
    }).pipe(Effect.provide(scripted())))
  it.effect("keeps away from a broker that attaches and drops, until the cooldown is over", () =>
    Effect.gen(function*() {
      const wire = yield* ScriptedTransport
      const broker = yield* TestBroker
      yield* Producer.make({ topic: "t" })
      yield* broker.fault({ command: "SEND", times: 3, action: { _tag: "Disconnect" } })
      // Each attach is followed by a send that ends the connection.
      const producer = yield* Producer.make({ topic: "u", batching: false })
      const sending = yield* Effect.forkChild(producer.send(bytes("x")), { startImmediately: true })
      yield* pass(8000)
      const before = wire.dials
      assert.isBelow(before, 5)
      yield* pass(19_000)
      assert.strictEqual(wire.dials, before)
      yield* pass(5000)
      yield* Fiber.join(sending)
    }).pipe(Effect.provide(scripted({
      dropGrace: 100,
      backoff: { initial: "10 millis", max: "20 millis" },
      antiThrash: { attaches: 3, window: 2000, dropWithin: 50, cooldown: 20_000 }
    }))))
})

describe("a handshake", () => {
  it.effect("whose answer is lost is begun again on another connection", () =>
    Effect.gen(function*() {
      const broker = yield* TestBroker
      yield* broker.fault({ command: "CONNECTED", action: { _tag: "Drop" } })
      const opening = yield* Effect.forkChild(Producer.make({ topic: "t" }), { startImmediately: true })
      yield* pass(25_000, 250)
      yield* Fiber.join(opening)
      assert.strictEqual((yield* ScriptedTransport).dials, 2)
    }).pipe(Effect.provide(scripted())))
})

describe("closing", () => {
  it.effect("tells the broker once, however often it is done, and acknowledgements go first", () =>
    Effect.gen(function*() {
      yield* Effect.gen(function*() {
        const producer = yield* Producer.make({ topic: "t", batching: false })
        const consumer = yield* Consumer.make({ ...earliest, ackGroupTime: "1 hour" })
        yield* producer.send(bytes("x"))
        yield* (yield* consumer.receive).ack
        yield* producer.close
        yield* producer.close
        yield* consumer.close
        yield* consumer.close
      }).pipe(Effect.scoped)
      assert.strictEqual(yield* count(Type.CLOSE_PRODUCER), 1)
      assert.strictEqual(yield* count(Type.CLOSE_CONSUMER), 1)
      const { said } = yield* ScriptedTransport
      const end = said.map(({ command }) => command.type).filter((type) =>
        type === Type.ACK || type === Type.CLOSE_CONSUMER
      )
      assert.deepStrictEqual(end, [Type.ACK, Type.CLOSE_CONSUMER])
    }).pipe(Effect.provide(scripted())))
})

describe("receiving", () => {
  it.effect("drains a backlog far larger than the queue, over a close by the broker in the middle", () =>
    Effect.gen(function*() {
      const broker = yield* TestBroker
      const producer = yield* Producer.make({ topic: "t", maxPending: 10_000 })
      const all = Array.from({ length: 2000 }, (_, at) => `${at}`)
      const sending = yield* Effect.forkChild(producer.sendAll(all.map((value) => ({ value: bytes(value) }))), {
        startImmediately: true
      })
      yield* pass(100)
      yield* Fiber.join(sending)
      for (const acking of [true, false]) {
        const consumer = yield* Consumer.make({
          topic: "t",
          subscription: `acking ${acking}`,
          type: "failover",
          initialPosition: "earliest",
          receiverQueue: 10
        })
        const seen = new Set<string>()
        const reading = yield* Effect.forkChild(
          Effect.gen(function*() {
            while (seen.size < 2000) {
              for (const message of yield* consumer.receiveAll(7)) {
                seen.add(text(message.value))
                if (acking) message.ackUnsafe()
              }
              // The broker is given its turns.
              yield* Effect.sleep(1)
            }
          }),
          { startImmediately: true }
        )
        yield* pass(100, 5)
        yield* broker.unload("t")
        yield* pass(6000, 5)
        assert.isDefined(reading.pollUnsafe(), `${seen.size} of 2000`)
        assert.deepStrictEqual([...seen], all)
      }
    }).pipe(Effect.provide(layer())))
  it.effect("recovers from a grant that the broker never saw, is not fooled by a topic without backlog, and says so", () =>
    Effect.gen(function*() {
      const broker = yield* TestBroker
      const producer = yield* Producer.make({ topic: "t", batching: false })
      yield* broker.fault({ command: "FLOW", action: { _tag: "Drop" } })
      const events: Array<string> = []
      const options = { ...earliest, stallTimeout: "10 seconds" } as const
      const consumer = yield* Consumer.make({ ...options, onEvent: ({ event }) => events.push(event._tag) })
      const idle = yield* Consumer.make({ ...options, topic: "idle" })
      yield* producer.send(bytes("x"))
      yield* pass(9900)
      assert.deepStrictEqual(yield* consumer.receiveWithin(0), [])
      yield* pass(500)
      assert.strictEqual(text((yield* consumer.receive).value), "x")
      assert.include(events, "ConsumerStalled")
      assert.strictEqual((yield* consumer.stats).stalls, 1)
      assert.strictEqual(yield* count(Type.SUBSCRIBE), 3)
      yield* pass(30_000, 500)
      assert.isAtLeast((yield* idle.stats).stalls, 1)
      assert.strictEqual(yield* count(Type.SUBSCRIBE), 3, "a silent topic without backlog is left alone")
    }).pipe(Effect.provide(scripted())))
})

describe("what cannot be understood", () => {
  it.effect("ends the connection, and the next one goes on with everything", () =>
    Effect.gen(function*() {
      const wire = yield* ScriptedTransport
      const broker = yield* TestBroker
      const producer = yield* Producer.make({ topic: "t", name: "p", batching: false })
      const consumer = yield* Consumer.make(earliest)
      const garbage = [
        Uint8Array.of(0, 0, 0, 0),
        Uint8Array.of(0xff, 0xff, 0xff, 0xff),
        Uint8Array.of(0, 0, 0, 6, 0, 0, 0, 200, 1, 2),
        Uint8Array.of(0, 0, 0, 7, 0, 0, 0, 3, 8, 0xff, 0xff)
      ]
      for (const [at, bad] of garbage.entries()) {
        wire.inject = bad
        const sending = yield* Effect.forkChild(producer.send(bytes(`${at}`)), { startImmediately: true })
        yield* pass(2000)
        yield* Fiber.join(sending)
        const message = yield* consumer.receive
        assert.strictEqual(text(message.value), `${at}`)
        yield* message.ackConfirmed
      }
      assert.strictEqual(wire.dials, 1 + garbage.length)
      assert.lengthOf(yield* broker.stored("t"), garbage.length)
    }).pipe(Effect.provide(scripted({}, { deduplication: true }))))
  it.effect("by its checksum is dropped with one line that has both sums, and the connection stays", () => {
    const lines: Array<string> = []
    const logger = Logger.make(({ message }) => lines.push(JSON.stringify(message)))
    return Effect.gen(function*() {
      const broker = yield* TestBroker
      const producer = yield* Producer.make({ topic: "t", batching: false })
      const consumer = yield* Consumer.make(earliest)
      yield* broker.fault({ command: "MESSAGE", action: { _tag: "Corrupt" } })
      for (const value of ["bent", "good"]) yield* producer.send(bytes(value))
      assert.strictEqual(text((yield* consumer.receive).value), "good")
      const told = lines.filter((line) => line.includes("checksum"))
      assert.lengthOf(told, 1)
      assert.match(told[0]!, /"expected":"[0-9a-f]+","computed":"[0-9a-f]+"/)
      assert.strictEqual((yield* (yield* PulsarClient).connections)[0]!.sessions, 1)
      assert.strictEqual((yield* consumer.stats).permits, 998)
    }).pipe(Effect.provide(layer()), Effect.provide(Logger.layer([logger])))
  })
})

describe("several producers of a connection", () => {
  it.effect("have sequence ids of their own, in their own order", () =>
    Effect.gen(function*() {
      const producers = yield* Effect.forEach(
        ["p", "q"],
        (name) => Producer.make({ topic: "t", name, batching: false })
      )
      const sending = yield* Effect.forkChild(
        Effect.forEach(
          Array.from({ length: 200 }, (_, at) => at),
          (at) => producers[at % 2]!.send(bytes(`${at}`)),
          { concurrency: "unbounded" }
        ),
        { startImmediately: true }
      )
      yield* pass(100)
      yield* Fiber.join(sending)
      const stored = yield* (yield* TestBroker).stored("t")
      for (const [at, name] of ["p", "q"].entries()) {
        const own = stored.filter(({ producer }) => producer === name)
        assert.deepStrictEqual(
          own.map(({ sequenceId }) => Number(sequenceId)),
          Array.from({ length: 100 }, (_, n) => n)
        )
        assert.deepStrictEqual(own.map(({ payload }) => Number(text(payload))), own.map((_, n) => 2 * n + at))
      }
    }).pipe(Effect.provide(layer())))
})

describe("a budget of memory", () => {
  it.effect("is never overdrawn, wakes everyone who waits, and is whole again at the end", () =>
    Effect.gen(function*() {
      const budget = new MemoryBudget(1000, "wait")
      let most = 0
      let done = 0
      const take = (size: number): Effect.Effect<void> =>
        Effect.suspend(() =>
          budget.reserve(size)
            ? Effect.gen(function*() {
              most = Math.max(most, budget.used)
              yield* Effect.sleep(yield* Random.nextIntBetween(0, 5))
              budget.release(size)
              done++
            })
            : Effect.andThen(budget.wait, take(size))
        )
      const sizes = yield* Effect.forEach(Array.from({ length: 500 }), () => Random.nextIntBetween(1, 900))
      const takers = yield* Effect.forEach(sizes, (size) => Effect.forkChild(take(size), { startImmediately: true }))
      // Some give up while they wait: they hold nothing.
      for (const [at, fiber] of takers.entries()) {
        if (at % 7 === 6 && fiber.pollUnsafe() === undefined) yield* Fiber.interrupt(fiber)
      }
      yield* pass(5000, 5)
      assert.isTrue(takers.every((fiber) => fiber.pollUnsafe() !== undefined))
      assert.isAtMost(most, 1000)
      assert.isAbove(done, 400)
      assert.strictEqual(budget.used, 0)
    }).pipe(Random.withSeed("memory")))
})
