import { assert, it } from "@effect/vitest"
import { Effect, Exit, Scope } from "effect"
import { join } from "node:path"
import type { ShardPage } from "../../../src/Adapter.ts"
import * as MemoryStore from "../../../src/adapters/memory.ts"
import * as SqliteStore from "../../../src/adapters/sqlite/index.ts"
import type { Batch } from "../../../src/Batch.ts"
import { batch, payloads } from "../../../src/conformance/Batches.ts"
import type { Opened } from "../../../src/conformance/index.ts"
import { directory } from "../../utils/places.ts"
import { Prng } from "../../utils/prng.ts"

/** A page with every member of every event read. */
const plain = ({ events, ...page }: ShardPage) => ({
  ...page,
  events: events.map(({ channel, dedupId, id, insertionTs, raw, shard }) => ({
    channel,
    dedupId,
    id,
    insertionTs,
    raw: Buffer.from(raw).toString(),
    shard
  }))
})

const outcome = <A, E extends { readonly message: string }>(effect: Effect.Effect<A, E>) =>
  Effect.match(effect, {
    onFailure: ({ message }) => message.slice(message.indexOf(":")),
    onSuccess: (value): unknown => value
  })

for (const seed of [1, 2, 3]) {
  it.live(`seed ${seed}: the SQLite store, opened again now and then, answers as the memory store does`, () =>
    Effect.gen(function*() {
      const random = new Prng(seed)
      const path = join(yield* directory, "events.db")
      const retention = random.chance(0.5) ? {} : { maxEvents: 300 }
      const memory = yield* MemoryStore.make(retention)
      let scope = yield* Scope.make()
      let sqlite: Opened = yield* Scope.provide(SqliteStore.make({ path, retention }), scope)
      const sent: Array<Batch> = []
      const next = new Map<string, number>()

      for (let step = 0; step < 150; step++) {
        const both = <A, E extends { readonly message: string }>(
          what: string,
          ask: (store: Opened) => Effect.Effect<A, E>
        ) =>
          Effect.gen(function*() {
            const [wanted, actual] = [yield* outcome(ask(memory)), yield* outcome(ask(sqlite))]
            assert.deepStrictEqual(actual, wanted, `seed ${seed}, step ${step}: ${what}`)
          })
        const shard = random.int(0, 4)
        switch (random.int(0, 10)) {
          case 0:
            if (random.chance(0.6)) break
            yield* Scope.close(scope, Exit.void)
            scope = yield* Scope.make()
            sqlite = yield* Scope.provide(SqliteStore.make({ path, retention }), scope)
            break
          case 1:
          case 2:
            if (sent.length > 0) {
              const again = random.pick(sent)
              yield* both("a batch sent again", (store) => store.append(again))
            }
            break
          case 3:
          case 4:
          case 5: {
            const nonce = BigInt(random.int(1, 4))
            const key = `${nonce}:${shard}`
            const sequenceStart = (next.get(key) ?? 0) + (random.chance(0.1) ? 1000 : 0)
            const size = random.int(1, 40)
            const one = batch({
              shard,
              nonce,
              sequenceStart,
              payloads: payloads(size, String(step)),
              channels: random.chance(0.5)
                ? undefined
                : Array.from({ length: size }, () => random.pick(["", "a", "b"])),
              segments: size > 3 && random.chance(0.3) ? [2] : [],
              marks: random.chance(0.5)
                ? []
                : [{ producer: random.pick(["p", "q"]), shards: 4, shard, sequence: step + 1 }],
              millis: 1_767_225_600_000 + step
            })
            next.set(key, sequenceStart + size)
            sent.push(one)
            yield* both("an append", (store) => store.append(one))
            break
          }
          case 6: {
            const producer = random.pick(["p", "q"])
            yield* both(
              "marks",
              (store) =>
                Effect.map(
                  store.producerMarks(producer),
                  (marks) => marks.map(({ sequence }) => sequence).sort((a, b) => a - b)
                )
            )
            yield* both("tails", (store) => Effect.map(store.tails, (tails) => [...tails].sort(([a], [b]) => a - b)))
            break
          }
          default: {
            const after = random.chance(0.2) ? null : String(random.int(0, 400))
            const limit = random.pick([1, 7, 100, 10_000])
            yield* both(`a poll of shard ${shard} after ${after}`, (store) =>
              store.poll(shard, after, limit).pipe(
                // Both may end a page early. They agree on everything up to there.
                Effect.flatMap((page) =>
                  page.events.length === limit || !page.hasMore
                    ? Effect.succeed(page)
                    : complete(store, shard, page, limit)
                ),
                Effect.map(plain)
              ))
          }
        }
      }
      yield* Scope.close(scope, Exit.void)
    }))
}

/** Follows a page that ended early until it has `limit` events. */
const complete = (store: Opened, shard: number, page: ShardPage, limit: number): ReturnType<Opened["poll"]> =>
  Effect.flatMap(store.poll(shard, page.nextId, limit - page.events.length), (more) => {
    const joined = {
      events: [...page.events, ...more.events],
      nextId: more.nextId ?? page.nextId,
      hasMore: more.hasMore
    }
    return joined.events.length === limit || !joined.hasMore
      ? Effect.succeed(joined)
      : complete(store, shard, joined, limit)
  })
