import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Metric, Queue, Scope } from "effect"
import { TestClock } from "effect/testing"
import { ConduitHub, ConduitMetrics, MemoryLink, StableConduit } from "../src/index.ts"
import { utf8 } from "./support.ts"

const values = Effect.map(Metric.snapshot, (metrics) =>
  new Map(metrics.map(({ attributes, id, state }) => [
    `${id}${attributes === undefined ? "" : `:${Object.values(attributes).join()}`}`,
    "count" in state ? Number(state.count) : "value" in state ? Number(state.value) : NaN
  ])))

describe("ConduitMetrics", () => {
  it.effect("conduits with the same attributes add up, and what they held goes when their reports end", () =>
    Effect.gen(function*() {
      const { listener, source } = yield* MemoryLink.make()
      const accepted = yield* Queue.unbounded<StableConduit.StableConduit>()
      const hub = yield* ConduitHub.make({
        onConduit: (conduit) => Effect.andThen(Queue.offer(accepted, conduit), conduit.ended)
      })
      yield* hub.serve(listener)
      yield* ConduitMetrics.reportHub(hub)
      const scope = yield* Scope.make()
      const attributes = { service: "feed" }
      for (let i = 0; i < 2; i++) {
        const conduit = yield* StableConduit.dial(source, { ack: { delay: "1 hour" } })
        yield* ConduitMetrics.report(conduit, { attributes }).pipe(Scope.provide(scope))
        yield* conduit.sendAll(["a", "bc", "def"].map(utf8))
        if (i === 1) yield* conduit.kick
      }
      yield* TestClock.adjust("1 second")
      const during = yield* values
      assert.strictEqual(during.get("conduit_frames_sent_total:feed"), 6)
      assert.strictEqual(during.get("conduit_links_total:feed"), 3)
      assert.strictEqual(during.get("conduit_window_frames:feed"), 6)
      assert.strictEqual(during.get("conduit_hub_created_total"), 2)
      assert.strictEqual(during.get("conduit_hub_resumed_total"), 1)
      assert.strictEqual(during.get("conduit_hub_conduits"), 2)
      const server = yield* Queue.take(accepted)
      yield* server.takeBatch
      yield* server.send(utf8("carries the acknowledgement"))
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* values).get("conduit_window_frames:feed"), 3)
      assert.strictEqual((yield* values).get("conduit_queued_items:feed"), 1)
      yield* Scope.close(scope, Exit.void)
      const after = yield* values
      assert.strictEqual(after.get("conduit_window_frames:feed"), 0)
      assert.strictEqual(after.get("conduit_queued_items:feed"), 0)
      assert.strictEqual(after.get("conduit_frames_sent_total:feed"), 6)
      assert.strictEqual(after.get("conduit_frames_received_total:feed"), 1)
    }).pipe(Effect.provideService(Metric.MetricRegistry, new Map())))
})
