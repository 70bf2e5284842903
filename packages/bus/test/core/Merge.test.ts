import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { Merge, type Page } from "../../src/core/Merge.ts"
import type { Judge } from "../../src/core/ShardRead.ts"
import * as Cursor from "../../src/Cursor.ts"
import { type Entry, ReadableStore } from "../support/ReadableStore.ts"

const page = (
  store: ReadableStore,
  cursor: Cursor.Cursor,
  limit: number,
  order: "shards" | "insertionTs",
  judge?: Judge,
  timeWindow = 1
): Page => {
  const shards = [...store.shards.keys()].sort((a, b) => a - b)
  const merge = new Merge({ limit, order, shards, cursor, judge, timeWindow })
  for (let wants = merge.wants(); wants.length > 0; wants = merge.wants()) {
    for (const want of wants) {
      assert.isAtLeast(want.limit, 1)
      merge.feed(want.shard, store.page(want.shard, want.after, want.limit))
    }
  }
  return merge.finish()
}

/** Reads to the end; every page but the last has to move the cursor. */
const drain = (
  store: ReadableStore,
  limits: ReadonlyArray<number>,
  orders: ReadonlyArray<"shards" | "insertionTs">,
  judge?: Judge
): Array<{ readonly shard: number; readonly id: string; readonly ts: bigint }> => {
  const out: Array<{ readonly shard: number; readonly id: string; readonly ts: bigint }> = []
  let cursor = Cursor.empty
  for (let turn = 0; turn < 10_000; turn++) {
    const limit = limits[turn % limits.length]!
    const result = page(store, cursor, limit, orders[turn % orders.length]!, judge)
    assert.isAtMost(result.events.length, limit)
    for (const event of result.events) out.push({ shard: event.shard, id: event.id, ts: event.insertionTs })
    const before = Cursor.encode(cursor)
    cursor = result.cursor
    if (!result.hasMore) {
      assert.isEmpty(page(store, cursor, 100, "shards", judge).events)
      return out
    }
    assert.isTrue(result.moved)
    assert.notDeepEqual(Cursor.encode(cursor), before)
  }
  return assert.fail("did not end")
}

const Limit = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 9 }))
const Limits = Schema.NonEmptyArray(Limit)
const Time = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 40 }))
const Stored = Schema.Struct({ ts: Time, lost: Schema.Boolean, match: Schema.Boolean })
const Store = Schema.Array(Schema.Array(Stored))
const Orders = Schema.NonEmptyArray(Schema.Literals(["shards", "insertionTs"]))

const build = (shards: typeof Store.Type, ascending: boolean): ReadableStore => {
  const store = new ReadableStore()
  shards.forEach((entries, shard) => {
    const times = entries.map((entry) => entry.ts)
    if (ascending) times.sort((a, b) => a - b)
    store.add(
      shard * 3,
      entries.map((entry, i): Partial<Entry> => ({
        ts: BigInt(times[i]!) * BigInt(100) + BigInt(ascending ? i : 0),
        lost: entry.lost && i % 3 === 0,
        raw: `{"match":${entry.match}}`
      }))
    )
  })
  return store
}

/** What has to come out of every shard, in stored order. */
const expected = (store: ReadableStore, matching: boolean): Map<number, Array<string>> =>
  new Map(
    [...store.shards].map(([shard, entries]) => [
      shard,
      entries.filter((entry) => entry.lost !== true && (!matching || entry.raw.includes("true"))).map((entry) =>
        entry.id
      )
    ])
  )

const perShard = (events: ReadonlyArray<{ readonly shard: number; readonly id: string }>, store: ReadableStore) => {
  const out = new Map<number, Array<string>>([...store.shards.keys()].map((shard) => [shard, []]))
  for (const { id, shard } of events) out.get(shard)!.push(id)
  return out
}

const matching: Judge = (event) => new TextDecoder().decode(event.raw).includes("true") ? "keep" : "drop"

describe("against a model", () => {
  it.prop("pages of any size return every event once, each shard in stored order", {
    shards: Store,
    limits: Limits
  }, ({ limits, shards }) => {
    const store = build(shards, false)
    for (const judge of [undefined, matching]) {
      const events = drain(store, limits, ["shards"], judge)
      assert.deepStrictEqual(perShard(events, store), expected(store, judge !== undefined))
    }
  }, { arbitrary: { runs: 300, size: 20 } })

  it.prop("time order over shards whose times ascend is one ascending sequence, over all pages", {
    shards: Store,
    limits: Limits
  }, ({ limits, shards }) => {
    const store = build(shards, true)
    for (const judge of [undefined, matching]) {
      const events = drain(store, limits, ["insertionTs"], judge)
      assert.deepStrictEqual(perShard(events, store), expected(store, judge !== undefined))
      for (let i = 1; i < events.length; i++) assert.isTrue(events[i - 1]!.ts <= events[i]!.ts)
    }
  }, { arbitrary: { runs: 300, size: 20 } })

  it.prop("in any mixture of orders, and times in any order, every event comes once", {
    shards: Store,
    limits: Limits,
    orders: Orders
  }, ({ limits, orders, shards }) => {
    const store = build(shards, false)
    for (const judge of [undefined, matching]) {
      const events = drain(store, limits, orders, judge)
      const model = expected(store, judge !== undefined)
      for (const [shard, ids] of perShard(events, store)) {
        assert.deepStrictEqual(ids.sort(Cursor.comparePositions), model.get(shard))
      }
    }
  }, { arbitrary: { runs: 400, size: 20 } })

  it.prop("shards with a backlog are served alike, however small the pages", {
    shards: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 9 })),
    limits: Limits
  }, ({ limits, shards }) => {
    const store = new ReadableStore()
    for (let shard = 0; shard < shards; shard++) store.add(shard, Array.from({ length: 200 }, () => ({})))
    const served = Array.from({ length: shards }, () => 0)
    let cursor = Cursor.empty
    for (let turn = 0; turn < 20; turn++) {
      const result = page(store, cursor, limits[turn % limits.length]!, "shards")
      assert.strictEqual(result.events.length, limits[turn % limits.length]!)
      for (const event of result.events) served[event.shard]!++
      cursor = result.cursor
      assert.isAtMost(Math.max(...served) - Math.min(...served), 1)
    }
  }, { arbitrary: { runs: 100 } })
})

describe("time order", () => {
  it("remembers at most so many events returned out of stored order, and still returns each once", () => {
    const store = new ReadableStore()
    const far = BigInt(10_000_000)
    store.add(0, Array.from({ length: 5000 }, (_, i): Partial<Entry> => ({ ts: i % 1000 === 0 ? far : BigInt(i) })))
    store.add(1, Array.from({ length: 100 }, (_, i): Partial<Entry> => ({ ts: BigInt(i * 50) })))
    const seen = new Set<string>()
    let cursor = Cursor.empty
    for (;;) {
      const result = page(store, cursor, 250, "insertionTs")
      for (const event of result.events) {
        const key = `${event.shard}/${event.id}`
        assert.isFalse(seen.has(key), key)
        seen.add(key)
      }
      cursor = result.cursor
      let ahead = 0
      for (const ids of cursor.ahead.values()) ahead += ids.size
      assert.isAtMost(ahead, Cursor.maxAhead)
      if (!result.hasMore) break
      assert.isNotEmpty(result.events)
    }
    assert.strictEqual(seen.size, 5100)
  })
  it("forgets what retention removed while it was remembered", () => {
    const store = new ReadableStore().add(0, [{ ts: BigInt(30) }, { ts: BigInt(10) }, { ts: BigInt(20) }])
    const first = page(store, Cursor.empty, 2, "insertionTs", undefined, 10)
    assert.deepStrictEqual(first.events.map((event) => event.id), ["2", "3"])
    assert.deepStrictEqual(first.cursor.ahead, new Map([[0, new Set(["2", "3"])]]))
    store.shards.set(0, [{ id: "4", ts: BigInt(40), raw: "{}" }])
    const second = page(store, first.cursor, 2, "insertionTs")
    assert.deepStrictEqual(second.events.map((event) => event.id), ["4"])
    assert.deepStrictEqual(second.cursor, Cursor.make({ positions: new Map([[0, "4"]]) }))
  })
})

describe("reading plan", () => {
  it("an unfiltered page reads what it returns, and asks skewed shards again instead of reading twice as much of all", () => {
    const read = (backlogs: ReadonlyArray<number>) => {
      const store = new ReadableStore()
      backlogs.forEach((count, shard) => store.add(shard, Array.from({ length: count }, () => ({}))))
      let entries = 0
      const shards = [...store.shards.keys()]
      const merge = new Merge({ limit: 100, order: "shards", shards, cursor: Cursor.empty, judge: undefined })
      for (let wants = merge.wants(); wants.length > 0; wants = merge.wants()) {
        for (const want of wants) {
          const page = store.page(want.shard, want.after, want.limit)
          entries += page.events.length
          merge.feed(want.shard, page)
        }
      }
      const { events } = merge.finish()
      return [entries, events.length]
    }
    assert.deepStrictEqual(read([500, 500, 500, 500]), [100, 100])
    assert.deepStrictEqual(read([500, 3, 0, 0]), [100, 100])
    assert.deepStrictEqual(read([10, 10, 10, 500]), [100, 100])
    assert.deepStrictEqual(read([1, 1, 1, 1]), [4, 4])
  })
})
