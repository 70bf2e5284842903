/** One shard's part in a page: what was read of it, what of that may be returned, and where that leaves its reader. */
import type { ShardPage } from "../Adapter.ts"
import type { StoredEvent } from "../Event.ts"

/** What a filter says about an event; `unreadable` when its payload cannot be judged. */
export type Verdict = "keep" | "drop" | "unreadable"

export type Judge = (event: StoredEvent) => Verdict

const none: ReadonlySet<string> = new Set()

export class ShardRead {
  readonly shard: number
  readonly start: string | null
  /** Positions beyond `start` that an earlier page returned. */
  readonly skipped: ReadonlySet<string>
  private readonly judge: Judge | undefined

  /** Everything read, in stored order. */
  private events: ReadonlyArray<StoredEvent> = []
  /** What may be returned, in stored order: all of `events`, or those at `indices`. */
  candidates: ReadonlyArray<StoredEvent> = []
  private indices: Array<number> | undefined
  private readonly timesRead: Array<bigint> = []
  /** Indices into `events` of entries that were skipped as returned before, and of those that could not be judged. */
  private skippedAt: Array<number> = []
  private unreadableAt: Array<number> = []

  /** Where the next read continues. */
  after: string | null
  /** Whether the store has entries after `after`, as far as is known. */
  hasMore = true
  /** Set when nothing more is to be read in this poll: the store failed, was refused, or claimed more without delivering. */
  closed = false
  failed = false

  constructor(shard: number, start: string | null, skipped: ReadonlySet<string> | undefined, judge: Judge | undefined) {
    this.shard = shard
    this.start = start
    this.after = start
    this.skipped = skipped ?? none
    this.judge = judge
  }

  get fetched(): number {
    return this.events.length
  }

  get lastEvent(): StoredEvent | undefined {
    return this.events[this.events.length - 1]
  }

  /** Insertion timestamps of the candidates, each asked for once. */
  times(): ReadonlyArray<bigint> {
    for (let i = this.timesRead.length; i < this.candidates.length; i++) {
      this.timesRead.push(this.candidates[i]!.insertionTs)
    }
    return this.timesRead
  }

  feed(page: ShardPage): void {
    const next = page.nextId ?? page.events[page.events.length - 1]?.id ?? this.after
    if (page.events.length === 0 && next === this.after) this.closed = true
    this.after = next
    this.hasMore = page.hasMore
    if (!page.hasMore) this.closed = true
    if (page.events.length === 0) return
    const offset = this.events.length
    this.events = offset === 0 ? page.events : this.events.concat(page.events)
    if (this.judge === undefined && this.skipped.size === 0) {
      this.candidates = this.events
      return
    }
    const candidates = offset === 0 ? [] : this.candidates as Array<StoredEvent>
    this.indices ??= []
    for (let i = 0; i < page.events.length; i++) {
      const event = page.events[i]!
      if (this.skipped.size > 0 && this.skipped.has(event.id)) {
        this.skippedAt.push(offset + i)
        continue
      }
      const verdict = this.judge === undefined ? "keep" : this.judge(event)
      if (verdict === "keep") {
        candidates.push(event)
        this.indices.push(offset + i)
      } else if (verdict === "unreadable") {
        this.unreadableAt.push(offset + i)
      }
    }
    this.candidates = candidates
  }

  /** The store could not be read. What was read before stays good. */
  fail(): void {
    this.failed = true
    this.closed = true
    this.hasMore = false
  }

  /** Nothing of this shard may be returned. */
  refuse(): void {
    this.fail()
    this.events = []
    this.candidates = []
    this.indices = undefined
    this.timesRead.length = 0
    this.skippedAt = []
    this.unreadableAt = []
    this.after = this.start
  }

  /** Number of entries passed when the candidates before `first` were returned: up to the first one that was not. */
  private passed(first: number): number {
    if (first >= this.candidates.length) return this.events.length
    return this.indices === undefined ? first : this.indices[first]!
  }

  /** The position when the candidates before `first` were returned; entries that a filter dropped are passed on the way. */
  position(first: number): string | null {
    const passed = this.passed(first)
    if (passed === this.events.length) return this.after
    return passed === 0 ? this.start : this.events[passed - 1]!.id
  }

  /** Of the positions skipped, those that a reader at this place still has to skip. */
  stillSkipped(first: number): ReadonlyArray<string> {
    if (this.skipped.size === 0) return []
    const passed = this.passed(first)
    const left = new Set(this.skipped)
    for (const index of this.skippedAt) if (index < passed) left.delete(this.events[index]!.id)
    // At the end of the shard, what did not turn up was removed by retention.
    if (!this.hasMore && !this.failed) {
      const seen = new Set(this.skippedAt.map((index) => this.events[index]!.id))
      for (const id of left) if (!seen.has(id)) left.delete(id)
    }
    return [...left]
  }

  unreadableBefore(first: number): number {
    const passed = this.passed(first)
    let count = 0
    for (const index of this.unreadableAt) if (index < passed) count++
    return count
  }
}
