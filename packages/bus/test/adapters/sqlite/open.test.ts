import { assert, describe, it } from "@effect/vitest"
import { Config, ConfigProvider, Effect, Exit, Layer, Scope } from "effect"
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  writeFileSync,
  writeSync
} from "node:fs"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { Adapter } from "../../../src/Adapter.ts"
import * as SqliteStore from "../../../src/adapters/sqlite/index.ts"
import { batch, holds, payloads } from "../../../src/conformance/Batches.ts"
import { canMount, remount, tmpfs } from "../../utils/mounts.ts"
import { directory } from "../../utils/places.ts"

const opening = (options: SqliteStore.SqliteStoreOptions) => Effect.flip(Effect.scoped(SqliteStore.make(options)))

const withDatabase = (path: string, f: (db: DatabaseSync) => void) =>
  Effect.sync(() => {
    const db = new DatabaseSync(path)
    f(db)
    db.close()
  })

const filled = (path: string) =>
  Effect.scoped(Effect.flatMap(SqliteStore.make({ path }), (store) => store.append(batch({ payloads: payloads(5) }))))

describe("opening a store", () => {
  it.live("creates the file in its directory, and refuses a missing directory", () =>
    Effect.gen(function*() {
      const place = yield* directory
      const store = yield* Effect.scoped(SqliteStore.make({ path: join(place, "events.db") }))
      assert.deepStrictEqual([store.name, store.durability, store.lastInsertionTs], ["sqlite", "fsync", 0n])
      assert.deepStrictEqual(readdirSync(place).sort(), ["events.db", "events.db.lock"])
      const error = yield* opening({ path: join(place, "none", "events.db") })
      assert.deepStrictEqual(error.reason, { _tag: "NoDirectory", directory: join(place, "none") })
      assert.match(error.message, /cannot be created: the directory .* does not exist\. Create it first\./)
    }))

  it.live("takes its options from the configuration", () =>
    Effect.gen(function*() {
      const path = join(yield* directory, "events.db")
      const layer = SqliteStore.layerConfig({
        path: Config.String("STORE"),
        synchronous: Config.Literals(["fsync", "os"], "SYNC")
      })
      const env = ConfigProvider.layer(ConfigProvider.fromEnvRecord({ STORE: path, SYNC: "os" }))
      const { durability } = yield* Effect.provide(Adapter, Layer.provide(layer, env))
      assert.strictEqual(durability, "os")
      assert.isTrue(existsSync(path))
    }))

  it.live("two owners: the second is told who the first is", () =>
    Effect.gen(function*() {
      const path = join(yield* directory, "events.db")
      const scope = yield* Scope.make()
      yield* Scope.provide(SqliteStore.make({ path }), scope)
      const error = yield* opening({ path })
      assert.strictEqual(error.reason._tag === "Locked" ? error.reason.pid : null, process.pid)
      assert.match(error.message, /is in use \(pid \d+, since .*Z\)\. Stop that process, or choose another path\./)
      yield* Scope.close(scope, Exit.void)
      yield* Effect.scoped(SqliteStore.make({ path }))
    }))

  it.live("a file that another program has locked", () =>
    Effect.gen(function*() {
      const path = join(yield* directory, "events.db")
      const other = new DatabaseSync(path)
      other.exec("BEGIN EXCLUSIVE")
      const error = yield* opening({ path, busyTimeout: "50 millis" })
      assert.deepStrictEqual(error.reason, { _tag: "Locked", pid: null, since: null })
      other.close()
    }))

  it.live("a file of another version, newer or older, is left alone", () =>
    Effect.gen(function*() {
      const path = join(yield* directory, "events.db")
      yield* filled(path)
      yield* withDatabase(path, (db) => db.exec("PRAGMA user_version = 9"))
      const newer = yield* opening({ path })
      assert.deepStrictEqual(newer.reason, { _tag: "WrongVersion", found: 9, supported: 1 })
      assert.match(newer.message, /newer than layout 1 of this release\. Update/)
      yield* withDatabase(path, (db) => db.exec("PRAGMA user_version = 0"))
      assert.match((yield* opening({ path })).message, /Open it with the release that wrote it/)
      yield* withDatabase(path, (db) => db.exec("PRAGMA user_version = 1"))
      const store = yield* SqliteStore.make({ path })
      yield* holds(store, 0, [batch({ payloads: payloads(5) })])
    }))

  it.live("another database, and another file, are left alone", () =>
    Effect.gen(function*() {
      const place = yield* directory
      const database = join(place, "other.db")
      yield* withDatabase(database, (db) => db.exec("CREATE TABLE mine (a)"))
      const before = readFileSync(database)
      assert.strictEqual((yield* opening({ path: database })).reason._tag, "NotAPerigeeStore")
      assert.deepStrictEqual(readFileSync(database), before)
      const text = join(place, "notes.txt")
      writeFileSync(text, "Dear diary, ".repeat(1000))
      const error = yield* opening({ path: text })
      assert.strictEqual(error.reason._tag, "NotAPerigeeStore")
      assert.match(error.message, /is not an event store .* the file was not touched/)
      assert.strictEqual(readFileSync(text, "utf8"), "Dear diary, ".repeat(1000))
    }))

  it.live("an empty file, or one whose creation was cut short, becomes a store", () =>
    Effect.gen(function*() {
      const path = join(yield* directory, "events.db")
      writeFileSync(path, "")
      yield* filled(path)
      const half = join(yield* directory, "half.db")
      yield* withDatabase(half, (db) => db.exec("PRAGMA journal_mode = WAL; CREATE TABLE t (a); DROP TABLE t"))
      yield* filled(half)
    }))

  it.live("a damaged catalogue is Corrupt", () =>
    Effect.gen(function*() {
      const path = join(yield* directory, "events.db")
      yield* filled(path)
      const file = openSync(path, "r+")
      // The root page of the catalogue, behind the file header.
      writeSync(file, Buffer.alloc(4000, 0xff), 0, 4000, 100)
      closeSync(file)
      const error = yield* opening({ path })
      assert.strictEqual(error.reason._tag, "Corrupt")
      assert.match(error.message, /is damaged .* Restore it from a copy, or move it away/)
    }))

  it.live("a directory in the place of the file", () =>
    Effect.gen(function*() {
      const path = join(yield* directory, "events.db")
      mkdirSync(path)
      assert.strictEqual((yield* opening({ path })).reason._tag, "Io")
    }))

  it.live.skipIf(!canMount)(
    `a read-only directory${canMount ? "" : " (skipped: needs the right to mount a file system)"}`,
    () =>
      Effect.gen(function*() {
        const place = yield* tmpfs(4096)
        const path = join(place, "events.db")
        yield* filled(path)
        yield* remount(place, "ro")
        const there = yield* opening({ path })
        assert.strictEqual(there.reason._tag, "ReadOnly")
        assert.match(there.message, /Check the permissions of the file and of its directory/)
        assert.strictEqual((yield* opening({ path: join(place, "new.db") })).reason._tag, "ReadOnly")
        assert.isFalse(existsSync(join(place, "new.db")))
      })
  )

  it.live.skipIf(!canMount)(
    `a full disk${canMount ? "" : " (skipped: needs the right to mount a file system)"}`,
    () =>
      Effect.gen(function*() {
        const disk = yield* tmpfs(512)
        const path = join(disk, "events.db")
        for (const room of [0, 24, 60]) {
          writeFileSync(join(disk, "ballast"), Buffer.alloc((512 - room) * 1024))
          const error = yield* opening({ path })
          assert.strictEqual(error.reason._tag, "Full", `${room} KiB left: ${error.message}`)
          writeFileSync(join(disk, "ballast"), "")
        }
        yield* filled(path)
      })
  )

  it.live("options out of range are named", () =>
    Effect.gen(function*() {
      const path = join(yield* directory, "events.db")
      const cases: ReadonlyArray<readonly [SqliteStore.SqliteStoreOptions, string]> = [
        [{ path: "" }, "path"],
        [{ path: ":memory:" }, "path"],
        [{ path, retention: { maxEvents: 0 } }, "retention.maxEvents"],
        [{ path, retention: { maxBytes: 1.5 } }, "retention.maxBytes"],
        [{ path, retention: { maxAge: 0 } }, "retention.maxAge"],
        [{ path, retention: { maxAge: "Infinity" } }, "retention.maxAge"]
      ]
      for (const [options, option] of cases) {
        const { reason } = yield* opening(options)
        assert.strictEqual(reason._tag === "InvalidOptions" ? reason.option : reason._tag, option)
      }
      assert.isFalse(existsSync(path))
    }))
})
