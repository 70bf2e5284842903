// Run by killed.test.ts: appends batches to a store and says which are durable, until it is killed.
import { Effect } from "effect"
import { writeSync } from "node:fs"
import * as SqliteStore from "../../src/adapters/sqlite/index.ts"
import { batch } from "../../src/conformance/Batches.ts"

export const batchSize = 37

if (import.meta.main) {
  const [path, ...next] = process.argv.slice(2) as [string, ...Array<string>]
  const program = Effect.gen(function*() {
    const store = yield* SqliteStore.make({ path, retention: { maxBytes: 1_000_000_000 } })
    yield* Effect.forEach(next.map(Number), (from, shard) =>
      Effect.gen(function*() {
        for (let sequence = from;; sequence += batchSize) {
          const payloads = Array.from({ length: batchSize }, (_, i) =>
            `{"shard":${shard},"n":${sequence + i},"pad":"${"x".repeat((sequence + i) % 400)}"}`)
          const mark = { producer: "p", shards: next.length, shard, sequence: sequence + batchSize }
          yield* store.append(batch({ shard, sequenceStart: sequence, payloads, marks: [mark] }))
          writeSync(1, `${shard} ${sequence + batchSize}\n`)
        }
      }), { concurrency: "unbounded" })
  })
  await Effect.runPromise(Effect.scoped(program))
}
