// The log over the simulated disk, where power goes at any operation, and over Node's, where the contract is the same.
import { NodeFileSystem } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { LogStore } from "@perigee/sim"
import { Effect, Exit, FileSystem, type Scope } from "effect"
import { DatabaseSync } from "node:sqlite"
import { fault, random, run } from "./fixtures/run.ts"

const record = (n: number) => new TextEncoder().encode(`record ${n} `.repeat(1 + (n % 90)))
const numbers = (records: ReadonlyArray<Uint8Array>) =>
  records.map((bytes) => Number(new TextDecoder().decode(bytes).split(" ")[1]))

/** The same port over SQLite: what an event store on a real database observes. */
const sqlite = (path: string): Effect.Effect<LogStore.LogStore, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(Effect.sync(() => new DatabaseSync(path)), (db) => Effect.sync(() => db.close())),
    (db) => {
      db.exec(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE IF NOT EXISTS log (at INTEGER PRIMARY KEY, body BLOB)"
      )
      const count = () => Number(db.prepare("SELECT count(*) AS n FROM log").get()!["n"])
      return {
        append: (records) =>
          Effect.sync(() => {
            const first = count()
            const insert = db.prepare("INSERT INTO log VALUES (?, ?)")
            db.exec("BEGIN IMMEDIATE")
            records.forEach((body, i) => insert.run(first + i, body))
            db.exec("COMMIT")
            return first
          }),
        sync: Effect.void,
        read: (from, limit) =>
          Effect.sync(() =>
            db.prepare("SELECT body FROM log WHERE at >= ? ORDER BY at LIMIT ?").all(from, limit).map((row) =>
              new Uint8Array(row["body"] as Uint8Array)
            )
          ),
        length: Effect.sync(count)
      }
    }
  )

/** What every implementation of the port shows. */
const contract = <R>(
  open: (path: string) => Effect.Effect<LogStore.LogStore, LogStore.LogError, R | Scope.Scope>,
  dir: string
) =>
  Effect.gen(function*() {
    const first = yield* Effect.scoped(Effect.gen(function*() {
      const log = yield* open(`${dir}/log`)
      const positions = [
        yield* log.append([record(0), record(1)]),
        yield* log.append([]),
        yield* log.append([record(2), new Uint8Array(0), record(4)])
      ]
      yield* log.sync
      return [
        positions,
        yield* log.length,
        numbers(yield* log.read(0, 3)),
        (yield* log.read(3, 1)).map((bytes) => bytes.length),
        (yield* log.read(9, 9)).length
      ]
    }))
    const again = yield* Effect.scoped(Effect.gen(function*() {
      const log = yield* open(`${dir}/log`)
      return [yield* log.length, yield* log.append([record(5)]), numbers(yield* log.read(4, 10))]
    }))
    return [first, again]
  })

describe("LogStore", () => {
  it("shows the same on Node's disk, on the simulated one, and over SQLite", async () => {
    const inTemp = <A, E>(use: (dir: string) => Effect.Effect<A, E, FileSystem.FileSystem>) =>
      Effect.runPromise(
        Effect.scoped(Effect.flatMap(
          FileSystem.FileSystem.use((fs) => fs.makeTempDirectoryScoped()),
          use
        )).pipe(Effect.provide(NodeFileSystem.layer))
      )
    const real = await inTemp((dir) => contract(LogStore.open, dir))
    const database = await inTemp((dir) => contract(sqlite, dir))
    let simulated: unknown
    const result = run((sim) =>
      sim.host("box").run(Effect.map(contract(LogStore.open, "/"), (observed) => {
        simulated = observed
      }))
    )
    assert.strictEqual(result.verdict.kind, "pass", result.verdict.message)
    assert.deepStrictEqual(simulated, real)
    assert.deepStrictEqual(database, real)
  })

  /** Appends and syncs until the power goes, then looks at what is there. */
  const crash = (level: number, seed: number, synced: boolean) => {
    let acknowledged = 0
    let appended = 0
    let found: ReadonlyArray<number> = []
    const result = run((sim) =>
      Effect.gen(function*() {
        const host = sim.host("box")
        yield* Effect.exit(host.run(Effect.scoped(Effect.gen(function*() {
          const log = yield* LogStore.open("/log")
          for (let batch = 0; batch < 10; batch++) {
            yield* log.append([record(appended), record(appended + 1)])
            appended += 2
            if (synced) yield* log.sync
            acknowledged = appended
          }
        }))))
        yield* sim.calm
        if (host.alive) {
          host.kill({ power: true })
          host.reboot()
        }
        found = numbers(
          yield* host.run(Effect.scoped(Effect.flatMap(LogStore.open("/log"), (log) => log.read(0, 1000))))
        )
        sim.always(found.every((n, i) => n === i), "in order, without a hole")
        if (synced) {
          sim.always(found.length >= acknowledged, "nothing acknowledged is lost", {
            acknowledged,
            found: found.length
          })
        }
      }), {
      seed,
      plan: [fault("crashAtOperation", 0, { level, for: 100, pick: seed })],
      config: { schedule: random(0.5, 0.05) }
    })
    return { result, found, acknowledged }
  }
  it("power lost at any operation loses nothing acknowledged and leaves no hole", () => {
    let extra = 0
    for (let level = 1; level <= 30; level++) {
      for (let seed = 1; seed <= 10; seed++) {
        const { acknowledged, found, result } = crash(level, seed, true)
        assert.strictEqual(result.verdict.kind, "pass", `operation ${level} seed ${seed}: ${result.verdict.message}`)
        if (found.length > acknowledged) extra++
      }
    }
    // Written and not acknowledged is allowed, and happens.
    assert.isAbove(extra, 0)
  })
  it("the same without sync loses acknowledged records: the check can fail", () => {
    let lost = 0
    for (let seed = 1; seed <= 40; seed++) {
      const { acknowledged, found } = crash(40, seed, false)
      if (found.length < acknowledged) lost++
    }
    assert.isAbove(lost, 5)
  })
  it("a failed sync closes the log for writing: its outcome is unknown, the next one's is not", () => {
    const result = run((sim) =>
      Effect.gen(function*() {
        const host = sim.host("box")
        yield* host.run(Effect.scoped(Effect.gen(function*() {
          const log = yield* LogStore.open("/log")
          yield* log.append([record(1)])
          host.disk.failNth({ operation: "sync", nth: 1, code: "EIO" })
          const first = yield* Effect.flip(log.sync)
          const second = yield* Effect.flip(log.append([record(2)]))
          sim.always(first.outcome === "unknown" && second.outcome === "notDone", "outcomes")
        })))
      })
    )
    assert.strictEqual(result.verdict.kind, "pass", result.verdict.message)
  })
  it.each([1, 5, 9, 20])("cuts the file at the first record that does not check: byte %i flipped", (at) => {
    const result = run((sim) =>
      sim.host("box").run(Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        yield* Effect.scoped(
          Effect.flatMap(LogStore.open("/log"), (log) => log.append([record(0), record(1), record(2)]))
        )
        const bytes = yield* fs.readFile("/log")
        const second = 8 + record(0).length
        bytes[second + at]! ^= 0x10
        yield* fs.writeFile("/log", bytes)
        const exit = yield* Effect.exit(Effect.scoped(Effect.flatMap(LogStore.open("/log"), (log) => log.read(0, 10))))
        sim.always(Exit.isSuccess(exit) && numbers(exit.value).join() === "0", "only the first is left")
        sim.always((yield* fs.readFile("/log")).length === second, "and the file is cut there")
      }))
    )
    assert.strictEqual(result.verdict.kind, "pass", result.verdict.message)
  })
})
