import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import type { AdapterErrorReason } from "../../src/Adapter.ts"
import * as Cursor from "../../src/Cursor.ts"
import * as Event from "../../src/Event.ts"
import * as Filter from "../../src/Filter.ts"
import * as Poller from "../../src/internal/Poller.ts"
import type { PollError, PollRequest, PollResponse } from "../../src/Poll.ts"
import { type Entry, ReadableStore } from "../support/ReadableStore.ts"

const poll = (store: ReadableStore, request: PollRequest): Effect.Effect<PollResponse, PollError> =>
  Poller.make(store.adapter).poll(request)

const ids = (response: PollResponse): Array<string> => response.events.map((event) => `${event.shard}/${event.id}`)
const times = (response: PollResponse): Array<number> => response.events.map((event) => Number(event.insertionTs))
const many = (count: number, entry: Partial<Entry> = {}): Array<Partial<Entry>> =>
  Array.from({ length: count }, () => entry)
const at = (...ts: ReadonlyArray<number>): Array<Partial<Entry>> => ts.map((ts) => ({ ts: BigInt(ts) }))
const token = `{"type":"token"}`
const other = `{"type":"other"}`
const isToken = Filter.eq("type", "token")

/** Follows the cursor to the end and gives all pages. */
const drain = Effect.fnUntraced(function*(store: ReadableStore, request: PollRequest, most = 100) {
  const pages: Array<PollResponse> = []
  let cursor = request.cursor
  for (let turn = 0; turn < most; turn++) {
    const page: PollResponse = yield* poll(store, { ...request, cursor })
    if (page.events.length > 0) assert.notStrictEqual(page.nextCursor, cursor ?? null)
    pages.push(page)
    cursor = page.nextCursor ?? undefined
    if (!page.hasMore) return pages
  }
  return assert.fail(`not drained in ${most} polls`)
})

describe("which shards", () => {
  it.effect("G01 every shard that holds events, whatever their number", () =>
    Effect.gen(function*() {
      const store = new ReadableStore()
      for (const shard of [3, 0, 2, 1]) store.add(shard, [{}])
      assert.deepStrictEqual(ids(yield* poll(store, { limit: 10 })), ["0/1", "1/1", "2/1", "3/1"])
    }))
  it.effect("G02 a shard that no longer exists is not asked, one no longer configured still is", () =>
    Effect.gen(function*() {
      const store = new ReadableStore().add(1, [{}]).add(900, [{}])
      assert.deepStrictEqual(ids(yield* poll(store, { limit: 10 })), ["1/1", "900/1"])
      assert.deepStrictEqual(store.polls.map((call) => call.shard), [1, 900])
    }))
  it.effect("G03 limit 0 is an empty page without asking the store", () =>
    Effect.gen(function*() {
      const store = new ReadableStore().add(0, [{}])
      const page = yield* poll(store, { limit: 0 })
      assert.deepStrictEqual([page.events.length, page.nextCursor, page.hasMore], [0, null, false])
      assert.strictEqual((yield* poll(store, { limit: 0, cursor: "e30=" })).nextCursor, "e30=")
      assert.isEmpty(store.polls)
    }))
  it.effect("G04 an empty list of shards is an empty page", () =>
    Effect.gen(function*() {
      const store = new ReadableStore().add(0, [{}])
      const page = yield* poll(store, { limit: 10, shards: [] })
      assert.deepStrictEqual([page.events.length, page.nextCursor, page.hasMore], [0, null, false])
      assert.isEmpty(store.polls)
    }))
  it.effect("G05 a shard named twice is read once", () =>
    Effect.gen(function*() {
      const store = new ReadableStore().add(0, many(2)).add(1, [{}])
      assert.deepStrictEqual(ids(yield* poll(store, { limit: 10, shards: [0, 0, 1] })), ["0/1", "1/1", "0/2"])
    }))
  it.effect("G13 only the shards named", () =>
    Effect.gen(function*() {
      const store = new ReadableStore().add(0, [{}]).add(1, [{}]).add(2, [{}])
      assert.deepStrictEqual(ids(yield* poll(store, { limit: 10, shards: [2, 0] })), ["0/1", "2/1"])
    }))
  it.effect("a subset leaves the positions of the others alone", () =>
    Effect.gen(function*() {
      const store = new ReadableStore().add(0, many(2)).add(1, many(2))
      const first = yield* poll(store, { limit: 10, shards: [0] })
      const second = yield* poll(store, { limit: 10, cursor: first.nextCursor! })
      assert.deepStrictEqual(ids(second), ["1/1", "1/2"])
    }))
  it.effect("shards whose end the cursor has reached are not asked again", () =>
    Effect.gen(function*() {
      const store = new ReadableStore().add(0, many(2)).add(1, many(2))
      const first = yield* poll(store, { limit: 10 })
      store.polls = []
      store.add(1, [{}])
      assert.deepStrictEqual(ids(yield* poll(store, { limit: 10, cursor: first.nextCursor! })), ["1/3"])
      assert.deepStrictEqual(store.polls.map((call) => call.shard), [1])
    }))
  it.effect("a request out of range is refused, and says why", () =>
    Effect.gen(function*() {
      const store = new ReadableStore().add(0, [{}])
      const requests: ReadonlyArray<PollRequest> = [
        { limit: -1 },
        { limit: 1.5 },
        { limit: Number.NaN },
        { limit: 1, shards: [65_535] },
        { limit: 1, shards: [-1] },
        { limit: 1, order: "random" as "shards" }
      ]
      for (const request of requests) {
        const error = yield* Effect.flip(poll(store, request))
        assert.strictEqual(error.reason._tag, "InvalidRequest")
        assert.isNotEmpty(error.message)
      }
    }))
})

describe("requests and responses", () => {
  it.effect("C20 C21 every field has a default: the beginning, every shard, no filter, stored order", () =>
    Effect.gen(function*() {
      const store = new ReadableStore().add(0, at(9, 3)).add(1, at(5))
      const plain = yield* poll(store, { limit: 10 })
      const spelt: PollRequest = {
        limit: 10,
        cursor: undefined,
        filter: undefined,
        order: "shards",
        shards: undefined,
        channel: undefined
      }
      assert.deepStrictEqual(ids(yield* poll(store, spelt)), ids(plain))
      assert.deepStrictEqual(ids(plain), ["0/1", "1/1", "0/2"])
      assert.notDeepEqual(ids(yield* poll(store, { ...spelt, order: "insertionTs" })), ids(plain))
    }))
  it.effect("C22 an empty response says nothing in every member", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* poll(new ReadableStore(), { limit: 10 }), {
        events: [],
        nextCursor: null,
        hasMore: false,
        truncatedAtPerShardCap: false,
        stalledShards: [],
        failedShards: [],
        unreadable: 0
      })
    }))
})

describe("pages", () => {
  it.effect("G07 a page of everything has a cursor", () =>
    Effect.gen(function*() {
      const store = new ReadableStore().add(0, many(2)).add(1, [{}])
      const page = yield* poll(store, { limit: 100 })
      assert.strictEqual(page.events.length, 3)
      assert.isNotNull(page.nextCursor)
      assert.isFalse(page.hasMore)
    }))
  it.effect("G12 a full page says that there is more", () =>
    Effect.gen(function*() {
      const page = yield* poll(new ReadableStore().add(0, many(3)), { limit: 2 })
      assert.strictEqual(page.events.length, 2)
      assert.isTrue(page.hasMore)
    }))
  it.effect("G14 the cursor goes on behind the page", () =>
    Effect.gen(function*() {
      const store = new ReadableStore().add(0, many(3))
      const first = yield* poll(store, { limit: 2 })
      assert.deepStrictEqual(ids(yield* poll(store, { limit: 2, cursor: first.nextCursor! })), ["0/3"])
    }))
  it.effect("G15 ten and fifteen events in pages of ten", () =>
    Effect.gen(function*() {
      const store = new ReadableStore().add(0, many(10)).add(1, many(15))
      const pages = yield* drain(store, { limit: 10 }, 10)
      assert.strictEqual(new Set(pages.flatMap(ids)).size, 25)
    }))
  it.effect("G16 twenty and twenty events in pages of five, none twice", () =>
    Effect.gen(function*() {
      const store = new ReadableStore().add(0, many(20)).add(1, many(20))
      const all = (yield* drain(store, { limit: 5 })).flatMap(ids)
      assert.strictEqual(all.length, 40)
      assert.strictEqual(new Set(all).size, 40)
    }))
  it.effect("G18 the page after a page of two over three and three returns exactly the other four", () =>
    Effect.gen(function*() {
      const store = new ReadableStore().add(0, many(3)).add(1, many(3))
      const first = yield* poll(store, { limit: 2 })
      const second = yield* poll(store, { limit: 100, cursor: first.nextCursor! })
      assert.strictEqual(second.events.length, 4)
      assert.strictEqual(new Set([...ids(first), ...ids(second)]).size, 6)
    }))
  it.effect("G19, G20 the cap on what is read of one shard shows", () =>
    Effect.gen(function*() {
      const store = new ReadableStore().add(0, many(3))
      assert.isTrue((yield* poll(store, { limit: 50_000 })).truncatedAtPerShardCap)
      assert.isFalse((yield* poll(store, { limit: 100 })).truncatedAtPerShardCap)
      const large = new ReadableStore().add(0, many(10_500))
      const page = yield* poll(large, { limit: 50_000 })
      assert.deepStrictEqual([page.events.length, page.hasMore], [10_000, true])
    }))
  it.effect("G21 fewer events than shards", () =>
    Effect.gen(function*() {
      const store = new ReadableStore()
      for (let shard = 0; shard < 8; shard++) store.add(shard, [{}])
      const first = yield* poll(store, { limit: 3 })
      assert.deepStrictEqual([ids(first), first.hasMore], [["0/1", "1/1", "2/1"], true])
      const second = yield* poll(store, { limit: 3, cursor: first.nextCursor! })
      assert.deepStrictEqual(ids(second), ["3/1", "4/1", "5/1"])
    }))
  it.effect("a backlog on a low shard hides no other shard", () =>
    Effect.gen(function*() {
      const store = new ReadableStore().add(0, many(10_000)).add(1, many(2)).add(2, many(1))
      assert.deepStrictEqual(ids(yield* poll(store, { limit: 6 })), ["0/1", "1/1", "2/1", "0/2", "1/2", "0/3"])
    }))
  it.effect("G31 a store that claims more and delivers nothing is named, and no reader spins", () =>
    Effect.gen(function*() {
      const store = new ReadableStore()
      store.stalling.add(0).add(1)
      const page = yield* poll(store, { limit: 10 })
      assert.deepStrictEqual([page.hasMore, page.nextCursor, page.stalledShards], [false, null, [0, 1]])
    }))
  it.effect("G32 an empty page gives the cursor back", () =>
    Effect.gen(function*() {
      const store = new ReadableStore()
      assert.isNull((yield* poll(store, { limit: 10 })).nextCursor)
      const cursor = Buffer.from(` {"0" : "7"}`).toString("base64")
      assert.strictEqual((yield* poll(store, { limit: 10, cursor })).nextCursor, cursor)
    }))
  it.effect("entries that the store cannot read never hold up what lies behind them", () =>
    Effect.gen(function*() {
      const store = new ReadableStore().add(0, [...many(250, { lost: true }), {}, { lost: true }])
      for (const filter of [undefined, Filter.exists("n")]) {
        const pages = yield* drain(store, { limit: 10, filter })
        assert.deepStrictEqual(pages.flatMap(ids), ["0/251"])
        assert.isEmpty(pages.flatMap((page) => page.stalledShards))
        store.polls = []
        assert.isEmpty((yield* poll(store, { limit: 10, cursor: pages.at(-1)!.nextCursor! })).events)
        assert.isEmpty(store.polls)
      }
    }))
})

describe("time order", () => {
  it.effect("G08 out of stored order inside a shard too", () =>
    Effect.gen(function*() {
      const store = new ReadableStore().add(0, at(300, 100)).add(1, at(200))
      assert.deepStrictEqual(times(yield* poll(store, { limit: 10, order: "insertionTs" })), [100, 200, 300])
      const pages = yield* drain(store, { limit: 1, order: "insertionTs" })
      assert.deepStrictEqual(pages.flatMap(times), [100, 200, 300])
    }))
  it.effect("G09 equal times are ordered by shard, always", () =>
    Effect.gen(function*() {
      const store = new ReadableStore().add(1, at(5, 5)).add(0, at(5, 5))
      for (let turn = 0; turn < 20; turn++) {
        const page = yield* poll(store, { limit: 10, order: "insertionTs" })
        assert.deepStrictEqual(ids(page), ["0/1", "0/2", "1/1", "1/2"])
      }
    }))
  it.effect("G10 equal times in one shard are ordered by position", () =>
    Effect.gen(function*() {
      const store = new ReadableStore().add(0, ["10", "9", "11"].map((id) => ({ id, ts: BigInt(1) })))
      assert.deepStrictEqual(ids(yield* poll(store, { limit: 10, order: "insertionTs" })), ["0/9", "0/10", "0/11"])
      const pages = yield* drain(store, { limit: 1, order: "insertionTs" })
      assert.deepStrictEqual(pages.flatMap(ids), ["0/9", "0/10", "0/11"])
    }))
  it.effect("G17 pages of two over five are one sequence", () =>
    Effect.gen(function*() {
      const store = new ReadableStore().add(0, at(10, 30, 50)).add(1, at(20, 40))
      const pages = yield* drain(store, { limit: 2, order: "insertionTs" })
      assert.deepStrictEqual(pages.flatMap(times), [10, 20, 30, 40, 50])
    }))
  it.effect("G27 with a filter", () =>
    Effect.gen(function*() {
      const entries = (...list: ReadonlyArray<readonly [number, string]>) =>
        list.map(([ts, raw]) => ({ ts: BigInt(ts), raw }))
      const store = new ReadableStore()
        .add(0, entries([400, token], [100, other], [200, token]))
        .add(1, entries([260, token], [300, other], [120, token]))
      const page = yield* poll(store, { limit: 2, order: "insertionTs", filter: isToken })
      assert.deepStrictEqual([times(page), page.hasMore], [[120, 200], true])
      const rest = yield* poll(store, { limit: 10, order: "insertionTs", filter: isToken, cursor: page.nextCursor! })
      assert.deepStrictEqual(times(rest), [260, 400])
    }))
  it.effect("a cursor of one order is good for the other", () =>
    Effect.gen(function*() {
      const store = new ReadableStore().add(0, at(300, 100, 200))
      const first = yield* poll(store, { limit: 1, order: "insertionTs" })
      assert.deepStrictEqual(times(first), [100])
      assert.deepStrictEqual(times(yield* poll(store, { limit: 9, cursor: first.nextCursor! })), [300, 200])
    }))
})

describe("filters", () => {
  it.effect("G11 only what matches", () =>
    Effect.gen(function*() {
      const store = new ReadableStore().add(0, [token, other, token])
      assert.deepStrictEqual(ids(yield* poll(store, { limit: 10, filter: isToken })), ["0/1", "0/3"])
    }))
  it.effect("G22 fifty matches in pages of ten", () =>
    Effect.gen(function*() {
      const store = new ReadableStore().add(0, many(50, { raw: token }))
      assert.strictEqual(new Set((yield* drain(store, { limit: 10, filter: isToken }, 20)).flatMap(ids)).size, 50)
    }))
  it.effect("G23 two shards of thirty matches", () =>
    Effect.gen(function*() {
      const store = new ReadableStore().add(0, many(30, { raw: token })).add(1, many(30, { raw: token }))
      assert.strictEqual(new Set((yield* drain(store, { limit: 10, filter: isToken }, 30)).flatMap(ids)).size, 60)
    }))
  it.effect("G24 a shard without matches is passed to its end", () =>
    Effect.gen(function*() {
      const store = new ReadableStore().add(0, [token]).add(1, many(5, { raw: other }))
      const page = yield* poll(store, { limit: 10, filter: isToken })
      const cursor = Effect.fromResult(Cursor.decode(page.nextCursor!))
      assert.strictEqual(Cursor.get(yield* cursor, 1), "5")
      assert.isEmpty((yield* poll(store, { limit: 10, filter: isToken, cursor: page.nextCursor! })).events)
    }))
  it.effect("G25 a hundred matches among two hundred", () =>
    Effect.gen(function*() {
      const store = new ReadableStore().add(0, Array.from({ length: 200 }, (_, i) => i % 2 === 0 ? token : other))
      const pages = yield* drain(store, { limit: 50, filter: isToken }, 50)
      assert.strictEqual(pages.flatMap(ids).length, 100)
      assert.strictEqual(new Set(pages.flatMap(ids)).size, 100)
    }))
  it.effect("G26 no match: an empty page, and a cursor behind what was looked at", () =>
    Effect.gen(function*() {
      const page = yield* poll(new ReadableStore().add(0, many(3, { raw: other })), { limit: 10, filter: isToken })
      assert.isEmpty(page.events)
      assert.isNotNull(page.nextCursor)
    }))
  for (const order of ["shards", "insertionTs"] as const) {
    it.effect(`${order === "shards" ? "G28" : "G29"} late matches survive truncation in order ${order}`, () =>
      Effect.gen(function*() {
        const store = new ReadableStore()
          .add(0, Array.from({ length: 30 }, (_, i) => ({ raw: i >= 27 ? token : other, ts: BigInt(i * 10) })))
          .add(1, Array.from({ length: 3 }, (_, i) => ({ raw: token, ts: BigInt(i) })))
        const all = (yield* drain(store, { limit: 2, order, filter: isToken })).flatMap(ids)
        assert.deepStrictEqual([...all].sort(), ["0/28", "0/29", "0/30", "1/1", "1/2", "1/3"])
      }))
  }
  it.effect("G30 what is not JSON is returned without a filter, and counted by one", () =>
    Effect.gen(function*() {
      const store = new ReadableStore().add(0, [token, "{broken", token])
      assert.deepStrictEqual(ids(yield* poll(store, { limit: 10 })), ["0/1", "0/2", "0/3"])
      const page = yield* poll(store, { limit: 10, filter: isToken })
      assert.deepStrictEqual([ids(page), page.unreadable], [["0/1", "0/3"], 1])
      const pages = yield* drain(store, { limit: 1, filter: isToken })
      assert.strictEqual(pages.reduce((sum, page) => sum + page.unreadable, 0), 1)
    }))
  it.effect("a channel is not part of the payload, and a filter narrows it instead of replacing it", () =>
    Effect.gen(function*() {
      const store = new ReadableStore().add(0, [
        { raw: token, channel: "a" },
        { raw: token, channel: "b" },
        { raw: other, channel: "a" },
        { raw: `{"_channel":"a","channel":"a","type":"token"}` },
        { raw: "not json", channel: "a" }
      ])
      assert.deepStrictEqual(ids(yield* poll(store, { limit: 10, channel: "a" })), ["0/1", "0/3", "0/5"])
      assert.deepStrictEqual(ids(yield* poll(store, { limit: 10, channel: "a", filter: isToken })), ["0/1"])
      assert.isEmpty((yield* poll(store, { limit: 10, channel: "c" })).events)
    }))
  it.effect("a sparse match is found without a poll for every few events", () =>
    Effect.gen(function*() {
      const store = new ReadableStore()
      for (let shard = 0; shard < 8; shard++) {
        store.add(shard, [...many(2000, { raw: other }), { raw: token }])
      }
      const pages = yield* drain(store, { limit: 10, filter: isToken }, 4)
      assert.strictEqual(pages.flatMap(ids).length, 8)
    }))
  it.effect("a filter that is none is refused", () =>
    Effect.gen(function*() {
      const store = new ReadableStore().add(0, [token])
      const filter = { $eq: { path: "type", value: "token" } } as unknown as Filter.Filter
      assert.strictEqual((yield* Effect.flip(poll(store, { limit: 1, filter }))).reason._tag, "InvalidFilter")
    }))
})

describe("failures", () => {
  it.effect("G06 one shard fails, the others are returned", () =>
    Effect.gen(function*() {
      const store = new ReadableStore().add(0, many(2)).add(1, many(2)).add(2, [{}])
      store.failing.set(1, "Transient")
      const page = yield* poll(store, { limit: 10 })
      assert.deepStrictEqual(ids(page), ["0/1", "2/1", "0/2"])
      assert.deepStrictEqual(page.failedShards.map(({ error, shard }) => [shard, error.reason._tag]), [[
        1,
        "Transient"
      ]])
      store.failing.clear()
      assert.deepStrictEqual(ids(yield* poll(store, { limit: 10, cursor: page.nextCursor! })), ["1/1", "1/2"])
    }))
  it.effect("when nothing that had to be read could be read, the poll fails", () =>
    Effect.gen(function*() {
      const store = new ReadableStore().add(0, many(2)).add(1, many(2))
      store.failing.set(0, "Connection").set(1, "Connection")
      const error = yield* Effect.flip(poll(store, { limit: 10 }))
      assert.isTrue(error.reason._tag === "Adapter" && error.reason.cause.reason._tag === "Connection")
      const failing: AdapterErrorReason["_tag"] = "Shutdown"
      store.tailsFailing = failing
      const tails = yield* Effect.flip(poll(store, { limit: 10 }))
      assert.isTrue(tails.reason._tag === "Adapter" && tails.reason.cause.reason._tag === "Shutdown")
    }))
  const redis = Cursor.make({ positions: new Map([[0, "1700-0"], [1, "1700-0"]]) })
  it.effect("G33 positions of another class on every shard: nothing is delivered, all are named", () =>
    Effect.gen(function*() {
      const store = new ReadableStore().add(0, many(2, { raw: token })).add(1, many(2, { raw: token }))
      const cursor = yield* Effect.fromResult(Cursor.encode(redis))
      for (const filter of [isToken, undefined]) {
        const page = yield* poll(store, { limit: 10, cursor, filter })
        assert.isEmpty(page.events)
        assert.deepStrictEqual(page.failedShards.map((failed) => failed.shard), [0, 1])
        assert.include(page.failedShards[0]!.error.message, "another kind of store")
        assert.deepStrictEqual([page.nextCursor, page.hasMore], [cursor, false])
      }
    }))
  it.effect("G34 … on one shard: the other is delivered", () =>
    Effect.gen(function*() {
      const store = new ReadableStore().add(0, many(2, { raw: token })).add(1, [token])
      const cursor = yield* Effect.fromResult(Cursor.encode(Cursor.make({ positions: new Map([[0, "1700-0"]]) })))
      const page = yield* poll(store, { limit: 10, cursor, filter: isToken })
      assert.deepStrictEqual(ids(page), ["1/1"])
      assert.deepStrictEqual(page.failedShards.map((failed) => failed.shard), [0])
    }))
  it.effect("forged, foreign and damaged cursors are refused", () =>
    Effect.gen(function*() {
      const store = new ReadableStore().add(0, many(2))
      store.storeId = "store-a"
      const page = yield* poll(store, { limit: 1 })
      assert.deepStrictEqual(ids(yield* poll(store, { limit: 9, cursor: page.nextCursor! })), ["0/2"])
      store.storeId = "store-b"
      const foreign = yield* Effect.flip(poll(store, { limit: 1, cursor: page.nextCursor! }))
      assert.include(foreign.message, "cursor of another store")
      for (const cursor of ["", "garbage", "e30", `${page.nextCursor}AAAA`]) {
        assert.strictEqual((yield* Effect.flip(poll(store, { limit: 1, cursor }))).reason._tag, "InvalidCursor")
      }
    }))
  it.effect("a response is a value: events are as they were stored", () =>
    Effect.gen(function*() {
      const page = yield* poll(new ReadableStore().add(0, [{ raw: `{"a": 1.0 }` }]), { limit: 1 })
      assert.deepStrictEqual(Event.text(page.events[0]!), Event.text({ ...page.events[0]! }))
    }))
})
