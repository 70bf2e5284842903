/** A real vox-core 0.4.0 at the other end, in both roles. Skipped, with the reason printed, where cargo is missing. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Queue, Stream } from "effect"
import { Codec, ConduitHub, Postcard, StableConduit } from "../src/index.ts"
import { TcpLink } from "../src/node.ts"
import * as FaultProxy from "../src/testing/FaultProxy.ts"
import * as Rust from "./rust.ts"
import { seeded } from "./support.ts"

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
const gotByRust = (rust: Rust.RustPeer) =>
  rust.lines.filter((line) => line.startsWith("got ")).map((line) => Number(line.split(" ")[1]))
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
