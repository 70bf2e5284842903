/** Merges shards by insertion timestamp without losing what a shard stored out of that order. */
import * as Cursor from "../Cursor.ts"
import type { StoredEvent } from "../Event.ts"
import type { ShardRead } from "./ShardRead.ts"

/** The candidates of one shard in the order of (timestamp, position), and how far they were returned. */
class Run {
  readonly read: ShardRead
  readonly times: ReadonlyArray<bigint>
  /** Candidate indices in time order; undefined when stored order is time order. */
  readonly sorted: ReadonlyArray<number> | undefined
  private readonly returned: Uint8Array | undefined
  /** How many were returned. */
  out = 0
  /** The first candidate, in stored order, that was not. */
  first = 0

  constructor(read: ShardRead) {
    this.read = read
    const candidates = read.candidates
    const times = read.times()
    this.times = times
    const compare = (a: number, b: number): number =>
      times[a]! < times[b]!
        ? -1
        : times[a]! > times[b]!
        ? 1
        : Cursor.comparePositions(candidates[a]!.id, candidates[b]!.id)
    let ordered = true
    for (let i = 1; ordered && i < candidates.length; i++) ordered = times[i - 1]! < times[i]! || compare(i - 1, i) <= 0
    if (!ordered) {
      this.sorted = candidates.map((_, index) => index).sort(compare)
      this.returned = new Uint8Array(candidates.length)
    }
  }

  /** Candidate index of the next to be returned, −1 at the end. */
  get head(): number {
    return this.out >= this.times.length ? -1 : this.sorted === undefined ? this.out : this.sorted[this.out]!
  }

  /** Events returned although an earlier one of the shard was not. */
  get ahead(): number {
    return this.out - this.first
  }

  /** Returns the candidate at `index`: the head, or the first that was not returned if no other is taken after it. */
  take(index: number): StoredEvent {
    this.out++
    if (this.returned === undefined) {
      this.first++
    } else {
      this.returned[index] = 1
      while (this.first < this.returned.length && this.returned[this.first] === 1) this.first++
    }
    return this.read.candidates[index]!
  }

  /** Positions returned beyond the first that was not. */
  aheadIds(): Array<string> {
    const ids: Array<string> = []
    if (this.returned !== undefined) {
      for (let i = this.first + 1; i < this.returned.length; i++) {
        if (this.returned[i] === 1) ids.push(this.read.candidates[i]!.id)
      }
    }
    return ids
  }
}

const before = (left: Run, right: Run): boolean => {
  const a = left.times[left.head]!
  const b = right.times[right.head]!
  return a < b || (a === b && left.read.shard < right.read.shard)
}

const fuller = (left: Run, right: Run): Run => right.read.skipped.size > left.read.skipped.size ? right : left

const siftDown = (heap: Array<Run>, from: number): void => {
  let at = from
  for (;;) {
    const left = 2 * at + 1
    if (left >= heap.length) return
    const child = left + 1 < heap.length && before(heap[left + 1]!, heap[left]!) ? left + 1 : left
    if (!before(heap[child]!, heap[at]!)) return
    const run = heap[child]!
    heap[child] = heap[at]!
    heap[at] = run
    at = child
  }
}

/**
 * Up to which time a shard is known: what it stores beyond was not read yet, and may be older than what other shards hold. Undefined when it
 * was read to its end; −1 when nothing is known.
 */
const horizon = (read: ShardRead): bigint | undefined => {
  if (read.closed) return undefined
  let last = read.lastEvent?.insertionTs ?? BigInt(-1)
  for (const time of read.times()) if (time > last) last = time
  return last
}

const least = (horizons: ReadonlyArray<bigint | undefined>): bigint | undefined => {
  let least: bigint | undefined
  for (const known of horizons) if (known !== undefined && (least === undefined || known < least)) least = known
  return least
}

/** The shards that have to be read further before `limit` events can be returned in order: those known the least far. */
export const behind = (reads: ReadonlyArray<ShardRead>, limit: number): ReadonlyArray<ShardRead> => {
  const horizons = reads.map(horizon)
  const until = least(horizons)
  if (until === undefined) return []
  let ready = 0
  for (const read of reads) {
    for (const time of read.times()) if (time <= until && ++ready >= limit) return []
  }
  return reads.filter((_, index) => horizons[index] === until)
}

export interface Cut {
  readonly events: ReadonlyArray<StoredEvent>
  /** First candidate of each shard that was not returned. */
  readonly first: ReadonlyArray<number>
  /** Positions of each shard that were returned beyond it. */
  readonly ahead: ReadonlyArray<ReadonlyArray<string>>
}

/**
 * Cuts a page of at most `limit` events. At most `maxAhead` events may have to be remembered as returned out of stored order, `skipped` of
 * which are from earlier pages. When that memory is full, an event goes by its stored order whatever its time, so that reading always proceeds.
 */
export const cut = (reads: ReadonlyArray<ShardRead>, limit: number, maxAhead: number, skipped: number): Cut => {
  const runs = reads.map((read) => new Run(read))
  const until = least(reads.map(horizon))
  const heap = runs.filter((run) => run.head !== -1)
  for (let i = (heap.length >> 1) - 1; i >= 0; i--) siftDown(heap, i)
  let remembered = skipped
  const events: Array<StoredEvent> = []
  while (heap.length > 0 && events.length < limit) {
    const run = heap[0]!
    if (until !== undefined && run.times[run.head]! > until) break
    if (run.head !== run.first && remembered >= maxAhead) {
      // Only when the page would be empty is the order given up, for one event.
      if (events.length === 0) {
        const full = heap.reduce(fuller)
        events.push(full.take(full.first))
      }
      break
    }
    remembered -= run.ahead
    events.push(run.take(run.head))
    remembered += run.ahead
    if (run.head === -1) {
      const last = heap.pop()!
      if (heap.length === 0) break
      if (last !== run) heap[0] = last
    }
    siftDown(heap, 0)
  }
  return { events, first: runs.map((run) => run.first), ahead: runs.map((run) => run.aheadIds()) }
}
