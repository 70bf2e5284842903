import { assert, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import { ConduitHub, MemoryLink, StableConduit } from "../src/index.ts"
import { TcpLink } from "../src/node.ts"

const text = (s: string) => new TextEncoder().encode(s)
const from = (b: Uint8Array) => new TextDecoder().decode(b)
const echo = (peer: StableConduit.StableConduit) => peer.receive.pipe(Stream.runForEach((item) => peer.send(item)))

it.live("memory echo", () =>
  Effect.gen(function*() {
    const { listener, source } = yield* MemoryLink.make()
    const hub = yield* ConduitHub.make({ onConduit: echo })
    yield* hub.serve(listener)
    const conduit = yield* StableConduit.dial(source)
    yield* conduit.send(text("hi"))
    assert.strictEqual(from(yield* conduit.take), "hi")
    yield* conduit.kick
    yield* conduit.send(text("again"))
    assert.strictEqual(from(yield* conduit.take), "again")
    yield* conduit.close({ drain: "1 second" })
  }))

it.live("tcp echo", () =>
  Effect.gen(function*() {
    const listener = yield* TcpLink.listen()
    yield* ConduitHub.make({ onConduit: echo, listen: Effect.succeed(listener) })
    const conduit = yield* StableConduit.dial(TcpLink.source({ port: listener.port, host: listener.host }))
    for (let i = 0; i < 200; i++) {
      yield* conduit.send(text(`m${i}`))
      if (i % 10 === 0) yield* conduit.kick
    }
    for (let i = 0; i < 200; i++) assert.strictEqual(from(yield* conduit.take), `m${i}`)
    const m = yield* conduit.metrics
    console.log(m)
    yield* conduit.close({ drain: "1 second" })
  }))
