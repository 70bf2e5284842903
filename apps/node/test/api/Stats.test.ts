import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { Stats } from "../../src/api/Api.ts"
import { startNode } from "../support/TestNode.ts"

describe("figures", () => {
  it.live("are of the documented shape and add up", () =>
    Effect.gen(function*() {
      const node = yield* startNode({ bus: { shards: 3 } })
      yield* node.append("1\n2\n3\n")
      const stats = Schema.decodeUnknownSync(Stats)((yield* node.json("/v1/stats")).body)
      assert.strictEqual(stats.store.durability, "fsync")
      assert.lengthOf(stats.shards, 3)
      assert.strictEqual(stats.bus["accepted"], 3)
      assert.strictEqual(stats.bus["dispatched"], 3)
      assert.strictEqual(stats.shards.reduce((sum, shard) => sum + shard["dispatched"]!, 0), 3)
    }))

  it.live("are given to Prometheus, every counter of the bus among them", () =>
    Effect.gen(function*() {
      const node = yield* startNode({ bus: { shards: 2 } })
      yield* node.append("1\n2\n3\n")
      const response = yield* node.call("/metrics")
      assert.match(response.headers.get("content-type")!, /^text\/plain; version=0\.0\.4/)
      const text = yield* Effect.promise(() => response.text())
      const samples = new Map(
        text.split("\n").filter((line) => line !== "" && !line.startsWith("#")).map((line) => {
          assert.match(line, /^[a-z_0-9]+(\{([a-z]+="[^"]*",?)+\})? -?[0-9.e+-]+$/)
          const at = line.lastIndexOf(" ")
          return [line.slice(0, at), Number(line.slice(at + 1))] as const
        })
      )
      assert.strictEqual(samples.get("perigee_bus_accepted_total"), 3)
      const { body } = yield* node.json("/v1/stats")
      for (const figure of Object.keys(body.bus)) {
        assert.isTrue(samples.has(`perigee_bus_${figure}_total`) || samples.has(`perigee_bus_${figure}`), figure)
      }
      for (const figure of Object.keys(body.shards[0]).filter((name) => name !== "shard")) {
        assert.isTrue(
          samples.has(`perigee_shard_${figure}_total{shard="1"}`) || samples.has(`perigee_shard_${figure}{shard="1"}`),
          figure
        )
      }
      // Every family is described once, before its samples.
      const described = [...text.matchAll(/^# TYPE ([a-z_0-9]+) /gm)].map((match) => match[1]!)
      assert.strictEqual(new Set(described).size, described.length)
      for (const sample of samples.keys()) assert.include(described, sample.replace(/\{.*/, ""))
    }))

  it.live("tell readiness from life", () =>
    Effect.gen(function*() {
      const script = { healthy: true }
      const node = yield* startNode({ script })
      assert.strictEqual((yield* node.json("/readyz")).status, 200)
      script.healthy = false
      const { body, status } = yield* node.json("/readyz")
      assert.deepStrictEqual([status, body.code], [503, "E_STORE"])
      assert.strictEqual((yield* node.json("/livez")).status, 200)
    }))
})

describe("GET /openapi.json", () => {
  it.live("describes every route, its security and its problems", () =>
    Effect.gen(function*() {
      const node = yield* startNode()
      const { body } = yield* node.json("/openapi.json")
      assert.strictEqual(body.openapi, "3.1.0")
      assert.sameMembers(Object.keys(body.paths), [
        "/v1/events",
        "/v1/tail",
        "/v1/producers/{name}",
        "/v1/stats",
        "/metrics",
        "/openapi.json",
        "/livez",
        "/readyz"
      ])
      const append = body.paths["/v1/events"].post
      assert.sameMembers(Object.keys(append.requestBody.content), ["application/json", "application/x-ndjson"])
      assert.includeMembers(Object.keys(append.responses), [
        "200",
        "400",
        "401",
        "408",
        "409",
        "413",
        "415",
        "503",
        "507"
      ])
      assert.property(append.responses["400"].content, "application/problem+json")
      assert.isNotEmpty(append.security)
      assert.isEmpty(body.paths["/livez"].get.security)
      assert.property(body.paths["/v1/tail"].get.responses["200"].content, "text/event-stream")
    }))
})
