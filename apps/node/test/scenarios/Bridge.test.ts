import { assert, describe, it } from "@effect/vitest"
import { Producer, PulsarClient } from "@perigee/engine"
import { Effect, Fiber, Layer, Random } from "effect"
import { cpSync, readdirSync, renameSync, rmSync } from "node:fs"
import { join } from "node:path"
import { fill, readTopic, startBroker, text } from "../support/Broker.ts"
import { type ChildNode, perigee, startChild } from "../support/ChildNode.ts"
import { scratch, type TestNode, until } from "../support/TestNode.ts"

/** `PERIGEE_BRIDGE_KILLS=100` for the longer run, `PERIGEE_SEED` to repeat one. */
const kills = Number(process.env["PERIGEE_BRIDGE_KILLS"] ?? 8)
const seed = process.env["PERIGEE_SEED"] ?? "bridges"
const keys = ["north", "south", "east", "west"] as const

interface Bridge {
  readonly direction: string
  readonly channel: string
  readonly state: string
  readonly forwarded: number
  readonly duplicates: number
  readonly deduplicated: boolean | null
  readonly last_error: string | null
}

const bridges = (node: TestNode): Effect.Effect<ReadonlyArray<Bridge>> =>
  Effect.map(node.json("/v1/stats"), ({ body }) => body.bridges)

const eventually = (condition: Effect.Effect<boolean>, what: string) => until(() => Effect.runPromise(condition), what)

const start = (dir: string, url: string, specs: ReadonlyArray<string>, ...args: ReadonlyArray<string>) =>
  startChild(dir, ["--pulsar-url", url, ...specs.flatMap((spec) => ["--bridge", spec]), ...args])

/** Events of one channel, as stored. */
const stored = Effect.fnUntraced(function*(node: ChildNode, channel: string) {
  const events: Array<any> = []
  let cursor = ""
  while (true) {
    const { body } = yield* node.json(`/v1/events?limit=10000&channel=${channel}${cursor}`)
    events.push(...body.events)
    if (!body.has_more) return events
    cursor = `&cursor=${encodeURIComponent(body.next_cursor)}`
  }
})

/** Numbered events of one key. */
const event = (key: string, number: number) => JSON.stringify({ key, number })

/** Everything once, and the numbers of each key in their order. */
const checkEach = (found: ReadonlyArray<{ readonly key: string; readonly number: number }>, total: number) => {
  for (const key of keys) {
    const numbers = found.filter((one) => one.key === key).map(({ number }) => number)
    assert.deepStrictEqual(numbers, Array.from({ length: total }, (_, index) => index), `${key} once, in order`)
  }
  assert.lengthOf(found, total * keys.length)
}

/** Appends the next events of every key, as named producers, until the node goes away. */
const append = Effect.fnUntraced(function*(node: TestNode, sent: Map<string, number>, total: number) {
  for (const key of keys) {
    const from = sent.get(key) ?? 0
    const count = Math.min(yield* Random.nextIntBetween(1, 60), total - from)
    if (count === 0) continue
    const body = Array.from({ length: count }, (_, index) => `${event(key, from + index)}\n`).join("")
    const answer = yield* node.append(body, `?channel=out&key=${key}&producer=${key}&sequence=${from + 1}`)
    if (answer.status === 200) sent.set(key, from + count)
  }
})

describe("a bridge", { timeout: 180_000 }, () => {
  it.live("forwards a channel to a topic and a topic to a channel, with keys, and shows how it is doing", () =>
    Effect.gen(function*() {
      const broker = yield* startBroker({ deduplication: true })
      const node = yield* start(yield* scratch, broker.url, ["out:a=orders", "in:b=t/n/quakes"])
      yield* node.append("{\"i\":1}\n{\"i\":2}\n", "?channel=a&key=k")
      yield* node.append("{\"other\":true}\n", "?channel=elsewhere")
      const out = yield* readTopic(broker.url, "orders", 2)
      assert.deepStrictEqual(out.map(text), ["{\"i\":1}", "{\"i\":2}"])
      assert.deepInclude(out[0]!.properties, { "perigee-channel": "a", "perigee-id": "1" })
      assert.isAbove(out[0]!.eventTime, 1_600_000_000_000)
      yield* fill(broker.url, "t/n/quakes", ["{\"j\":1}", "no JSON", "{\"j\":2}"], { key: () => "k" })
      yield* eventually(Effect.map(stored(node, "b"), ({ length }) => length === 3), "it is stored")
      const events = yield* stored(node, "b")
      assert.deepStrictEqual(events.map(({ raw }) => raw), [{ j: 1 }, null, { j: 2 }])
      assert.strictEqual(Buffer.from(events[1].raw_base64, "base64").toString(), "no JSON")
      assert.strictEqual(new Set(events.map(({ shard_id }) => shard_id)).size, 1)
      yield* eventually(
        Effect.map(broker.stats("t/n/quakes"), ({ subscriptions }) => Object.values(subscriptions)[0]?.backlog === 0)
          .pipe(Effect.orDie),
        "it is acknowledged"
      )
      const states = yield* bridges(node)
      assert.deepStrictEqual(
        states.map(({ channel, direction, forwarded, last_error, state }) => ({
          channel,
          direction,
          forwarded,
          last_error,
          state
        })),
        [
          { channel: "a", direction: "out", forwarded: 2, last_error: null, state: "running" },
          { channel: "b", direction: "in", forwarded: 3, last_error: null, state: "running" }
        ]
      )
      const metrics = yield* Effect.flatMap(node.call("/metrics"), (response) => Effect.promise(() => response.text()))
      assert.include(
        metrics,
        "perigee_bridge_forwarded_total{direction=\"out\",channel=\"a\",topic=\"persistent://public/default/orders\"} 2\n"
      )
      assert.include((yield* perigee(["stats", "--state", node.dir])).stdout, "running, 2 forwarded")
      node.child.process.kill("SIGTERM")
      assert.strictEqual((yield* node.child.ended).code, 0)
    }))

  it.live(
    `that is killed with its node, ${kills} times, forwards everything once and keeps the order of each key, both ways`,
    () =>
      Effect.gen(function*() {
        const dir = yield* scratch
        const broker = yield* startBroker({ deduplication: true })
        yield* broker.setPartitions("in", 3)
        const specs = ["out:out=out", "in:in=in"]
        const share = 150
        const total = kills * share
        const sent = new Map<string, number>()
        const midway = { in: 0, out: 0 }
        const client = yield* Layer.build(PulsarClient.layer({ serviceUrl: broker.url }))
        const producer = yield* Effect.provideContext(
          Producer.make({ topic: "in", batching: { maxMessages: 7 } }),
          client
        )
        /** The messages of one life, a few at a time, while its bridge is at work. */
        const fillSome = Effect.fnUntraced(function*(life: number) {
          for (let number = life * share; number < (life + 1) * share; number += 5) {
            yield* producer.sendAll(
              Array.from({ length: 5 * keys.length }, (_, index) => {
                const key = keys[index % keys.length]!
                return { key, value: Buffer.from(event(key, number + Math.floor(index / keys.length))) }
              })
            )
            yield* Effect.sleep(3)
          }
        })
        for (let kill = 0; kill < kills; kill++) {
          yield* Effect.scoped(Effect.gen(function*() {
            const node = yield* start(dir, broker.url, specs)
            const working = yield* Effect.forkChild(
              Effect.ignoreCause(Effect.forever(append(node, sent, share * (kill + 1))))
            )
            const filling = yield* Effect.forkChild(fillSome(kill))
            // In the middle of something: connections broken, entries without receipt, a plan written and not published.
            const trouble = yield* Random.nextIntBetween(0, 4)
            yield* Effect.sleep(yield* Random.nextIntBetween(0, 100))
            if (trouble === 0) yield* broker.disconnect()
            if (trouble === 1) yield* broker.restart()
            if (trouble === 2) yield* broker.fault({ command: "SEND_RECEIPT", action: { _tag: "Disconnect" } })
            if (trouble === 3) {
              yield* broker.fault({ command: "MESSAGE", topic: "in-partition-0", skip: 3, action: { _tag: "Corrupt" } })
            }
            yield* Effect.sleep(yield* Random.nextIntBetween(0, 100))
            node.child.process.kill("SIGKILL")
            yield* node.child.ended
            working.interruptUnsafe()
            const partitions = yield* Effect.forEach([0, 1, 2], (index) => broker.stats(`in-partition-${index}`))
            const left = partitions.flatMap(({ subscriptions }) => Object.values(subscriptions))
            if (left.some(({ backlog }) => backlog > 0)) midway.in++
            yield* Fiber.join(filling)
            const there = yield* Effect.exit(broker.stored("out"))
            const onTopic = there._tag === "Failure" ? 0 : there.value.reduce((sum, { messages }) => sum + messages, 0)
            if (onTopic < [...sent.values()].reduce((sum, count) => sum + count, 0)) midway.out++
          }))
        }
        // Killing a bridge that has nothing to do proves little.
        assert.isAtLeast(midway.in, 1)
        assert.isAtLeast(midway.out, 1)
        yield* broker.clearFaults
        const node = yield* start(dir, broker.url, specs)
        while (keys.some((key) => (sent.get(key) ?? 0) < total)) yield* append(node, sent, total)
        yield* eventually(
          Effect.map(stored(node, "in"), ({ length }) => length >= total * keys.length),
          "everything came in"
        )
        checkEach((yield* stored(node, "in")).map(({ raw }) => raw), total)
        checkEach((yield* stored(node, "out")).map(({ raw }) => raw), total)
        const out = yield* readTopic(broker.url, "out", total * keys.length)
        checkEach(out.map((message) => JSON.parse(text(message))), total)
        assert.deepStrictEqual((yield* bridges(node)).map(({ state }) => state), ["running", "running"])
        assert.isTrue((yield* bridges(node))[0]!.deduplicated)
      }).pipe(Random.withSeed(seed)),
    Math.max(180_000, kills * 8000)
  )

  it.live("waits for a broker that is away, without keeping the node from its work", () =>
    Effect.gen(function*() {
      const broker = yield* startBroker({ deduplication: true })
      yield* broker.kill()
      const node = yield* start(yield* scratch, broker.url, ["out:a=t"])
      yield* node.append("1\n2\n", "?channel=a&key=k")
      yield* eventually(Effect.map(bridges(node), ([bridge]) => bridge!.state === "waiting"), "it says that it waits")
      assert.include((yield* bridges(node))[0]!.last_error!, "cannot connect")
      assert.include(node.child.stderr(), "bridge: it has to wait")
      yield* broker.start()
      yield* eventually(Effect.map(bridges(node), ([bridge]) => bridge!.forwarded === 2), "it goes on")
      assert.deepStrictEqual((yield* readTopic(broker.url, "t", 2)).map(text), ["1", "2"])
    }))

  it.live("that begins at the end forwards what comes later, also after a restart", () =>
    Effect.gen(function*() {
      const dir = yield* scratch
      const broker = yield* startBroker()
      yield* Effect.scoped(Effect.gen(function*() {
        const node = yield* startChild(dir)
        yield* node.append("1\n", "?channel=a&key=k")
        node.child.process.kill("SIGTERM")
        yield* node.child.ended
      }))
      yield* fill(broker.url, "t", ["old"])
      yield* Effect.scoped(Effect.gen(function*() {
        const node = yield* start(dir, broker.url, ["out:a=out?from=end", "in:b=t?from=end"])
        yield* eventually(
          Effect.map(bridges(node), (all) => all.every(({ state }) => state === "running")),
          "they are there"
        )
        yield* eventually(
          Effect.map(Effect.orDie(broker.stats("t")), ({ subscriptions }) => Object.keys(subscriptions).length === 1),
          "it is subscribed"
        )
        node.child.process.kill("SIGKILL")
        yield* node.child.ended
      }))
      yield* fill(broker.url, "t", ["new"])
      const node = yield* start(dir, broker.url, ["out:a=out?from=end", "in:b=t?from=end"])
      yield* node.append("2\n", "?channel=a&key=k")
      assert.deepStrictEqual((yield* readTopic(broker.url, "out", 1)).map(text), ["2"])
      yield* eventually(Effect.map(stored(node, "b"), ({ length }) => length > 0), "the new one")
      const events = yield* stored(node, "b")
      assert.deepStrictEqual(events.map(({ raw_base64 }) => Buffer.from(raw_base64, "base64").toString()), ["new"])
    }))

  it.live("does not guess when its place is lost, and says what to do", () =>
    Effect.gen(function*() {
      const dir = yield* scratch
      const broker = yield* startBroker()
      yield* fill(broker.url, "t", ["1", "2", "3"])
      yield* Effect.scoped(Effect.gen(function*() {
        const node = yield* start(dir, broker.url, ["in:b=t"])
        yield* eventually(Effect.map(stored(node, "b"), ({ length }) => length === 3), "it is stored")
        node.child.process.kill("SIGTERM")
        yield* node.child.ended
      }))
      assert.lengthOf(readdirSync(join(dir, "bridges")), 1)
      rmSync(join(dir, "bridges"), { recursive: true })
      yield* Effect.scoped(Effect.gen(function*() {
        const node = yield* start(dir, broker.url, ["in:b=t"])
        yield* eventually(Effect.map(bridges(node), ([bridge]) => bridge!.state === "waiting"), "it waits")
        assert.match((yield* bridges(node))[0]!.last_error!, /missing or older than what is stored.*another \?name=/)
        node.child.process.kill("SIGTERM")
        yield* node.child.ended
      }))
      const node = yield* start(dir, broker.url, ["in:b=t?name=second"])
      yield* eventually(Effect.map(stored(node, "b"), ({ length }) => length === 6), "it starts over")
    }))

  it.live("does not take new events of a store that was set back for old ones", () =>
    Effect.gen(function*() {
      const dir = join(yield* scratch, "state")
      const broker = yield* startBroker({ deduplication: true })
      const life = (lines: string, forwarded: number) =>
        Effect.scoped(Effect.gen(function*() {
          const node = yield* start(dir, broker.url, ["out:a=t"])
          yield* node.append(lines, "?channel=a&key=k")
          yield* eventually(Effect.map(bridges(node), ([bridge]) => bridge!.forwarded === forwarded), "it is forwarded")
          node.child.process.kill("SIGTERM")
          yield* node.child.ended
        }))
      yield* life("1\n", 1)
      cpSync(dir, `${dir}.copy`, { recursive: true })
      yield* life("2\n3\n", 2)
      rmSync(dir, { recursive: true })
      renameSync(`${dir}.copy`, dir)
      yield* Effect.scoped(Effect.gen(function*() {
        const node = yield* start(dir, broker.url, ["out:a=t"])
        yield* node.append("4\n", "?channel=a&key=k")
        yield* eventually(Effect.map(bridges(node), ([bridge]) => bridge!.state === "waiting"), "it waits")
        assert.match((yield* bridges(node))[0]!.last_error!, /up to position 3 .* an older copy .* another \?name=/)
        node.child.process.kill("SIGTERM")
        yield* node.child.ended
      }))
      const node = yield* start(dir, broker.url, ["out:a=t?name=second"])
      yield* eventually(Effect.map(bridges(node), ([bridge]) => bridge!.forwarded === 2), "it starts over")
      assert.deepStrictEqual((yield* readTopic(broker.url, "t", 5)).map(text), ["1", "2", "3", "1", "4"])
    }))

  it.live("does not lose what the node is too small for", () =>
    Effect.gen(function*() {
      const dir = yield* scratch
      const broker = yield* startBroker()
      yield* fill(broker.url, "t", ["1", "2".repeat(2000), "3"])
      const run = (env: Record<string, string>) =>
        startChild(dir, ["--pulsar-url", broker.url, "--bridge", "in:b=t"], { env })
      yield* Effect.scoped(Effect.gen(function*() {
        const node = yield* run({ PERIGEE_MAX_EVENT_BYTES: "1000" })
        yield* eventually(Effect.map(bridges(node), ([bridge]) => bridge!.state === "waiting"), "it waits")
        assert.match(
          (yield* bridges(node))[0]!.last_error!,
          /has 2000 bytes, and the node takes 1000: raise PERIGEE_MAX_EVENT_BYTES/
        )
        node.child.process.kill("SIGTERM")
        yield* node.child.ended
      }))
      const node = yield* run({})
      yield* eventually(Effect.map(stored(node, "b"), ({ length }) => length === 3), "all of it")
    }))

  it.live("without deduplication says so, and loses nothing", () =>
    Effect.gen(function*() {
      const dir = yield* scratch
      const broker = yield* startBroker()
      for (let life = 0; life < 2; life++) {
        yield* Effect.scoped(Effect.gen(function*() {
          const node = yield* start(dir, broker.url, ["out:a=t"])
          yield* node.append(`${life}\n`, "?channel=a&key=k")
          yield* eventually(Effect.map(bridges(node), ([bridge]) => bridge!.forwarded >= 1), "it is forwarded")
          if (life === 1) assert.isFalse((yield* bridges(node))[0]!.deduplicated)
          node.child.process.kill("SIGTERM")
          yield* node.child.ended
        }))
      }
      assert.deepStrictEqual((yield* readTopic(broker.url, "t", 2)).map(text), ["0", "1"])
    }))

  it.live("that makes no sense keeps the node from starting", () =>
    Effect.gen(function*() {
      const dir = yield* scratch
      const cases: ReadonlyArray<readonly [ReadonlyArray<string>, string]> = [
        [["--bridge", "nonsense"], "E_BRIDGE"],
        [["--bridge", "out:a=t", "--bridge", "in:a=t"], "E_BRIDGE"],
        [["--bridge", "out:a=t", "--pulsar-url", "http://127.0.0.1"], "E_PULSAR_URL"],
        [["--bridge", "out:a=t", "--pulsar-token-file", join(dir, "missing")], "E_PULSAR_TOKEN_FILE"]
      ]
      for (const [args, code] of cases) {
        const ended = yield* perigee(["start", "--port", "0", "--state", join(dir, "state"), ...args])
        assert.strictEqual(ended.code, 2, ended.stderr)
        assert.include(ended.stderr, `[${code}]\n`)
      }
    }))
})
