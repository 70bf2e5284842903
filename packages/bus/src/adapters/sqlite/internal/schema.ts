/**
 * The database file: its layout, its checks, and what its errors mean. No Effect here: workers import it.
 *
 * `shard` holds the running totals of each shard, `block` the events (see `StoredBlock`), `identity` the next sequence number of every
 * producing bus, `mark` what is stored of named producers.
 */
import { randomUUID } from "node:crypto"
import { DatabaseSync } from "node:sqlite"
import { describe, extendedCode, resultCode } from "../../../internal/Sqlite.ts"
import type { Failure, Opened, OpenFailure, WorkerOptions } from "./protocol.ts"

/** "PERG": says that a database is ours. See https://sqlite.org/pragma.html#pragma_application_id */
const applicationId = 0x50455247
const version = 1

/** Larger than the default, because most rows are: fewer pages to chain, and to log. */
const pageBytes = 8192
/** Identities kept, most recently used first: enough for years of restarts, and a bound. */
const keptIdentities = 100_000

/** IOERR_SHMSIZE: the index of the log could not grow. */
const shmSize = 4874

// Rows of `block` are in the order of commits; `data` is last, so that the columns before it are read without it.
const tables = `
  CREATE TABLE store (one INTEGER PRIMARY KEY CHECK (one = 1), id TEXT NOT NULL) STRICT;
  CREATE TABLE shard (
    shard INTEGER PRIMARY KEY,
    tail INTEGER NOT NULL,
    last_ts INTEGER NOT NULL,
    events INTEGER NOT NULL,
    bytes INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE block (
    id INTEGER PRIMARY KEY,
    shard INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    millis INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    data BLOB NOT NULL
  ) STRICT;
  CREATE UNIQUE INDEX block_position ON block (shard, last);
  CREATE TABLE identity (
    nonce INTEGER NOT NULL,
    shard INTEGER NOT NULL,
    next INTEGER NOT NULL,
    used INTEGER NOT NULL,
    PRIMARY KEY (nonce, shard)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE mark (
    producer TEXT NOT NULL,
    shards INTEGER NOT NULL,
    shard INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    PRIMARY KEY (producer, shards, shard)
  ) STRICT, WITHOUT ROWID;
`

const pragma = (db: DatabaseSync, name: string): unknown => Object.values(db.prepare(`PRAGMA ${name}`).get() ?? {})[0]

class Refusal extends Error {
  readonly failure: OpenFailure

  constructor(failure: OpenFailure) {
    super(failure._tag)
    this.failure = failure
  }
}

const isEmpty = (db: DatabaseSync): boolean => db.prepare("SELECT 1 FROM sqlite_schema LIMIT 1").get() === undefined

/** Everything or nothing: a crash in the middle leaves an empty database, which is initialised again. */
const initialise = (db: DatabaseSync): void => {
  db.exec("BEGIN IMMEDIATE")
  db.exec(tables)
  db.prepare("INSERT INTO store VALUES (1, ?)").run(randomUUID())
  db.exec(`PRAGMA application_id = ${applicationId}`)
  db.exec(`PRAGMA user_version = ${version}`)
  db.exec("COMMIT")
}

const verify = (db: DatabaseSync): void => {
  const application = pragma(db, "application_id")
  if (application !== applicationId) {
    throw new Refusal({ _tag: "NotAPerigeeStore", detail: `application id ${String(application)}` })
  }
  const found = Number(pragma(db, "user_version"))
  if (found !== version) throw new Refusal({ _tag: "WrongVersion", found, supported: version })
}

const readState = (db: DatabaseSync): Opened => {
  const store = db.prepare("SELECT id FROM store").get()
  if (store === undefined) throw new Refusal({ _tag: "Corrupt", detail: "the store has lost its identity" })
  const shards = db.prepare("SELECT shard, tail, last_ts FROM shard")
  shards.setReadBigInts(true)
  const tails = new Map<number, number>()
  let lastInsertionTs = BigInt(0)
  for (const row of shards.all()) {
    tails.set(Number(row["shard"]), Number(row["tail"]))
    const lastTs = row["last_ts"] as bigint
    if (lastTs > lastInsertionTs) lastInsertionTs = lastTs
  }
  return { storeId: store["id"] as string, lastInsertionTs, tails }
}

const refusalOf = (cause: unknown): OpenFailure => {
  if (cause instanceof Refusal) return cause.failure
  const detail = describe(cause)
  switch (resultCode(cause)) {
    case 5:
    case 6:
      return { _tag: "Busy", detail }
    case 8:
      return { _tag: "ReadOnly", detail }
    case 10:
      return { _tag: extendedCode(cause) === shmSize ? "Full" : "Io", detail }
    case 11:
      return { _tag: "Corrupt", detail }
    case 13:
      return { _tag: "Full", detail }
    case 26:
      return { _tag: "NotAPerigeeStore", detail }
    default:
      return { _tag: "Io", detail }
  }
}

/** Opens a connection that writes, creating the store when there is none. */
export const openWriter = (
  options: WorkerOptions
): { readonly db: DatabaseSync; readonly state: Opened } | { readonly failed: OpenFailure } => {
  let db: DatabaseSync | undefined
  try {
    db = new DatabaseSync(options.path, { timeout: options.busyTimeoutMillis })
    if (isEmpty(db)) db.exec(`PRAGMA page_size = ${pageBytes}`)
    else verify(db)
    if (pragma(db, "journal_mode = WAL") !== "wal") {
      throw new Refusal({ _tag: "Io", detail: "the file system has no write-ahead log" })
    }
    db.exec(`PRAGMA synchronous = ${options.synchronous === "fsync" ? "FULL" : "NORMAL"}`)
    // On macOS, where fsync alone leaves the data in the cache of the device.
    db.exec("PRAGMA fullfsync = ON; PRAGMA checkpoint_fullfsync = ON")
    db.exec(`PRAGMA wal_autocheckpoint = ${4_194_304 / pageBytes}`)
    db.exec("PRAGMA journal_size_limit = 67108864")
    if (isEmpty(db)) initialise(db)
    db.prepare(
      "DELETE FROM identity WHERE (nonce, shard) IN (SELECT nonce, shard FROM identity ORDER BY used DESC LIMIT -1 OFFSET ?)"
    )
      .run(keptIdentities)
    return { db, state: readState(db) }
  } catch (cause) {
    db?.close()
    return { failed: refusalOf(cause) }
  }
}

/** Opens a connection that only reads, on a store that is there. */
export const openReader = (options: WorkerOptions): DatabaseSync =>
  new DatabaseSync(options.path, { readOnly: true, timeout: options.busyTimeoutMillis })

/** An error of SQLite in the terms of an adapter. See https://sqlite.org/rescode.html */
export const failureOf = (path: string, cause: unknown): Failure => {
  const message = `${path}: ${describe(cause)}`
  switch (resultCode(cause)) {
    case 5: // BUSY
    case 6: // LOCKED
    case 7: // NOMEM
      return { tag: "Transient", message }
    case 13: // FULL
      return { tag: "Full", message: `${path}: no room left on the device` }
    case 10: // IOERR
      switch (extendedCode(cause)) {
        case shmSize:
          return { tag: "Full", message: `${path}: no room left on the device` }
        case 1034: // IOERR_FSYNC: what was written before may be gone
        case 8458: // IOERR_CORRUPTFS
        case 7178: // IOERR_DATA
          return { tag: "Fatal", message }
        default:
          return { tag: "Transient", message }
      }
    case 11: // CORRUPT
    case 26: // NOTADB
      return { tag: "Fatal", message: `${path} is damaged: ${describe(cause)}` }
    default:
      return { tag: "Fatal", message }
  }
}
