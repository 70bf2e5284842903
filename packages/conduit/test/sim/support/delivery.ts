/**
 * The main story: both ends send and receive numbered items of random sizes over a network at its worst and links that
 * are cut at any byte. Judged by what the consumers got, by what the wire said, and by what stale keys get afterwards.
 */
import { CurrentHost, type Sim } from "@perigee/sim"
import { Deferred, Effect, Layer, Queue, Stream } from "effect"
import {
  ConduitHub,
  type ConduitOptions,
  Hello,
  KeySource,
  type Link,
  SocketLink,
  StableConduit
} from "../../../src/index.ts"
import { writePayload } from "../../../src/Link.ts"
import { seeded } from "../../support.ts"
import { cutting } from "./Cutter.ts"
import { type Done, Watch } from "./Watch.ts"

export const numbered = (n: number, size: number): Uint8Array => {
  const item = new Uint8Array(Math.max(4, size)).fill(n & 0xff)
  new DataView(item.buffer).setUint32(0, n)
  return item
}
export const valueOf = (item: Uint8Array): number => new DataView(item.buffer, item.byteOffset).getUint32(0)
/** A number from a seed's text, for sizes and cuts. */
export const hash = (text: string): number => {
  let value = 0
  for (let i = 0; i < text.length; i++) value = (Math.imul(value, 31) + text.charCodeAt(i)) >>> 0
  return value
}
export const inOrder = (values: ReadonlyArray<number>): boolean => values.every((value, index) => value === index)
/** Keys must not come from outside the world. */
export const keysFrom = (seed: number) => {
  const random = seeded(seed)
  return Layer.succeed(KeySource, () => random.bytes(16))
}

/** Cuts at a byte over all runs; what the world's own weather cuts is not counted. */
export const tally = { cuts: 0 }

export const options = {
  seeds: 400,
  chaos: "20 seconds",
  // The protocol has no checksum: it runs on transports that have one.
  faults: ["streams", "clockJump", "drift", "lateTimers", "pause"],
  sometimes: [
    "resumed",
    "wrapped",
    "replayed",
    "sender waited",
    "receiver full",
    "duplicates dropped",
    "acknowledged after handling",
    "stale key refused"
  ]
} as const

export const delivery = (keys: (seed: number) => ReturnType<typeof keysFrom> = keysFrom) => (sim: Sim) =>
  Effect.gen(function*() {
    const random = seeded(hash(sim.config.seed))
    const count = sim.count("items", 150)
    const wraps = random.below(2) === 0
    const first = wraps ? (0x1_0000_0000 - 60) >>> 0 : 0
    /** Whether consumers handle before they acknowledge, or take, which acknowledges. */
    const handles = random.below(2) === 0
    const settings: ConduitOptions = {
      window: { frames: 4 + random.below(60) },
      receive: { items: 1 + random.below(60) },
      keepalive: { interval: "2 seconds", timeout: "1 second" },
      ...wraps ? { start: { nextSeq: first, received: first - 1 } } : {}
    }
    const sizes = Array.from({ length: count }, () => random.below(12) === 0 ? random.below(4000) : random.below(80))
    const atServer: Array<number> = []
    const atClient: Array<number> = []
    let over = false
    const lastOf = (handled: ReadonlyArray<number>): Done => {
      if (!handles || over) return "any"
      return handled.length > 0 || wraps ? (first + handled.length - 1) >>> 0 : undefined
    }
    const ended = yield* Deferred.make<void>()
    /** Every seventh item waits until the other end says that it has it; then it must really be handled there. */
    const sendAll = (conduit: StableConduit.StableConduit, there: ReadonlyArray<number>, from: string) =>
      Effect.forEach(sizes, (size, n) =>
        n % 7 !== 3 || !handles
          ? conduit.send(numbered(n, size))
          : Effect.map(conduit.sendConfirmed(numbered(n, size)), () => {
            sim.always(there.length > n, "confirmed is handled", { from, n, handled: there.length })
          }))
    const take = (item: Uint8Array, into: Array<number>) => {
      sim.always(valueOf(item) === into.length, "items arrive once, in order", {
        got: valueOf(item),
        after: into.length
      })
      into.push(valueOf(item))
    }
    const receiveAll = (conduit: StableConduit.StableConduit, into: Array<number>) =>
      handles
        ? Effect.gen(function*() {
          const all = yield* Deferred.make<void>()
          yield* conduit.consume((batch) =>
            Effect.gen(function*() {
              yield* Effect.sleep(1)
              for (const item of batch) take(item, into)
              if (into.length >= count) yield* Deferred.succeed(all, undefined)
            })
          ).pipe(Effect.raceFirst(Effect.andThen(Deferred.await(all), Effect.sleep("1 second"))))
        })
        : conduit.receive.pipe(
          Stream.take(count),
          Stream.runForEach((item) => Effect.sync(() => take(item, into)))
        )
    const Server = Layer.effectDiscard(Effect.gen(function*() {
      const host = yield* CurrentHost
      const listener = yield* SocketLink.listen(yield* host.listen(1))
      yield* ConduitHub.make({
        ...settings,
        listen: Effect.succeed(listener),
        // A fresh hello whose answer is lost leaves an orphan: it sends into its window, and nobody ever reads it.
        onConduit: (conduit) =>
          Effect.gen(function*() {
            yield* Effect.all([sendAll(conduit, atClient, "server"), receiveAll(conduit, atServer)], {
              concurrency: "unbounded"
            })
            yield* conduit.drained
            const { windowFrames } = yield* conduit.metrics
            sim.always(windowFrames === 0, "what was confirmed is no longer kept", { side: "server", windowFrames })
            yield* Deferred.succeed(ended, undefined)
            yield* Stream.runDrain(conduit.receive)
          })
      })
    })).pipe(Layer.provide(keys(random.below(1e9))))
    sim.host("server", Server)
    let cuts = 0
    const { socket } = yield* CurrentHost
    const watch = new Watch({
      first,
      breach: (what, details) => sim.always(false, what, details),
      duplicates: () => random.below(3) === 0 ? 0 : 1 + random.below(12),
      done: { near: () => lastOf(atClient), far: () => lastOf(atServer) }
    })
    // Forty links at most are cut by byte; the rest of the weather is the world's.
    const cutter = cutting(
      socket("server:1"),
      () => cuts < 40 ? { up: 1 + random.below(1500), down: 1 + random.below(1500) } : { up: Infinity, down: Infinity },
      () => {
        cuts++
        tally.cuts++
        sim.reachable("cut at a byte")
      }
    )
    const conduit = yield* StableConduit.dial(watch.source(SocketLink.source(cutter)), settings)
    yield* Effect.all([sendAll(conduit, atServer, "client"), receiveAll(conduit, atClient)], {
      concurrency: "unbounded"
    }).pipe(
      Effect.tap(() => conduit.drained),
      Effect.timeout("20 minutes")
    )
    yield* Effect.timeout(Deferred.await(ended), "20 minutes")
    const metrics = yield* conduit.metrics
    sim.always(atServer.length === count && inOrder(atServer), "what the client sent arrived once, in order", {
      got: atServer.length
    })
    sim.always(atClient.length === count && inOrder(atClient), "what the server sent arrived once, in order", {
      got: atClient.length
    })
    sim.always(metrics.gaps === 0, "no gap was ever seen")
    sim.always(metrics.windowFrames === 0, "what was confirmed is no longer kept", {
      windowFrames: metrics.windowFrames
    })
    sim.always(metrics.windowHighWater <= settings.window!.frames! * 4100, "the window kept its bound")
    sim.sometimes(metrics.links > 1, "resumed")
    sim.sometimes(metrics.replayed > 0, "replayed")
    sim.sometimes(metrics.duplicates > 0, "duplicates dropped")
    sim.sometimes(wraps && metrics.links > 1, "wrapped")
    sim.sometimes(handles && metrics.links > 1, "acknowledged after handling")
    sim.sometimes(settings.window!.frames! < 10, "sender waited")
    sim.sometimes(settings.receive!.items! < 5, "receiver full")

    // Whoever recorded the keys of earlier links gets nothing for them, once a frame has proven a newer one.
    yield* sim.calm
    cuts = 40
    over = true
    yield* conduit.kick
    yield* conduit.send(numbered(count, 4))
    yield* conduit.drained.pipe(Effect.timeout("20 minutes"))
    const proven = watch.keys.length - 1
    for (const key of watch.keys.slice(0, proven).slice(-3)) {
      const flags = yield* Effect.scoped(present(SocketLink.source(socket("server:1")), key, watch.plausibleClaim))
      sim.always(flags === 1, "a stale key gets a rejection", { flags })
      sim.sometimes(true, "stale key refused")
    }
    yield* conduit.close()
  })

/** Presents a key over a link of its own; the flags of the answer. */
const present = (
  source: { readonly next: Effect.Effect<{ readonly link: Link.Link }, unknown, any> },
  key: Uint8Array,
  lastReceived: number | undefined
) =>
  Effect.gen(function*() {
    const { link } = yield* source.next
    const answers = yield* Queue.unbounded<number>()
    link.open({
      payload: (bytes, offset) => {
        Queue.offerUnsafe(answers, bytes[offset + 4]!)
      },
      flush: () => {},
      writable: () => {},
      closed: () => {
        Queue.offerUnsafe(answers, -1)
      }
    })
    writePayload(link, Hello.encodeClient({ key, lastReceived, extensions: false }))
    return yield* Queue.take(answers)
  })
