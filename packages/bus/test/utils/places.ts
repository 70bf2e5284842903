import { Effect } from "effect"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as SqliteStore from "../../src/adapters/sqlite/index.ts"
import type { Subject } from "../../src/conformance/index.ts"

/** A directory of its own, removed with the scope. */
export const directory = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "perigee-bus-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

/** The SQLite store as a subject of the laws. */
export const sqliteSubject = (options?: Omit<SqliteStore.SqliteStoreOptions, "path">): Subject => ({
  place: Effect.map(directory, (path) => SqliteStore.make({ ...options, path: join(path, "events.db") }))
})
