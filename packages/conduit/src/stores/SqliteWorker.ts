/** The thread that owns the database: a commit waits for the disk, and the event loop must not. */
import { DatabaseSync } from "node:sqlite"
import { parentPort, workerData } from "node:worker_threads"
import type { Change, Remembered } from "../ConduitStore.ts"
import * as Serial from "../core/Serial.ts"
import * as StoreCodec from "../internal/StoreCodec.ts"

/** A question from the store; the answer carries its number. */
export type Request =
  | { readonly n: number; readonly op: "list" | "close" }
  | { readonly n: number; readonly op: "load" | "remove"; readonly id: string }
  | { readonly n: number; readonly op: "write"; readonly id: string; readonly changes: Uint8Array }

const db = new DatabaseSync((workerData as { readonly path: string }).path, { timeout: 5000 })
db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON")
db.exec(`
  CREATE TABLE IF NOT EXISTS conduit (id TEXT PRIMARY KEY, keys BLOB, delivered INTEGER, next INTEGER NOT NULL) STRICT;
  CREATE TABLE IF NOT EXISTS item (
    place INTEGER PRIMARY KEY AUTOINCREMENT,
    conduit TEXT NOT NULL REFERENCES conduit (id) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    item BLOB NOT NULL
  ) STRICT;
  CREATE INDEX IF NOT EXISTS item_seq ON item (conduit, seq);
`)
const known = db.prepare("INSERT INTO conduit (id, next) VALUES (?, 0) ON CONFLICT DO NOTHING")
const keys = db.prepare("UPDATE conduit SET keys = ? WHERE id = ?")
const delivered = db.prepare("UPDATE conduit SET delivered = ? WHERE id = ?")
const next = db.prepare("UPDATE conduit SET next = ? WHERE id = ?")
const append = db.prepare("INSERT INTO item (conduit, seq, item) VALUES (?, ?, ?)")
// Numbers wrap, places do not.
const trim = db.prepare(
  "DELETE FROM item WHERE conduit = ?1 AND place <= (SELECT place FROM item WHERE conduit = ?1 AND seq = ?2)"
)

const write = (id: string, changes: ReadonlyArray<Change>): void => {
  db.exec("BEGIN IMMEDIATE")
  try {
    known.run(id)
    for (const change of changes) {
      switch (change._tag) {
        case "Keys":
          keys.run(Buffer.concat(change.keys), id)
          break
        case "Appended":
          append.run(id, change.seq, change.item)
          next.run(Serial.next(change.seq), id)
          break
        case "Trimmed":
          trim.run(id, change.seq)
          break
        case "Delivered":
          delivered.run(change.seq, id)
          break
      }
    }
    db.exec("COMMIT")
  } catch (cause) {
    if (db.isTransaction) db.exec("ROLLBACK")
    throw cause
  }
}

const load = (id: string): Remembered | undefined => {
  const row = db.prepare("SELECT keys, delivered, next FROM conduit WHERE id = ?").get(id)
  if (row === undefined) return undefined
  const bytes = row["keys"] as Uint8Array | null
  const items = db.prepare("SELECT seq, item FROM item WHERE conduit = ? ORDER BY place").all(id)
  return {
    keys: bytes === null ? [] : Array.from({ length: bytes.length / 16 }, (_, i) => bytes.slice(i * 16, i * 16 + 16)),
    delivered: (row["delivered"] as number | null) ?? undefined,
    nextSeq: row["next"] as number,
    items: items.map(({ item, seq }) => ({ seq: seq as number, item: item as Uint8Array }))
  }
}

const answer = (request: Request): unknown => {
  switch (request.op) {
    case "list":
      return db.prepare("SELECT id FROM conduit ORDER BY id").all().map(({ id }) => id)
    case "load":
      return load(request.id)
    case "write":
      return write(request.id, StoreCodec.decode(request.changes))
    case "remove":
      return void db.prepare("DELETE FROM conduit WHERE id = ?").run(request.id)
    case "close":
      return db.close()
  }
}

parentPort!.on("message", (request: Request) => {
  try {
    parentPort!.postMessage({ n: request.n, value: answer(request) }, [])
  } catch (cause) {
    parentPort!.postMessage({ n: request.n, error: String(cause) }, [])
  }
})
