import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { appendFileSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { gzipSync } from "node:zlib"
import { type ChildNode, perigee, spawnPerigee, startChild } from "../support/ChildNode.ts"
import { scratch, until } from "../support/TestNode.ts"

const fixture = (name: string) => new URL(`../fixtures/${name}`, import.meta.url).pathname
const lines = (count: number, from = 0) => Array.from({ length: count }, (_, i) => `{"i":${from + i}}\n`).join("")
const stored = (node: ChildNode) =>
  Effect.map(
    node.json("/v1/events?limit=10000"),
    ({ body }) => body.events.map((event: any) => event.raw.i).sort((a: number, b: number) => a - b)
  )

describe("perigee ingest", { timeout: 120_000 }, () => {
  it.live("takes a file once, and what was appended to it later", () =>
    Effect.gen(function*() {
      const dir = yield* scratch
      const node = yield* startChild(join(dir, "state"))
      const file = join(dir, "lines.ndjson")
      writeFileSync(file, lines(1000))
      const ingest = perigee(["ingest", file, "--state", node.dir, "--json"])
      const first = yield* ingest
      assert.strictEqual(first.code, 0, first.stderr)
      assert.deepInclude(JSON.parse(first.stdout), {
        accepted: 1000,
        duplicates: 0,
        durable: 1000,
        resumed_behind: 0,
        rejected: 0
      })
      const second = JSON.parse((yield* ingest).stdout)
      assert.deepInclude(second, { accepted: 0, durable: 1000 })
      appendFileSync(file, lines(10, 1000))
      assert.deepInclude(JSON.parse((yield* ingest).stdout), { accepted: 10, durable: 1010 })
      assert.deepStrictEqual(yield* stored(node), Array.from({ length: 1010 }, (_, i) => i))
    }))

  it.live("tells another file at the same place from the one before", () =>
    Effect.gen(function*() {
      const dir = yield* scratch
      const node = yield* startChild(join(dir, "state"))
      const file = join(dir, "lines.ndjson")
      const ingest = Effect.map(perigee(["ingest", file, "--state", node.dir, "--json"]), ({ stdout }) =>
        JSON.parse(stdout))
      writeFileSync(file, lines(10))
      const first = yield* ingest
      writeFileSync(file, lines(10, 100))
      const second = yield* ingest
      assert.notStrictEqual(first.producer, second.producer)
      assert.deepInclude(second, { accepted: 10, resumed_behind: 0 })
    }))

  it.live("takes gzip and standard input", () =>
    Effect.gen(function*() {
      const dir = yield* scratch
      const node = yield* startChild(join(dir, "state"))
      const file = join(dir, "lines.ndjson.gz")
      writeFileSync(file, gzipSync(lines(100)))
      assert.strictEqual((yield* perigee(["ingest", file, "--state", node.dir])).code, 0)
      assert.strictEqual((yield* perigee(["ingest", "-", "--state", node.dir], { input: lines(100, 100) })).code, 0)
      const named = ["ingest", "-", "--producer", "pipe", "--state", node.dir, "--json"]
      assert.strictEqual((yield* perigee(named, { input: lines(50, 200) })).code, 0)
      assert.deepInclude(JSON.parse((yield* perigee(named, { input: lines(60, 200) })).stdout), { accepted: 10 })
      assert.deepStrictEqual(yield* stored(node), Array.from({ length: 260 }, (_, i) => i))
    }))

  it.live("keeps the good lines, names the others, and says so by its exit code", () =>
    Effect.gen(function*() {
      const dir = yield* scratch
      const node = yield* startChild(join(dir, "state"))
      const file = join(dir, "lines.ndjson")
      writeFileSync(file, "{\"i\":0}\nnope\n\n{\"i\":1}\n{\"i\":2")
      const { code, stderr, stdout } = yield* perigee(["ingest", file, "--state", node.dir, "--json"])
      assert.strictEqual(code, 5)
      assert.include(stderr, "perigee: line 2 is refused: notJson at byte 1\n")
      assert.include(stderr, "perigee: line 5 is refused: notJson at byte 6\n")
      assert.match(stderr, /\[E_LINES\]\n$/)
      assert.deepInclude(JSON.parse(stdout), { accepted: 2, rejected: 2 })
      assert.deepStrictEqual(yield* stored(node), [0, 1])
    }))

  it.live("waits for a node that goes away and comes back, and sends everything once", () =>
    Effect.gen(function*() {
      const dir = yield* scratch
      const state = join(dir, "state")
      const file = join(dir, "lines.ndjson")
      const count = 100_000
      writeFileSync(file, Array.from({ length: count }, (_, i) => `{"i":${i},"text":"${"x".repeat(60)}"}\n`).join(""))
      const first = yield* startChild(state)
      const { port } = first
      const ingest = yield* spawnPerigee(["ingest", file, "--url", first.url, "--state", state, "--json"], {
        env: { PERIGEE_TOKEN: first.token }
      })
      yield* until(
        () => Effect.runPromise(Effect.map(first.json("/v1/stats"), ({ body }) => body.bus.dispatched > 0)),
        "under way"
      )
      first.child.process.kill("SIGKILL")
      yield* first.child.ended
      const second = yield* startChild(state, ["--port", String(port)])
      const { code, stderr, stdout } = yield* ingest.ended
      assert.strictEqual(code, 0, stderr)
      assert.strictEqual(JSON.parse(stdout).durable, count)
      let events = 0
      let cursor = ""
      while (true) {
        const { body } = yield* second.json(`/v1/events?limit=10000${cursor}`)
        events += body.events.length
        if (!body.has_more) break
        cursor = `&cursor=${encodeURIComponent(body.next_cursor)}`
      }
      assert.strictEqual(events, count)
    }))

  it.live("says what it cannot read", () =>
    Effect.gen(function*() {
      const dir = yield* scratch
      const node = yield* startChild(join(dir, "state"))
      writeFileSync(join(dir, "cut.gz"), gzipSync(lines(10_000)).subarray(0, 2000))
      for (const file of ["missing.ndjson", ".", "cut.gz"]) {
        const { code, stderr } = yield* perigee(["ingest", join(dir, file), "--state", node.dir])
        assert.strictEqual(code, 5, stderr)
        assert.match(stderr, /\[E_INPUT\]\n$/)
      }
    }))
})

describe("perigee query, tail, stats, status", { timeout: 120_000 }, () => {
  it.live("print data on standard output and nothing else", () =>
    Effect.gen(function*() {
      const node = yield* startChild(yield* scratch)
      yield* node.append(
        "{\"magnitude\":6.10,\"place\":\"a\"}\n{\"magnitude\":5}\n{\"magnitude\":7}\n",
        "?channel=quakes&key=k"
      )
      const run = (...args: ReadonlyArray<string>) => perigee([...args, "--state", node.dir])
      const json = yield* run("query", "--filter", "magnitude>=6", "--json")
      assert.deepStrictEqual([json.code, json.stdout, json.stderr], [
        0,
        "{\"magnitude\":6.10,\"place\":\"a\"}\n{\"magnitude\":7}\n",
        ""
      ])
      const text = yield* run("query", "--limit", "1")
      assert.match(text.stdout, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z {2}\{"magnitude":6\.10,"place":"a"\}\n$/)
      const cursor = /--cursor (\S+)\n$/.exec(text.stderr)?.[1]
      const rest = yield* run("query", "--json", "--cursor", cursor!)
      assert.strictEqual(rest.stdout, "{\"magnitude\":5}\n{\"magnitude\":7}\n")
      const envelope = JSON.parse((yield* run("query", "--envelope", "--limit", "1", "--channel", "quakes")).stdout)
      assert.sameMembers(Object.keys(envelope), ["id", "raw", "insertion_ts", "shard_id", "dedup_id", "channel"])
      const stats = yield* run("stats", "--json")
      assert.strictEqual(JSON.parse(stats.stdout).bus.accepted, 3)
      assert.include((yield* run("stats")).stdout, "accepted")
      const status = JSON.parse((yield* run("status", "--json")).stdout)
      assert.deepInclude(status, { url: node.url, state: "ready", pid: node.child.process.pid })
    }))

  it.live("tail goes on behind its last event when the node comes back", () =>
    Effect.gen(function*() {
      const dir = yield* scratch
      const first = yield* startChild(dir)
      yield* first.append("1\n2\n", "?key=k")
      const tail = yield* spawnPerigee(["tail", "--from", "beginning", "--json", "--state", dir, "--url", first.url])
      yield* until(() => tail.stdout() === "1\n2\n", "the stored ones")
      first.child.process.kill("SIGKILL")
      yield* first.child.ended
      const second = yield* startChild(dir, ["--port", String(first.port)])
      yield* second.append("3\n", "?key=k")
      yield* until(() => tail.stdout() === "1\n2\n3\n", "the one from behind the restart", 20_000)
      tail.process.kill("SIGINT")
      assert.strictEqual((yield* tail.ended).code, 130)
      assert.include(tail.stderr(), "connected again")
    }))

  it.live("fail with a code and with what to do", () =>
    Effect.gen(function*() {
      const dir = yield* scratch
      const node = yield* startChild(join(dir, "state"))
      const state = ["--state", node.dir]
      const cases: ReadonlyArray<readonly [ReadonlyArray<string>, number, string, Record<string, string>?]> = [
        [["query", "--filter", "=="], 2, "E_FILTER"],
        [["query", "--cursor", "forged"], 2, "E_CURSOR"],
        [["tail", "--from", "forged"], 2, "E_CURSOR"],
        [["query", "--limit", "x"], 2, "E_USAGE"],
        [["stats"], 4, "E_TOKEN", { PERIGEE_TOKEN: "wrong" }],
        [["stats", "--url", "http://127.0.0.1:1"], 3, "E_UNREACHABLE"],
        [["tail", "--url", "http://127.0.0.1:1"], 3, "E_UNREACHABLE"],
        [["stats", "--url", "nowhere"], 2, "E_URL"]
      ]
      for (const [args, code, name, env] of cases) {
        const ended = yield* perigee([...args, ...state], env === undefined ? {} : { env })
        assert.strictEqual(ended.code, code, `${args.join(" ")}: ${ended.stderr}`)
        assert.include(ended.stderr, `[${name}]\n`)
        assert.strictEqual(ended.stdout, "")
      }
      const nowhere = yield* perigee(["stats", "--state", join(dir, "nothing")])
      assert.strictEqual(nowhere.code, 3)
      assert.include(nowhere.stderr, "[E_NOT_RUNNING]")
    }))

  it.live("speak TLS to a node that does, trusting the certificate that it announces", () =>
    Effect.gen(function*() {
      const dir = yield* scratch
      const args = ["--tls-cert", fixture("localhost.crt.pem"), "--tls-key", fixture("localhost.key.pem")]
      const child = yield* spawnPerigee([
        "start",
        "--json",
        "--port",
        "0",
        "--host",
        "0.0.0.0",
        "--state",
        dir,
        ...args
      ])
      yield* until(() => child.stdout().includes("\n"), "it serves")
      assert.match(JSON.parse(child.stdout()).url, /^https:/)
      assert.strictEqual((yield* perigee(["ingest", "-", "--state", dir], { input: lines(3) })).code, 0)
      assert.strictEqual((yield* perigee(["query", "--json", "--state", dir])).stdout.split("\n").length, 4)
      child.process.kill("SIGTERM")
      assert.strictEqual((yield* child.ended).code, 0)
    }))
})

describe("perigee start --sample", () => {
  it.live("ingests the sample once, goes on after a kill, and finds it again", () =>
    Effect.gen(function*() {
      const dir = yield* scratch
      const killed = yield* spawnPerigee(["start", "--sample", "--port", "0", "--state", dir])
      yield* until(() => killed.stderr().includes("metrics"), "it serves")
      yield* Effect.sleep("100 millis")
      killed.process.kill("SIGKILL")
      yield* killed.ended

      const first = yield* spawnPerigee(["start", "--sample", "--port", "0", "--state", dir])
      yield* until(() => first.stderr().includes("Serving."), "it serves", 30_000)
      assert.match(first.stderr(), /sample {3}[\d,]+ earthquakes of 2016 (accepted|found again).*/)
      assert.include(first.stderr(), "38,094")
      assert.strictEqual(first.stdout(), "")
      first.process.kill("SIGINT")
      const ended = yield* first.ended
      assert.strictEqual(ended.code, 0)
      assert.match(ended.stderr, /Stopped: everything answered for is stored\.\n$/)

      const again = yield* startChild(dir, ["--sample"])
      assert.deepInclude(JSON.parse(again.child.stdout()).sample, { read: 38_094, accepted: 0 })
      let events = 0
      let cursor = ""
      while (true) {
        const { body } = yield* again.json(`/v1/events?limit=10000${cursor}`)
        events += body.events.length
        if (!body.has_more) break
        cursor = `&cursor=${encodeURIComponent(body.next_cursor)}`
      }
      assert.strictEqual(events, 38_094)
    }))
})

describe("help", () => {
  it.live("documents every command and every exit code", () =>
    Effect.gen(function*() {
      const { code, stdout } = yield* perigee(["--help"])
      assert.strictEqual(code, 0)
      for (
        const word of ["start", "ingest", "query", "tail", "stats", "status", "pulsar", "Exit codes", "130", "143"]
      ) {
        assert.include(stdout, word)
      }
      const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"))
      assert.include((yield* perigee(["--version"])).stdout, version)
    }))
})
