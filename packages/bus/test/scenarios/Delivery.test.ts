import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Adapter from "../../src/Adapter.ts"
import { validate } from "../../src/BusConfig.ts"
import { Batcher, standard } from "../../src/core/Batcher.ts"
import { BlockPool } from "../../src/core/Block.ts"
import { Lane } from "../../src/core/Lane.ts"
import { Producers } from "../../src/core/Producers.ts"
import { Ring } from "../../src/core/Ring.ts"
import { Timestamps } from "../../src/core/Timestamps.ts"
import * as ProducerIdentity from "../../src/ProducerIdentity.ts"
import { PublishError } from "../../src/PublishError.ts"
import { assertSettled, numbered, open } from "../support/openBus.ts"
import { refuse } from "../support/ScriptedAdapter.ts"

const payload = new TextEncoder().encode("1")
const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "perigee-delivery-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

describe("everything accepted is delivered", () => {
  it.effect("I01 over twenty lives of a bus", () =>
    Effect.gen(function*() {
      for (let life = 0; life < 20; life++) {
        const { adapter, bus } = yield* open({ shards: 4, capacity: 16_384 })
        yield* bus.publishAllRaw(numbered(10_000))
        yield* bus.shutdown
        assert.strictEqual(new Set(adapter.texts).size, 10_000)
        assert.strictEqual(adapter.texts.length, 10_000)
      }
    }))

  it.effect("I02 by a slow adapter, though the shutdown comes at once", () =>
    Effect.gen(function*() {
      const { adapter, bus } = yield* open({ batch: { maxSize: 100, minSize: 10 } }, {
        onAppend: () => Effect.sleep("2 millis")
      })
      yield* bus.publishAllRaw(numbered(5000))
      const closing = yield* Effect.forkChild(bus.shutdown)
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(yield* Fiber.join(closing), { stranded: 0, lossy: false, flushError: null })
      assert.strictEqual(adapter.events.length, 5000)
    }))

  it.effect("I03 by an adapter that fails at first", () =>
    Effect.gen(function*() {
      const { adapter, bus } = yield* open({ retries: 3 }, {
        onAppend: (_, call) => call <= 3 ? refuse("Transient") : Effect.void
      })
      const publishing = yield* Effect.forkChild(bus.publishAllRaw(numbered(1000), { until: "durable" }))
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(publishing)
      assert.strictEqual(adapter.events.length, 1000)
      assert.isAbove(adapter.calls, adapter.starts.length)
    }))

  it.effect("B06 S12 S13 values and texts alike, one by one and in a call", () =>
    Effect.gen(function*() {
      const { adapter, bus } = yield* open()
      const values = Array.from({ length: 100 }, (_, i) => ({ i }))
      assert.strictEqual((yield* bus.publishAll(values)).accepted, 100)
      assert.strictEqual((yield* bus.publishAllRaw(numbered(100))).accepted, 100)
      for (const value of values) yield* bus.publish(value)
      yield* bus.flush
      assert.strictEqual(adapter.events.length, 300)
      assert.strictEqual(new Set(adapter.texts).size, 100)
    }))

  it.effect("S21 I33 except what a full ring refuses, and the bus goes on afterwards", () =>
    Effect.gen(function*() {
      const { adapter, bus } = yield* open({ shards: 2, capacity: 1024, backpressure: "dropNewest" })
      const summary = yield* bus.publishAllRaw(numbered(10_000))
      assert.deepStrictEqual([summary.accepted, summary.rejected], [2046, 7954])
      yield* bus.flush
      yield* bus.publishRaw("again", { until: "durable" })
      assert.strictEqual(adapter.events.length, 2047)
      yield* assertSettled(bus)
    }))

  it.effect("I12 B11 what is in the rings is counted, and a disposed bus does not hang on a hung adapter", () =>
    Effect.gen(function*() {
      const { bus, close } = yield* open({
        shards: 2,
        capacity: 1024,
        shutdownTimeout: "5 seconds",
        backpressure: "dropNewest"
      }, {
        onAppend: () => Effect.never
      })
      yield* bus.publishAllRaw(numbered(5000))
      assert.strictEqual(yield* bus.pendingInRings, 2046)
      const closing = yield* Effect.forkChild(close)
      yield* TestClock.adjust("1 minute")
      yield* Fiber.join(closing)
      assert.strictEqual((yield* bus.stats).stranded, 2046)
    }))
})

describe("identity", () => {
  it.effect("V10 V11 B24 every batch of a bus carries its nonce; two buses without a file have two", () =>
    Effect.gen(function*() {
      const nonces = []
      for (let i = 0; i < 2; i++) {
        const { adapter, bus } = yield* open()
        yield* bus.publishAllRaw(numbered(50))
        yield* bus.flush
        yield* bus.publishAllRaw(numbered(50))
        yield* bus.flush
        const used = new Set(adapter.starts.map((start) => start.nonce))
        assert.strictEqual(used.size, 1)
        nonces.push(...used)
      }
      assert.notStrictEqual(nonces[0], nonces[1])
      assert.isTrue(nonces.every((nonce) => nonce > BigInt(0)))
    }))

  it.effect("B21 B23 a bus on the same file has the same nonce, and goes on numbering where the last one stopped", () =>
    Effect.gen(function*() {
      const path = join(yield* folder, "producer")
      const starts = []
      for (let life = 0; life < 2; life++) {
        const { adapter, bus, close } = yield* open({ shards: 1, identity: ProducerIdentity.file(path) })
        yield* bus.publishAllRaw(numbered(20), { until: "durable" })
        starts.push(...adapter.starts)
        yield* close
      }
      assert.strictEqual(new Set(starts.map((start) => start.nonce)).size, 1)
      assert.deepStrictEqual(starts.map((start) => start.start), [0, 20])
    }))

  it.effect("B30 a bus whose identity cannot be had is not built, and the path is named", () =>
    Effect.gen(function*() {
      const path = join(yield* folder, "missing", "producer")
      const error = yield* Effect.flip(open({ identity: ProducerIdentity.file(path) }))
      assert.strictEqual(error._tag, "IdentityError")
      assert.include(error.message, path)
    }))
})

describe("sequences", () => {
  const lane = (start: number) =>
    new Lane(0, new Ring(1 << 16, 1 << 20, new BlockPool(4)), new Batcher(standard), start)
  const ship = (lane: Lane, count: number) => {
    for (let i = 0; i < count; i++) lane.accept(payload, 0, 1, 1000, i, 0)
    const shipment = lane.ship(count, BigInt(1), [""], new Producers(1))!
    lane.stored(shipment, new Producers(1))
    return shipment.batch.sequenceStart
  }

  it("A08 A09 A10 S01 every batch starts where the one before it ended", () => {
    const one = lane(0)
    assert.deepStrictEqual([100, 50, 25].map((count) => ship(one, count)), [0, 100, 150])
    assert.strictEqual(one.nextSequence, 175)
  })

  it("A11 A12 they saturate and never wrap", () => {
    const last = lane(Number.MAX_SAFE_INTEGER - 3)
    assert.strictEqual(ship(last, 10), Number.MAX_SAFE_INTEGER - 3)
    assert.strictEqual(last.nextSequence, Number.MAX_SAFE_INTEGER)
  })
})

describe("small print", () => {
  it("R11 R13 E06 errors are errors, and their texts say what is wrong", () => {
    const full = new PublishError({ reason: { _tag: "Backpressure", shard: 3 } })
    assert.instanceOf(full, Error)
    assert.include(full.message, "ring buffer of shard 3 is full")
    assert.include(new PublishError({ reason: { _tag: "Unrouted" } }).message, "no routable shard")
    assert.include(new PublishError({ reason: { _tag: "ShuttingDown", accepted: 0 } }).message, "shutting down")
    assert.include(Adapter.adapterError("redis", "Backpressure", "slow down").message, "redis: Backpressure")
  })

  it("R18 a hundred thousand events go through one ring in order", () => {
    const ring = new Ring(1024, 1 << 20, new BlockPool(4))
    const encoder = new TextEncoder()
    const decoder = new TextDecoder()
    let next = 0
    let seen = 0
    while (seen < 100_000) {
      while (next < 100_000 && ring.accepts(8)) {
        const event = encoder.encode(String(next++))
        ring.push(event, 0, event.length, 1000, 0, 0)
      }
      for (let i = 0; i < 700 && !ring.isEmpty; i++) assert.strictEqual(decoder.decode(ring.pop()), String(seen++))
    }
  })

  it("K01 K02 the defaults are valid, and what is given is kept", () => {
    const settings = validate({})
    assert.strictEqual(settings.capacity & (settings.capacity - 1), 0)
    assert.isAbove(settings.shards, 0)
    const given = validate({ shards: 8, capacity: 65_536, backpressure: "failProducer" })
    assert.deepInclude(given, { shards: 8, capacity: 65_536, backpressure: "failProducer" })
  })

  it("T05 a fresh generator has issued nothing, then its last value", () => {
    const timestamps = new Timestamps()
    assert.strictEqual(timestamps.last, BigInt(0))
    timestamps.next(3)
    assert.strictEqual(timestamps.last, BigInt(3_000_000))
  })
})
