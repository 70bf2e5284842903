/** What goes over the wire, byte by byte, with the other end played by hand. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { Codec, Frame, Postcard, Reconnect, StableConduit } from "../../src/index.ts"
import { FaultLink } from "../../src/testing/index.ts"
import vectors from "../../vectors.json" with { type: "json" }
import { clientHello, H1, key, rejection, scriptedAcceptor, serverHello } from "../scripted.ts"
import { hex, text, unhex, utf8 } from "../support.ts"

const strings = Postcard.codec(Postcard.string)
/** As the Rust crate behaves: nothing but what is in the protocol, no keepalive, gaps tolerated. */
const plain: StableConduit.DialOptions = { extensions: false, keepalive: false }
const frame = (seq: number, ack: number | undefined, item: string) => hex(Frame.encode({ seq, ack, item: utf8(item) }))

const start = (options: StableConduit.DialOptions = {}) =>
  Effect.gen(function*() {
    const acceptor = yield* scriptedAcceptor
    const dialling = yield* Effect.forkChild(StableConduit.dial(acceptor.source, { ...plain, ...options }), {
      startImmediately: true
    })
    const peer = yield* acceptor.accept
    const hello = yield* peer.next
    yield* peer.send(serverHello(key(1)))
    return { acceptor, peer, hello, conduit: yield* Fiber.join(dialling) }
  })

describe("stable conduit on the wire", () => {
  it.effect("[first-send] one frame, number 0, no ack", () =>
    Effect.gen(function*() {
      const { conduit, hello, peer } = yield* start()
      assert.strictEqual(hello, H1)
      yield* Codec.typed(conduit, strings).send("hello")
      assert.strictEqual(yield* peer.next, "0000060000000568656c6c6f")
    }))

  for (
    const [name, tag] of [["T1", "replay-unacked"], ["T2", "no-replay-when-all-acked"], ["T4", "rejected"]] as const
  ) {
    it.effect(`[${tag}] transcript ${name}, byte for byte`, () =>
      Effect.gen(function*() {
        const steps = vectors.transcripts[name]
        const acceptor = yield* scriptedAcceptor
        const conduit = yield* StableConduit.dial(acceptor.source, { ...plain, background: true })
        const typed = Codec.typed(conduit, strings)
        const words: Record<string, ReadonlyArray<string>> = {
          T1: ["alpha", "beta", "gamma"],
          T2: ["alpha", "beta", "gamma"],
          T4: ["alpha"]
        }
        let link = 1
        let word = 0
        let peer = yield* acceptor.accept
        for (const step of steps) {
          if (step.link !== link) {
            link = step.link
            yield* peer.cut
            peer = yield* acceptor.accept
          }
          if (step.from === "acceptor") {
            yield* peer.send(step.hex)
            const isFrame = typeof Frame.decode(unhex(step.hex)) !== "string"
            if (isFrame) yield* typed.take
            continue
          }
          const decoded = Frame.decode(unhex(step.hex))
          if (typeof decoded !== "string" && decoded.seq === word) yield* typed.send(words[name]![word++]!)
          assert.strictEqual(yield* peer.next, step.hex, step.note)
        }
        assert.deepStrictEqual(yield* peer.pending, [])
        if (name === "T4") {
          const error = yield* Effect.flip(conduit.take)
          assert.deepStrictEqual(error.reason, { _tag: "SessionLost", why: "rejected", unconfirmed: 1 })
        }
      }))
  }

  it.effect("[key-presented] every reconnect shows the key of the last ServerHello", () =>
    Effect.gen(function*() {
      const { acceptor, conduit, peer } = yield* start()
      let current = peer
      for (let n = 1; n < 6; n++) {
        yield* current.send(frame(n - 1, undefined, "ok"))
        yield* conduit.take
        yield* current.cut
        current = yield* acceptor.accept
        assert.strictEqual(yield* current.next, clientHello(key(n), n - 1))
        yield* current.send(serverHello(key(n + 1)))
      }
    }))

  it.effect("[duplicates-dropped] 0, 0, 1 arrive; 0 and 1 are delivered (T3)", () =>
    Effect.gen(function*() {
      const { conduit, peer } = yield* start()
      yield* peer.send("000006000000056669727374")
      yield* peer.send("0000100000000f6475706c69636174652d6669727374")
      yield* peer.send("010007000000067365636f6e64")
      const typed = Codec.typed(conduit, strings)
      assert.deepStrictEqual([yield* typed.take, yield* typed.take], ["first", "second"])
      assert.strictEqual((yield* conduit.metrics).duplicates, 1)
    }))

  it.effect("[rejected] a pending receive fails, and [session-lost-sticky] everything after, without dialling", () =>
    Effect.gen(function*() {
      const { acceptor, conduit, peer } = yield* start()
      const taking = yield* Effect.forkChild(Effect.flip(conduit.take), { startImmediately: true })
      const confirming = yield* Effect.forkChild(Effect.flip(conduit.sendConfirmed(utf8("x"))), {
        startImmediately: true
      })
      yield* peer.cut
      const second = yield* acceptor.accept
      yield* second.send(rejection)
      const lost = yield* Fiber.join(taking)
      assert.strictEqual(lost.reason._tag, "SessionLost")
      assert.strictEqual(yield* Fiber.join(confirming), lost)
      const dials = yield* acceptor.dials
      yield* TestClock.adjust("1 minute")
      for (
        const again of [conduit.take, conduit.send(utf8("y")), conduit.sendConfirmed(utf8("y")), conduit.takeBatch]
      ) {
        assert.strictEqual(yield* Effect.flip(again as Effect.Effect<unknown, StableConduit.ConduitError>), lost)
      }
      assert.strictEqual(yield* acceptor.dials, dials)
      assert.deepStrictEqual((yield* conduit.unconfirmed).map(text), ["x"])
    }))

  it.effect("[first-ack-zero] ack 0 and last-received 0 are said, not left out", () =>
    Effect.gen(function*() {
      const { acceptor, conduit, peer } = yield* start()
      yield* peer.send(frame(0, undefined, "a"))
      yield* conduit.take
      yield* conduit.send(utf8("hi"))
      assert.strictEqual(yield* peer.next, "000100020000006869")
      yield* peer.cut
      const second = yield* acceptor.accept
      assert.strictEqual(yield* second.next, clientHello(key(1), 0))
    }))

  it.effect("[wrap-send] [wrap-reconnect] numbers and hellos across the wrap", () =>
    Effect.gen(function*() {
      const { acceptor, conduit, peer } = yield* start({ start: { nextSeq: 4294967294, received: 4294967293 } })
      for (const word of ["a", "b", "c", "d"]) yield* conduit.send(utf8(word))
      const seqs: Array<number> = []
      for (let i = 0; i < 4; i++) seqs.push((Frame.decode(unhex(yield* peer.next)) as Frame.Frame).seq)
      assert.deepStrictEqual(seqs, [4294967294, 4294967295, 0, 1])
      for (const [seq, word] of [[4294967294, "p"], [4294967295, "q"]] as const) {
        yield* peer.send(frame(seq, undefined, word))
      }
      assert.deepStrictEqual([text(yield* conduit.take), text(yield* conduit.take)], ["p", "q"])
      yield* peer.cut
      const second = yield* acceptor.accept
      assert.strictEqual(yield* second.next, clientHello(key(1), 4294967295))
      yield* second.send(serverHello(key(2), 4294967295))
      const replayed: Array<number> = []
      for (let i = 0; i < 2; i++) replayed.push((Frame.decode(unhex(yield* second.next)) as Frame.Frame).seq)
      assert.deepStrictEqual(replayed, [0, 1])
      yield* second.send(frame(0, 1, "r"))
      assert.strictEqual(text(yield* conduit.take), "r")
      assert.strictEqual((yield* conduit.metrics).windowFrames, 0)
    }))

  it.effect("[ack-from-future] is a protocol violation", () =>
    Effect.gen(function*() {
      const { conduit, peer } = yield* start()
      yield* conduit.send(utf8("x"))
      yield* peer.next
      yield* peer.send(frame(0, 1, "y"))
      const { reason } = yield* Effect.flip(Effect.andThen(conduit.take, conduit.take))
      assert.strictEqual(reason._tag, "ProtocolViolation")
      assert.strictEqual(reason._tag === "ProtocolViolation" && reason.violation._tag, "AckFromFuture")
    }))

  it.effect.each([["ahead", 7, "peer-ahead"], ["behind", undefined, "peer-behind"]] as const)(
    "[hello-%s] is SessionLost, never silence",
    ([, claimed, why]) =>
      Effect.gen(function*() {
        const { acceptor, conduit, peer } = yield* start()
        yield* conduit.send(utf8("a"))
        yield* conduit.send(utf8("b"))
        yield* Effect.andThen(peer.next, peer.next)
        yield* peer.send(frame(0, 0, "ok"))
        yield* conduit.take
        yield* peer.cut
        const second = yield* acceptor.accept
        yield* second.next
        yield* second.send(serverHello(key(2), claimed))
        const { reason } = yield* Effect.flip(conduit.take)
        assert.deepStrictEqual(reason, { _tag: "SessionLost", why, unconfirmed: 1 })
      })
  )

  it.effect("a peer that restarted, not knowing that it lost its memory, is caught at its first frame or hello", () =>
    Effect.gen(function*() {
      const { acceptor, conduit, peer } = yield* start()
      yield* peer.send(frame(0, undefined, "a"))
      yield* peer.send(frame(1, undefined, "b"))
      yield* conduit.send(utf8("x"))
      yield* peer.next
      yield* peer.send(frame(2, 0, "c"))
      for (let i = 0; i < 3; i++) yield* conduit.take
      yield* peer.cut
      const second = yield* acceptor.accept
      yield* second.next
      // A fresh acceptor that ignores the key has received nothing, which is behind what it once acknowledged.
      yield* second.send(serverHello(key(9)))
      assert.strictEqual((yield* Effect.flip(conduit.take)).reason._tag, "SessionLost")
    }))

  for (const { hex: bytes, id } of vectors.malformed) {
    it.effect(`[malformed-envelope] ${id} ends the conduit with a violation that names it`, () =>
      Effect.gen(function*() {
        const { conduit, peer } = yield* start()
        yield* peer.send(frame(0, undefined, "good"))
        yield* peer.send(bytes)
        assert.strictEqual(text(yield* conduit.take), "good")
        const { reason } = yield* Effect.flip(conduit.take)
        assert.strictEqual(reason._tag === "ProtocolViolation" && reason.violation._tag, "MalformedFrame")
      }))
  }

  it.effect("[bad-hello] a malformed ServerHello costs the link and is retried on another", () =>
    Effect.gen(function*() {
      const acceptor = yield* scriptedAcceptor
      const dialling = yield* Effect.forkChild(StableConduit.dial(acceptor.source, plain), { startImmediately: true })
      for (const bad of [H1, serverHello(key(1)).slice(2), `${serverHello(key(1))}00`, ""]) {
        const peer = yield* acceptor.accept
        yield* peer.next
        yield* peer.send(bad)
        yield* peer.closed
        yield* TestClock.adjust("1 second")
      }
      const peer = yield* acceptor.accept
      assert.strictEqual(yield* peer.next, H1)
      yield* peer.send(serverHello(key(1)))
      yield* Fiber.join(dialling)
    }))

  it.effect("a peer that greets with nonsense, link after link, is given up", () =>
    Effect.gen(function*() {
      const acceptor = yield* scriptedAcceptor
      const dialling = yield* Effect.forkChild(Effect.flip(StableConduit.dial(acceptor.source, plain)), {
        startImmediately: true
      })
      for (let i = 0; i < 5; i++) {
        yield* (yield* acceptor.accept).send("00")
        yield* TestClock.adjust("3 seconds")
      }
      const { reason } = yield* Fiber.join(dialling)
      assert.strictEqual(reason._tag === "Exhausted" && reason.cause.reason._tag, "Protocol")
    }))

  it.effect("[wait-for-service] a service that appears late is reached; one that never does ends at the deadline", () =>
    Effect.gen(function*() {
      const acceptor = yield* scriptedAcceptor
      const fault = yield* FaultLink.make(acceptor.source)
      yield* fault.refuse(8)
      const retry = Reconnect.within("1 minute")
      const dialling = yield* Effect.forkChild(StableConduit.dial(fault.source, { ...plain, retry }), {
        startImmediately: true
      })
      const serving = Effect.flatMap(acceptor.accept, (peer) => peer.send(serverHello(key(1))))
      yield* Effect.forkChild(serving, { startImmediately: true })
      yield* TestClock.adjust("30 seconds")
      yield* Fiber.join(dialling)
      yield* fault.refuse(1_000_000)
      const never = yield* Effect.forkChild(Effect.flip(StableConduit.dial(fault.source, { ...plain, retry })), {
        startImmediately: true
      })
      yield* TestClock.adjust("55 seconds")
      assert.isUndefined(never.pollUnsafe())
      yield* TestClock.adjust("11 seconds")
      const { reason } = yield* Fiber.join(never)
      assert.strictEqual(reason._tag === "Exhausted" && reason.cause.reason._tag, "Open")
    }))

  it.effect("[poison-item] good items around a bad one are delivered; the failure is told in its place", () =>
    Effect.gen(function*() {
      const { conduit, peer } = yield* start()
      yield* peer.send(hex(Frame.encode({ seq: 0, ack: undefined, item: unhex("0161") })))
      yield* peer.send(hex(Frame.encode({ seq: 1, ack: undefined, item: unhex("05ff") })))
      yield* peer.send(hex(Frame.encode({ seq: 2, ack: undefined, item: unhex("0162") })))
      const typed = Codec.typed(conduit, strings)
      assert.strictEqual(yield* typed.take, "a")
      const { reason } = yield* Effect.flip(typed.take)
      assert.strictEqual(reason._tag === "ItemDecode" && reason.seq, 1)
      assert.strictEqual(yield* typed.take, "b")
      yield* conduit.send(utf8("x"))
      assert.strictEqual((Frame.decode(unhex(yield* peer.next)) as Frame.Frame).ack, 2)
    }))

  it.effect("gaps: counted with a foreign peer, Discontinuity when strict", () =>
    Effect.gen(function*() {
      const lenient = yield* start()
      yield* lenient.peer.send(frame(5, undefined, "late start"))
      assert.strictEqual(text(yield* lenient.conduit.take), "late start")
      assert.strictEqual((yield* lenient.conduit.metrics).gaps, 1)
      const strict = yield* start({ gaps: "fail" })
      yield* strict.peer.send(frame(0, undefined, "a"))
      yield* strict.peer.send(frame(2, undefined, "c"))
      assert.strictEqual(text(yield* strict.conduit.take), "a")
      assert.deepStrictEqual((yield* Effect.flip(strict.conduit.take)).reason, {
        _tag: "Discontinuity",
        expected: 1,
        received: 2
      })
    }))

  it.effect("a replay that breaks off starts again from what the next peer claims", () =>
    Effect.gen(function*() {
      const { acceptor, conduit, peer } = yield* start()
      for (const word of ["a", "b", "c"]) yield* conduit.send(utf8(word))
      yield* peer.cut
      const second = yield* acceptor.accept
      yield* second.send(serverHello(key(2)))
      yield* second.next
      assert.strictEqual(yield* second.next, frame(0, undefined, "a"))
      yield* second.cut
      // Two links in a row brought nothing: now the schedule has its say.
      yield* TestClock.adjust("1 second")
      const third = yield* acceptor.accept
      yield* third.next
      yield* third.send(serverHello(key(3), 0))
      assert.deepStrictEqual([yield* third.next, yield* third.next], [
        frame(1, undefined, "b"),
        frame(2, undefined, "c")
      ])
    }))

  it.effect("a hello that nobody answers is a timeout that names its step", () =>
    Effect.gen(function*() {
      const acceptor = yield* scriptedAcceptor
      const dialling = yield* Effect.forkChild(
        Effect.flip(StableConduit.dial(acceptor.source, { ...plain, retryFirst: false })),
        { startImmediately: true }
      )
      yield* acceptor.accept
      yield* TestClock.adjust("5 seconds")
      const { reason } = yield* Fiber.join(dialling)
      assert.deepStrictEqual(reason._tag === "Exhausted" && reason.cause.reason, { _tag: "Timeout", step: "hello" })
    }))
})
