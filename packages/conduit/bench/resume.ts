/** What happens when links are lost: the time to resume, and the price of very many conduits. */
import { Effect, Exit, Scope } from "effect"
import { ConduitHub, MemoryLink, StableConduit } from "../src/index.ts"
import { TcpLink } from "../src/node.ts"
import { FaultLink } from "../src/testing/index.ts"
import { quick, seconds } from "./contest.ts"

/** From the cut of a TCP link until everything unconfirmed has been confirmed over the next one. */
export const resumeAfterCut = (unacknowledged: number) =>
  Effect.scoped(Effect.gen(function*() {
    const listener = yield* TcpLink.listen()
    const window = { window: { frames: 200_000, bytes: 64 * 1024 * 1024 } }
    yield* ConduitHub.make({
      ...window,
      // Told at once, so that what is measured is the resume and not the patience of an acknowledgement.
      ack: { items: 1 },
      listen: Effect.succeed(listener),
      onConduit: (conduit) => {
        conduit.subscribeUnsafe(() => {})
        return conduit.ended
      }
    })
    const fault = yield* FaultLink.make(TcpLink.source({ host: "127.0.0.1", port: listener.port }))
    const conduit = yield* StableConduit.dial(fault.source, window)
    const times: Array<number> = []
    const item = new Uint8Array(64)
    const rounds = unacknowledged >= 100_000 ? (quick ? 5 : 30) : quick ? 20 : 200
    for (let i = 0; i < rounds; i++) {
      yield* fault.stall(true)
      for (let j = 0; j < unacknowledged; j++) conduit.sendUnsafe(item)
      yield* Effect.yieldNow
      const started = process.hrtime.bigint()
      yield* fault.cut
      yield* fault.stall(false)
      if (unacknowledged === 0) yield* conduit.sendConfirmed(item)
      else yield* conduit.drained
      times.push(seconds(started) * 1000)
    }
    return times
  }))

/** What so many conduits that do nothing cost, and what it costs when all of them come back at once. */
export const idleConduits = (count: number) =>
  Effect.scoped(Effect.gen(function*() {
    const collect = () => {
      for (let i = 0; i < 4; i++) globalThis.gc?.()
      const { arrayBuffers, heapUsed } = process.memoryUsage()
      return heapUsed + arrayBuffers
    }
    const { listener, source } = yield* MemoryLink.make()
    const hubScope = yield* Scope.make()
    const hub = yield* ConduitHub.make({ onConduit: (conduit) => conduit.ended }).pipe(Scope.provide(hubScope))
    yield* hub.serve(listener)
    // Plain links and hand-made hellos on the client's side, so that what grows is the acceptor.
    const links: Array<{ destroy: () => void }> = []
    const hellos: Array<Uint8Array> = []
    const framed = new Uint8Array(29)
    framed.set([25, 0, 0, 0, 0x56, 0x4f, 0x43, 0x48])
    const keys: Array<Uint8Array> = []
    const scope = yield* Scope.make()
    const open = (hello: Uint8Array<ArrayBuffer>, index: number) =>
      Effect.map(source.next.pipe(Scope.provide(scope)), ({ link }) => {
        link.open({
          payload: (bytes, offset) => {
            keys[index] = bytes.slice(offset + 5, offset + 21)
          },
          flush: () => {},
          writable: () => {},
          closed: () => {}
        })
        link.write(hello, 0, hello.length)
        links[index] = link
      })
    const before = collect()
    for (let i = 0; i < count; i++) yield* open(framed, i)
    while ((yield* hub.metrics).created < count) yield* Effect.yieldNow
    yield* Effect.sleep("50 millis")
    const bytes = (collect() - before) / count
    // Every client comes back at once, over links that the hub still believes alive.
    for (let i = 0; i < count; i++) {
      const hello = framed.slice()
      hello[8] = 1
      hello.set(keys[i]!, 9)
      hellos.push(hello)
    }
    const started = process.hrtime.bigint()
    const cpu = process.cpuUsage()
    for (let i = 0; i < count; i++) yield* open(hellos[i] as Uint8Array<ArrayBuffer>, i)
    while ((yield* hub.metrics).resumed < count) yield* Effect.yieldNow
    const elapsed = seconds(started)
    const used = process.cpuUsage(cpu)
    yield* Scope.close(scope, Exit.void)
    yield* Scope.close(hubScope, Exit.void)
    return { bytes, elapsed, cpuMicros: (used.user + used.system) / count }
  }))
