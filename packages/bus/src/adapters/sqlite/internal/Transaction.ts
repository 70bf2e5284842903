/**
 * The writer's memory of what the database holds, in step with its transactions. No Effect here: a worker runs it.
 */

export interface ShardTotals {
  readonly tail: number
  readonly lastTs: bigint
  readonly events: number
  readonly bytes: number
}

export const noTotals: ShardTotals = { tail: 0, lastTs: BigInt(0), events: 0, bytes: 0 }

interface Table<K, V> {
  readonly get: (key: K) => V | undefined
  readonly set: (key: K, value: V) => unknown
}

/** Changes that hold only once they are committed to what is below. */
class Staged<K, V> implements Table<K, V> {
  readonly #below: Table<K, V>
  readonly changes = new Map<K, V>()

  constructor(below: Table<K, V>) {
    this.#below = below
  }

  get(key: K): V | undefined {
    return this.changes.get(key) ?? this.#below.get(key)
  }

  set(key: K, value: V): void {
    this.changes.set(key, value)
  }

  commit(): void {
    for (const [key, value] of this.changes) this.#below.set(key, value)
  }
}

/** What the store holds over all shards. */
export interface Kept {
  readonly events: number
  readonly bytes: number
}

/** State that becomes the writer's own when the database has committed it. */
export class Transaction {
  readonly totals: Staged<number, ShardTotals>
  readonly next: Staged<string, number>
  kept: Kept

  constructor(totals: Table<number, ShardTotals>, next: Table<string, number>, kept: Kept) {
    this.totals = new Staged(totals)
    this.next = new Staged(next)
    this.kept = kept
  }

  /** Changes of what a shard, and the store, holds. */
  add(shard: number, change: Kept & { readonly tail?: number; readonly lastTs?: bigint }): void {
    const { bytes, events, lastTs, tail } = this.totals.get(shard) ?? noTotals
    this.totals.set(shard, {
      tail: change.tail ?? tail,
      lastTs: change.lastTs !== undefined && change.lastTs > lastTs ? change.lastTs : lastTs,
      events: events + change.events,
      bytes: bytes + change.bytes
    })
    this.kept = { events: this.kept.events + change.events, bytes: this.kept.bytes + change.bytes }
  }

  commit(): void {
    this.totals.commit()
    this.next.commit()
  }
}
