import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Random } from "effect"
import { readFileSync } from "node:fs"
import { gunzipSync } from "node:zlib"
import { sample } from "../../src/cli/Sample.ts"
import { type ChildNode, startChild } from "../support/ChildNode.ts"
import { scratch, type TestNode } from "../support/TestNode.ts"

/** `PERIGEE_KILLS=500` for the longer run, `PERIGEE_SEED` to repeat one. */
const kills = Number(process.env["PERIGEE_KILLS"] ?? 30)
const seed = process.env["PERIGEE_SEED"] ?? "earthquakes"

const file = gunzipSync(readFileSync(sample.path)).toString("utf8").trimEnd().split("\n")
/** The file as often as it takes for the node to be killed in the middle of something every time. */
const lines = Array.from({ length: Math.ceil(kills / 40) }, () => file).flat()
/** Events of one key have to come out in the order in which they went in. */
const keys = ["north", "south", "east", "west"] as const

interface Sender {
  readonly key: string
  readonly producer: string
  readonly lines: ReadonlyArray<string>
  /** Events that the node has acknowledged as durable. */
  acknowledged: number
}

/** Sends the next events of one key; ends with the number acknowledged, or fails when the node goes away in the middle of it. */
const sendSome = Effect.fnUntraced(function*(node: TestNode, sender: Sender, count: number) {
  const from = sender.acknowledged
  const body = sender.lines.slice(from, from + count).map((line) => `${line}\n`).join("")
  const answer = yield* Effect.exit(
    Effect.tryPromise(async (signal) => {
      const response = await fetch(
        `${node.url}/v1/events?producer=${sender.producer}&sequence=${
          from + 1
        }&key=${sender.key}&channel=${sender.key}`,
        {
          method: "POST",
          signal,
          headers: { authorization: `Bearer ${node.token}`, "content-type": "application/x-ndjson" },
          body
        }
      )
      return { status: response.status, body: await response.json() as any }
    })
  )
  if (Exit.isFailure(answer)) return false
  assert.strictEqual(answer.value.status, 200, JSON.stringify(answer.value.body))
  assert.strictEqual(answer.value.body.durable, Math.min(count, sender.lines.length - from))
  sender.acknowledged += answer.value.body.durable
  return true
})

const readAll = Effect.fnUntraced(function*(node: TestNode) {
  const events: Array<{ readonly shard: number; readonly channel: string; readonly payload: string }> = []
  let cursor: string | null = null
  while (true) {
    const at: string = cursor === null ? "" : `&cursor=${encodeURIComponent(cursor)}`
    const response: Response = yield* node.call(`/v1/events?limit=10000${at}`, {
      headers: { accept: "application/x-ndjson" }
    })
    assert.strictEqual(response.status, 200)
    const text = yield* Effect.promise(() => response.text())
    for (const line of text.split("\n")) {
      if (line === "") continue
      const payload = line.slice(line.indexOf(",\"raw\":") + 7, line.lastIndexOf(",\"insertion_ts\":\""))
      const { channel, shard_id } = JSON.parse(line)
      events.push({ shard: shard_id, channel, payload })
    }
    cursor = response.headers.get("perigee-next-cursor")
    if (response.headers.get("perigee-has-more") !== "true") return events
  }
})

describe("kill -9", () => {
  it.live(
    `${kills} times while the file goes in: what was acknowledged is there once, in order`,
    () =>
      Effect.gen(function*() {
        const dir = yield* scratch
        // Line `i` belongs to key `i % 4`: every key's events are told apart by their place in the file.
        const senders = keys.map((key, index): Sender => ({
          key,
          producer: `file-${key}`,
          lines: lines.filter((_, i) => i % keys.length === index),
          acknowledged: 0
        }))
        const total = lines.length
        const sent = () => senders.reduce((sum, sender) => sum + sender.acknowledged, 0)
        const batch = Math.max(20, Math.ceil(total / kills / 12))

        let killedMidway = 0
        for (let kill = 0; kill < kills; kill++) {
          yield* Effect.scoped(Effect.gen(function*() {
            const node: ChildNode = yield* startChild(dir, ["--shards", "4"])
            for (const sender of senders) {
              // The node may know more than it could say before it died, never less.
              const { body } = yield* node.json(`/v1/producers/${sender.producer}`)
              assert.isAtMost(body.last_sequence, sender.lines.length)
            }
            const working = yield* Effect.forkChild(Effect.forEach(senders, (sender) =>
              Effect.gen(function*() {
                while (sender.acknowledged < sender.lines.length) {
                  const count = yield* Random.nextIntBetween(1, batch * 2)
                  if (!(yield* sendSome(node, sender, count))) return
                }
              }), { concurrency: "unbounded" }))
            const delay = yield* Random.nextIntBetween(0, 60)
            // Each life has its share of the file to get through, and is killed somewhere behind it.
            while (sent() < kill / kills * total && working.pollUnsafe() === undefined) yield* Effect.sleep(1)
            yield* Effect.sleep(delay)
            if (sent() < total) killedMidway++
            node.child.process.kill("SIGKILL")
            yield* node.child.ended
            yield* Fiber.join(working)
          }))
        }

        // Killing a node that has nothing to do proves little.
        assert.isAtLeast(killedMidway, kills * 0.9)
        const node = yield* startChild(dir, ["--shards", "4"])
        for (const sender of senders) {
          while (sender.acknowledged < sender.lines.length) assert.isTrue(yield* sendSome(node, sender, 5000))
        }
        const stored = yield* readAll(node)
        assert.strictEqual(stored.length, total)
        for (const sender of senders) {
          const own = stored.filter((event) => event.channel === sender.key)
          assert.strictEqual(new Set(own.map((event) => event.shard)).size, 1, `${sender.key} is in one shard`)
          // Each event once, and in the order in which it was sent.
          assert.deepStrictEqual(own.map((event) => event.payload), sender.lines)
        }
      }).pipe(Random.withSeed(seed)),
    Math.max(180_000, kills * 6000)
  )
})
