import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import * as SqliteStore from "../../src/adapters/sqlite/index.ts"
import { readAll } from "../../src/conformance/Batches.ts"
import { directory } from "../utils/places.ts"
import { Prng } from "../utils/prng.ts"
import { batchSize } from "./killed.child.ts"

const kills = Number(process.env["PERIGEE_KILLS"] ?? 10)
const shards = 3
const child = new URL("./killed.child.ts", import.meta.url).pathname

/** Lets the child run for a while, kills it, and returns what it said was durable. */
const runAndKill = async (path: string, next: ReadonlyArray<number>, millis: number): Promise<Array<number>> => {
  const running = spawn(process.execPath, [child, path, ...next.map(String)], { stdio: ["ignore", "pipe", "inherit"] })
  const said: Array<Buffer> = []
  running.stdout.on("data", (bytes: Buffer) => said.push(bytes))
  await Promise.race([once(running.stdout, "data"), once(running, "exit")])
  await sleep(millis)
  running.kill("SIGKILL")
  if (running.exitCode === null && running.signalCode === null) await once(running, "exit")
  if (!running.stdout.readableEnded) await once(running.stdout, "close")
  assert.strictEqual(running.signalCode, "SIGKILL", "the child ended by itself")
  const durable = [...next]
  // The last line may be cut.
  for (const line of Buffer.concat(said).toString().split("\n").slice(0, -1)) {
    const [shard, end] = line.split(" ").map(Number)
    durable[shard!] = end!
  }
  return durable
}

it.live(
  `a store killed ${kills} times at random moments has everything it acknowledged, once and in order`,
  () =>
    Effect.gen(function*() {
      const path = join(yield* directory, "events.db")
      const random = new Prng(Number(process.env["PERIGEE_SEED"] ?? 1))
      let durable = Array.from({ length: shards }, () => 0)
      for (let kill = 0; kill < kills; kill++) {
        durable = yield* Effect.promise(() => runAndKill(path, durable, random.int(0, 60)))
        const stored = yield* Effect.scoped(Effect.gen(function*() {
          const store = yield* SqliteStore.make({ path })
          const marks = yield* store.producerMarks("p")
          return yield* Effect.forEach(durable, (_, shard) =>
            Effect.map(readAll(store, shard, 10_000), (events) => {
              for (const [i, event] of events.entries()) {
                const { n, shard: of } = JSON.parse(Buffer.from(event.raw).toString()) as { n: number; shard: number }
                if (n !== i || of !== shard) {
                  assert.fail(`kill ${kill}: event ${i} of shard ${shard} is event ${n} of shard ${of}`)
                }
              }
              assert.strictEqual(
                marks.find((mark) => mark.shard === shard)?.sequence ?? 0,
                events.length,
                "the mark is not that of the events"
              )
              return events.length
            }))
        }))
        for (let shard = 0; shard < shards; shard++) {
          assert.isAtLeast(stored[shard]!, durable[shard]!, `kill ${kill}: shard ${shard} lost acknowledged events`)
          assert.isAtMost(
            stored[shard]!,
            durable[shard]! + batchSize,
            `kill ${kill}: shard ${shard} has more than was sent`
          )
        }
      }
      assert.isAbove(durable[0]!, 0)
    }),
  { timeout: 600_000 }
)
