/**
 * Both ends of a conduit in a simulated world: the network cuts, clogs and splits, processes die, clocks jump. Invariant
 * of all: delivered sequence = sent sequence, or both sides are told.
 */
import { CurrentHost, simTest } from "@perigee/sim"
import { Effect, Layer, Stream } from "effect"
import { ConduitError, ConduitHub, ConduitStore, DurableConduit, SocketLink, StableConduit } from "../../src/index.ts"
import * as FileStore from "../../src/stores/FileStore.ts"
import { delivery, hash, inOrder, keysFrom, numbered, options, tally, valueOf } from "./support/delivery.ts"

simTest("delivered is what was sent, over cuts at any byte and a network at its worst", options, delivery())

// Over the seeds of a whole run, so not for one seed, and not for the simulator's own command, which runs without a test runner.
if (process.env["VITEST"] !== undefined && process.env["SIM_SEED"] === undefined) {
  const { assert, it } = await import("@effect/vitest")
  it("ten thousand cuts at a byte were survived", () => {
    process.stderr.write(`conduit: ${tally.cuts} links cut at a random byte\n`)
    assert.isAtLeast(tally.cuts, 10_000)
  })
}

simTest("a server that dies without a store is told as SessionLost, and nothing hangs", {
  seeds: 60,
  chaos: "10 seconds",
  faults: ["streams", "kill"],
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

/** Where the durable stories keep their state: it outlives a process, and the second also a cut of the power. */
const stores = {
  "in memory": {
    make: () => {
      const store = ConduitStore.memory()
      return Effect.succeed(store)
    },
    faults: ["streams", "kill", "pause", "lateTimers"],
    seeds: 100,
    sometimes: []
  },
  "in files on a disk that loses what was not synced": {
    make: () => FileStore.fromFileSystem({ folder: "/conduits", compactBytes: 1500 }),
    faults: ["streams", "kill", "crash", "crashStorm", "crashAtOperation", "slowDisk", "freezeDisk", "pause"],
    seeds: 150,
    sometimes: []
  },
  "in files on a disk that fails": {
    make: () => FileStore.fromFileSystem({ folder: "/conduits", compactBytes: 1500 }),
    faults: ["streams", "kill", "crash", "diskError", "syncError", "fullDisk", "slowDisk"],
    seeds: 150,
    sometimes: ["a store failed"]
  }
}

for (const [where, { faults, make, seeds, sometimes }] of Object.entries(stores)) {
  simTest(`both ends die and come back with their state ${where}: everything is handled once, in order`, {
    seeds,
    chaos: "20 seconds",
    maxDead: 2,
    faults,
    sometimes: ["client rebooted", "server rebooted", "resumed after a reboot", ...sometimes]
  }, (sim) =>
    Effect.gen(function*() {
      const count = sim.count("items", 40)
      /** The application's results with their numbers, on a disk of its own that never fails. */
      const results = { client: [] as Array<readonly [number, number]>, server: [] as Array<readonly [number, number]> }
      type Side = keyof typeof results
      const opened = { client: make(), server: make() }
      /** Processes whose store has failed: whoever runs them starts them again. */
      const broken = new Set<Side>()
      const failing = (side: Side) => (error: unknown) =>
        Effect.sync(() => {
          broken.add(side)
          sim.sometimes(true, "a store failed")
          const why = error instanceof ConduitError.ConduitError ? error.reason._tag : String((error as Error).name)
          sim.always(why === "StoreFailed" || why === "StoreError", "a conduit ends for its store only", { side, why })
        })
      const lastOf = (side: Side) => results[side].at(-1)?.[0]
      const talk = (conduit: StableConduit.StableConduit, side: Side) =>
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
              for (let i = 0; i < batch.count; i++) results[side].push([batch.seq(i), valueOf(batch.at(i))])
            })
          )
        ], { concurrency: "unbounded" }).pipe(Effect.tapError(failing(side)))
      const keys = keysFrom(hash(sim.config.seed))
      const Server = Layer.effectDiscard(
        Effect.gen(function*() {
          const host = yield* CurrentHost
          yield* DurableConduit.hub({
            store: yield* opened.server,
            resumeAfter: () => Effect.sync(() => lastOf("server")),
            keepalive: { interval: "2 seconds", timeout: "1 second" },
            listen: Effect.flatMap(host.listen(1), SocketLink.listen) as Effect.Effect<never>,
            onConduit: (conduit, { restored }) => {
              sim.sometimes(restored, "resumed after a reboot")
              return talk(conduit, "server")
            }
          })
        }).pipe(Effect.tapError(failing("server")))
      ).pipe(Layer.provide(keys))
      const Client = Layer.effectDiscard(
        Effect.gen(function*() {
          const host = yield* CurrentHost
          const conduit = yield* DurableConduit.dial(SocketLink.source(host.socket("server:1")), {
            store: yield* opened.client,
            id: "client",
            background: true,
            resumeAfter: lastOf("client"),
            keepalive: { interval: "2 seconds", timeout: "1 second" }
          })
          yield* Effect.forkScoped(Effect.ignore(talk(conduit, "client")))
        }).pipe(Effect.tapError(failing("client")))
      ).pipe(Layer.provide(keys))
      const server = sim.host("server", Server)
      const client = sim.host("client", Client)
      const done = () => results.client.length >= count && results.server.length >= count
      while (!done() && sim.now < 20 * 60_000) {
        yield* Effect.sleep("500 millis")
        for (const side of broken) {
          const host = side === "client" ? client : server
          broken.delete(side)
          host.kill()
          host.reboot()
        }
      }
      for (const [name, handled] of Object.entries(results)) {
        sim.always(inOrder(handled.map(([, value]) => value)), `${name} handled everything once, in order`, {
          got: handled.length
        })
        sim.always(handled.length === count, `${name} handled everything`, { got: handled.length })
      }
      sim.sometimes(client.boots > 1, "client rebooted")
      sim.sometimes(server.boots > 1, "server rebooted")
    }))
}
