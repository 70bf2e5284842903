/** Prologue, session handshake, keepalive by items, bare conduits, proxies. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Queue, Stream } from "effect"
import { TestClock } from "effect/testing"
import {
  BareConduit,
  ConduitHub,
  Handshake,
  type HubOptions,
  Keepalive,
  MemoryLink,
  Message,
  Prologue,
  Proxy,
  StableConduit
} from "../../src/index.ts"
import { FaultLink } from "../../src/testing/index.ts"
import { clientHello, H1, key, scripted, scriptedAcceptor, serverHello } from "../scripted.ts"
import { hex, text, utf8 } from "../support.ts"

const stableHello = hex(Prologue.hello("stable"))
const stableAccept = hex(Prologue.accept("stable"))
const sessionHello = hex(Handshake.encode({ _tag: "Hello", settings: Handshake.settings() }))
const helloYourself = hex(
  Handshake.encode({ _tag: "HelloYourself", settings: Handshake.settings({ parity: "Even" }) })
)
const letsGo = "a1664c657473476fa0"

describe("session style, initiator", () => {
  it.effect("first link: prologue, handshake, hello; later links: prologue, hello (T7)", () =>
    Effect.gen(function*() {
      const acceptor = yield* scriptedAcceptor
      const dialling = yield* Effect.forkChild(
        StableConduit.dial(acceptor.source, { style: "session", extensions: false }),
        { startImmediately: true }
      )
      const peer = yield* acceptor.accept
      assert.strictEqual(yield* peer.next, stableHello)
      yield* peer.send(stableAccept)
      assert.strictEqual(yield* peer.next, sessionHello)
      yield* peer.send(helloYourself)
      assert.strictEqual(yield* peer.next, letsGo)
      assert.strictEqual(yield* peer.next, H1)
      yield* peer.send(serverHello(key(1)))
      const conduit = yield* Fiber.join(dialling)
      assert.strictEqual((yield* conduit.peerSession)?.parity, "Even")
      yield* conduit.send(utf8("x"))
      yield* peer.next
      yield* peer.cut
      const second = yield* acceptor.accept
      assert.strictEqual(yield* second.next, stableHello)
      yield* second.send(stableAccept)
      assert.strictEqual(yield* second.next, clientHello(key(1)))
      yield* second.send(serverHello(key(2)))
      assert.strictEqual(yield* second.next, "00000100000078")
    }))

  it.effect.each(
    [
      ["a reject", hex(Prologue.reject()), "Rejected"],
      ["another mode", hex(Prologue.accept("bare")), "Protocol"],
      ["another version", "564f544108010000", "Protocol"],
      ["garbage", "0011", "Protocol"]
    ] as const
  )("prologue answered with %s fails with a type", ([, answer, tag]) =>
    Effect.gen(function*() {
      const acceptor = yield* scriptedAcceptor
      const dialling = yield* Effect.forkChild(
        Effect.flip(StableConduit.dial(acceptor.source, { style: "session", retryFirst: false })),
        { startImmediately: true }
      )
      const peer = yield* acceptor.accept
      yield* peer.send(answer)
      const { reason } = yield* Fiber.join(dialling)
      assert.strictEqual(reason._tag === "Exhausted" && reason.cause.reason._tag, tag)
    }))

  it.effect("[prologue-timeout] a silent acceptor is a timeout that names the step", () =>
    Effect.gen(function*() {
      const acceptor = yield* scriptedAcceptor
      const dialling = yield* Effect.forkChild(
        Effect.flip(
          StableConduit.dial(acceptor.source, { style: "session", retryFirst: false, helloTimeout: "50 millis" })
        ),
        { startImmediately: true }
      )
      yield* acceptor.accept
      yield* TestClock.adjust("50 millis")
      const { reason } = yield* Fiber.join(dialling)
      assert.deepStrictEqual(reason._tag === "Exhausted" && reason.cause.reason, { _tag: "Timeout", step: "prologue" })
    }))

  it.effect("Sorry is a rejection with its reason", () =>
    Effect.gen(function*() {
      const acceptor = yield* scriptedAcceptor
      const dialling = yield* Effect.forkChild(Effect.flip(StableConduit.dial(acceptor.source, { style: "session" })), {
        startImmediately: true
      })
      const peer = yield* acceptor.accept
      yield* peer.send(stableAccept)
      yield* peer.send(hex(Handshake.encode({ _tag: "Sorry", reason: "closed on Sundays" })))
      const { reason } = yield* Fiber.join(dialling)
      assert.deepStrictEqual(reason._tag === "Exhausted" && reason.cause.reason, {
        _tag: "Rejected",
        why: "closed on Sundays"
      })
    }))
})

describe("session style, acceptor", () => {
  const start = (options: Partial<HubOptions<never, never>> = {}) =>
    Effect.gen(function*() {
      const conduits = yield* Queue.unbounded<StableConduit.StableConduit>()
      const hub = yield* ConduitHub.make({
        extensions: false,
        onConduit: (conduit) => Effect.andThen(Queue.offer(conduits, conduit), conduit.ended),
        ...options
      })
      const connect = Effect.gen(function*() {
        const [near, far] = yield* MemoryLink.pair()
        const peer = yield* scripted(near)
        yield* hub.accept(far)
        return peer
      })
      return { hub, connect, conduits: Queue.take(conduits) }
    })

  it.effect("tells a CBOR Hello from a ClientHello after the prologue, so that a session can resume", () =>
    Effect.gen(function*() {
      const { conduits, connect } = yield* start()
      const peer = yield* connect
      yield* peer.send(stableHello)
      assert.strictEqual(yield* peer.next, stableAccept)
      yield* peer.send(sessionHello)
      assert.strictEqual(yield* peer.next, helloYourself)
      yield* peer.send(letsGo)
      yield* peer.send(H1)
      const first = (yield* peer.next).slice(10, 42)
      const conduit = yield* conduits
      assert.strictEqual((yield* conduit.peerSession)?.parity, "Odd")
      yield* conduit.send(utf8("x"))
      yield* peer.next
      yield* peer.cut
      const again = yield* connect
      yield* again.send(stableHello)
      assert.strictEqual(yield* again.next, stableAccept)
      yield* again.send(clientHello(first))
      assert.strictEqual((yield* again.next).slice(0, 10), "564f534800")
      assert.strictEqual(yield* again.next, "00000100000078")
    }))

  it.effect("[prologue-reject] bare is refused with an answer; anything else without one", () =>
    Effect.gen(function*() {
      const { connect } = yield* start()
      const bare = yield* connect
      yield* bare.send(hex(Prologue.hello("bare")))
      assert.strictEqual(yield* bare.next, hex(Prologue.reject()))
      assert.strictEqual(yield* bare.closed, "Ended")
      for (const bad of ["564f544808010000", "564f544809020000", "564f544109010000"]) {
        const peer = yield* connect
        yield* peer.send(bad)
        assert.strictEqual(yield* peer.closed, "Ended")
        assert.deepStrictEqual(yield* peer.pending, [])
      }
    }))

  it.effect("a session can be refused; a fresh hello needs its handshake; a style can be switched off", () =>
    Effect.gen(function*() {
      const picky = yield* start({
        admit: ({ maxConcurrentRequests }) => maxConcurrentRequests > 1 ? "too many" : undefined
      })
      const refused = yield* picky.connect
      yield* refused.send(stableHello)
      yield* refused.next
      yield* refused.send(sessionHello)
      assert.strictEqual(yield* refused.next, hex(Handshake.encode({ _tag: "Sorry", reason: "too many" })))
      const skipping = yield* picky.connect
      yield* skipping.send(stableHello)
      yield* skipping.next
      yield* skipping.send(H1)
      assert.strictEqual(yield* skipping.closed, "Ended")
      const strict = yield* start({ styles: ["session"] })
      const naked = yield* strict.connect
      yield* naked.send(H1)
      assert.strictEqual(yield* naked.closed, "Ended")
    }))
})

describe("keepalive by items", () => {
  it.effect("pings are answered and hidden, carry acknowledgements, and a missing pong costs the link", () =>
    Effect.gen(function*() {
      const { listener, source } = yield* MemoryLink.make()
      const fault = yield* FaultLink.make(source)
      const accepted = yield* Queue.unbounded<StableConduit.StableConduit>()
      const hub = yield* ConduitHub.make({
        extensions: false,
        onConduit: (conduit) => Effect.andThen(Queue.offer(accepted, conduit), conduit.ended)
      })
      yield* hub.serve(listener)
      const client = yield* StableConduit.dial(fault.source, { extensions: false })
      const server = yield* Queue.take(accepted)
      const fromServer = yield* Keepalive.run(client, { interval: "10 seconds", timeout: "5 seconds" })
      const fromClient = yield* Keepalive.run(server, { interval: "1 hour" })
      const atServer: Array<string> = []
      yield* Effect.forkChild(
        Stream.runForEach(fromClient, (item) => Effect.sync(() => void atServer.push(text(item)))),
        {
          startImmediately: true
        }
      )
      yield* Effect.forkChild(Stream.runDrain(fromServer), { startImmediately: true })
      yield* client.send(utf8("hello"))
      yield* TestClock.adjust("6 seconds")
      assert.deepStrictEqual(atServer, ["hello"])
      assert.strictEqual((yield* client.metrics).windowFrames, 0)
      yield* fault.halfOpen
      yield* TestClock.adjust("15 seconds")
      assert.strictEqual((yield* client.metrics).links, 2)
      yield* client.send(utf8("again"))
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(atServer, ["hello", "again"])
    }))
})

describe("bare conduit", () => {
  const pair = Effect.gen(function*() {
    const [left, right] = yield* MemoryLink.pair()
    return [yield* BareConduit.make(left), yield* BareConduit.make(right)] as const
  })
  it.effect("[bare-one] [bare-ten] [bare-both-ways] items arrive as they are, in order", () =>
    Effect.gen(function*() {
      const [left, right] = yield* pair
      for (let i = 0; i < 10; i++) yield* left.send(utf8(`${i}`))
      yield* right.send(utf8("back"))
      assert.strictEqual(text(yield* left.take), "back")
      const items = yield* Stream.runCollect(Stream.take(right.receive, 10))
      assert.deepStrictEqual(items.map(text), Array.from({ length: 10 }, (_, i) => `${i}`))
    }))
  it.effect("[bare-close] item, then the end; [bare-interleaved] ping-pong", () =>
    Effect.gen(function*() {
      const [left, right] = yield* pair
      for (let i = 0; i < 5; i++) {
        yield* left.send(utf8(`ping ${i}`))
        yield* right.send(yield* right.take)
        assert.strictEqual(text(yield* left.take), `ping ${i}`)
      }
      yield* left.send(utf8("last"))
      yield* left.close
      assert.deepStrictEqual((yield* Stream.runCollect(right.receive)).map(text), ["last"])
      assert.strictEqual((yield* Effect.flip(right.take)).reason._tag, "Ended")
      assert.strictEqual((yield* Effect.flip(left.send(utf8("x")))).reason._tag, "Ended")
    }))
  it.effect("[bare-metadata] a message with metadata keeps keys, values and flags", () =>
    Effect.gen(function*() {
      const [left, right] = yield* pair
      const message: Message.Message = {
        connection: BigInt(4),
        payload: {
          _tag: "ConnectionReject",
          value: { metadata: [{ key: "why", value: { _tag: "String", value: "closed" }, flags: BigInt(1) }] }
        }
      }
      yield* left.send(Message.codec.encode(message))
      assert.deepStrictEqual(Message.codec.decode(yield* right.take), message)
    }))
  it.effect("[prologue-bare] both sides agree; [prologue-reject] stable is refused on both", () =>
    Effect.gen(function*() {
      const [a, b] = yield* MemoryLink.pair()
      const [left, right] = yield* Effect.all([
        BareConduit.make(a, { prologue: "initiate" }),
        BareConduit.make(b, { prologue: "accept" })
      ], { concurrency: "unbounded" })
      yield* left.send(utf8("x"))
      assert.strictEqual(text(yield* right.take), "x")
      const [c, d] = yield* MemoryLink.pair()
      const asking = yield* scripted(c)
      const refusing = yield* Effect.forkChild(Effect.flip(BareConduit.make(d, { prologue: "accept" })), {
        startImmediately: true
      })
      yield* asking.send(stableHello)
      assert.strictEqual((yield* Fiber.join(refusing)).reason._tag, "Rejected")
      assert.strictEqual(yield* asking.next, hex(Prologue.reject()))
    }))
  it.effect("[prologue-timeout] distinct from the end of the link", () =>
    Effect.gen(function*() {
      const [a] = yield* MemoryLink.pair()
      const making = yield* Effect.forkChild(
        Effect.flip(BareConduit.make(a, { prologue: "initiate", prologueTimeoutMillis: 50 })),
        { startImmediately: true }
      )
      yield* TestClock.adjust("50 millis")
      assert.deepStrictEqual((yield* Fiber.join(making)).reason, { _tag: "Timeout", step: "prologue" })
    }))
  it.effect("a payload over the link's limit fails that send", () =>
    Effect.gen(function*() {
      const [a] = yield* MemoryLink.pair({ maxPayload: 10 })
      const conduit = yield* BareConduit.make(a)
      assert.strictEqual((yield* Effect.flip(conduit.send(new Uint8Array(11)))).reason._tag, "PayloadTooLarge")
      yield* conduit.send(new Uint8Array(10))
    }))
})

describe("proxy", () => {
  it.effect("conduit to conduit: each side survives its own cuts, an item is confirmed by the far peer", () =>
    Effect.gen(function*() {
      const back = yield* MemoryLink.make({ description: "back" })
      const front = yield* MemoryLink.make({ description: "front" })
      const [backFault, frontFault] = [yield* FaultLink.make(back.source), yield* FaultLink.make(front.source)]
      const atBack = yield* Queue.unbounded<StableConduit.StableConduit>()
      const server = yield* ConduitHub.make({
        onConduit: (conduit) => Effect.andThen(Queue.offer(atBack, conduit), conduit.ended)
      })
      yield* server.serve(back.listener)
      const proxy = yield* ConduitHub.make({
        onConduit: (near) =>
          Effect.flatMap(StableConduit.dial(backFault.source), (far) => Proxy.conduits(near, far)).pipe(Effect.scoped)
      })
      yield* proxy.serve(front.listener)
      const client = yield* StableConduit.dial(frontFault.source)
      const confirming = yield* Effect.forkChild(client.sendConfirmed(utf8("through")), { startImmediately: true })
      const far = yield* Queue.take(atBack)
      yield* TestClock.adjust("1 second")
      assert.isUndefined(confirming.pollUnsafe(), "the far peer has not taken it")
      assert.strictEqual(text(yield* far.take), "through")
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(confirming)
      const sending = yield* Effect.forkChild(
        Effect.forEach(
          Array.from({ length: 100 }, (_, i) => i),
          (i) => Effect.andThen(client.send(utf8(`${i}`)), Effect.yieldNow)
        ),
        { startImmediately: true }
      )
      const taking = yield* Effect.forkChild(Stream.runCollect(Stream.take(far.receive, 100)), {
        startImmediately: true
      })
      for (let i = 0; i < 10; i++) {
        yield* i % 2 === 0 ? frontFault.cut : backFault.cut
        yield* TestClock.adjust("300 millis")
      }
      yield* Fiber.join(sending)
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual((yield* Fiber.join(taking)).map(text), Array.from({ length: 100 }, (_, i) => `${i}`))
      yield* client.close({ drain: "1 second" })
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual((yield* far.ended).reason._tag, "PeerClosed")
    }))
  it.effect("link to link: hellos and frames pass untouched", () =>
    Effect.gen(function*() {
      const [client, near] = yield* MemoryLink.pair()
      const [far, server] = yield* MemoryLink.pair()
      yield* Effect.forkChild(Effect.scoped(Proxy.links(near, far)), { startImmediately: true })
      const [left, right] = [yield* scripted(client), yield* scripted(server)]
      yield* left.send(H1)
      assert.strictEqual(yield* right.next, H1)
      yield* right.send(serverHello(key(1)))
      assert.strictEqual(yield* left.next, serverHello(key(1)))
      yield* left.cut
      assert.strictEqual(yield* right.closed, "Ended")
    }))
})
