/** Two real ends over links that fail on purpose. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Queue, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import { ConduitHub, type ConduitOptions, LinkSource, MemoryLink, Reconnect, StableConduit } from "../../src/index.ts"
import { FaultLink } from "../../src/testing/index.ts"
import { seeded, text, utf8 } from "../support.ts"

const number = (n: number, size = 4): Uint8Array => {
  const item = new Uint8Array(Math.max(4, size))
  new DataView(item.buffer).setUint32(0, n)
  return item
}
const value = (item: Uint8Array): number => new DataView(item.buffer, item.byteOffset).getUint32(0)

const pair = (options: {
  readonly client?: StableConduit.DialOptions
  readonly server?: ConduitOptions
  readonly capacity?: number
  readonly drain?: string
} = {}) =>
  Effect.gen(function*() {
    const { listener, source } = yield* MemoryLink.make({ capacity: options.capacity })
    const fault = yield* FaultLink.make(source)
    const accepted = yield* Queue.unbounded<StableConduit.StableConduit>()
    const hub = yield* ConduitHub.make({
      ...options.server,
      onConduit: (conduit) => Effect.andThen(Queue.offer(accepted, conduit), conduit.ended)
    })
    yield* hub.serve(listener)
    const client = yield* StableConduit.dial(fault.source, options.client)
    return { fault, hub, client, server: yield* Queue.take(accepted) }
  })

const takeMany = (conduit: StableConduit.StableConduit, count: number) =>
  Stream.runCollect(Stream.take(conduit.receive, count))

describe("faults", () => {
  it.effect("[pair] [pair-reconnect] what was not acknowledged arrives on the next link, in order", () =>
    Effect.gen(function*() {
      const { client, fault, server } = yield* pair()
      yield* client.send(utf8("alpha"))
      assert.strictEqual(text(yield* server.take), "alpha")
      yield* server.send(utf8("pong"))
      assert.strictEqual(text(yield* client.take), "pong")
      yield* client.send(utf8("beta"))
      yield* fault.cut
      yield* client.send(utf8("gamma"))
      assert.deepStrictEqual((yield* takeMany(server, 2)).map(text), ["beta", "gamma"])
    }))

  it.effect("[send-during-reconnect] sends while redialling arrive in order after it", () =>
    Effect.gen(function*() {
      const { client, fault, server } = yield* pair()
      yield* fault.refuse(3)
      yield* fault.cut
      for (let i = 0; i < 500; i++) {
        yield* client.send(number(i))
        if (i % 100 === 0) yield* TestClock.adjust("50 millis")
      }
      const taking = yield* Effect.forkChild(takeMany(server, 500), { startImmediately: true })
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual((yield* Fiber.join(taking)).map(value), Array.from({ length: 500 }, (_, i) => i))
    }))

  it.effect("[many-senders-fail] fifty senders on a dead link: all once, numbers in order", () =>
    Effect.gen(function*() {
      const { client, fault, server } = yield* pair({ client: { window: { frames: 20 } } })
      const senders = yield* Effect.forkChild(
        Effect.forEach(
          Array.from({ length: 50 }, (_, sender) => sender),
          (sender) =>
            Effect.forEach(Array.from({ length: 20 }, (_, i) => i), (i) => client.send(number(sender * 1000 + i))),
          { concurrency: "unbounded" }
        ),
        { startImmediately: true }
      )
      const taking = yield* Effect.forkChild(takeMany(server, 1000), { startImmediately: true })
      for (let i = 0; i < 30; i++) {
        yield* fault.cut
        yield* TestClock.adjust("200 millis")
      }
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(senders)
      const got = (yield* Fiber.join(taking)).map(value)
      assert.strictEqual(new Set(got).size, 1000)
      for (let sender = 0; sender < 50; sender++) {
        assert.deepStrictEqual(
          got.filter((n) => Math.floor(n / 1000) === sender),
          Array.from({ length: 20 }, (_, i) => sender * 1000 + i)
        )
      }
    }))

  it.effect("[late-failure-of-old-link] a report about a replaced link changes nothing", () =>
    Effect.gen(function*() {
      const { client, fault, server } = yield* pair()
      yield* fault.delay(1000)
      yield* client.send(utf8("slow"))
      yield* fault.halfOpen
      yield* fault.delay(0)
      yield* client.kick
      yield* TestClock.adjust("1 second")
      assert.strictEqual(text(yield* server.take), "slow")
      const links = (yield* client.metrics).links
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual((yield* client.metrics).links, links)
    }))

  it.effect("[interrupt-receive] a hundred interruptions, idle and under load, lose nothing and cost no link", () =>
    Effect.gen(function*() {
      const { client, server } = yield* pair()
      const got: Array<number> = []
      let next = 0
      for (let i = 0; i < 100; i++) {
        const taking = yield* Effect.forkChild(server.take, { startImmediately: true })
        if (i % 2 === 1) {
          yield* client.send(number(next++))
          if (i % 4 === 1) yield* Effect.yieldNow
        }
        yield* Fiber.interrupt(taking)
        const exit = taking.pollUnsafe()
        if (exit !== undefined && Exit.isSuccess(exit)) got.push(value(exit.value))
      }
      yield* client.send(number(next++))
      while (got.length < next) got.push(value(yield* server.take))
      assert.deepStrictEqual(got, Array.from({ length: next }, (_, i) => i))
      assert.strictEqual((yield* server.metrics).links, 1)
    }))

  it.effect("[interrupt-reconnector] whoever noticed the failure may go; the others resume", () =>
    Effect.gen(function*() {
      const { client, fault, server } = yield* pair()
      yield* fault.refuse(2)
      const noticing = yield* Effect.forkChild(client.take, { startImmediately: true })
      yield* fault.cut
      yield* Fiber.interrupt(noticing)
      const taking = yield* Effect.forkChild(client.take, { startImmediately: true })
      yield* server.send(utf8("still"))
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual(text(yield* Fiber.join(taking)), "still")
    }))

  it.effect("[interrupt-send] before its number: absent; after it: exactly once", () =>
    Effect.gen(function*() {
      const { client, fault, server } = yield* pair({ client: { window: { frames: 1 }, extensions: false } })
      yield* fault.stall(true)
      yield* client.send(utf8("numbered"))
      const waiting = yield* Effect.forkChild(client.send(utf8("never")), { startImmediately: true })
      const confirming = yield* Effect.forkChild(client.sendConfirmed(utf8("nor this")), { startImmediately: true })
      yield* Fiber.interrupt(waiting)
      yield* Fiber.interrupt(confirming)
      yield* fault.stall(false)
      assert.strictEqual(text(yield* server.take), "numbered")
      yield* server.send(utf8("ack"))
      yield* client.take
      const last = yield* Effect.forkChild(client.sendConfirmed(utf8("last")), { startImmediately: true })
      assert.strictEqual(text(yield* server.take), "last")
      // Numbered, then interrupted: the waiter is gone, the item is not.
      yield* Fiber.interrupt(last)
      yield* fault.cut
      yield* server.send(utf8("ack"))
      yield* client.take
      yield* client.send(utf8("end"))
      assert.strictEqual(text(yield* server.take), "end")
      assert.strictEqual((yield* server.metrics).framesReceived, 3)
    }))

  it.effect("[both-replay-big] both sides hold more than the link does, and both get through", () =>
    Effect.gen(function*() {
      const { client, fault, server } = yield* pair({ capacity: 4096 })
      yield* fault.stall(true)
      for (let i = 0; i < 300; i++) {
        yield* client.send(number(i, 1000))
        yield* server.send(number(i, 1000))
      }
      yield* fault.cut
      yield* fault.stall(false)
      const both = yield* Effect.forkChild(
        Effect.all([takeMany(server, 300), takeMany(client, 300)], { concurrency: "unbounded" }),
        { startImmediately: true }
      )
      yield* TestClock.adjust("10 seconds")
      const [atServer, atClient] = yield* Fiber.join(both)
      const expected = Array.from({ length: 300 }, (_, i) => i)
      assert.deepStrictEqual([atServer.map(value), atClient.map(value)], [expected, expected])
    }))

  it.effect("[source-exhausted] ends everything that waits with the source's error", () =>
    Effect.gen(function*() {
      const [near, far] = yield* MemoryLink.pair()
      const hub = yield* ConduitHub.make({ onConduit: (conduit) => conduit.ended })
      yield* hub.accept(far)
      const client = yield* StableConduit.dial(LinkSource.single(near))
      const waiting = yield* Effect.forkChild(
        Effect.all([Effect.flip(client.take), Effect.flip(client.sendConfirmed(utf8("x")))], {
          concurrency: "unbounded"
        }),
        { startImmediately: true }
      )
      yield* client.kick
      yield* TestClock.adjust("1 minute")
      for (const { reason } of yield* Fiber.join(waiting)) {
        assert.strictEqual(reason._tag === "Exhausted" && reason.cause.reason._tag, "Exhausted")
      }
      assert.strictEqual((yield* Effect.flip(client.send(utf8("y")))).reason._tag, "Exhausted")
      assert.strictEqual((yield* client.currentStatus)._tag, "Lost")
    }))

  it.effect("the policy gives up after its attempts, and says why", () =>
    Effect.gen(function*() {
      const { client, fault } = yield* pair({ client: { retry: Reconnect.times(3) } })
      const statuses: Array<string> = []
      yield* client.status.pipe(
        Stream.runForEach((status) => Effect.sync(() => void statuses.push(status._tag))),
        (run) => Effect.forkChild(run, { startImmediately: true })
      )
      yield* fault.refuse(100)
      yield* fault.cut
      yield* TestClock.adjust("1 minute")
      const { reason } = yield* client.ended
      assert.strictEqual(reason._tag === "Exhausted" && reason.cause.reason._tag, "Open")
      assert.deepStrictEqual(statuses.filter((tag) => tag !== "Reconnecting"), ["Connected", "Lost"])
      assert.strictEqual(statuses.filter((tag) => tag === "Reconnecting").length, 5)
    }))

  it.effect("[replay-bound] a full window waits for an ack, or fails when told to", () =>
    Effect.gen(function*() {
      const { client, server } = yield* pair({ client: { window: { frames: 3 } } })
      for (let i = 0; i < 3; i++) yield* client.send(number(i))
      const waiting = yield* Effect.forkChild(client.send(number(3)), { startImmediately: true })
      yield* TestClock.adjust("1 second")
      assert.isUndefined(waiting.pollUnsafe())
      yield* server.take
      yield* TestClock.adjust("10 millis")
      yield* Fiber.join(waiting)
      const failing = yield* pair({ client: { window: { frames: 1 }, whenFull: "fail" } })
      yield* failing.client.send(number(0))
      assert.strictEqual((yield* Effect.flip(failing.client.send(number(1)))).reason._tag, "WindowFull")
      assert.isFalse(failing.client.sendUnsafe(number(1)))
    }))

  it.effect("an item over the limit fails alone and takes no number", () =>
    Effect.gen(function*() {
      const { client, server } = yield* pair({ client: { maxItemBytes: 100 } })
      assert.deepStrictEqual((yield* Effect.flip(client.send(new Uint8Array(101)))).reason, {
        _tag: "ItemTooLarge",
        bytes: 101,
        limit: 100
      })
      yield* client.send(new Uint8Array(100))
      assert.strictEqual((yield* server.takeNumbered).seq, 0)
    }))

  it.effect("[one-way] a hundred thousand items one way: memory stays bounded by acknowledgements without items", () =>
    Effect.gen(function*() {
      const { client, server } = yield* pair({ client: { window: { frames: 1000 } }, server: { ack: { items: 250 } } })
      let received = 0
      server.subscribeUnsafe((batch) => {
        received += batch.count
      })
      for (let i = 0; i < 100; i++) yield* client.sendAll(Array.from({ length: 1000 }, (_, j) => number(i * 1000 + j)))
      yield* client.drained
      assert.strictEqual(received, 100_000)
      const { links, windowFrames, windowHighWater } = yield* client.metrics
      assert.deepStrictEqual([links, windowFrames], [1, 0])
      assert.isAtMost(windowHighWater, 1000 * 20)
      assert.isAbove((yield* server.metrics).acksSent, 0)
    }))

  it.effect("[one-way] with a peer that acknowledges by items only, a stalled window costs the link, not the memory", () =>
    Effect.gen(function*() {
      const { client, server } = yield* pair({ client: { window: { frames: 100 }, extensions: false } })
      let received = 0
      server.subscribeUnsafe((batch) => {
        received += batch.count
      })
      const sending = yield* Effect.forkChild(
        client.sendAll(Array.from({ length: 1000 }, (_, i) => number(i))),
        { startImmediately: true }
      )
      yield* TestClock.adjust("3 minutes")
      yield* Fiber.join(sending)
      assert.strictEqual(received, 1000)
      assert.isAbove((yield* client.metrics).links, 5)
    }))

  it.effect("a slow consumer stops the sender, end to end, and loses nothing", () =>
    Effect.gen(function*() {
      const { client, server } = yield* pair({
        client: { window: { frames: 50 } },
        server: { receive: { items: 10 } },
        capacity: 1024
      })
      const sending = yield* Effect.forkChild(
        Effect.forEach(Array.from({ length: 500 }, (_, i) => i), (i) => client.send(number(i))),
        { startImmediately: true }
      )
      yield* TestClock.adjust("1 minute")
      assert.isUndefined(sending.pollUnsafe())
      assert.isAtMost((yield* server.metrics).queuedItems, 70)
      const taking = yield* Effect.forkChild(takeMany(server, 500), { startImmediately: true })
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual((yield* Fiber.join(taking)).map(value), Array.from({ length: 500 }, (_, i) => i))
    }))

  it.effect("consume acknowledges when the handler has succeeded, not before", () =>
    Effect.gen(function*() {
      const { client, server } = yield* pair()
      const gate = yield* Queue.unbounded<void>()
      yield* Effect.forkChild(server.consume(() => Queue.take(gate)), { startImmediately: true })
      const confirming = yield* Effect.forkChild(client.sendConfirmed(utf8("x")), { startImmediately: true })
      yield* TestClock.adjust("1 minute")
      assert.isUndefined(confirming.pollUnsafe())
      yield* Queue.offer(gate, undefined)
      yield* TestClock.adjust("10 millis")
      yield* Fiber.join(confirming)
    }))

  it.effect("a confirmation waits for the consumer also over a resume, whose hello says only what was received", () =>
    Effect.gen(function*() {
      const { client, fault, server } = yield* pair()
      const gate = yield* Queue.unbounded<void>()
      const handled: Array<string> = []
      yield* Effect.forkChild(
        server.consume((batch) =>
          Effect.andThen(Queue.take(gate), Effect.sync(() => handled.push(...batch.toArray().map(text))))
        ),
        { startImmediately: true }
      )
      const confirming = yield* Effect.forkChild(client.sendConfirmed(utf8("x")), { startImmediately: true })
      yield* TestClock.adjust("1 second")
      yield* fault.cut
      yield* TestClock.adjust("1 minute")
      // The peer has it, so it need not be kept for replay; its consumer is not done with it.
      const { links, windowFrames } = yield* client.metrics
      assert.deepStrictEqual([links, windowFrames], [2, 0])
      assert.isUndefined(confirming.pollUnsafe())
      yield* Queue.offer(gate, undefined)
      yield* TestClock.adjust("10 millis")
      yield* Fiber.join(confirming)
      assert.deepStrictEqual(handled, ["x"])
      // An acknowledgement that dies with its link is said again on the next one.
      yield* fault.stall(true)
      const again = yield* Effect.forkChild(client.sendConfirmed(utf8("y")), { startImmediately: true })
      yield* fault.stall(false)
      yield* Queue.offer(gate, undefined)
      yield* fault.halfOpen
      yield* TestClock.adjust("1 second")
      yield* client.kick
      yield* TestClock.adjust("1 minute")
      yield* Fiber.join(again)
    }))

  it.effect.each([["naked", 0], ["naked", 40], ["session", 0], ["session", 40]] as const)(
    "[duplicate-accept] dials that arrive twice, %s, the copy %i ms later: nothing lost, nothing twice",
    ([style, after]) =>
      Effect.gen(function*() {
        const { client, fault, hub, server } = yield* pair({ client: { style } })
        const taking = yield* Effect.forkChild(takeMany(server, 200), { startImmediately: true })
        for (let i = 0; i < 200; i++) {
          if (i % 40 === 20) {
            yield* fault.duplicate(1, after)
            yield* fault.cut
          }
          yield* client.send(number(i))
          yield* TestClock.adjust("20 millis")
        }
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual((yield* Fiber.join(taking)).map(value), Array.from({ length: 200 }, (_, i) => i))
        // A copy takes over like any newer link, or comes too late for its key.
        const { conduits, created, rejected, resumed } = yield* hub.metrics
        assert.isAtLeast(resumed + rejected, 10)
        assert.deepStrictEqual([conduits, created], [1, 1])
      })
  )

  it.effect("[duplicate-accept] a fresh dial that arrives twice leaves an orphan, which expires", () =>
    Effect.gen(function*() {
      const { listener, source } = yield* MemoryLink.make()
      const fault = yield* FaultLink.make(source)
      const hub = yield* ConduitHub.make({
        keep: { time: "1 minute" },
        onConduit: (conduit) => Stream.runForEach(conduit.receive, (item) => conduit.send(item))
      })
      yield* hub.serve(listener)
      yield* fault.duplicate(1)
      const client = yield* StableConduit.dial(fault.source)
      yield* client.send(utf8("only once"))
      assert.strictEqual(text(yield* client.take), "only once")
      assert.strictEqual((yield* hub.metrics).conduits, 2)
      // The copy is silent from now on: its link dies of the keepalive, and its conduit of its age.
      yield* TestClock.adjust("3 minutes")
      const { conduits, expired } = yield* hub.metrics
      assert.deepStrictEqual([conduits, expired], [1, 1])
      yield* client.send(utf8("still here"))
      assert.strictEqual(text(yield* client.take), "still here")
    }))

  it.effect("keepalive: a link that goes silent is replaced, both ways of noticing it", () =>
    Effect.gen(function*() {
      const { client, fault, server } = yield* pair()
      yield* fault.halfOpen
      yield* client.send(utf8("into the void"))
      yield* TestClock.adjust("24 seconds")
      assert.strictEqual((yield* client.metrics).links, 1)
      yield* TestClock.adjust("3 seconds")
      assert.strictEqual(text(yield* server.take), "into the void")
      assert.strictEqual((yield* client.metrics).links, 2)
    }))

  it.effect("[close-while-reconnecting] no further dial; receive ends with Closed", () =>
    Effect.gen(function*() {
      const { client, fault } = yield* pair()
      yield* fault.refuse(1000)
      const taking = yield* Effect.forkChild(Effect.flip(client.take), { startImmediately: true })
      yield* fault.cut
      yield* TestClock.adjust("1 second")
      yield* client.close()
      assert.strictEqual((yield* Fiber.join(taking)).reason._tag, "Closed")
      yield* fault.refuse(0)
      const links = yield* fault.links
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(yield* fault.links, links)
      assert.strictEqual((yield* Effect.flip(client.send(utf8("x")))).reason._tag, "Closed")
    }))

  it.effect("[drain] close waits for the peer to have everything, also over a cut; a drain that is late says so", () =>
    Effect.gen(function*() {
      const { client, fault, server } = yield* pair()
      for (let i = 0; i < 100; i++) yield* client.send(number(i))
      yield* fault.refuse(2)
      yield* fault.cut
      const closing = yield* Effect.forkChild(client.close({ drain: "1 minute" }), { startImmediately: true })
      const taking = yield* Effect.forkChild(Stream.runCollect(server.receive), { startImmediately: true })
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(closing)
      assert.strictEqual((yield* Fiber.join(taking)).length, 100)
      assert.strictEqual((yield* server.ended).reason._tag, "PeerClosed")
      const late = yield* pair()
      yield* late.client.send(utf8("nobody takes this"))
      const failing = yield* Effect.forkChild(Effect.flip(late.client.close({ drain: "2 seconds" })), {
        startImmediately: true
      })
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual((yield* Fiber.join(failing)).reason, { _tag: "DrainTimeout", unconfirmed: 1 })
    }))

  it.effect("stop is not disconnect: closing the scope tells the peer, a lost link never does", () =>
    Effect.gen(function*() {
      const { listener, source } = yield* MemoryLink.make()
      const accepted = yield* Queue.unbounded<StableConduit.StableConduit>()
      const hub = yield* ConduitHub.make({
        onConduit: (conduit) => Effect.andThen(Queue.offer(accepted, conduit), conduit.ended)
      })
      yield* hub.serve(listener)
      const scope = yield* Scope.make()
      const client = yield* StableConduit.dial(source).pipe(Scope.provide(scope))
      const server = yield* Queue.take(accepted)
      yield* client.kick
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* server.currentStatus)._tag, "Resumed")
      yield* client.send(utf8("last words"))
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual((yield* Stream.runCollect(server.receive)).map(text), ["last words"])
      assert.strictEqual((yield* server.ended).reason._tag, "PeerClosed")
    }))

  // Cuts at any byte, stalls, delays and refusals, both directions at once, on virtual time.
  it.effect.each(Array.from({ length: 60 }, (_, seed) => seed))(
    "[random-faults] delivered = sent (seed %i)",
    (seed) =>
      Effect.gen(function*() {
        const random = seeded(seed)
        const wrap = seed % 4 === 0
        const first = (0x1_0000_0000 - 150) >>> 0
        const options = wrap ? { start: { nextSeq: first, received: first - 1 } } : {}
        const { client, fault, server } = yield* pair({
          capacity: 200 + random.below(5000),
          client: { window: { frames: 5 + random.below(100) }, ...options },
          server: { window: { frames: 5 + random.below(100) }, receive: { items: 1 + random.below(50) }, ...options }
        })
        yield* fault.plan(() => ({
          sent: random.below(3) === 0 ? undefined : random.below(4000),
          received: random.below(3) === 0 ? undefined : random.below(4000)
        }))
        yield* fault.cut
        const count = 400
        const sizes = Array.from(
          { length: count },
          () => random.below(20) === 0 ? random.below(3000) : random.below(60)
        )
        const sendAll = (conduit: StableConduit.StableConduit) =>
          Effect.forEach(sizes, (size, i) => conduit.send(number(i, size)))
        const work = yield* Effect.forkChild(
          Effect.all([sendAll(client), sendAll(server), takeMany(client, count), takeMany(server, count)], {
            concurrency: "unbounded"
          }),
          { startImmediately: true }
        )
        for (let step = 0; step < 150 && work.pollUnsafe() === undefined; step++) {
          switch (random.below(8)) {
            case 0:
              yield* fault.cut
              break
            case 1:
              yield* fault.stall(true)
              yield* TestClock.adjust(random.below(300))
              yield* fault.stall(false)
              break
            case 2:
              yield* fault.delay(random.below(20))
              break
            case 3:
              yield* fault.halfOpen
              yield* client.kick
              break
            case 4:
              yield* fault.refuse(random.below(4))
          }
          yield* TestClock.adjust(random.below(400))
        }
        // The faults stop: what remains must arrive.
        yield* fault.plan(() => ({}))
        yield* fault.delay(0)
        yield* fault.refuse(0)
        yield* client.kick
        yield* TestClock.adjust("2 minutes")
        const [, , atClient, atServer] = yield* Fiber.join(work)
        const expected = Array.from({ length: count }, (_, i) => i)
        assert.deepStrictEqual(atClient.map(value), expected)
        assert.deepStrictEqual(atServer.map(value), expected)
        assert.strictEqual((yield* client.metrics).gaps + (yield* server.metrics).gaps, 0)
      })
  )
})
