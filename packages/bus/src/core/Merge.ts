/**
 * Makes one page out of several shards. Plain state, driven from outside: ask {@link Merge.wants} what to read, {@link Merge.feed} the
 * answers, and {@link Merge.finish} when nothing more is wanted.
 */
import type { ShardPage } from "../Adapter.ts"
import * as Cursor from "../Cursor.ts"
import type { StoredEvent } from "../Event.ts"
import { type Judge, ShardRead } from "./ShardRead.ts"
import * as TimeOrder from "./TimeOrder.ts"

export type { Judge } from "./ShardRead.ts"

/** Entries read of one shard for one page. */
export const perShardCap = 10_000
/** Entries read for one page when a filter may drop them. */
const scanBudget = 10_000
/** Entries looked at for one page in time order, over all shards, however small it is: what a shard stored out of order there is put right. */
const defaultTimeWindow = 256
const maxRounds = 16

export interface MergeOptions {
  /** At least 1. */
  readonly limit: number
  readonly order: "shards" | "insertionTs"
  /** The shards to read: ascending, each once. */
  readonly shards: ReadonlyArray<number>
  readonly cursor: Cursor.Cursor
  /** Decides which events may be returned; all of them when there is none. */
  readonly judge: Judge | undefined
  /** Entries looked at for a page in time order, at the least. Default 256. */
  readonly timeWindow?: number | undefined
}

export interface Want {
  readonly shard: number
  readonly after: string | null
  readonly limit: number
}

export interface Page {
  readonly events: ReadonlyArray<StoredEvent>
  /** Where the next page goes on. */
  readonly cursor: Cursor.Cursor
  /** Whether the cursor moved. */
  readonly moved: boolean
  readonly hasMore: boolean
  readonly truncatedAtPerShardCap: boolean
  readonly stalledShards: ReadonlyArray<number>
  /** Shards whose position would have changed its class, with the reason. */
  readonly refused: ReadonlyArray<{ readonly shard: number; readonly message: string }>
  readonly unreadable: number
  /** The shards in the order in which they were served. */
  readonly rotation: ReadonlyArray<number>
}

export class Merge {
  private readonly options: MergeOptions
  /** In the order in which they are served. */
  private readonly reads: ReadonlyArray<ShardRead>
  private readonly byShard: ReadonlyMap<number, ShardRead>
  private readonly refused: Array<{ readonly shard: number; readonly message: string }> = []
  private round = 0
  private quota: number

  constructor(options: MergeOptions) {
    this.options = options
    const { cursor, judge, limit, shards } = options
    const turn = options.order === "shards" && cursor.turn !== null
      ? shards.findIndex((shard) => shard >= cursor.turn!)
      : 0
    const rotated = turn <= 0 ? shards : [...shards.slice(turn), ...shards.slice(0, turn)]
    this.reads = rotated.map((shard) => new ShardRead(shard, Cursor.get(cursor, shard), cursor.ahead.get(shard), judge))
    this.byShard = new Map(this.reads.map((read) => [read.shard, read]))
    const share = Math.ceil(limit / Math.max(1, shards.length))
    // Without regard to what a filter drops: reading again costs less than parsing what does not fit on the page.
    this.quota = options.order === "insertionTs"
      ? Math.max(2 * share, Math.ceil((options.timeWindow ?? defaultTimeWindow) / Math.max(1, shards.length)))
      : share
  }

  private get share(): number {
    return Math.ceil(this.options.limit / Math.max(1, this.reads.length))
  }

  /** What to read next; empty when the page can be cut. */
  wants(): ReadonlyArray<Want> {
    const round = this.round++
    if (round === 0) return this.reads.map((read) => this.want(read, this.quota))
    if (round >= maxRounds) return []
    const { judge, limit, order } = this.options
    let ready = 0
    let scanned = 0
    for (const read of this.reads) {
      ready += read.candidates.length
      scanned += read.fetched
    }
    if (judge !== undefined && scanned >= Math.max(scanBudget, 3 * limit)) return []
    const open = (read: ShardRead): boolean => !read.closed && read.fetched < perShardCap
    const reads = order === "insertionTs"
      ? TimeOrder.behind(this.reads, limit)
      : ready < limit
      ? this.reads.filter(open)
      : []
    // In time order, the page ends at what a shard is known to that cannot be read further.
    if (reads.length === 0 || !reads.every(open)) return []
    // As many as it takes if the rest is like what was seen.
    const missing = order === "insertionTs" ? limit : limit - ready
    this.quota = ready === 0
      ? Math.max(4 * this.quota, missing)
      : Math.ceil((missing * Math.max(1, scanned / ready)) / reads.length)
    return reads.map((read) => this.want(read, this.quota))
  }

  private want(read: ShardRead, quota: number): Want {
    const limit = Math.min(quota + read.skipped.size, perShardCap - read.fetched)
    return { shard: read.shard, after: read.after, limit: Math.max(1, limit) }
  }

  feed(shard: number, page: ShardPage): void {
    const read = this.byShard.get(shard)!
    if (read.start !== null && page.nextId !== null && Cursor.classOf(read.start) !== Cursor.classOf(page.nextId)) {
      // To deliver these without a position to come back to would repeat them for ever.
      read.refuse()
      this.refused.push({ shard, message: Cursor.classChange(shard, read.start, page.nextId) })
      return
    }
    read.feed(page)
  }

  /** The shard could not be read. What was read of it before is still returned. */
  fail(shard: number): void {
    this.byShard.get(shard)!.fail()
  }

  finish(): Page {
    const { cursor, limit, order } = this.options
    const reads = this.reads
    const { ahead, events, first, turn } = order === "insertionTs"
      ? { ...TimeOrder.cut(reads, limit, Cursor.maxAhead, skippedBy(cursor)), turn: cursor.turn }
      : { ...interleave(reads, limit), ahead: undefined }
    const positions = new Map(cursor.positions)
    const stillAhead = new Map(cursor.ahead)
    let moved = false
    let unreadable = 0
    let more = false
    reads.forEach((read, i) => {
      const position = read.position(first[i]!)
      if (position !== read.start && position !== null) {
        positions.set(read.shard, position)
        moved = true
      }
      if (read.skipped.size > 0 || (ahead !== undefined && ahead[i]!.length > 0)) {
        const ids = new Set([...read.stillSkipped(first[i]!), ...(ahead?.[i] ?? [])])
        if (ids.size > 0) stillAhead.set(read.shard, ids)
        else stillAhead.delete(read.shard)
        moved ||= ids.size !== read.skipped.size || (ahead?.[i]?.length ?? 0) > 0
      }
      unreadable += read.unreadableBefore(first[i]!)
      more ||= read.hasMore || first[i]! < read.candidates.length
    })
    const progress = moved || events.length > 0
    return {
      events,
      cursor: moved ? { ...cursor, positions, ahead: stillAhead, turn } : cursor,
      moved,
      hasMore: more && progress,
      truncatedAtPerShardCap: this.share > perShardCap,
      stalledShards: more && !progress
        ? reads.filter((read) => read.hasMore).map((read) => read.shard).sort((a, b) => a - b)
        : [],
      refused: this.refused,
      unreadable,
      rotation: reads.map((read) => read.shard)
    }
  }
}

const skippedBy = (cursor: Cursor.Cursor): number => {
  let count = 0
  for (const ids of cursor.ahead.values()) count += ids.size
  return count
}

/** Takes one event of each shard in turn until the page is full or nothing is left. */
const interleave = (
  reads: ReadonlyArray<ShardRead>,
  limit: number
): {
  readonly events: ReadonlyArray<StoredEvent>
  readonly first: ReadonlyArray<number>
  readonly turn: number | null
} => {
  const first = reads.map(() => 0)
  let filled: Array<number> = []
  reads.forEach((read, i) => {
    if (read.candidates.length > 0) filled.push(i)
  })
  if (filled.length === 1) {
    const i = filled[0]!
    const candidates = reads[i]!.candidates
    first[i] = Math.min(limit, candidates.length)
    return { events: candidates.length <= limit ? candidates : candidates.slice(0, limit), first, turn: null }
  }
  const events: Array<StoredEvent> = []
  let next = 0
  for (let depth = 0; filled.length > 0 && events.length < limit; depth++) {
    let emptied = false
    for (const i of filled) {
      if (events.length === limit) break
      const candidates = reads[i]!.candidates
      events.push(candidates[depth]!)
      first[i] = depth + 1
      emptied ||= depth + 1 === candidates.length
      next = i + 1
    }
    if (emptied) filled = filled.filter((i) => reads[i]!.candidates.length > depth + 1)
  }
  // The shard after the last one served begins the next page, or those with high numbers would never be served by small pages.
  const turn = events.length === limit ? reads[next % reads.length]!.shard : null
  return { events, first, turn: turn !== null && reads.every((read) => read.shard >= turn) ? null : turn }
}
