import { assert, describe, it } from "@effect/vitest"
import { Effect, type Scope } from "effect"
import { adapterError } from "../../src/Adapter.ts"
import * as MemoryStore from "../../src/adapters/memory.ts"
import type { ProducerMark } from "../../src/Batch.ts"
import * as Conformance from "../../src/conformance/index.ts"
import type { Opened, Subject } from "../../src/conformance/index.ts"
import { sqliteSubject } from "../utils/places.ts"

const memory: Subject = { place: Effect.succeed(MemoryStore.make()), isDurable: false }

describe("the memory store obeys the laws", () => {
  for (const law of Conformance.laws(memory)) it.live(law.name, () => law.run)
})

describe("the SQLite store obeys the laws", () => {
  for (const law of Conformance.laws(sqliteSubject())) it.live(law.name, () => law.run)
})

describe("the SQLite store without fsync obeys the laws of identity and of opening again", () => {
  for (const law of Conformance.laws(sqliteSubject({ synchronous: "os" }))) {
    if (/again|recognised|interrupted|keeps its|insertion time is/.test(law.name)) it.live(law.name, () => law.run)
  }
})

/** An adapter like the memory store, but for one flaw. */
const flawed = (flaw: (adapter: Opened) => Partial<Opened>): Subject => ({
  place: Effect.succeed(Effect.map(MemoryStore.make(), (adapter) => ({ ...adapter, ...flaw(adapter) }))),
  isDurable: false
})

/** A durable store like the SQLite one, but for a flaw that shows from the second opening on. */
const forgetful = (flaw: (adapter: Opened) => Partial<Opened>): Subject => ({
  place: Effect.map(sqliteSubject().place, (open) => {
    let opened = 0
    return Effect.map(open, (adapter) => ++opened === 1 ? adapter : { ...adapter, ...flaw(adapter) })
  })
})

/** What a law says about a subject: nothing, or how it was broken. */
const verdict = (name: string, subject: Subject) => {
  const law = Conformance.laws(subject).find((law) => law.name === name)
  assert.isDefined(law, name)
  return law!.run.pipe(Effect.as("obeyed"), Effect.catch((violation) => Effect.succeed(violation.message)))
}

const marks = (change: (marks: ReadonlyArray<ProducerMark>) => ReadonlyArray<ProducerMark>) =>
(
  adapter: Opened
): Partial<Opened> => ({
  producerMarks: (producer) => Effect.map(adapter.producerMarks(producer), change)
})

const onPage = (
  change: (
    page: Effect.Success<ReturnType<Opened["poll"]>>,
    limit: number
  ) => Effect.Success<ReturnType<Opened["poll"]>>
) =>
(adapter: Opened): Partial<Opened> => ({
  poll: (shard, after, limit) => Effect.map(adapter.poll(shard, after, limit), (page) => change(page, limit))
})

/** Sends every batch under a sequence number that was never used, so that nothing is recognised. */
const forgettingIdentity = (adapter: Opened): Partial<Opened> => {
  let sequence = 5_000_000_000_000
  return { append: (batch) => adapter.append({ ...batch, sequenceStart: sequence += 100_000 }) }
}

/** For each law, an adapter that breaks it. */
let saved: ReadonlyArray<ProducerMark> = []
let asked = 0

const broken: Record<string, Subject> = {
  "append keeps bytes, time, channel and order of events": flawed((adapter) => ({
    append: (batch) => adapter.append({ ...batch, channels: batch.channels.map(() => "x") })
  })),
  "append keeps a batch of several segments, with and without channels": flawed((adapter) => ({
    append: (batch) => adapter.append({ ...batch, segments: batch.segments.slice(0, 1) })
  })),
  "append keeps insertion times exact to the nanosecond, also far apart": flawed((adapter) => ({
    append: (batch) =>
      adapter.append({
        ...batch,
        segments: batch.segments.map((segment) => ({ ...segment, deltas: segment.deltas.map((n) => n - n % 2) }))
      })
  })),
  "append copies what it keeps": flawed((adapter) => {
    const late: Array<Effect.Effect<void, unknown>> = []
    return {
      append: (batch) => Effect.sync(() => void late.push(adapter.append(batch))),
      poll: (shard, after, limit) =>
        Effect.andThen(Effect.orDie(Effect.all(late.splice(0))), adapter.poll(shard, after, limit))
    }
  }),
  "append takes a batch of 10,000 events and an event of a mebibyte": flawed((adapter) => ({
    append: (batch) =>
      batch.byteLength > 1_000_000 ? Effect.fail(adapterError("flawed", "Fatal", "too large")) : adapter.append(batch)
  })),
  "shards do not mix, up to shard 65,534": flawed((adapter) => ({
    append: (batch) => adapter.append({ ...batch, shard: batch.shard & 255 }),
    poll: (shard, after, limit) => adapter.poll(shard & 255, after, limit)
  })),
  "appends of several shards at once all arrive, each shard in order": flawed((adapter) => {
    let running = 0
    return {
      append: (batch) =>
        Effect.suspend(() => running++ > 0 ? Effect.void : adapter.append(batch)).pipe(
          Effect.andThen(Effect.yieldNow),
          Effect.ensuring(Effect.sync(() => running--))
        )
    }
  }),
  "sequence numbers may have gaps": flawed((adapter) => ({
    append: (batch) =>
      batch.sequenceStart > 1000 ? Effect.fail(adapterError("flawed", "Fatal", "gap")) : adapter.append(batch)
  })),
  "append is idempotent: a batch sent again is not stored again": flawed(forgettingIdentity),
  "a batch is recognised by nonce, shard and sequence together": flawed((adapter) => ({
    append: (batch) => adapter.append({ ...batch, nonce: batch.nonce & 0xfn || 1n })
  })),
  "an interrupted append leaves the store whole, and sending it again stores it once": flawed((adapter) => {
    const again = forgettingIdentity(adapter).append!
    return { append: (batch) => Effect.andThen(again(batch), Effect.yieldNow) }
  }),
  "a poll during an append answers, with events in order and without gaps": flawed((adapter) => {
    let running = 0
    return {
      append: (batch) =>
        Effect.sync(() => running++).pipe(
          Effect.andThen(adapter.append(batch)),
          Effect.andThen(Effect.yieldNow),
          Effect.ensuring(Effect.sync(() => running--))
        ),
      poll: (shard, after, limit) =>
        Effect.map(
          adapter.poll(shard, after, limit),
          (page) => running === 0 ? page : { ...page, events: page.events.slice(1) }
        )
    }
  }),
  "poll returns events strictly after any position": flawed((adapter) => ({
    poll: (shard, after, limit) => adapter.poll(shard, after === "7" ? "6" : after, limit)
  })),
  "poll gives every event once when pages of any size are followed": flawed(
    onPage((page, limit) => page.events.length < limit || limit !== 7 ? page : { ...page, nextId: page.events[5]!.id })
  ),
  "poll says where a page ended and whether there was more": flawed(
    onPage((page) => ({ ...page, hasMore: page.nextId !== null }))
  ),
  "poll at the end, or of a shard without events, is an empty page": flawed((adapter) => ({
    poll: (shard, after, limit) =>
      Effect.map(adapter.poll(shard, after, limit), (page) => ({ ...page, nextId: page.nextId ?? after }))
  })),
  "poll goes on where the end was once more events are there": flawed((adapter) => ({
    poll: (shard, after, limit) =>
      after === "3" ? Effect.succeed({ events: [], nextId: null, hasMore: false }) : adapter.poll(shard, after, limit)
  })),
  "poll refuses a position that was never handed out": flawed((adapter) => ({
    poll: (shard, after, limit) =>
      adapter.poll(shard, after, limit).pipe(Effect.catch(() => adapter.poll(shard, null, limit)))
  })),
  "tails are the last positions of all shards that ever held an event": flawed((adapter) => ({
    tails: Effect.map(adapter.tails, (tails) => new Map([...tails].filter(([shard]) => shard < 9)))
  })),
  "producer marks are stored with their batch, one for each shard and shard count": flawed(
    marks((all) => all.filter((mark) => mark.shards === 4))
  ),
  "producer marks never go back": flawed((adapter) => {
    let last: ReadonlyArray<ProducerMark> = []
    return {
      append: (batch) => Effect.andThen(Effect.sync(() => (last = batch.marks)), adapter.append(batch)),
      producerMarks: () => Effect.sync(() => last)
    }
  }),
  "producer marks can be saved by themselves, and do not go back then either": flawed((adapter) => ({
    saveMarks: (marks) =>
      Effect.suspend(() => {
        saved = marks
        return adapter.saveMarks(marks)
      }),
    producerMarks: (producer) =>
      Effect.map(
        adapter.producerMarks(producer),
        (stored) => stored.map((mark) => saved.find(({ shards }) => shards === mark.shards) ?? mark)
      )
  })),
  "the marks of a batch that was given up on are in the answer, or will never be": flawed((adapter) => {
    // Answers from what was there before the batches that are under way.
    let before: ReadonlyArray<ProducerMark> = []
    return {
      append: (batch) =>
        Effect.andThen(Effect.map(adapter.producerMarks("p"), (marks) => void (before = marks)), adapter.append(batch))
          .pipe(
            Effect.uninterruptible
          ),
      producerMarks: (producer) => asked++ % 2 === 0 ? Effect.sync(() => before) : adapter.producerMarks(producer)
    }
  }),
  "an open adapter is healthy, and flushes": flawed(() => ({
    flush: Effect.fail(adapterError("flawed", "Fatal", "no"))
  })),
  "an empty store has no last insertion time": flawed(() => ({ lastInsertionTs: 1n })),
  "after its scope every call fails with Shutdown": flawed((adapter) => ({
    tails: adapter.tails.pipe(Effect.catch(() => Effect.succeed(new Map())))
  })),
  "events, positions and tails are there again": forgetful((adapter) => ({
    poll: (shard, after, limit) => adapter.poll(shard, after ?? "1", limit)
  })),
  "a batch stored before is still recognised": forgetful(forgettingIdentity),
  "producer marks are there again": forgetful(marks(() => [])),
  "the last insertion time is the highest that is stored": forgetful((adapter) => ({
    lastInsertionTs: adapter.lastInsertionTs - 1n
  })),
  "the store keeps its identity": forgetful(() => ({ storeId: "another" }))
}

describe("each law catches an adapter that breaks it", () => {
  for (const { name } of Conformance.laws(sqliteSubject())) {
    it.live(name, () =>
      Effect.gen(function*() {
        const subject = broken[name]
        if (subject === undefined) assert.fail("no adapter breaks this law")
        const said = yield* verdict(name, subject)
        assert.match(said, new RegExp(`^${name.slice(0, 20)}`), "the flaw was not caught")
        assert.notInclude(said, "the adapter died")
        assert.notInclude(said, "does not open")
      }))
  }
})

describe("the suite", () => {
  it("leaves out the laws of reopening for a store that is not durable", () => {
    assert.strictEqual(Conformance.laws(sqliteSubject()).length - Conformance.laws(memory).length, 5)
  })

  it.live("reports an adapter that does not open, dies, or never answers", () =>
    Effect.gen(function*() {
      const name = "an open adapter is healthy, and flushes"
      const never: Effect.Effect<Opened, unknown, Scope.Scope> = Effect.fail("no")
      assert.include(yield* verdict(name, { place: Effect.succeed(never) }), "does not open: no")
      assert.include(yield* verdict(name, flawed(() => ({ flush: Effect.die("boom") }))), "the adapter died: boom")
    }))
})
