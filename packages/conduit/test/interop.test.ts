/** A real vox-core 0.4.0 at the other end, in both roles. Skipped, with the reason printed, where cargo is missing. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Queue, Stream } from "effect"
import { Codec, ConduitHub, Postcard, StableConduit } from "../src/index.ts"
import { TcpLink } from "../src/node.ts"
import * as FaultProxy from "../src/testing/FaultProxy.ts"
import * as Rust from "./rust.ts"
import { seeded } from "./support.ts"
import * as Vox from "./vox.ts"

if (Rust.unavailable !== undefined) process.stderr.write(`conduit: Rust interop skipped: ${Rust.unavailable}\n`)

const strings = Postcard.codec(Postcard.string)
const peer = (...args: Array<string>) =>
  Effect.acquireRelease(
    Effect.sync(() => Rust.run(...args)),
    ({ child }) => Effect.sync(() => child.kill("SIGKILL"))
  )
const item = (n: number, size: number) => `${n}:`.padEnd(size, "x")
const numberOf = (text: string) => Number(text.split(":", 1)[0])
/** Numbers that the Rust side printed as received. */
const gotByRust = (rust: Rust.RustPeer, what = "got") =>
  rust.lines.filter((line) => line.startsWith(`${what} `)).map((line) => Number(line.split(" ")[1]))
const byValue = (a: number, b: number) => a - b
const upTo = (count: number) => Array.from({ length: count }, (_, i) => i)

describe.skipIf(Rust.unavailable !== undefined)("Rust interop", () => {
  const toRust = Effect.gen(function*() {
    const rust = yield* peer("accept")
    const port = Number((yield* Effect.promise(() => rust.line("port"))).split(" ")[1])
    const proxy = yield* FaultProxy.make({ port })
    const conduit = yield* StableConduit.dial(TcpLink.source({ host: proxy.host, port: proxy.port }))
    return { rust, proxy, conduit, typed: Codec.typed(conduit, strings) }
  })

  it.live("we dial: payloads of every size come back as they went, and no control is ever agreed", () =>
    Effect.gen(function*() {
      const { conduit, typed } = yield* toRust
      for (const size of [0, 1, 31, 32, 63, 64, 127, 128, 255, 256, 4095, 4096, 65_536, 262_144, 1_000_000]) {
        const text = item(size, size).slice(0, size)
        yield* typed.send(text)
        assert.strictEqual(yield* typed.take, text)
      }
      assert.strictEqual((yield* conduit.metrics).acksSent, 0)
    }))

  it.live(
    "we dial, links cut with one item in flight: both directions whole, keys rotate at every link",
    () =>
      Effect.gen(function*() {
        const { conduit, proxy, rust, typed } = yield* toRust
        const random = seeded(3)
        for (let n = 0; n < 300; n++) {
          yield* typed.send(item(n, random.below(2000)))
          if (n % 5 === 0) yield* proxy.cut
          assert.strictEqual(numberOf(yield* typed.take), n)
        }
        assert.deepStrictEqual(gotByRust(rust), upTo(300))
        assert.isAbove((yield* conduit.metrics).links, 40)
      }),
    60_000
  )

  it.live(
    "we dial, links cut with a hundred in flight: nothing that we sent is lost, repeated or reordered",
    () =>
      Effect.gen(function*() {
        const { conduit, proxy, rust, typed } = yield* toRust
        const count = 5000
        const echoes: Array<number> = []
        yield* Effect.forkScoped(
          Stream.runForEach(typed.receive, (text) => Effect.sync(() => void echoes.push(numberOf(text))))
        )
        yield* Effect.forkScoped(Effect.gen(function*() {
          for (let i = 0; i < 60; i++) {
            yield* Effect.sleep("15 millis")
            yield* proxy.cut
          }
        }))
        for (let n = 0; n < count; n++) {
          yield* typed.send(item(n, 64))
          if (n % 100 === 99) yield* Effect.sleep("10 millis")
        }
        while (gotByRust(rust).length < count) yield* Effect.sleep("20 millis")
        assert.deepStrictEqual(gotByRust(rust), upTo(count))
        assert.isAbove((yield* conduit.metrics).links, 10)
        // What the crate sends back it may lose by itself; what does arrive here is in order and not repeated, and every
        // hole is one that its own numbers have.
        const { gaps } = yield* conduit.metrics
        assert.deepStrictEqual(echoes, [...new Set(echoes)].toSorted((a, b) => a - b))
        if (gaps === 0) {
          while (echoes.length < count && (yield* conduit.metrics).gaps === 0) yield* Effect.sleep("20 millis")
        }
        const { gaps: holes } = yield* conduit.metrics
        assert.isTrue(echoes.length === count || holes > 0, "an echo is missing although no number is")
      }),
    60_000
  )

  it.live("we accept: a Rust initiator, cut again and again, with one item in flight", () =>
    Effect.gen(function*() {
      const listener = yield* TcpLink.listen()
      const seen: Array<number> = []
      let cut: Effect.Effect<void> = Effect.void
      const conduits = yield* Queue.unbounded<StableConduit.StableConduit>()
      const hub = yield* ConduitHub.make({
        listen: Effect.succeed(listener),
        onConduit: (conduit) => {
          const typed = Codec.typed(conduit, strings)
          return Effect.andThen(
            Queue.offer(conduits, conduit),
            Stream.runForEach(typed.receive, (text) => {
              seen.push(numberOf(text))
              // Cut a link that has carried something: the crate gives up when one dies during its hello.
              return Effect.andThen(typed.send(text), seen.length % 7 === 0 ? cut : Effect.void)
            })
          )
        }
      })
      const proxy = yield* FaultProxy.make({ port: listener.port })
      cut = proxy.cut
      const rust = yield* peer("connect", `${proxy.host}:${proxy.port}`, "300", "500")
      const conduit = yield* Queue.take(conduits)
      yield* Effect.promise(() => rust.line("done"))
      assert.deepStrictEqual(gotByRust(rust), upTo(300))
      assert.deepStrictEqual(seen, upTo(300))
      const { created, resumed } = yield* hub.metrics
      assert.strictEqual(created, 1)
      assert.isAbove(resumed, 3)
      assert.strictEqual((yield* conduit.metrics).gaps, 0)
    }), 60_000)

  it.live("we accept and restart without a store: the Rust initiator is refused, and says session lost", () =>
    Effect.gen(function*() {
      const listener = yield* TcpLink.listen()
      const conduits = yield* Queue.unbounded<StableConduit.StableConduit>()
      yield* ConduitHub.make({
        listen: Effect.succeed(listener),
        onConduit: (conduit) => Effect.andThen(Queue.offer(conduits, conduit), conduit.ended)
      })
      const rust = yield* peer("connect", `${listener.host}:${listener.port}`, "10", "10")
      const conduit = yield* Queue.take(conduits)
      const exited = Effect.callback<number | null>((resume) => {
        rust.child.once("exit", (code) => resume(Effect.succeed(code)))
      })
      yield* conduit.take
      // The conduit is gone here; the peer finds out when it comes back.
      yield* conduit.close()
      assert.strictEqual(yield* exited, 1)
    }))
})

describe.skipIf(Rust.unavailable !== undefined)("a whole vox session on the Rust side", () => {
  const acceptSession = Effect.gen(function*() {
    const rust = yield* peer("session-accept")
    const port = Number((yield* Effect.promise(() => rust.line("port"))).split(" ")[1])
    const proxy = yield* FaultProxy.make({ port })
    const conduit = yield* StableConduit.dial(TcpLink.source({ host: proxy.host, port: proxy.port }), {
      style: "session",
      session: { metadata: [{ key: "vox-service", value: "Noop", flags: 0 }, { key: "lucky", value: 7, flags: 0 }] }
    })
    yield* Effect.promise(() => rust.line("established"))
    return { rust, proxy, conduit }
  })

  it.live(
    "we dial: calls of every size are answered, over links that are cut under each of them",
    () =>
      Effect.gen(function*() {
        const { conduit, proxy, rust } = yield* acceptSession
        const settings = yield* conduit.peerSession
        assert.isDefined(settings)
        assert.strictEqual(settings.parity, "Even")
        assert.strictEqual(settings.maxConcurrentRequests, 64)
        assert.strictEqual(settings.resumeKey?.length, 16)
        assert.isAbove(settings.messagePayloadSchema.length, 10)
        assert.deepStrictEqual(settings.metadata, [{ key: "vox-service", value: "Noop", flags: 0 }])
        assert.deepStrictEqual(rust.lines.filter((line) => line.startsWith("metadata")), [
          "metadata vox-service",
          "metadata lucky"
        ])
        const session = yield* Vox.run(conduit, 1)
        const random = seeded(9)
        for (let n = 0; n < 200; n++) {
          const text = item(n, n % 50 === 0 ? 200_000 : random.below(3000))
          const calling = yield* Effect.forkChild(session.call(text), { startImmediately: true })
          if (n % 3 === 0) yield* proxy.cut
          assert.strictEqual(yield* Fiber.join(calling), text)
        }
        assert.deepStrictEqual(gotByRust(rust), upTo(200))
        assert.deepStrictEqual(session.strange, [])
        assert.deepStrictEqual(session.schemas, ["Response"])
        const { gaps, links } = yield* conduit.metrics
        assert.strictEqual(gaps, 0)
        assert.isAbove(links, 30)
      }),
    60_000
  )

  it.live(
    "we dial: a hundred calls in flight under cuts, and each of them reached the Rust side once",
    () =>
      Effect.gen(function*() {
        const { conduit, proxy, rust } = yield* acceptSession
        const session = yield* Vox.run(conduit, 1)
        const count = 3000
        yield* Effect.forkScoped(Effect.gen(function*() {
          for (let i = 0; i < 60; i++) {
            yield* Effect.sleep("15 millis")
            yield* proxy.cut
          }
        }))
        for (let n = 0; n < count; n++) {
          // Answers are the crate's to lose: nobody waits for them here.
          yield* Effect.forkScoped(session.call(item(n, 64)))
          if (n % 50 === 49) yield* Effect.sleep("10 millis")
        }
        while (gotByRust(rust).length < count) yield* Effect.sleep("20 millis")
        // Its handlers run side by side, so the order is theirs.
        assert.deepStrictEqual(gotByRust(rust).toSorted(byValue), upTo(count))
        assert.deepStrictEqual(session.strange, [])
        assert.isAbove((yield* conduit.metrics).links, 10)
      }),
    60_000
  )

  const dialledBy = (...args: Array<string>) =>
    Effect.gen(function*() {
      const listener = yield* TcpLink.listen()
      const conduits = yield* Queue.unbounded<StableConduit.StableConduit>()
      const hub = yield* ConduitHub.make({
        listen: Effect.succeed(listener),
        styles: ["session"],
        onConduit: (conduit) => Effect.andThen(Queue.offer(conduits, conduit), conduit.ended)
      })
      const proxy = yield* FaultProxy.make({ port: listener.port })
      const rust = yield* peer("session-connect", `${proxy.host}:${proxy.port}`, ...args)
      return { hub, proxy, rust, conduit: yield* Queue.take(conduits) }
    })

  it.live("we accept: its calls are answered although every third link dies under one", () =>
    Effect.gen(function*() {
      const { conduit, hub, proxy, rust } = yield* dialledBy("200", "700", "0")
      // A caller that waits sends nothing while its link is replaced, which is when the crate would lose it.
      const session = yield* Vox.run(conduit, 2, (call) => call % 3 === 0 ? proxy.cut : Effect.void)
      assert.strictEqual((yield* conduit.peerSession)?.parity, "Odd")
      assert.deepStrictEqual((yield* conduit.peerSession)?.metadata, [{ key: "vox-service", value: "Noop", flags: 0 }])
      yield* Effect.promise(() => rust.line("done"))
      assert.deepStrictEqual(gotByRust(rust, "answer"), upTo(200))
      assert.deepStrictEqual(session.called, upTo(200))
      assert.deepStrictEqual(session.schemas, ["Args"])
      assert.deepStrictEqual(session.strange, [])
      const { created, resumed } = yield* hub.metrics
      assert.strictEqual(created, 1)
      assert.isAbove(resumed, 30)
      assert.strictEqual((yield* conduit.metrics).gaps, 0)
    }), 60_000)

  // The crate's session loop drops its pending receive, and with it the link, at every tick of its own keepalive. When a
  // tick falls into a reconnect, its conduit hangs for good. Until then nothing of ours may be lost.
  it.live(
    "we accept: its own keepalive gives up a link every few milliseconds, and what we sent still arrives whole",
    () =>
      Effect.gen(function*() {
        const { conduit, hub, rust } = yield* dialledBy("0", "0", "50")
        const session = yield* Vox.run(conduit, 2)
        yield* Effect.promise(() => rust.line("done"))
        for (let n = 0; n < 60; n++) {
          yield* Effect.forkScoped(session.call(item(n, 100)))
          yield* Effect.sleep("10 millis")
        }
        let arrived = -1
        while (arrived !== gotByRust(rust).length && arrived < 60) {
          arrived = gotByRust(rust).length
          yield* Effect.sleep("1 second")
        }
        assert.deepStrictEqual(gotByRust(rust).toSorted(byValue), upTo(arrived))
        assert.isAbove(arrived, 0)
        assert.deepStrictEqual(session.strange, [])
        const { resumed } = yield* hub.metrics
        assert.isAbove(resumed, 0)
        process.stderr.write(`conduit: a Rust session with keepalive: ${arrived} of 60 calls over ${resumed} links\n`)
      }),
    60_000
  )
})
