/**
 * The one connection that writes: every waiting batch in one transaction. No Effect here: a worker runs it.
 */
import type { DatabaseSync, StatementSync } from "node:sqlite"
import { hash } from "../../../core/XxHash3.ts"
import { seal } from "../../../internal/StoredBlock.ts"
import type { AppendRequest, Failure, Retention } from "./protocol.ts"
import { failureOf } from "./schema.ts"

interface ShardTotals {
  readonly tail: number
  readonly lastTs: bigint
  readonly events: number
  readonly bytes: number
}

/** A block, as retention sees it. */
type Oldest = Record<"id" | "shard" | "count" | "millis" | "bytes", number>

const noTotals: ShardTotals = { tail: 0, lastTs: BigInt(0), events: 0, bytes: 0 }

/** Blocks that retention removes in one transaction, so that none takes long. */
const blocksPerSweep = 64

/** Answer to one append: the shard's tail, or why it was not stored. */
export type Outcome = { readonly tail: number } | { readonly failure: Failure }

class Statements {
  readonly block: StatementSync
  readonly shard: StatementSync
  readonly identity: StatementSync
  readonly mark: StatementSync
  readonly nextOf: StatementSync
  readonly oldest: StatementSync
  readonly remove: StatementSync

  constructor(db: DatabaseSync) {
    this.block = db.prepare("INSERT INTO block (shard, first, last, millis, bytes, data) VALUES (?, ?, ?, ?, ?, ?)")
    this.shard = db.prepare(
      "INSERT INTO shard VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET " +
        "tail = excluded.tail, last_ts = excluded.last_ts, events = excluded.events, bytes = excluded.bytes"
    )
    this.identity = db.prepare(
      "INSERT INTO identity VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET next = excluded.next, used = excluded.used"
    )
    this.mark = db.prepare(
      "INSERT INTO mark VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET sequence = max(sequence, excluded.sequence)"
    )
    this.nextOf = db.prepare("SELECT next FROM identity WHERE nonce = ? AND shard = ?")
    this.oldest = db.prepare(
      "SELECT id, shard, last - first + 1 AS count, millis, bytes FROM block ORDER BY id LIMIT ?"
    )
    this.remove = db.prepare("DELETE FROM block WHERE id = ?")
  }
}

/** Changes that hold only once their transaction is committed. */
class Staged<K, V> {
  readonly #committed: Map<K, V>
  readonly #changes = new Map<K, V>()

  constructor(committed: Map<K, V>) {
    this.#committed = committed
  }

  get(key: K): V | undefined {
    return this.#changes.get(key) ?? this.#committed.get(key)
  }

  set(key: K, value: V): void {
    this.#changes.set(key, value)
  }

  get changes(): ReadonlyMap<K, V> {
    return this.#changes
  }

  commit(): void {
    for (const [key, value] of this.#changes) this.#committed.set(key, value)
  }
}

export class Writer {
  readonly #db: DatabaseSync
  readonly #path: string
  readonly #retention: Retention
  readonly #statements: Statements
  readonly #totals = new Map<number, ShardTotals>()
  /** Next sequence number by `nonce:shard`. */
  readonly #next = new Map<string, number>()
  /** Latest time that a request carried. */
  #now = 0
  #isClosed = false

  constructor(db: DatabaseSync, path: string, retention: Retention) {
    this.#db = db
    this.#path = path
    this.#retention = retention
    this.#statements = new Statements(db)
    const rows = db.prepare("SELECT shard, tail, last_ts, events, bytes FROM shard")
    rows.setReadBigInts(true)
    for (const row of rows.all()) {
      this.#totals.set(Number(row["shard"]), {
        tail: Number(row["tail"]),
        lastTs: row["last_ts"] as bigint,
        events: Number(row["events"]),
        bytes: Number(row["bytes"])
      })
    }
  }

  /** Stores batches in one transaction. The answers are in the order of the requests. */
  append(requests: ReadonlyArray<AppendRequest>): ReadonlyArray<Outcome> {
    const totals = new Staged(this.#totals)
    const next = new Staged(this.#next)
    try {
      this.#db.exec("BEGIN IMMEDIATE")
      const outcomes = requests.map((request) => this.#store(request, totals, next))
      this.#saveTotals(totals)
      this.#db.exec("COMMIT")
      totals.commit()
      next.commit()
      return outcomes
    } catch (cause) {
      this.#rollback()
      const failure = failureOf(this.#path, cause)
      return requests.map(() => ({ failure }))
    }
  }

  #store(request: AppendRequest, totals: Staged<number, ShardTotals>, next: Staged<string, number>): Outcome {
    const { blocks, count, lastTs, marks, nonce, now, sequenceStart, shard } = request
    this.#now = Math.max(this.#now, now)
    const { bytes, events, lastTs: earlierTs, tail } = totals.get(shard) ?? noTotals
    const expected = this.#nextOf(nonce, shard, next)
    const end = sequenceStart + count
    if (end <= expected) return { tail }
    if (sequenceStart < expected) {
      return {
        failure: {
          tag: "Fatal",
          message:
            `${this.#path}: events ${sequenceStart} to ${end} of shard ${shard} overlap with stored ones, which end at ${expected}`
        }
      }
    }
    let position = tail
    let stored = 0
    for (const block of blocks) {
      const data = new Uint8Array(block.buffer, 0, block.length)
      seal(data, hash)
      this.#statements.block.run(shard, position + 1, position + block.count, block.millis, block.length, data)
      position += block.count
      stored += block.length
    }
    const signed = BigInt.asIntN(64, nonce)
    this.#statements.identity.run(signed, shard, end, now)
    for (const mark of marks) this.#statements.mark.run(mark.producer, mark.shards, mark.shard, mark.sequence)
    next.set(`${nonce}:${shard}`, end)
    totals.set(shard, {
      tail: position,
      lastTs: lastTs > earlierTs ? lastTs : earlierTs,
      events: events + count,
      bytes: bytes + stored
    })
    return { tail: position }
  }

  #nextOf(nonce: bigint, shard: number, staged: Staged<string, number>): number {
    const key = `${nonce}:${shard}`
    const known = staged.get(key)
    if (known !== undefined) return known
    const row = this.#statements.nextOf.get(BigInt.asIntN(64, nonce), shard)
    return row === undefined ? 0 : row["next"] as number
  }

  #saveTotals(totals: Staged<number, ShardTotals>): void {
    for (const [shard, { bytes, events, lastTs, tail }] of totals.changes) {
      this.#statements.shard.run(shard, tail, lastTs, events, bytes)
    }
  }

  #rollback(): void {
    try {
      if (this.#db.isTransaction) this.#db.exec("ROLLBACK")
    } catch {
      // SQLite has rolled back by itself.
    }
  }

  /** Removes the oldest blocks that retention does not keep, some at a time; true when there may be more. */
  sweep(now = this.#now): boolean {
    this.#now = Math.max(this.#now, now)
    if (this.#isClosed || !this.#mayBeDue()) return false
    try {
      return this.#removeOldest()
    } catch {
      // Retention comes again with the next batch; that batch's own failure, if any, is reported to its caller.
      this.#rollback()
      return false
    }
  }

  #kept(): { readonly events: number; readonly bytes: number } {
    let events = 0
    let bytes = 0
    for (const shard of this.#totals.values()) {
      events += shard.events
      bytes += shard.bytes
    }
    return { events, bytes }
  }

  /** Without a look at the database. */
  #mayBeDue(): boolean {
    const { maxAgeMillis, maxBytes, maxEvents } = this.#retention
    const { bytes, events } = this.#kept()
    return maxAgeMillis !== null || bytes > (maxBytes ?? Infinity) || events > (maxEvents ?? Infinity)
  }

  #removeOldest(): boolean {
    const { maxAgeMillis, maxBytes, maxEvents } = this.#retention
    let { bytes, events } = this.#kept()
    const isDue = (row: Oldest): boolean =>
      (maxAgeMillis !== null && row.millis < this.#now - maxAgeMillis) ||
      bytes > (maxBytes ?? Infinity) || events - row.count >= (maxEvents ?? Infinity)
    // One more than may go, because the newest block of all stays. Most calls end with the first two.
    const oldest = (limit: number) => this.#statements.oldest.all(limit + 1) as unknown as ReadonlyArray<Oldest>
    const [head, second] = oldest(1)
    if (head === undefined || second === undefined || !isDue(head)) return false

    const totals = new Staged(this.#totals)
    let removed = 0
    this.#db.exec("BEGIN IMMEDIATE")
    const rows = oldest(blocksPerSweep)
    while (removed < rows.length - 1 && isDue(rows[removed]!)) {
      const row = rows[removed]!
      this.#statements.remove.run(row.id)
      const shard = totals.get(row.shard)!
      totals.set(row.shard, { ...shard, events: shard.events - row.count, bytes: shard.bytes - row.bytes })
      events -= row.count
      bytes -= row.bytes
      removed++
    }
    this.#saveTotals(totals)
    this.#db.exec("COMMIT")
    totals.commit()
    return removed === blocksPerSweep
  }

  /** Copies the log into the database file and forces both to the device. */
  checkpoint(): void {
    this.#db.exec("PRAGMA wal_checkpoint(FULL)")
  }

  close(): void {
    this.#isClosed = true
    try {
      this.#db.exec("PRAGMA wal_checkpoint(TRUNCATE)")
    } finally {
      this.#db.close()
    }
  }
}
