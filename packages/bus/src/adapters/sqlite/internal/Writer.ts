/**
 * The one connection that writes: every waiting batch in one transaction. No Effect here: a worker runs it.
 */
import type { DatabaseSync, StatementSync } from "node:sqlite"
import { hash } from "../../../core/XxHash3.ts"
import { seal } from "../../../internal/StoredBlock.ts"
import type { ProducerMark } from "../../../Batch.ts"
import type { AppendRequest, Failure, Retention } from "./protocol.ts"
import { failureOf } from "./schema.ts"
import { type Kept, noTotals, type ShardTotals, Transaction } from "./Transaction.ts"

/** A block, as retention sees it. */
type Oldest = Record<"id" | "shard" | "count" | "millis" | "bytes", number>

/** Blocks that retention removes in one transaction, so that none takes long. */
const blocksPerSweep = 64

/** Answer to one append: the shard's tail, or why it was not stored. */
export type Outcome = { readonly tail: number } | { readonly failure: Failure }

class Statements {
  readonly block: StatementSync
  readonly shard: StatementSync
  readonly identity: StatementSync
  readonly mark: StatementSync
  readonly marksOf: StatementSync
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
    this.marksOf = db.prepare("SELECT producer, shards, shard, sequence FROM mark WHERE producer = ?")
    this.nextOf = db.prepare("SELECT next FROM identity WHERE nonce = ? AND shard = ?")
    this.oldest = db.prepare(
      "SELECT id, shard, last - first + 1 AS count, millis, bytes FROM block ORDER BY id LIMIT ?"
    )
    this.remove = db.prepare("DELETE FROM block WHERE id = ?")
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
  #kept: Kept = { events: 0, bytes: 0 }
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
    const stored = new Transaction(this.#totals, this.#next, this.#kept)
    for (
      const row of rows.all() as unknown as ReadonlyArray<
        Record<"shard" | "tail" | "last_ts" | "events" | "bytes", bigint>
      >
    ) {
      stored.add(Number(row.shard), {
        tail: Number(row.tail),
        lastTs: row.last_ts,
        events: Number(row.events),
        bytes: Number(row.bytes)
      })
    }
    this.#commit(stored)
  }

  #begin(): Transaction {
    this.#db.exec("BEGIN IMMEDIATE")
    return new Transaction(this.#totals, this.#next, this.#kept)
  }

  #commit(transaction: Transaction): void {
    transaction.commit()
    this.#kept = transaction.kept
  }

  /** Writes the totals and ends the transaction. */
  #save(transaction: Transaction): void {
    for (const [shard, { bytes, events, lastTs, tail }] of transaction.totals.changes) {
      this.#statements.shard.run(shard, tail, lastTs, events, bytes)
    }
    this.#db.exec("COMMIT")
    this.#commit(transaction)
  }

  #rollback(): void {
    try {
      if (this.#db.isTransaction) this.#db.exec("ROLLBACK")
    } catch {
      // SQLite has rolled back by itself.
    }
  }

  /**
   * Stores batches, and removes what retention does not keep, in one transaction. The answers are in the order of the requests;
   * `isBehind` says that retention has more to remove.
   */
  append(
    requests: ReadonlyArray<AppendRequest>
  ): { readonly outcomes: ReadonlyArray<Outcome>; readonly isBehind: boolean } {
    try {
      const transaction = this.#begin()
      const outcomes = requests.map((request) => this.#store(request, transaction))
      const isBehind = this.#retain(transaction)
      this.#save(transaction)
      return { outcomes, isBehind }
    } catch (cause) {
      this.#rollback()
      const failure = failureOf(this.#path, cause)
      return { outcomes: requests.map(() => ({ failure })), isBehind: false }
    }
  }

  #store(request: AppendRequest, transaction: Transaction): Outcome {
    const { blocks, count, lastTs, marks, nonce, now, sequenceStart, shard } = request
    this.#now = Math.max(this.#now, now)
    const { tail } = transaction.totals.get(shard) ?? noTotals
    const expected = this.#nextOf(nonce, shard, transaction)
    const end = sequenceStart + count
    if (end <= expected) return { tail }
    if (sequenceStart < expected) {
      const message =
        `events ${sequenceStart} to ${end} of shard ${shard} overlap with stored ones, which end at ${expected}`
      return { failure: { tag: "Fatal", message: `${this.#path}: ${message}` } }
    }
    let position = tail
    let bytes = 0
    for (const block of blocks) {
      const data = new Uint8Array(block.buffer, 0, block.length)
      seal(data, hash)
      this.#statements.block.run(shard, position + 1, position + block.count, block.millis, block.length, data)
      position += block.count
      bytes += block.length
    }
    this.#statements.identity.run(BigInt.asIntN(64, nonce), shard, end, now)
    this.#mark(marks)
    transaction.next.set(`${nonce}:${shard}`, end)
    transaction.add(shard, { tail: position, lastTs, events: count, bytes })
    return { tail: position }
  }

  #mark(marks: ReadonlyArray<ProducerMark>): void {
    for (const { producer, sequence, shard, shards } of marks) {
      this.#statements.mark.run(producer, shards, shard, sequence)
    }
  }

  /** What is stored of a named producer, by every batch that came before the question. */
  marksOf(producer: string): ReadonlyArray<ProducerMark> {
    return this.#statements.marksOf.all(producer) as unknown as ReadonlyArray<ProducerMark>
  }

  saveMarks(marks: ReadonlyArray<ProducerMark>): void {
    try {
      this.#db.exec("BEGIN IMMEDIATE")
      this.#mark(marks)
      this.#db.exec("COMMIT")
    } catch (cause) {
      this.#rollback()
      throw cause
    }
  }

  #nextOf(nonce: bigint, shard: number, { next }: Transaction): number {
    const known = next.get(`${nonce}:${shard}`)
    if (known !== undefined) return known
    const row = this.#statements.nextOf.get(BigInt.asIntN(64, nonce), shard)
    return row === undefined ? 0 : row["next"] as number
  }

  /** Removes some of what retention does not keep, in a transaction of its own; true when there may be more. */
  sweep(now = this.#now): boolean {
    this.#now = Math.max(this.#now, now)
    if (this.#isClosed || !this.#mayBeDue(this.#kept)) return false
    try {
      const transaction = this.#begin()
      const isBehind = this.#retain(transaction)
      this.#save(transaction)
      return isBehind
    } catch {
      // It comes again with the next batch; that batch's own failure, if any, is reported to its caller.
      this.#rollback()
      return false
    }
  }

  /** Without a look at the database. */
  #mayBeDue({ bytes, events }: Kept): boolean {
    const { maxAgeMillis, maxBytes, maxEvents } = this.#retention
    return maxAgeMillis !== null || bytes > (maxBytes ?? Infinity) || events > (maxEvents ?? Infinity)
  }

  #isDue(block: Oldest, { bytes, events }: Kept): boolean {
    const { maxAgeMillis, maxBytes, maxEvents } = this.#retention
    return (maxAgeMillis !== null && block.millis < this.#now - maxAgeMillis) ||
      bytes > (maxBytes ?? Infinity) || events - block.count >= (maxEvents ?? Infinity)
  }

  /** All of it or nothing, whatever else is in the transaction; true when there may be more. */
  #retain(transaction: Transaction): boolean {
    if (!this.#mayBeDue(transaction.kept)) return false
    const part = new Transaction(transaction.totals, transaction.next, transaction.kept)
    this.#db.exec("SAVEPOINT retention")
    try {
      const isBehind = this.#removeOldest(part)
      this.#db.exec("RELEASE retention")
      part.commit()
      transaction.kept = part.kept
      return isBehind
    } catch (cause) {
      // Some failures end the whole transaction.
      if (!this.#db.isTransaction) throw cause
      this.#db.exec("ROLLBACK TO retention")
      this.#db.exec("RELEASE retention")
      return false
    }
  }

  #removeOldest(transaction: Transaction): boolean {
    // One more than may go, because the newest block of all stays. Most calls end with the first two.
    const oldest = (limit: number) => this.#statements.oldest.all(limit + 1) as unknown as ReadonlyArray<Oldest>
    const [head, second] = oldest(1)
    if (head === undefined || second === undefined || !this.#isDue(head, transaction.kept)) return false
    const blocks = oldest(blocksPerSweep)
    let removed = 0
    while (removed < blocks.length - 1 && this.#isDue(blocks[removed]!, transaction.kept)) {
      const { bytes, count, id, shard } = blocks[removed++]!
      this.#statements.remove.run(id)
      transaction.add(shard, { events: -count, bytes: -bytes })
    }
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
