/** The acceptor: routing, takeover, rotation, rejection, retention. Hand-played initiators. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Queue, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import { ConduitHub, Frame, Hello, type HubOptions, LinkSource, MemoryLink, StableConduit } from "../../src/index.ts"
import { clientHello, H1, key, rejection, scripted, type ScriptedPeer, serverHello } from "../scripted.ts"
import { hex, text, unhex, utf8 } from "../support.ts"

const frame = (seq: number, ack: number | undefined, item: string) => hex(Frame.encode({ seq, ack, item: utf8(item) }))
const keyOf = (hello: string): string => {
  const decoded = Hello.decodeServer(unhex(hello))
  return typeof decoded === "string" ? assert.fail(decoded) : hex(decoded.key)
}

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
    const hello = (peer: ScriptedPeer, bytes: string) => Effect.andThen(peer.send(bytes), peer.next)
    return { hub, conduits: Queue.take(conduits), connect, hello }
  })

describe("acceptor hub", () => {
  it.effect("a fresh hello makes a conduit; its key brings the peer back to it and to no other", () =>
    Effect.gen(function*() {
      const { conduits, connect, hello, hub } = yield* start()
      const [left, right] = [yield* connect, yield* connect]
      const leftKey = keyOf(yield* hello(left, H1))
      const rightKey = keyOf(yield* hello(right, H1))
      const [leftConduit, rightConduit] = [yield* conduits, yield* conduits]
      yield* leftConduit.send(utf8("for left"))
      yield* rightConduit.send(utf8("for right"))
      yield* left.cut
      yield* right.cut
      // [cross-key]
      const again = yield* connect
      const answer = yield* hello(again, clientHello(rightKey))
      assert.notStrictEqual(keyOf(answer), rightKey)
      assert.strictEqual(yield* again.next, frame(0, undefined, "for right"))
      const other = yield* connect
      yield* hello(other, clientHello(leftKey))
      assert.strictEqual(yield* other.next, frame(0, undefined, "for left"))
      const { conduits: count, created, resumed } = yield* hub.metrics
      assert.deepStrictEqual([count, created, resumed], [2, 2, 2])
    }))

  it.effect("[unknown-key] is rejected and closed; no conduit is made, no other is touched", () =>
    Effect.gen(function*() {
      const { connect, hello, hub } = yield* start()
      const honest = yield* connect
      const honestKey = keyOf(yield* hello(honest, H1))
      const forged = honestKey.slice(0, 30) + (honestKey.endsWith("00") ? "01" : "00")
      for (const presented of [key(7), forged, "00".repeat(16)]) {
        const stranger = yield* connect
        assert.strictEqual(yield* hello(stranger, clientHello(presented, 3)), rejection)
        assert.strictEqual(yield* stranger.closed, "Ended")
      }
      const nonsense = yield* connect
      const flags = unhex(H1)
      flags[4] = 2
      assert.strictEqual(yield* hello(nonsense, hex(flags)), rejection)
      const { conduits, detached, rejected } = yield* hub.metrics
      assert.deepStrictEqual([conduits, detached, rejected], [1, 0, 4])
      yield* honest.send(frame(0, undefined, "still here"))
    }))

  it.effect("[half-open] a new link takes over at once from one that looks healthy", () =>
    Effect.gen(function*() {
      const { conduits, connect, hello } = yield* start()
      const old = yield* connect
      const first = keyOf(yield* hello(old, H1))
      const conduit = yield* conduits
      const fresh = yield* connect
      yield* hello(fresh, clientHello(first))
      assert.strictEqual(yield* old.closed, "Ended")
      yield* conduit.send(utf8("over the new one"))
      assert.strictEqual(yield* fresh.next, frame(0, undefined, "over the new one"))
      yield* old.send(frame(0, undefined, "from the grave"))
      yield* fresh.send(frame(0, undefined, "alive"))
      assert.strictEqual(text(yield* conduit.take), "alive")
    }))

  it.effect("[rotation-race] a key stays good while no newer one is proven, and dies when one is", () =>
    Effect.gen(function*() {
      const { conduits, connect, hello } = yield* start()
      let peer = yield* connect
      const first = keyOf(yield* hello(peer, H1))
      yield* conduits
      yield* peer.cut
      // Three answers in a row are lost with their links.
      for (let i = 0; i < 3; i++) {
        peer = yield* connect
        yield* peer.send(clientHello(first))
        yield* peer.next
        yield* peer.cut
      }
      peer = yield* connect
      const newest = keyOf(yield* hello(peer, clientHello(first)))
      // Proven by the first frame over its link.
      yield* peer.send(frame(0, undefined, "x"))
      yield* Effect.yieldNow
      const thief = yield* connect
      assert.strictEqual(yield* hello(thief, clientHello(first)), rejection)
      yield* peer.cut
      const back = yield* connect
      assert.notStrictEqual(yield* hello(back, clientHello(newest, undefined)), rejection)
    }))

  it.effect("[late-hello] an abandoned dial that speaks last does not cost the conduit", () =>
    Effect.gen(function*() {
      const { conduits, connect, hello } = yield* start()
      const one = yield* connect
      const first = keyOf(yield* hello(one, H1))
      const conduit = yield* conduits
      for (const word of ["a", "b"]) yield* conduit.send(utf8(word))
      yield* one.next
      yield* one.next
      yield* one.cut
      const abandoned = yield* connect
      const two = yield* connect
      // The newer dial has received 1, so 0 and 1 are gone here; the abandoned one had received nothing.
      const second = keyOf(yield* hello(two, clientHello(first, 1)))
      assert.strictEqual(yield* hello(abandoned, clientHello(first)), rejection)
      yield* conduit.send(utf8("c"))
      assert.strictEqual(yield* two.next, frame(2, undefined, "c"))
      yield* two.cut
      const three = yield* connect
      assert.strictEqual((yield* hello(three, clientHello(second, 2))).slice(0, 10), "564f534800")
    }))

  it.effect("[fresh-orphan] an unclaimed conduit expires, and so does any detached one: SessionLost", () =>
    Effect.gen(function*() {
      const { conduits, connect, hello, hub } = yield* start({ keep: { time: "1 minute" } })
      const peer = yield* connect
      const orphanKey = keyOf(yield* hello(peer, H1))
      const conduit = yield* conduits
      const waiting = yield* Effect.forkChild(Effect.flip(conduit.take), { startImmediately: true })
      yield* peer.cut
      yield* TestClock.adjust("59 seconds")
      assert.strictEqual((yield* hub.metrics).detached, 1)
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual((yield* hub.metrics).conduits, 0)
      assert.deepStrictEqual((yield* Fiber.join(waiting)).reason, {
        _tag: "SessionLost",
        why: "expired",
        unconfirmed: 0
      })
      const late = yield* connect
      assert.strictEqual(yield* hello(late, clientHello(orphanKey)), rejection)
    }))

  it.effect("retention is bounded in number and in bytes; the longest detached goes first", () =>
    Effect.gen(function*() {
      const { conduits, connect, hello, hub } = yield* start({ keep: { detached: 2, bytes: 100_000 } })
      const all: Array<StableConduit.StableConduit> = []
      for (let i = 0; i < 4; i++) {
        const peer = yield* connect
        yield* hello(peer, H1)
        all.push(yield* conduits)
        yield* peer.cut
        yield* TestClock.adjust("1 second")
      }
      assert.deepStrictEqual(
        yield* Effect.forEach(all, (conduit) => Effect.map(conduit.currentStatus, ({ _tag }) => _tag)),
        ["Lost", "Lost", "Reconnecting", "Reconnecting"]
      )
      yield* all[3]!.send(new Uint8Array(90_000))
      yield* all[2]!.send(new Uint8Array(90_000))
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* all[2]!.currentStatus)._tag, "Lost")
      assert.strictEqual((yield* hub.metrics).detached, 1)
    }))

  it.effect("[server-restart] an old client of a new hub is refused: SessionLost, not a black hole", () =>
    Effect.gen(function*() {
      const { listener, source } = yield* MemoryLink.make()
      const echo = (peer: StableConduit.StableConduit) =>
        peer.receive.pipe(Stream.runForEach((item) => peer.send(item)))
      const scope = yield* Scope.make()
      const first = yield* ConduitHub.make({ onConduit: echo, extensions: false }).pipe(Scope.provide(scope))
      yield* first.serve(listener)
      const conduit = yield* StableConduit.dial(source, { extensions: false })
      yield* conduit.send(utf8("a"))
      yield* conduit.take
      yield* Scope.close(scope, Exit.void)
      const second = yield* ConduitHub.make({ onConduit: echo })
      yield* second.serve(listener)
      yield* conduit.kick
      const waiting = yield* Effect.forkChild(Effect.flip(conduit.take), { startImmediately: true })
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual((yield* Fiber.join(waiting)).reason._tag, "SessionLost")
    }))

  it.effect("links that never say hello are bounded in time and in number, and cost nobody else", () =>
    Effect.gen(function*() {
      const { connect, hello, hub } = yield* start({ maxOpening: 100, helloTimeout: "5 seconds" })
      const honest = yield* connect
      yield* hello(honest, H1)
      const silent = yield* Effect.forEach(Array.from({ length: 10_000 }), () => connect)
      assert.strictEqual((yield* hub.metrics).opening, 100)
      assert.strictEqual(yield* silent[0]!.closed, "Ended")
      yield* TestClock.adjust("6 seconds")
      assert.strictEqual((yield* hub.metrics).opening, 0)
      assert.strictEqual(yield* silent[9_999]!.closed, "Ended")
      const { conduits, malformed } = yield* hub.metrics
      assert.deepStrictEqual([conduits, malformed], [1, 10_000])
      const late = yield* connect
      assert.strictEqual((yield* hello(late, H1)).slice(0, 8), "564f5348")
    }))

  it.effect.each(["00", "564f5348".padEnd(50, "0"), H1.slice(2), `${H1}00`, "a1664c657473476fa0", "564f544808010000"])(
    "[bad-hello] %s closes the link and nothing else",
    (bytes) =>
      Effect.gen(function*() {
        const { connect, hello, hub } = yield* start()
        const bad = yield* connect
        yield* bad.send(bytes)
        assert.strictEqual(yield* bad.closed, "Ended")
        assert.deepStrictEqual(yield* bad.pending, [])
        assert.strictEqual((yield* hub.metrics).malformed, 1)
        const good = yield* connect
        assert.strictEqual((yield* hello(good, H1)).slice(0, 8), "564f5348")
      })
  )

  it.effect("a peer that breaks the protocol ends its own conduit only", () =>
    Effect.gen(function*() {
      const { conduits, connect, hello, hub } = yield* start()
      const [bad, good] = [yield* connect, yield* connect]
      yield* hello(bad, H1)
      yield* hello(good, H1)
      const [first, second] = [yield* conduits, yield* conduits]
      yield* bad.send("0002")
      assert.strictEqual((yield* Effect.flip(first.take)).reason._tag, "ProtocolViolation")
      yield* good.send(frame(0, undefined, "fine"))
      assert.strictEqual(text(yield* second.take), "fine")
      assert.strictEqual((yield* hub.metrics).conduits, 1)
    }))

  it.effect("a peer that never acknowledges stops its own sender, not the hub", () =>
    Effect.gen(function*() {
      const { conduits, connect, hello } = yield* start({ window: { frames: 4 }, stall: "1 hour" })
      const [mute, good] = [yield* connect, yield* connect]
      yield* hello(mute, H1)
      yield* hello(good, H1)
      const [toMute, toGood] = [yield* conduits, yield* conduits]
      for (let i = 0; i < 4; i++) yield* toMute.send(utf8("x"))
      const blocked = yield* Effect.forkChild(toMute.send(utf8("y")), { startImmediately: true })
      yield* TestClock.adjust("1 minute")
      assert.isUndefined(blocked.pollUnsafe())
      yield* toGood.send(utf8("z"))
      assert.strictEqual(yield* good.next, frame(0, undefined, "z"))
      yield* Fiber.interrupt(blocked)
      assert.strictEqual((yield* toMute.metrics).waitingSenders, 0)
    }))

  it.effect("[role-flip] an attachment that carries a ClientHello is a violation for an initiator", () =>
    Effect.gen(function*() {
      const [near] = yield* MemoryLink.pair()
      const source = LinkSource.fromAttachments([{
        link: near,
        clientHello: { key: undefined, lastReceived: undefined, extensions: false }
      }])
      const { reason } = yield* Effect.flip(StableConduit.dial(source))
      assert.strictEqual(reason._tag === "ProtocolViolation" && reason.violation._tag, "RoleFlip")
    }))

  it.effect("a handler that fails ends its conduit and tells the peer; one that succeeds drains and closes", () =>
    Effect.gen(function*() {
      const { listener, source } = yield* MemoryLink.make()
      const hub = yield* ConduitHub.make({
        onConduit: (conduit) =>
          Effect.gen(function*() {
            const item = yield* conduit.take
            if (text(item) === "fail") return yield* Effect.fail("on purpose")
            yield* conduit.send(item)
          })
      })
      yield* hub.serve(listener)
      const failing = yield* StableConduit.dial(source)
      yield* failing.send(utf8("fail"))
      assert.deepStrictEqual((yield* Effect.flip(failing.take)).reason, {
        _tag: "SessionLost",
        why: "peer-aborted",
        unconfirmed: 1
      })
      const finishing = yield* StableConduit.dial(source)
      yield* finishing.send(utf8("bye"))
      const taking = yield* Effect.forkChild(Stream.runCollect(finishing.receive), { startImmediately: true })
      for (let i = 0; i < 3; i++) yield* TestClock.adjust("10 millis")
      assert.deepStrictEqual((yield* Fiber.join(taking)).map(text), ["bye"])
      assert.strictEqual((yield* finishing.ended).reason._tag, "PeerClosed")
      assert.strictEqual((yield* hub.metrics).conduits, 0)
    }))
})

describe("hellos of several kinds", () => {
  it.effect("the extension bit is answered only when asked, and only when allowed", () =>
    Effect.gen(function*() {
      const asking = hex(Hello.encodeClient({ key: undefined, lastReceived: undefined, extensions: true }))
      const flagsOf = (options: Partial<HubOptions<never, never>>, hello: string) =>
        Effect.gen(function*() {
          const hub = yield* start(options)
          const peer = yield* hub.connect
          return unhex(yield* hub.hello(peer, hello))[4]
        })
      assert.strictEqual(yield* flagsOf({ extensions: true }, asking), 4)
      assert.strictEqual(yield* flagsOf({ extensions: true }, H1), 0)
      assert.strictEqual(yield* flagsOf({ extensions: false }, asking), 0)
      assert.strictEqual(serverHello(key(1)).slice(8, 10), "00")
    }))
})
