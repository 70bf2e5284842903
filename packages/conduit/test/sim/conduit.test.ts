/**
 * Both ends of a conduit in a simulated world: the network cuts, clogs and splits, processes die, clocks jump. Invariant
 * of all: delivered sequence = sent sequence, or both sides are told.
 */
import { CurrentHost, simTest } from "@perigee/sim"
import { Deferred, Effect, Layer, Stream } from "effect"
import {
  ConduitHub,
  type ConduitOptions,
  ConduitStore,
  DurableConduit,
  KeySource,
  SocketLink,
  StableConduit
} from "../../src/index.ts"
import { seeded } from "../support.ts"
import { cutting } from "./support/Cutter.ts"

const numbered = (n: number, size: number): Uint8Array => {
  const item = new Uint8Array(Math.max(4, size)).fill(n & 0xff)
  new DataView(item.buffer).setUint32(0, n)
  return item
}
const valueOf = (item: Uint8Array) => new DataView(item.buffer, item.byteOffset).getUint32(0)
/** A number from a seed's text, for sizes and cuts. */
const hash = (text: string) => {
  let value = 0
  for (let i = 0; i < text.length; i++) value = (Math.imul(value, 31) + text.charCodeAt(i)) >>> 0
  return value
}
const inOrder = (values: ReadonlyArray<number>) => values.every((value, index) => value === index)
/** Keys must not come from outside the world. */
const keysFrom = (seed: number) => {
  const random = seeded(seed)
  return Layer.succeed(KeySource, () => random.bytes(16))
}

/** Cuts at a byte over all runs; what the world's own weather cuts is not counted. */
let cutsInAll = 0

/** Everything a network does but flip bits: the protocol has no checksum, as it runs on transports that have one. */
const weather = [
  "cut",
  "close",
  "halfOpen",
  "clog",
  "swizzle",
  "partition",
  "oneWay",
  "fragment",
  "bandwidth",
  "refuse",
  "hangDial",
  "acceptClose",
  "slowAccept",
  "dns"
]

simTest("delivered is what was sent, over cuts at any byte and a network at its worst", {
  seeds: 400,
  chaos: "20 seconds",
  faults: [...weather, "clockJump", "drift", "lateTimers", "pause"],
  sometimes: ["resumed", "wrapped", "replayed", "sender waited", "receiver full"]
}, (sim) =>
  Effect.gen(function*() {
    const random = seeded(hash(sim.config.seed))
    const count = sim.count("items", 150)
    const wraps = random.below(2) === 0
    const first = (0x1_0000_0000 - 60) >>> 0
    const options: ConduitOptions = {
      window: { frames: 4 + random.below(60) },
      receive: { items: 1 + random.below(60) },
      keepalive: { interval: "2 seconds", timeout: "1 second" },
      ...wraps ? { start: { nextSeq: first, received: first - 1 } } : {}
    }
    const sizes = Array.from({ length: count }, () => random.below(12) === 0 ? random.below(4000) : random.below(80))
    const atServer: Array<number> = []
    const atClient: Array<number> = []
    const ended = yield* Deferred.make<void>()
    const sendAll = (conduit: StableConduit.StableConduit) =>
      Effect.forEach(sizes, (size, n) => conduit.send(numbered(n, size)))
    const receiveAll = (conduit: StableConduit.StableConduit, into: Array<number>) =>
      conduit.receive.pipe(
        Stream.take(count),
        Stream.runForEach((item) => Effect.sync(() => void into.push(valueOf(item))))
      )
    const Server = Layer.effectDiscard(Effect.gen(function*() {
      const host = yield* CurrentHost
      const listener = yield* SocketLink.listen(yield* host.listen(1))
      yield* ConduitHub.make({
        ...options,
        listen: Effect.succeed(listener),
        onConduit: (conduit) =>
          Effect.gen(function*() {
            yield* Effect.all([sendAll(conduit), receiveAll(conduit, atServer)], { concurrency: "unbounded" })
            yield* Deferred.succeed(ended, undefined)
            yield* conduit.ended
          })
      })
    })).pipe(Layer.provide(keysFrom(random.below(1e9))))
    sim.host("server", Server)
    let cuts = 0
    const { socket } = yield* CurrentHost
    // Forty links at most are cut by byte; the rest of the weather is the world's.
    const cutter = cutting(
      socket("server:1"),
      () => cuts < 40 ? { up: 1 + random.below(1500), down: 1 + random.below(1500) } : { up: Infinity, down: Infinity },
      () => {
        cuts++
        cutsInAll++
        sim.reachable("cut at a byte")
      }
    )
    const conduit = yield* StableConduit.dial(SocketLink.source(cutter), options)
    yield* Effect.all([sendAll(conduit), receiveAll(conduit, atClient)], { concurrency: "unbounded" }).pipe(
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
    sim.always(metrics.windowHighWater <= options.window!.frames! * 4100, "the window kept its bound")
    sim.sometimes(metrics.links > 1, "resumed")
    sim.sometimes(metrics.replayed > 0, "replayed")
    sim.sometimes(wraps && metrics.links > 1, "wrapped")
    sim.sometimes(options.window!.frames! < 10, "sender waited")
    sim.sometimes(options.receive!.items! < 5, "receiver full")
    yield* conduit.close()
  }))

// Over the seeds of a whole run, so not for one seed, and not for the simulator's own command, which runs without a test runner.
if (process.env["VITEST"] !== undefined && process.env["SIM_SEED"] === undefined) {
  const { assert, it } = await import("@effect/vitest")
  it("ten thousand cuts at a byte were survived", () => {
    process.stderr.write(`conduit: ${cutsInAll} links cut at a random byte\n`)
    assert.isAtLeast(cutsInAll, 10_000)
  })
}

simTest("a server that dies without a store is told as SessionLost, and nothing hangs", {
  seeds: 60,
  chaos: "10 seconds",
  faults: [...weather, "kill"],
  sometimes: ["lost", "survived"]
}, (sim) =>
  Effect.gen(function*() {
    const Server = Layer.effectDiscard(Effect.gen(function*() {
      const host = yield* CurrentHost
      yield* ConduitHub.make({
        listen: Effect.flatMap(host.listen(1), SocketLink.listen) as Effect.Effect<never>,
        onConduit: (conduit) => Stream.runForEach(conduit.receive, (item) => conduit.send(item))
      })
    })).pipe(Layer.provide(keysFrom(hash(sim.config.seed))))
    const server = sim.host("server", Server)
    const { socket } = yield* CurrentHost
    const echoes: Array<number> = []
    const conduit = yield* StableConduit.dial(SocketLink.source(socket("server:1")))
    const talk = Effect.gen(function*() {
      for (let n = 0; n < 60; n++) {
        yield* conduit.send(numbered(n, 8))
        echoes.push(valueOf(yield* conduit.take))
        yield* Effect.sleep("200 millis")
      }
    })
    const outcome = yield* Effect.result(Effect.timeout(talk, "10 minutes"))
    sim.always(inOrder(echoes), "echoes come once, in order")
    if (outcome._tag === "Success") {
      sim.reachable("survived")
    } else {
      const error = outcome.failure
      sim.always(error._tag === "ConduitError" && error.reason._tag === "SessionLost", "a lost session says so", {
        error: error.message
      })
      sim.always(server.boots > 1, "a session is lost only to a dead server")
      sim.reachable("lost")
    }
  }))

simTest("both ends die and come back with their stores: everything is handled once, in order", {
  seeds: 100,
  chaos: "20 seconds",
  maxDead: 2,
  faults: [...weather, "kill", "pause", "lateTimers"],
  sometimes: ["client rebooted", "server rebooted"]
}, (sim) =>
  Effect.gen(function*() {
    const count = sim.count("items", 40)
    /** What outlives a process: the conduit's store, and the application's results with their numbers. */
    const disk = () => ({ store: ConduitStore.memory(), handled: [] as Array<readonly [number, number]> })
    const disks = { client: disk(), server: disk() }
    const lastOf = ({ handled }: ReturnType<typeof disk>) => handled.at(-1)?.[0]
    const talk = (conduit: StableConduit.StableConduit, { handled }: ReturnType<typeof disk>) =>
      Effect.all([
        Effect.gen(function*() {
          for (let n = (yield* conduit.metrics).nextSeq; n < count; n++) {
            yield* conduit.send(numbered(n, 4 + (n % 40)))
            yield* Effect.sleep("150 millis")
          }
        }),
        conduit.consume((batch) =>
          Effect.gen(function*() {
            yield* Effect.sleep("5 millis")
            for (let i = 0; i < batch.count; i++) handled.push([batch.seq(i), valueOf(batch.at(i))])
          })
        )
      ], { concurrency: "unbounded" })
    const keys = keysFrom(hash(sim.config.seed))
    const Server = Layer.effectDiscard(Effect.gen(function*() {
      const host = yield* CurrentHost
      yield* DurableConduit.hub({
        store: disks.server.store,
        resumeAfter: () => Effect.sync(() => lastOf(disks.server)),
        keepalive: { interval: "2 seconds", timeout: "1 second" },
        listen: Effect.flatMap(host.listen(1), SocketLink.listen) as Effect.Effect<never>,
        onConduit: (conduit) => talk(conduit, disks.server)
      })
    })).pipe(Layer.provide(keys))
    const Client = Layer.effectDiscard(Effect.gen(function*() {
      const host = yield* CurrentHost
      const conduit = yield* DurableConduit.dial(SocketLink.source(host.socket("server:1")), {
        store: disks.client.store,
        id: "client",
        background: true,
        resumeAfter: lastOf(disks.client),
        keepalive: { interval: "2 seconds", timeout: "1 second" }
      })
      yield* Effect.forkScoped(Effect.ignore(talk(conduit, disks.client)))
    })).pipe(Layer.provide(keys))
    const server = sim.host("server", Server)
    const client = sim.host("client", Client)
    const done = () => disks.client.handled.length >= count && disks.server.handled.length >= count
    while (!done() && sim.now < 20 * 60_000) yield* Effect.sleep("500 millis")
    for (const [name, { handled }] of Object.entries(disks)) {
      sim.always(inOrder(handled.map(([, value]) => value)), `${name} handled everything once, in order`, {
        got: handled.length
      })
      sim.always(handled.length === count, `${name} handled everything`, { got: handled.length })
    }
    sim.sometimes(client.boots > 1, "client rebooted")
    sim.sometimes(server.boots > 1, "server rebooted")
  }))
