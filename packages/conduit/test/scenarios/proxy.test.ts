/** Real TCP through a proxy that cuts, truncates, stalls, delays and forgets: simulation.md's systematic row on real sockets. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import { ConduitHub, type ConduitOptions, StableConduit } from "../../src/index.ts"
import { TcpLink } from "../../src/node.ts"
import * as FaultProxy from "../../src/testing/FaultProxy.ts"
import { seeded, text, utf8 } from "../support.ts"

const setup = (options: ConduitOptions = {}) =>
  Effect.gen(function*() {
    const listener = yield* TcpLink.listen()
    const hub = yield* ConduitHub.make({
      ...options,
      listen: Effect.succeed(listener),
      keep: { time: "10 seconds" },
      onConduit: (conduit) => Stream.runForEach(conduit.receive, (item) => conduit.send(item))
    })
    return { hub, proxy: yield* FaultProxy.make({ port: listener.port }) }
  })

describe("real TCP", () => {
  const words = ["one", "two", "three"]
  const talk = (proxy: FaultProxy.FaultProxy, style: "naked" | "session") =>
    Effect.scoped(Effect.gen(function*() {
      const conduit = yield* StableConduit.dial(TcpLink.source({ host: proxy.host, port: proxy.port }), {
        style,
        helloTimeout: "500 millis"
      })
      const heard: Array<string> = []
      for (const word of words) {
        yield* conduit.send(utf8(word))
        heard.push(text(yield* conduit.take))
      }
      const { links } = yield* conduit.metrics
      yield* conduit.close({ drain: "2 seconds" })
      assert.deepStrictEqual(heard, words)
      return links
    }))

  for (const style of ["naked", "session"] as const) {
    for (const direction of ["up", "down"] as const) {
      it.live(`cut at every single byte ${direction}wards, ${style}`, () =>
        Effect.gen(function*() {
          const { proxy } = yield* setup()
          // Cuts move on, byte by byte, until one run needs only the link it was given.
          let whole = 0
          let at = 1
          for (; at < 2000 && whole < 3; at++) {
            const before = yield* proxy.connections
            yield* proxy.plan((connection) =>
              connection === before ? { [direction]: at, how: at % 2 === 0 ? "end" : "reset" } : {}
            )
            yield* talk(proxy, style)
            if ((yield* proxy.connections) - before === 1) whole++
          }
          assert.isAbove(at, style === "session" ? 200 : 60)
        }), 120_000)
    }
  }

  it.live("cuts, truncations, stalls, delays and forgotten connections, all at random", () =>
    Effect.gen(function*() {
      const keepalive = { interval: "200 millis", timeout: "100 millis" } as const
      const { proxy } = yield* setup({ keepalive })
      const random = seeded(11)
      yield* proxy.plan(() => ({
        up: 1 + random.below(20_000),
        down: 1 + random.below(20_000),
        how: random.below(2) === 0 ? "end" : "reset"
      }))
      yield* Effect.forkScoped(Effect.forever(Effect.gen(function*() {
        yield* Effect.sleep(20 + random.below(80))
        switch (random.below(5)) {
          case 0:
            yield* proxy.stall(true)
            yield* Effect.sleep(random.below(60))
            return yield* proxy.stall(false)
          case 1:
            return yield* proxy.delay(random.below(10))
          case 2:
            return yield* proxy.cut
          case 3:
            return yield* random.below(4) === 0 ? proxy.halfOpen : proxy.cut
        }
      })))
      const conduit = yield* StableConduit.dial(TcpLink.source({ host: proxy.host, port: proxy.port }), {
        keepalive,
        helloTimeout: "500 millis"
      })
      const count = 1500
      const sizes = Array.from({ length: count }, () => random.below(15) === 0 ? random.below(9000) : random.below(100))
      yield* Effect.forkScoped(Effect.forEach(sizes, (size, n) => {
        const item = new Uint8Array(Math.max(4, size))
        new DataView(item.buffer).setUint32(0, n)
        return conduit.send(item)
      }))
      const back = yield* Stream.runCollect(Stream.take(conduit.receive, count))
      assert.deepStrictEqual(
        back.map((item) => [new DataView(item.buffer, item.byteOffset).getUint32(0), item.length]),
        sizes.map((size, n) => [n, Math.max(4, size)])
      )
      const { gaps, links } = yield* conduit.metrics
      assert.strictEqual(gaps, 0)
      assert.isAbove(links, 10)
    }), 120_000)
})
