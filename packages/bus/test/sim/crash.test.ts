// A named producer against a node whose process, machine and disk fail: what was acknowledged is stored, once, in order.
import { simTest } from "@perigee/sim"
import { Effect, Layer } from "effect"
import type { StoredEvent } from "../../src/Event.ts"
import { EventBus } from "../../src/EventBus.ts"
import type { ProducerIdentity } from "../../src/ProducerIdentity.ts"
import * as LogAdapter from "./support/LogAdapter.ts"

const defect = process.env["PLANTED_DEFECT"] as LogAdapter.Defect | undefined
const decoder = new TextDecoder()

simTest("crash at any operation loses nothing acknowledged and doubles nothing", {
  seeds: 150,
  chaos: "4 seconds",
  faults: [
    "kill",
    "crash",
    "crashStorm",
    "pause",
    "clockJump",
    "drift",
    "lateTimers",
    "slowDisk",
    "freezeDisk",
    "fullDisk",
    "diskError",
    "syncError",
    "crashAtOperation"
  ],
  sometimes: ["rebooted", "submitted again", "duplicate refused"]
}, (sim) =>
  Effect.gen(function*() {
    let boots = 0
    const identity: Effect.Effect<ProducerIdentity> = Effect.sync(() => ({
      nonce: BigInt(++boots),
      start: () => 0,
      reserve: () => Effect.void,
      release: () => Effect.void
    }))
    const Node = EventBus.layer({ shards: 3, capacity: 1024, atLeast: "fsync", identity, adapterTimeout: "2 seconds" })
      .pipe(Layer.provide(LogAdapter.layer("/events.log", defect)))
    const node = sim.host("node", Node)
    const count = sim.count("events", 60)

    let acknowledged = 0
    let next = 1
    while (acknowledged < count && sim.now < 600_000) {
      const size = Math.min(5, count - next + 1)
      const payloads = Array.from({ length: size }, (_, i) => `{"n":${next + i}}`)
      const publish = EventBus.use((bus) =>
        bus.publishAllRaw(payloads, {
          producer: { name: "sensor", sequence: next },
          key: payloads.map((_, i) => `key-${(next + i) % 7}`),
          until: "durable"
        })
      )
      const outcome = yield* Effect.result(Effect.timeout(node.run(publish), "20 seconds"))
      if (outcome._tag === "Success" && outcome.success.rejected === 0) {
        sim.sometimes(outcome.success.duplicates > 0, "duplicate refused")
        acknowledged = next + size - 1
        next = acknowledged + 1
        continue
      }
      if (outcome._tag === "Failure" && outcome.failure._tag === "PublishError") {
        const { reason } = outcome.failure
        // The node asks for numbers that it had acknowledged: it has lost them, and no waiting brings them back.
        const lost = reason._tag === "SequenceGap" && reason.expected <= acknowledged
        sim.always(!lost, "nothing acknowledged is lost", { acknowledged })
        if (lost) return
      }
      // Whatever happened, it may have been stored: the same numbers again.
      sim.reachable("submitted again")
      yield* Effect.sleep("50 millis")
    }
    sim.always(acknowledged === count, "everything is stored within ten minutes")
    sim.sometimes(node.boots > 1, "rebooted")
    yield* sim.calm

    const stored: Array<StoredEvent> = []
    let cursor: string | undefined
    for (;;) {
      const page = yield* node.run(EventBus.use((bus) => bus.poll({ limit: 10, cursor })))
      sim.always(page.failedShards.length === 0, "every shard can be read")
      stored.push(...page.events)
      if (page.nextCursor === null || page.events.length === 0) break
      cursor = page.nextCursor
    }
    const numbers = stored.map((event) => (JSON.parse(decoder.decode(event.raw)) as { n: number }).n)
    const unique = new Set(numbers)
    sim.always(unique.size === numbers.length, "nothing is stored twice", { stored: numbers.length })
    const lost = Array.from({ length: count }, (_, i) => i + 1).filter((n) => !unique.has(n))
    sim.always(lost.length === 0, "nothing acknowledged is lost", { lost: lost.length, first: lost[0] ?? 0 })
    for (let key = 0; key < 7; key++) {
      const ofKey = numbers.filter((n) => n % 7 === key)
      sim.always(ofKey.every((n, i) => i === 0 || n > ofKey[i - 1]!), "the order of a key is kept")
    }
    const stats = yield* node.run(EventBus.use((bus) => bus.stats))
    sim.always(
      stats.pending === 0 && stats.accepted === stats.dispatched + stats.evicted + stats.failed + stats.stranded,
      "accepted = dispatched + evicted + failed + stranded"
    )
  }))
