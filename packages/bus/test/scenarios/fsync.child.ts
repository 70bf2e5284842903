// Run by fsync.test.ts under strace: appends, and says so.
import { Effect } from "effect"
import { writeSync } from "node:fs"
import * as SqliteStore from "../../src/adapters/sqlite/index.ts"
import { batch, payloads } from "../../src/conformance/Batches.ts"

const [path, synchronous] = process.argv.slice(2) as [string, "fsync" | "os"]

await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
  const store = yield* SqliteStore.make({ path, synchronous })
  writeSync(1, "opened\n")
  for (let i = 0; i < 10; i++) {
    yield* store.append(batch({ sequenceStart: i * 5, payloads: payloads(5) }))
    writeSync(1, "acknowledged\n")
  }
})))
