/**
 * The client and a cluster of two testing brokers in a simulated world: the network cuts, clogs and splits, brokers die and come back, topics move between
 * them, receipts are lost, late or doubled, requests are refused. Whatever happens: every send ends once, what was acknowledged is stored, nothing is stored
 * twice, keys keep their order, the consumer sees everything, and at rest both sides count the same permits.
 */
import { CurrentHost, type Sim, simTest } from "@perigee/sim"
import { Effect, Fiber, Layer, Schedule } from "effect"
import { Consumer, Producer, PulsarClient, type SendError, Transport } from "../../src/index.ts"
import { type CommandName, type FaultAction, TestBroker } from "../../src/testing/index.ts"
import { numberOf, numbersOf, payloadOf } from "./support/payloads.ts"

const disconnect: FaultAction = { _tag: "Disconnect" }
const notReady: FaultAction = { _tag: "Reject", code: "ServiceNotReady" }
const troubles: ReadonlyArray<readonly [CommandName, FaultAction]> = [
  ["SEND_RECEIPT", { _tag: "Drop" }],
  ["SEND_RECEIPT", { _tag: "Duplicate" }],
  ["SEND_RECEIPT", { _tag: "Delay", millis: 900 }],
  ["SEND_RECEIPT", disconnect],
  ["SEND", disconnect],
  ["MESSAGE", disconnect],
  ["MESSAGE", { _tag: "Corrupt" }],
  ["ACK", disconnect],
  ["FLOW", disconnect],
  ["CONNECT", disconnect],
  ["CONNECTED", { _tag: "Delay", millis: 2000 }],
  ["CONNECTED", { _tag: "Drop" }],
  ["SEND_ERROR", disconnect],
  ["LOOKUP", notReady],
  ["LOOKUP", { _tag: "Delay", millis: 700 }],
  ["LOOKUP_RESPONSE", disconnect],
  ["PRODUCER", notReady],
  ["PRODUCER", { _tag: "Delay", millis: 1500 }],
  ["PRODUCER_SUCCESS", disconnect],
  ["SUBSCRIBE", notReady],
  ["SUBSCRIBE", disconnect],
  ["SUBSCRIBE", { _tag: "Delay", millis: 1500 }],
  ["ACK_RESPONSE", { _tag: "Drop" }]
]

/** A broker's process: what it holds in memory dies with it, what it has on disk is the cluster's and stays. */
const brokerHost = (sim: Sim, broker: TestBroker["Service"], at: number) => {
  const rng = sim.world.stream(`broker-${at}`)
  return sim.host(
    `broker-${at}`,
    Layer.effectDiscard(Effect.gen(function*() {
      yield* broker.kill(at, { cursors: rng.pick(["kept", "checkpoint"]) })
      yield* broker.start(at)
      const server = yield* (yield* CurrentHost).listen(1)
      yield* Effect.forkScoped(server.run((socket) => broker.handle(socket, at)))
    }))
  )
}

const transport = Layer.effect(
  Transport,
  Effect.map(
    CurrentHost,
    ({ socket }) =>
      Transport.of({ socket: ({ address }) => Effect.sync(() => socket(`${address.host.split(".")[0]}:1`)) })
  )
)

const client = PulsarClient.layerTransport({
  serviceUrl: "pulsar://broker-0.test:6650,broker-1.test:6650",
  keepAlive: "5 seconds",
  operationTimeout: "2 minutes",
  connectTimeout: "5 seconds",
  backoff: { initial: "100 millis", max: "5 seconds" }
}).pipe(Layer.provide(transport))

const topic = "persistent://public/default/chaos"

/** Moves topics, checkpoints cursors, and lets commands go wrong, until it is ended. */
const gremlin = (sim: Sim, broker: TestBroker["Service"], onCorrupt: () => void) => {
  const rng = sim.world.stream("gremlin")
  return Effect.forever(Effect.gen(function*() {
    yield* Effect.sleep(rng.int(2500))
    switch (rng.int(5)) {
      case 0:
      case 1: {
        const [command, action] = rng.pick(troubles)
        if (action._tag === "Corrupt") onCorrupt()
        yield* broker.fault({ command, action, skip: rng.int(3), times: 1 + rng.int(3) })
        break
      }
      case 2:
        sim.reachable("moved")
        yield* Effect.ignore(broker.unload(topic, { to: rng.int(2), tell: rng.chance(0.5) }))
        break
      case 3:
        yield* broker.checkpoint
        break
      case 4:
        yield* broker.challenge
    }
  }))
}

let runs = 0

simTest("every send ends once, what was acknowledged is stored, the consumer sees it all, in order", {
  seeds: 400,
  chaos: "20 seconds",
  faults: ["streams", "kill", "lateTimers", "clockJump"],
  maxDead: 1,
  sometimes: ["moved", "unknown", "resubscribed", "reconnected", "broker died", "waited for room"]
}, (sim) =>
  Effect.gen(function*() {
    runs++
    const rng = sim.world.stream("scenario")
    const broker = yield* TestBroker.make({ brokers: 2, deduplication: true, keepAlive: "5 seconds" })
    const hosts = [brokerHost(sim, broker, 0), brokerHost(sim, broker, 1)]
    yield* Effect.gen(function*() {
      const type = rng.pick(["exclusive", "failover", "shared", "keyShared"] as const)
      const receiverQueue = rng.pick([1, 5, 1000])
      const maxPending = rng.pick([5, 1000])
      const producer = yield* Producer.make({
        topic,
        name: "p",
        batching: rng.pick([false, { maxMessages: 3 }, { maxMessages: 50 }, { maxMessages: 5, byKey: true }]),
        compression: rng.pick(["none", "zlib"]),
        sendTimeout: rng.pick(["4 seconds", "5 minutes"]),
        maxPending
      })
      const consumer = yield* Consumer.make({
        topic,
        subscription: "s",
        type,
        initialPosition: "earliest",
        receiverQueue,
        batchIndexAck: rng.chance(0.5),
        stallTimeout: 0
      })
      let bent = false
      const trouble = yield* Effect.forkScoped(gremlin(sim, broker, () => void (bent = true)))

      const endings = new Map<number, "done" | "notDone" | "unknown">()
      let doubled = 0
      const end = (value: number, ending: "done" | "notDone" | "unknown") => {
        if (endings.has(value)) doubled++
        endings.set(value, ending)
      }
      const seen: Array<number> = []
      yield* Effect.forever(Effect.gen(function*() {
        for (const message of yield* consumer.receiveAll(rng.pick([1, 7, 1000]))) {
          seen.push(numberOf(message.value))
          message.ackUnsafe()
        }
      })).pipe(Effect.forkScoped)

      let sent = 0
      /** First number of the submission that a number belongs to. */
      const submission: Array<number> = []
      const sends: Array<Fiber.Fiber<void>> = []
      const failed = (values: ReadonlyArray<number>) => ({ reason, results }: SendError) =>
        values.forEach((value, at) => end(value, results?.[at] ?? (reason._tag === "Unknown" ? "unknown" : "notDone")))
      for (let round = 0; round < sim.count("rounds", 14); round++) {
        const start = sent
        const values = Array.from({ length: 1 + rng.int(8) }, () => sent++)
        for (const value of values) submission[value] = start
        sends.push(
          yield* producer.sendAll(values.map((value) => ({ value: payloadOf(value), key: `k${value % 3}` }))).pipe(
            Effect.match({ onSuccess: () => values.forEach((value) => end(value, "done")), onFailure: failed(values) }),
            Effect.forkScoped({ startImmediately: true })
          )
        )
        // The scheduler may take its time over the fiber; where there is room for all, the next submission comes after this one.
        const goal = maxPending < 1000 ? 0 : sent
        yield* Effect.repeat(Effect.delay(producer.stats, 1), { until: ({ messages }) => messages >= goal })
        sim.sometimes((yield* producer.stats).pending >= maxPending, "waited for room")
        yield* Effect.sleep(rng.int(2500))
      }

      yield* Fiber.interrupt(trouble)
      yield* broker.clearFaults
      yield* sim.calm
      // What was bent on the wire comes again with a new connection.
      if (bent) yield* broker.disconnect()
      yield* sim.eventually(() => endings.size === sent, "every send ends", { within: 10 * 60_000, every: 250 })
      sim.always(doubled === 0, "no send ends twice", { doubled })
      yield* Effect.forEach(sends, (fiber) => Fiber.await(fiber), { discard: true })

      const stored = numbersOf(yield* Effect.orDie(broker.stored(topic)))
      const there = new Set(stored)
      sim.always(there.size === stored.length, "nothing is stored twice", {
        stored: stored.length,
        different: there.size
      })
      for (const [value, ending] of endings) {
        sim.always(ending !== "done" || there.has(value), "what was acknowledged is stored", { value })
        sim.always(ending !== "notDone" || !there.has(value), "what was said not to be stored is not", { value })
      }
      // Submissions that run beside each other take turns when they have to wait for room; each keeps its own order then.
      const inOrder = (value: number, before: number) =>
        value > before || (maxPending < sent && submission[value] !== submission[before])
      for (let key = 0; key < 3; key++) {
        const ofKey = stored.filter((value) => value % 3 === key)
        const broken = ofKey.findIndex((value, at) => at > 0 && !inOrder(value, ofKey[at - 1]!))
        sim.always(broken < 0, "a key keeps its order", {
          key,
          value: ofKey[broken] ?? -1,
          before: ofKey[broken - 1] ?? -1
        })
      }
      yield* sim.eventually(() => stored.every((value) => seen.includes(value)), "the consumer sees what is stored", {
        within: 10 * 60_000,
        every: 250
      })
      const firsts = [...new Set(seen)]
      // A message that was bent is left out and comes later, behind its successors: order is what a checksum costs.
      if (!bent && (type === "exclusive" || type === "failover")) {
        sim.always(
          firsts.every((value, at) => value === stored[at]),
          "what is seen for the first time comes in the order of the topic",
          { type }
        )
      }
      // At rest: what the broker may still send is what the client has granted and not used.
      let counted = ""
      const agree = Effect.gen(function*() {
        const mine = (yield* consumer.stats).permits
        const { subscriptions } = yield* Effect.orDie(broker.stats(topic))
        const theirs = subscriptions["s"]?.consumers[0]?.permits
        counted = `${mine} here, ${theirs} there, of ${receiverQueue}`
        return mine === theirs && mine > 0 && mine <= receiverQueue
      })
      let agreed = false
      for (let look = 0; look < 600 && !agreed; look++) {
        yield* Effect.sleep(1000)
        agreed = yield* agree
      }
      sim.always(agreed, "permits are conserved", { counted })
      sim.sometimes([...endings.values()].includes("unknown"), "unknown")
      sim.sometimes(seen.length > firsts.length, "resubscribed")
      sim.sometimes(hosts.some(({ boots }) => boots > 1), "broker died")
      const connections = yield* (yield* PulsarClient).connections
      sim.sometimes(connections.some(({ sessions }) => sessions > 1), "reconnected")
    }).pipe(Effect.scoped, Effect.provide(client))
  }))

simTest(
  "a program that dies and goes on after the broker's last number stores everything once, in order, whoever dies",
  {
    seeds: 100,
    chaos: "20 seconds",
    faults: ["streams", "kill", "lateTimers"],
    maxDead: 2,
    sometimes: ["client died", "broker died", "resumed in the middle", "began again"]
  },
  (sim) =>
    Effect.gen(function*() {
      runs++
      const rng = sim.world.stream("scenario")
      const broker = yield* TestBroker.make({ brokers: 2, deduplication: true, keepAlive: "5 seconds" })
      const brokers = [brokerHost(sim, broker, 0), brokerHost(sim, broker, 1)]
      const total = sim.count("messages", 120)
      // Not by key: then a number that is stored says nothing of those below it.
      const batching = rng.pick([false, { maxMessages: 4 }, { maxMessages: 50 }] as const)
      const size = rng.pick([1, 6, 20])
      let finished = false
      /** One producer's life: goes on where the broker is, and fails with the first send whose end is not known. */
      const life = Effect.gen(function*() {
        const producer = yield* Producer.make({ topic, name: "p", batching, sendTimeout: "8 seconds" })
        // Numbers are sequence ids: what the broker has is what it says, and nothing else has to be kept anywhere.
        let next = (yield* producer.lastSequenceId) + 1
        sim.sometimes(next > 0 && next < total, "resumed in the middle")
        for (; next < total; next += size) {
          const values = Array.from({ length: Math.min(size, total - next) }, (_, at) => next + at)
          // In one submission, so in order whatever the scheduler does.
          yield* producer.sendAll(
            values.map((value) => ({ value: payloadOf(value), sequenceId: value, key: `k${value % 3}` }))
          )
          yield* Effect.sleep(rng.int(400))
        }
        finished = true
        sim.always((yield* producer.lastSequenceId) === total - 1, "the last number is the last message's")
      }).pipe(Effect.scoped)
      const program = Layer.effectDiscard(
        Effect.forkScoped(
          Effect.retry(life, {
            while: () => {
              sim.reachable("began again")
              return true
            },
            schedule: Schedule.spaced("1 second")
          })
        )
      ).pipe(Layer.provide(client))
      const host = sim.host("client", program)
      const trouble = yield* Effect.forkScoped(gremlin(sim, broker, () => undefined))
      yield* Effect.sleep("25 seconds")
      yield* Fiber.interrupt(trouble)
      yield* broker.clearFaults
      yield* sim.calm
      yield* sim.eventually(() => finished, "the program comes to its end", { within: 20 * 60_000, every: 500 })
      const stored = numbersOf(yield* Effect.orDie(broker.stored(topic)))
      sim.always(new Set(stored).size === stored.length, "nothing is stored twice", { stored: stored.length })
      sim.always(stored.length === total, "everything is stored", { stored: stored.length, total })
      for (let key = 0; key < 3; key++) {
        const ofKey = stored.filter((value) => value % 3 === key)
        sim.always(ofKey.every((value, at) => at === 0 || value > ofKey[at - 1]!), "a key keeps its order", { key })
      }
      sim.sometimes(host.boots > 1, "client died")
      sim.sometimes(brokers.some(({ boots }) => boots > 1), "broker died")
    })
)

// The rate is of a whole run; the simulator's own command runs without a test runner.
if (process.env["VITEST"] !== undefined) {
  const { afterAll } = await import("vitest")
  afterAll(() => {
    const { system, user } = process.cpuUsage()
    const minutes = (system + user) / 60e6
    process.stderr.write(`engine: ${runs} simulated runs, ${Math.round(runs / minutes)} a minute of a core\n`)
  })
}
