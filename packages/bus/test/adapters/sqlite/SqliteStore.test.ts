import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Scope } from "effect"
import { TestClock } from "effect/testing"
import { readFileSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import * as SqliteStore from "../../../src/adapters/sqlite/index.ts"
import type { AdapterError } from "../../../src/Adapter.ts"
import type { Batch } from "../../../src/Batch.ts"
import { batch, holds, payloads, readAll } from "../../../src/conformance/Batches.ts"
import { canMount, tmpfs } from "../../utils/mounts.ts"
import { directory } from "../../utils/places.ts"
import { Prng } from "../../utils/prng.ts"

const place = Effect.map(directory, (path) => join(path, "events.db"))

const totals = (path: string) =>
  Effect.sync(() => {
    const db = new DatabaseSync(path, { readOnly: true })
    db.exec("BEGIN")
    const row = db.prepare(
      "SELECT count(*) AS blocks, sum(last - first + 1) AS events, sum(length(data)) AS bytes FROM block"
    ).get()!
    const kept = db.prepare("SELECT sum(events) AS events, sum(bytes) AS bytes FROM shard").get()!
    db.close()
    assert.deepStrictEqual(
      [row["events"], row["bytes"]],
      [kept["events"], kept["bytes"]],
      "the running totals are wrong"
    )
    return { blocks: row["blocks"] as number, events: row["events"] as number, bytes: row["bytes"] as number }
  })

describe("retention", () => {
  it.live("by count keeps whole blocks, at least as many events as asked for", () =>
    Effect.gen(function*() {
      const path = yield* place
      const store = yield* SqliteStore.make({ path, retention: { maxEvents: 250 } })
      const batches = Array.from({ length: 20 }, (_, i) =>
        batch({ shard: i % 2, sequenceStart: i * 40, payloads: payloads(40, String(i)) }))
      for (const one of batches) {
        yield* store.append(one)
      }
      // A last append is answered before its sweep: a read of the totals waits for nothing, so look until it is done.
      yield* Effect.repeat(totals(path), {
        until: ({ events }) =>
          events === 280
      })
      yield* holds(store, 0, batches.slice(13).filter(({ shard }) => shard === 0))
      yield* holds(store, 1, batches.slice(13).filter(({ shard }) => shard === 1))
      const tails = yield* store.tails
      assert.deepStrictEqual([...tails].sort(), [[0, "400"], [1, "400"]])
      const resumed = yield* readAll(store, 0, 1000, "17")
      assert.strictEqual(resumed[0]!.id, "281", "a position that was dropped resumes at the oldest kept")
    }))

  it.live("by bytes keeps at most so many, the newest block in any case, and the file stops growing", () =>
    Effect.gen(function*() {
      const path = yield* place
      const store = yield* SqliteStore.make({ path, retention: { maxBytes: 400_000 } })
      const body = "x".repeat(1000)
      let size = 0
      for (let i = 0; i < 300; i++) {
        yield* store.append(batch({ sequenceStart: i * 20, payloads: Array.from({ length: 20 }, () => body) }))
        if (i === 100) size = statSync(path).size
      }
      const kept = yield* Effect.repeat(totals(path), { until: ({ bytes }) => bytes <= 400_000 })
      assert.isAbove(kept.bytes, 370_000)
      assert.isBelow(statSync(path).size, size * 1.5)
      const huge = batch({ sequenceStart: 100_000, payloads: ["y".repeat(1_000_000)] })
      yield* store.append(huge)
      yield* Effect.repeat(totals(path), { until: ({ blocks }) => blocks === 1 })
      yield* holds(store, 0, [huge])
    }))

  it.effect("by age drops what is older, also when nothing is written", () =>
    Effect.gen(function*() {
      const path = yield* place
      const start = 1_767_225_600_000
      yield* TestClock.setTime(start)
      const store = yield* SqliteStore.make({ path, retention: { maxAge: "1 hour" } })
      yield* store.append(batch({ payloads: payloads(3), millis: start }))
      yield* store.append(batch({ payloads: payloads(3), millis: start + 60_000, sequenceStart: 3 }))
      yield* store.append(batch({ payloads: payloads(3), millis: start + 120_000, sequenceStart: 6 }))
      yield* TestClock.adjust("62 minutes")
      yield* Effect.repeat(totals(path), { until: ({ blocks }) => blocks === 1 })
      assert.strictEqual((yield* readAll(store, 0))[0]!.id, "7")
    }))

  it.live("totals survive a restart, and limits set later apply in bounded steps", () =>
    Effect.gen(function*() {
      const path = yield* place
      const open = (retention?: SqliteStore.RetentionOptions) =>
        Effect.provideService(SqliteStore.make({ path, retention }), Scope.Scope, scope)
      let scope = yield* Scope.make()
      const first = yield* open()
      for (let i = 0; i < 300; i++) yield* first.append(batch({ sequenceStart: i * 2, payloads: payloads(2) }))
      yield* Scope.close(scope, Exit.void)
      scope = yield* Scope.make()
      const second = yield* open({ maxEvents: 10 })
      yield* second.append(batch({ sequenceStart: 600, payloads: payloads(2) }))
      yield* Effect.repeat(totals(path), { until: ({ events }) => events === 10 })
      yield* Scope.close(scope, Exit.void)
    }))
})

describe("faults", () => {
  it.live.skipIf(!canMount)(
    `a full disk is Full, and passes${canMount ? "" : " (skipped: needs the right to mount a file system)"}`,
    () =>
      Effect.gen(function*() {
        const disk = yield* tmpfs(3072)
        const path = join(disk, "events.db")
        const store = yield* SqliteStore.make({ path })
        writeFileSync(join(disk, "ballast"), Buffer.alloc(1_500_000))
        const body = "x".repeat(50_000)
        const stored: Array<Batch> = []
        let failed: { readonly error: AdapterError; readonly one: Batch } | undefined
        for (let i = 0; failed === undefined; i++) {
          const one = batch({ sequenceStart: i, payloads: [body + i] })
          failed = yield* Effect.match(store.append(one), {
            onSuccess: () => void stored.push(one),
            onFailure: (error) => ({ error, one })
          })
        }
        assert.strictEqual(failed.error.reason._tag, "Full", failed.error.message)
        assert.isTrue(failed.error.isRetryable)
        assert.include(failed.error.message, path)
        assert.isFalse(yield* store.isHealthy)
        yield* holds(store, 0, stored)
        writeFileSync(join(disk, "ballast"), "")
        yield* store.append(failed.one)
        assert.isTrue(yield* store.isHealthy)
        yield* holds(store, 0, [...stored, failed.one])
      })
  )

  it.live("a writer that has to wait does not block readers", () =>
    Effect.gen(function*() {
      const path = yield* place
      const store = yield* SqliteStore.make({ path })
      const first = batch({ payloads: payloads(3), marks: [{ producer: "p", shards: 1, shard: 0, sequence: 3 }] })
      yield* store.append(first)
      const other = new DatabaseSync(path)
      other.exec("BEGIN IMMEDIATE")
      const second = batch({ payloads: payloads(3), sequenceStart: 3 })
      const waiting = yield* Effect.forkChild(store.append(second), { startImmediately: true })
      yield* holds(store, 0, [first])
      assert.isUndefined(waiting.pollUnsafe())
      other.exec("COMMIT")
      other.close()
      yield* Fiber.join(waiting)
      yield* holds(store, 0, [first, second])
    }))

  it.live("another program that keeps the file busy is Transient", () =>
    Effect.gen(function*() {
      const path = yield* place
      const store = yield* SqliteStore.make({ path, busyTimeout: "30 millis" })
      const other = new DatabaseSync(path)
      other.exec("BEGIN IMMEDIATE")
      const one = batch({ payloads: payloads(3) })
      const error = yield* Effect.flip(store.append(one))
      assert.strictEqual(error.reason._tag, "Transient")
      other.exec("ROLLBACK")
      other.close()
      yield* store.append(one)
      yield* holds(store, 0, [one])
    }))

  it.live("a changed byte is found when it is read, and named; what comes before is delivered", () =>
    Effect.gen(function*() {
      const path = yield* place
      const first = batch({ payloads: payloads(5) })
      const second = batch({ sequenceStart: 5, payloads: payloads(5) })
      yield* Effect.scoped(Effect.gen(function*() {
        const store = yield* SqliteStore.make({ path })
        yield* store.append(first)
        yield* store.append(second)
      }))
      const db = new DatabaseSync(path)
      const data = db.prepare("SELECT data FROM block WHERE id = 2").get()!["data"] as Uint8Array
      data[data.length - 3]! ^= 1
      db.prepare("UPDATE block SET data = ? WHERE id = 2").run(data)
      db.close()
      const store = yield* SqliteStore.make({ path })
      const page = yield* store.poll(0, null, 100)
      assert.deepStrictEqual([page.events.length, page.nextId, page.hasMore], [5, "5", true])
      const error = yield* Effect.flip(store.poll(0, page.nextId, 100))
      assert.isTrue(error.isFatal)
      assert.include(error.message, `${path} is damaged: events 6 to 10 of shard 0 do not match their checksum`)
    }))

  it.live("damaged pages are Fatal and named, and never end the process", () =>
    Effect.gen(function*() {
      const path = yield* place
      yield* Effect.scoped(Effect.gen(function*() {
        const store = yield* SqliteStore.make({ path })
        for (let i = 0; i < 40; i++) {
          yield* store.append(
            batch({ sequenceStart: i * 20, payloads: Array.from({ length: 20 }, () => "x".repeat(500)) })
          )
        }
      }))
      const whole = readFileSync(path)
      let fatal = 0
      for (let seed = 0; seed < 12; seed++) {
        const random = new Prng(seed)
        const bytes = Buffer.from(whole)
        // Behind the catalogue, so that the store opens.
        for (let i = 0; i < 20; i++) bytes.set(random.bytes(64), random.int(8192, bytes.length - 64))
        writeFileSync(path, bytes)
        const outcome = yield* Effect.exit(Effect.scoped(Effect.gen(function*() {
          const store = yield* SqliteStore.make({ path })
          const events = yield* readAll(store, 0)
          return events.map(({ raw }) => raw.length)
        })))
        if (Exit.isFailure(outcome)) fatal++
        else assert.isTrue(outcome.value.every((length) => length === 500), `seed ${seed}`)
      }
      assert.isAbove(fatal, 6)
    }))

  it.live("a batch that overlaps with stored events is refused alone", () =>
    Effect.gen(function*() {
      const store = yield* SqliteStore.make({ path: yield* place })
      yield* store.append(batch({ payloads: payloads(5) }))
      const overlapping = batch({ sequenceStart: 3, payloads: payloads(5) })
      const good = batch({ shard: 1, payloads: payloads(5) })
      const [bad] = yield* Effect.all([Effect.flip(store.append(overlapping)), store.append(good)], {
        concurrency: "unbounded"
      })
      assert.isTrue(bad.isFatal)
      assert.include(bad.message, "events 3 to 8 of shard 0 overlap")
      yield* holds(store, 1, [good])
    }))

  it.live("what cannot be stored is refused before it is sent", () =>
    Effect.gen(function*() {
      const store = yield* SqliteStore.make({ path: yield* place })
      assert.isTrue((yield* Effect.flip(store.append(batch({ shard: 65_535, payloads: ["a"] })))).isFatal)
      const named = batch({ payloads: ["a"], channels: ["n".repeat(256)] })
      assert.strictEqual((yield* Effect.flip(store.append(named))).reason._tag, "Serialization")
    }))
})

describe("life", () => {
  it.live("a page that ended early holds no lock: the log can be emptied", () =>
    Effect.gen(function*() {
      const path = yield* place
      const store = yield* SqliteStore.make({ path })
      for (let i = 0; i < 10; i++) yield* store.append(batch({ sequenceStart: i * 5, payloads: payloads(5) }))
      assert.strictEqual((yield* store.poll(0, null, 7)).events.length, 7)
      const db = new DatabaseSync(path)
      assert.deepStrictEqual({ ...db.prepare("PRAGMA wal_checkpoint(TRUNCATE)").get() }, {
        busy: 0,
        log: 0,
        checkpointed: 0
      })
      db.close()
    }))

  it.live("closing lets running commits finish", () =>
    Effect.gen(function*() {
      const path = yield* place
      const batches = Array.from({ length: 8 }, (_, shard) => batch({ shard, payloads: payloads(2000) }))
      const running = yield* Effect.scoped(Effect.gen(function*() {
        const store = yield* SqliteStore.make({ path })
        return yield* Effect.forEach(batches, (one) => Effect.forkDetach(store.append(one), { startImmediately: true }))
      }))
      yield* Effect.forEach(running, Fiber.join)
      const store = yield* SqliteStore.make({ path })
      yield* Effect.forEach(batches, (one) => holds(store, one.shard, [one]))
    }))

  it.live("closing is bounded although a worker hangs, and nobody is left waiting", () =>
    Effect.gen(function*() {
      const path = yield* place
      const scope = yield* Scope.make()
      const store = yield* Scope.provide(
        SqliteStore.make({ path, closeTimeout: "50 millis", busyTimeout: "3 seconds" }),
        scope
      )
      const other = new DatabaseSync(path)
      other.exec("BEGIN IMMEDIATE")
      const stuck = yield* Effect.forkChild(store.append(batch({ payloads: payloads(3) })), { startImmediately: true })
      yield* Scope.close(scope, Exit.void)
      const error = yield* Effect.flip(Fiber.join(stuck))
      assert.strictEqual(error.reason._tag, "Transient")
      other.close()
    }))

  it.live("pages walk blocks of any size with any limit", () =>
    Effect.gen(function*() {
      const store = yield* SqliteStore.make({ path: yield* place })
      const random = new Prng(5)
      const batches: Array<Batch> = []
      let sequenceStart = 0
      for (let i = 0; i < 25; i++) {
        const one = batch({ sequenceStart, payloads: payloads(random.int(1, 60), String(i)) })
        sequenceStart += one.count
        batches.push(one)
        yield* store.append(one)
      }
      yield* Effect.forEach([1, 3, 30, 59, 60, 61, 500, 10_000], (limit) => holds(store, 0, batches, limit))
    }))

  it.live("a batch beyond the size of a block is stored as several, under one identity", () =>
    Effect.gen(function*() {
      const store = yield* SqliteStore.make({ path: yield* place })
      const body = "z".repeat(900_000)
      const one = batch({ payloads: Array.from({ length: 12 }, (_, i) => body + i), segments: [5], sequenceStart: 4 })
      yield* store.append(one)
      yield* store.append(one)
      yield* holds(store, 0, [one], 5)
      assert.strictEqual((yield* readAll(store, 0))[11]!.dedupId, "7:0:4:11")
    }))
})
