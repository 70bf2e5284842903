/**
 * The laws.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import type { ProducerMark } from "../Batch.ts"
import { batch, holds, payloads, readAll } from "./Batches.ts"
import {
  type Body,
  check,
  failsWith,
  law,
  lawOfOpening,
  lawOfReopening,
  type Opened,
  same,
  type Statement
} from "./Law.ts"

const oddPayloads: ReadonlyArray<string | Uint8Array> = [
  "{\"a\":1}",
  "",
  "not JSON",
  "{\"text\": \"日本語 😀\", \"n\": 1.0}",
  Uint8Array.of(0xff, 0xfe, 0x00, 0x0a),
  "x".repeat(100_000)
]

const storing: ReadonlyArray<Statement> = [
  law("append keeps bytes, time, channel and order of events", (adapter) =>
    Effect.gen(function*() {
      const first = batch({ payloads: oddPayloads, channels: ["", "a", "b", "a", "", "überschrift"] })
      const second = batch({ payloads: payloads(10), sequenceStart: oddPayloads.length })
      yield* adapter.append(first)
      yield* adapter.append(second)
      yield* holds(adapter, 0, [first, second])
    })),
  law("append keeps a batch of several segments, with and without channels", (adapter) =>
    Effect.gen(function*() {
      const channels = Array.from({ length: 30 }, (_, i) => i < 10 ? "" : i % 2 === 0 ? "even" : "odd")
      const mixed = batch({ payloads: payloads(30), channels, segments: [1, 9, 15] })
      const [first, ...others] = mixed.segments
      const partly = { ...mixed, segments: [{ ...first!, channels: undefined }, ...others] }
      yield* adapter.append(partly)
      yield* holds(adapter, 0, [partly])
    })),
  law("append keeps insertion times exact to the nanosecond, also far apart", (adapter) =>
    Effect.gen(function*() {
      const near = batch({ payloads: payloads(2) })
      const far = batch({ payloads: payloads(4), segments: [2], sequenceStart: 2, millis: 1_800_000_000_000 })
      const apart = { ...far, segments: [far.segments[0]!, { ...far.segments[1]!, baseMillis: 1_800_000_100_000 }] }
      yield* adapter.append(near)
      yield* adapter.append(apart)
      yield* holds(adapter, 0, [near, apart])
    })),
  law("append copies what it keeps", (adapter) =>
    Effect.gen(function*() {
      const kept = batch({ payloads: payloads(3) })
      const lent = batch({ payloads: payloads(3) })
      yield* adapter.append(lent)
      for (const segment of lent.segments) {
        segment.bytes.fill(0)
        segment.deltas.fill(0)
      }
      yield* holds(adapter, 0, [kept])
    })),
  law("append takes a batch of 10,000 events and an event of a mebibyte", (adapter) =>
    Effect.gen(function*() {
      const many = batch({ payloads: payloads(10_000) })
      const large = batch({ payloads: ["a", "x".repeat(1_048_576), "b"], sequenceStart: 10_000 })
      yield* adapter.append(many)
      yield* adapter.append(large)
      yield* holds(adapter, 0, [many, large], 10_000)
    })),
  law("shards do not mix, up to shard 65,534", (adapter) =>
    Effect.gen(function*() {
      const shards = [0, 1, 255, 256, 65_534]
      const batches = shards.map((shard) => batch({ shard, payloads: payloads(5, `shard ${shard}`) }))
      yield* Effect.forEach(batches, (one) => adapter.append(one))
      yield* Effect.forEach(batches, (one) => holds(adapter, one.shard, [one]))
    })),
  law("appends of several shards at once all arrive, each shard in order", (adapter) =>
    Effect.gen(function*() {
      const shards = Array.from({ length: 8 }, (_, shard) =>
        Array.from({ length: 10 }, (_, i) =>
          batch({ shard, sequenceStart: i * 3, payloads: payloads(3, `${shard} ${i}`) })))
      yield* Effect.forEach(shards, (batches) =>
        Effect.forEach(batches, (one) =>
          adapter.append(one)), { concurrency: "unbounded" })
      yield* Effect.forEach(shards, (batches, shard) =>
        holds(adapter, shard, batches))
    })),
  law("sequence numbers may have gaps", (adapter) =>
    Effect.gen(function*() {
      const first = batch({ payloads: payloads(2), sequenceStart: 5 })
      const second = batch({ payloads: payloads(2), sequenceStart: 1_000_000_000_000 })
      yield* adapter.append(first)
      yield* adapter.append(second)
      yield* holds(adapter, 0, [first, second])
    }))
]

const identity: ReadonlyArray<Statement> = [
  law("append is idempotent: a batch sent again is not stored again", (adapter) =>
    Effect.gen(function*() {
      const first = batch({ payloads: payloads(3) })
      const second = batch({ payloads: payloads(4), sequenceStart: 3 })
      yield* adapter.append(first)
      yield* adapter.append(first)
      yield* adapter.append(second)
      yield* adapter.append(first)
      yield* adapter.append(second)
      yield* holds(adapter, 0, [first, second])
    })),
  law("a batch is recognised by nonce, shard and sequence together", (adapter) =>
    Effect.gen(function*() {
      const nonces = [BigInt(1), BigInt(2), BigInt("0x8000000000000000"), BigInt("0xffffffffffffffff")]
      const batches = nonces.map((nonce) => batch({ nonce, payloads: payloads(2, String(nonce)) }))
      const elsewhere = batch({ nonce: BigInt(1), shard: 1, payloads: payloads(2) })
      yield* Effect.forEach([...batches, elsewhere, ...batches], (one) => adapter.append(one))
      yield* holds(adapter, 0, batches)
      yield* holds(adapter, 1, [elsewhere])
    })),
  law(
    "an interrupted append leaves the store whole, and sending it again stores it once",
    (adapter) =>
      Effect.gen(function*() {
        const batches = Array.from(
          { length: 10 },
          (_, i) => batch({ sequenceStart: i * 500, payloads: payloads(500, String(i)) })
        )
        for (const one of batches) {
          const running = yield* Effect.forkChild(adapter.append(one), { startImmediately: true })
          yield* Fiber.interrupt(running)
          yield* adapter.append(one)
        }
        yield* holds(adapter, 0, batches)
      })
  ),
  law("a poll during an append answers, with events in order and without gaps", (adapter) =>
    Effect.gen(function*() {
      const first = batch({ payloads: payloads(10) })
      yield* adapter.append(first)
      const second = batch({ payloads: payloads(5000), sequenceStart: 10 })
      const running = yield* Effect.forkChild(adapter.append(second), { startImmediately: true })
      const times = (yield* readAll(adapter, 0, 10_000)).map(({ insertionTs }) => insertionTs)
      yield* Fiber.join(running)
      const all = (yield* readAll(adapter, 0, 10_000)).map(({ insertionTs }) => insertionTs)
      yield* check(times.length >= 10, () => `a poll saw ${times.length} events of the 10 that were stored before`)
      const wrong = times.findIndex((time, i) => time !== all[i])
      yield* check(wrong === -1, () => `a poll saw another event ${wrong} than there is now`)
      yield* holds(adapter, 0, [first, second])
    }))
]

const reading: ReadonlyArray<Statement> = [
  law("poll returns events strictly after any position", (adapter) =>
    Effect.gen(function*() {
      yield* adapter.append(batch({ payloads: payloads(12) }))
      yield* adapter.append(batch({ payloads: payloads(13), sequenceStart: 12 }))
      const ids = (yield* readAll(adapter, 0)).map(({ id }) => id)
      for (const [i, id] of ids.entries()) {
        const rest = (yield* readAll(adapter, 0, 4, id)).map((event) => event.id)
        yield* same(rest, ids.slice(i + 1), `what follows event ${i}`)
      }
    })),
  law("poll gives every event once when pages of any size are followed", (adapter) =>
    Effect.gen(function*() {
      const batches = [1, 7, 64, 3].map((size, i) =>
        batch({ payloads: payloads(size, String(i)), sequenceStart: i * 100 })
      )
      yield* Effect.forEach(batches, (one) => adapter.append(one))
      yield* Effect.forEach([1, 2, 7, 8, 74, 75, 76], (limit) => holds(adapter, 0, batches, limit))
    })),
  law("poll says where a page ended and whether there was more", (adapter) =>
    Effect.gen(function*() {
      yield* adapter.append(batch({ payloads: payloads(3) }))
      const [first] = (yield* adapter.poll(0, null, 1)).events
      const one = yield* adapter.poll(0, null, 1)
      yield* same([one.events.length, one.nextId, one.hasMore], [1, first!.id, true], "a page of one of three")
      const all = yield* adapter.poll(0, null, 3)
      yield* same([all.events.length, all.nextId, all.hasMore], [3, all.events[2]!.id, false], "a page of all three")
    })),
  law("poll at the end, or of a shard without events, is an empty page", (adapter) =>
    Effect.gen(function*() {
      yield* same(
        yield* adapter.poll(3, null, 10),
        { events: [], nextId: null, hasMore: false },
        "the page of an unknown shard"
      )
      yield* adapter.append(batch({ payloads: payloads(3) }))
      const { nextId } = yield* adapter.poll(0, null, 10)
      yield* same(
        yield* adapter.poll(0, nextId, 10),
        { events: [], nextId: null, hasMore: false },
        "the page after the end"
      )
      yield* same(
        yield* adapter.poll(1, null, 10),
        { events: [], nextId: null, hasMore: false },
        "the page of another shard"
      )
    })),
  law("poll goes on where the end was once more events are there", (adapter) =>
    Effect.gen(function*() {
      yield* adapter.append(batch({ payloads: payloads(3) }))
      const { nextId } = yield* adapter.poll(0, null, 10)
      yield* adapter.append(batch({ payloads: payloads(4), sequenceStart: 3 }))
      yield* same((yield* readAll(adapter, 0, 2, nextId)).length, 4, "the number of new events")
    })),
  law("poll refuses a position that was never handed out", (adapter) =>
    Effect.gen(function*() {
      yield* adapter.append(batch({ payloads: payloads(3) }))
      for (const position of ["", "no position", "-1", "\u0000", "9".repeat(400)]) {
        yield* failsWith(
          adapter.poll(0, position, 10),
          "InvalidPosition",
          `a poll after ${JSON.stringify(position.slice(0, 20))}`
        )
      }
    })),
  law("tails are the last positions of all shards that ever held an event", (adapter) =>
    Effect.gen(function*() {
      yield* same([...(yield* adapter.tails)], [], "the tails of an empty store")
      yield* adapter.append(batch({ shard: 2, payloads: payloads(3) }))
      yield* adapter.append(batch({ shard: 9, payloads: payloads(1) }))
      yield* adapter.append(batch({ shard: 2, payloads: payloads(2), sequenceStart: 3 }))
      const lasts = yield* Effect.forEach([2, 9], (shard) =>
        Effect.map(readAll(adapter, shard), (events) => [shard, events.at(-1)!.id] as const))
      yield* same(
        [...(yield* adapter.tails)].sort(([a], [b]) =>
          a - b
        ),
        lasts,
        "the tails"
      )
    }))
]

const marksOf = (adapter: Opened, producer: string): Body<ReadonlyArray<ProducerMark>> =>
  Effect.map(
    adapter.producerMarks(producer),
    (marks) =>
      marks.map(({ producer, sequence, shard, shards }) => ({ producer, shards, shard, sequence }))
        .sort((a, b) => a.shards - b.shards || a.shard - b.shard)
  )

const markOf = (producer: string, shards: number, shard: number, sequence: number): ProducerMark => ({
  producer,
  shards,
  shard,
  sequence
})

const marks: ReadonlyArray<Statement> = [
  law(
    "producer marks are stored with their batch, one for each shard and shard count",
    (adapter) =>
      Effect.gen(function*() {
        yield* same(yield* marksOf(adapter, "unknown"), [], "the marks of an unknown producer")
        yield* adapter.append(batch({ payloads: payloads(2), marks: [markOf("p", 4, 0, 2), markOf("q", 4, 0, 9)] }))
        yield* adapter.append(batch({ shard: 1, payloads: payloads(2), marks: [markOf("p", 4, 1, 5)] }))
        yield* adapter.append(
          batch({ payloads: payloads(2), sequenceStart: 2, marks: [markOf("p", 4, 0, 7), markOf("p", 8, 0, 1)] })
        )
        yield* same(
          yield* marksOf(adapter, "p"),
          [markOf("p", 4, 0, 7), markOf("p", 4, 1, 5), markOf("p", 8, 0, 1)],
          "the marks of p"
        )
        yield* same(yield* marksOf(adapter, "q"), [markOf("q", 4, 0, 9)], "the marks of q")
      })
  ),
  law("producer marks never go back", (adapter) =>
    Effect.gen(function*() {
      const first = batch({ payloads: payloads(2), marks: [markOf("p", 1, 0, 2)] })
      yield* adapter.append(first)
      yield* adapter.append(batch({ payloads: payloads(2), sequenceStart: 2, marks: [markOf("p", 1, 0, 4)] }))
      yield* adapter.append(first)
      yield* same(yield* marksOf(adapter, "p"), [markOf("p", 1, 0, 4)], "the mark of p")
    })),
  law("producer marks can be saved by themselves, and do not go back then either", (adapter) =>
    Effect.gen(function*() {
      yield* adapter.append(batch({ payloads: payloads(2), marks: [markOf("p", 2, 0, 2)] }))
      yield* adapter.saveMarks([markOf("p", 2, 0, 1), markOf("p", 0, 0, 5)])
      yield* same(yield* marksOf(adapter, "p"), [markOf("p", 0, 0, 5), markOf("p", 2, 0, 2)], "the marks of p")
    })),
  law(
    "the marks of a batch that was given up on are in the answer, or will never be",
    (adapter) =>
      Effect.gen(function*() {
        for (let i = 1; i <= 20; i++) {
          const appending = yield* Effect.forkChild(
            adapter.append(batch({ payloads: payloads(1), sequenceStart: i - 1, marks: [markOf("p", 1, 0, i)] })),
            { startImmediately: true }
          )
          yield* Fiber.interrupt(appending)
          const said = yield* marksOf(adapter, "p")
          yield* adapter.flush
          yield* same(yield* marksOf(adapter, "p"), said, "the marks of p, asked again")
        }
      })
  )
]

const life: ReadonlyArray<Statement> = [
  law("an open adapter is healthy, and flushes", (adapter) =>
    Effect.gen(function*() {
      yield* same(yield* adapter.isHealthy, true, "health")
      yield* adapter.append(batch({ payloads: payloads(3) }))
      yield* adapter.flush
      yield* same(yield* adapter.isHealthy, true, "health after a flush")
    })),
  law(
    "an empty store has no last insertion time",
    (adapter) => same(adapter.lastInsertionTs, BigInt(0), "lastInsertionTs")
  ),
  lawOfOpening("after its scope every call fails with Shutdown", (open) =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const adapter = yield* Scope.provide(open, scope)
      yield* adapter.append(batch({ payloads: payloads(3) }))
      yield* Scope.close(scope, Exit.void)
      yield* failsWith(
        adapter.append(batch({ payloads: payloads(3), sequenceStart: 3 })),
        "Shutdown",
        "append after closing"
      )
      yield* failsWith(adapter.poll(0, null, 1), "Shutdown", "poll after closing")
      yield* failsWith(adapter.flush, "Shutdown", "flush after closing")
      yield* failsWith(adapter.tails, "Shutdown", "tails after closing")
      yield* failsWith(adapter.producerMarks("p"), "Shutdown", "producerMarks after closing")
      yield* failsWith(adapter.saveMarks([]), "Shutdown", "saveMarks after closing")
      yield* same(yield* adapter.isHealthy, false, "health after closing")
    }))
]

/** Runs `before` on the adapter, closes it, and runs `after` on it opened again. */
const reopen = <A>(
  open: Parameters<Statement["body"]>[0],
  before: (adapter: Opened) => Body<A>,
  after: (adapter: Opened, kept: A) => Body
): Body =>
  Effect.flatMap(
    Effect.scoped(Effect.flatMap(open, before)),
    (kept) => Effect.scoped(Effect.flatMap(open, (adapter) => after(adapter, kept)))
  )

const reopening: ReadonlyArray<Statement> = [
  lawOfReopening("events, positions and tails are there again", (open) => {
    const first = batch({ payloads: oddPayloads, channels: ["", "a", "b", "a", "", "c"] })
    const second = batch({ payloads: payloads(5), sequenceStart: oddPayloads.length })
    return reopen(
      open,
      (adapter) =>
        Effect.gen(function*() {
          yield* adapter.append(first)
          return [(yield* readAll(adapter, 0)).map(({ id }) => id), [...(yield* adapter.tails)]] as const
        }),
      (adapter, [ids, tails]) =>
        Effect.gen(function*() {
          yield* same((yield* readAll(adapter, 0)).map(({ id }) => id), ids, "the positions")
          yield* same([...(yield* adapter.tails)], tails, "the tails")
          yield* adapter.append(second)
          yield* holds(adapter, 0, [first, second])
          yield* same(
            (yield* readAll(adapter, 0, 10, ids.at(-1))).length,
            5,
            "what follows the last position of before"
          )
        })
    )
  }),
  lawOfReopening("a batch stored before is still recognised", (open) => {
    const first = batch({ payloads: payloads(3), nonce: BigInt("0xfedcba9876543210") })
    return reopen(
      open,
      (adapter) => adapter.append(first),
      (adapter) => Effect.andThen(adapter.append(first), holds(adapter, 0, [first]))
    )
  }),
  lawOfReopening("producer marks are there again", (open) =>
    reopen(
      open,
      (adapter) =>
        Effect.andThen(
          adapter.append(batch({ payloads: payloads(3), marks: [markOf("p", 2, 0, 3)] })),
          adapter.saveMarks([markOf("p", 0, 0, 3)])
        ),
      (adapter) =>
        Effect.flatMap(marksOf(adapter, "p"), (marks) =>
          same(marks, [markOf("p", 0, 0, 3), markOf("p", 2, 0, 3)], "the marks of p"))
    )),
  lawOfReopening("the last insertion time is the highest that is stored", (open) => {
    const late = batch({ shard: 1, payloads: payloads(3), millis: 1_790_000_000_000 })
    return reopen(
      open,
      (adapter) => Effect.andThen(adapter.append(late), adapter.append(batch({ payloads: payloads(2) }))),
      (adapter) => same(adapter.lastInsertionTs, BigInt("1790000000000000023"), "lastInsertionTs")
    )
  }),
  lawOfReopening(
    "the store keeps its identity",
    (open) =>
      reopen(
        open,
        (adapter) => Effect.succeed(adapter.storeId),
        (adapter, storeId) => same(adapter.storeId, storeId, "storeId")
      )
  )
]

export const statements: ReadonlyArray<Statement> = [
  ...storing,
  ...identity,
  ...reading,
  ...marks,
  ...life,
  ...reopening
]
