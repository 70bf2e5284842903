import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { gzipSync } from "node:zlib"
import { fill, readTopic, startBroker, text } from "../support/Broker.ts"
import { perigee, type RunOptions, spawnPerigee } from "../support/ChildNode.ts"
import { scratch, until } from "../support/TestNode.ts"

const pulsar = (url: string) => (args: ReadonlyArray<string>, options: RunOptions = {}) =>
  perigee(["pulsar", ...args, "--url", url], options)

const numbers = (count: number) => Array.from({ length: count }, (_, index) => `${index}`)
const lines = (texts: ReadonlyArray<string>) => texts.map((text) => `${text}\n`).join("")

const consumeRaw = (url: string) =>
  spawnPerigee(["pulsar", "consume", "t", "-s", "s", "--from", "earliest", "--raw", "--url", url])

describe("perigee pulsar produce", { timeout: 120_000 }, () => {
  it.live("sends lines of standard input and of a file, and says what became of them", () =>
    Effect.gen(function*() {
      const dir = yield* scratch
      const broker = yield* startBroker()
      const run = pulsar(broker.url)
      const piped = yield* run(["produce", "t", "--json"], { input: "one\n\ntwo\r\nthree" })
      assert.strictEqual(piped.code, 0, piped.stderr)
      assert.deepInclude(JSON.parse(piped.stdout), {
        topic: "persistent://public/default/t",
        read: 3,
        stored: 3,
        not_stored: 0,
        unknown: 0
      })
      const file = join(dir, "lines.gz")
      writeFileSync(file, gzipSync(lines(numbers(2500))))
      const filed = yield* run(["produce", "t", file, "--key", "k", "--property", "a=b=c", "--compression", "zstd"])
      assert.strictEqual(filed.code, 0, filed.stderr)
      assert.match(filed.stderr, /^ 2,500 .*stored 2,500 {2}pending 0 {2}rejected 0 {2}.*\/s\n$/)
      const found = yield* readTopic(broker.url, "t", 2503)
      assert.deepStrictEqual(found.map(text), ["one", "two", "three", ...numbers(2500)])
      assert.deepStrictEqual([found[2]!.key, found[3]!.key, found[3]!.properties], [undefined, "k", { a: "b=c" }])
    }))

  it.live("takes JSON only where that was asked for, and keeps the good lines", () =>
    Effect.gen(function*() {
      const broker = yield* startBroker()
      const { code, stderr, stdout } = yield* pulsar(broker.url)(["produce", "t", "--format", "json", "--json"], {
        input: "{\"a\":1}\nnope\n[2]\n"
      })
      assert.strictEqual(code, 5)
      assert.include(stderr, "perigee: line 2 is refused: notJson at byte ")
      assert.match(stderr, /\[E_LINES\]\n$/)
      assert.deepInclude(JSON.parse(stdout), { read: 2, stored: 2, rejected: 1 })
      assert.deepStrictEqual((yield* readTopic(broker.url, "t", 2)).map(text), ["{\"a\":1}", "[2]"])
    }))

  it.live("copies a topic with keys, properties and bytes that are no text", () =>
    Effect.gen(function*() {
      const broker = yield* startBroker()
      const run = pulsar(broker.url)
      const envelopes = lines([
        JSON.stringify({ payload: "plain", key: "k", properties: { a: "1" }, event_time: "2026-01-31T12:00:00.000Z" }),
        JSON.stringify({ payload_base64: "/wD+", key_base64: "AQI=", ordering_key_base64: "Aw==" }),
        "{\"payload\":1}",
        JSON.stringify({ key: "without a payload" })
      ])
      const sent = yield* run(["produce", "t", "--format", "envelope"], { input: envelopes })
      assert.strictEqual(sent.code, 5, sent.stderr)
      assert.include(sent.stderr, "line 3 is refused: it is no message with a payload")
      assert.include(sent.stderr, "line 4 is refused: it has to have one of payload and payload_base64")
      const read = yield* run(["read", "t", "--json"])
      assert.strictEqual(read.code, 0, read.stderr)
      assert.strictEqual((yield* run(["produce", "copy", "--format", "envelope"], { input: read.stdout })).code, 0)
      const again = yield* run(["read", "copy", "--json"])
      const essence = (stdout: string) =>
        stdout.trimEnd().split("\n").map((line) => {
          const { id: _id, producer: _producer, publish_time: _time, topic: _topic, ...rest } = JSON.parse(line)
          return rest
        })
      assert.deepStrictEqual(essence(again.stdout), essence(read.stdout))
      assert.deepStrictEqual(essence(read.stdout), [
        {
          key: "k",
          properties: { a: "1" },
          event_time: "2026-01-31T12:00:00.000Z",
          sequence_id: 0,
          redelivery_count: 0,
          payload: "plain"
        },
        {
          key_base64: "AQI=",
          ordering_key_base64: "Aw==",
          properties: {},
          sequence_id: 1,
          redelivery_count: 0,
          payload_base64: "/wD+"
        }
      ])
    }))

  it.live("sends a numbered file twice and it is stored once, where the topic deduplicates", () =>
    Effect.gen(function*() {
      const broker = yield* startBroker({ deduplication: true })
      const run = pulsar(broker.url)
      const produce = (input: string) =>
        Effect.map(
          run(["produce", "t", "--name", "import", "--sequence", "0", "--json"], { input }),
          ({ stdout }) => JSON.parse(stdout)
        )
      assert.deepInclude(yield* produce(lines(numbers(1500))), { stored: 1500, duplicates: 0 })
      assert.deepInclude(yield* produce(lines(numbers(1500))), { stored: 1500, duplicates: 1500 })
      assert.deepStrictEqual((yield* readTopic(broker.url, "t", 1500)).map(text), numbers(1500))
    }))

  it.live("waits after SIGINT for what it sent, reports it, and ends with 130", () =>
    Effect.gen(function*() {
      const broker = yield* startBroker()
      // Receipts are late: the signal comes while messages wait for theirs.
      yield* broker.fault({ command: "SEND_RECEIPT", action: { _tag: "Delay", millis: 1500 } })
      const child = yield* spawnPerigee(["pulsar", "produce", "t", "--json", "--url", broker.url], { open: true })
      child.process.stdin!.write(lines(numbers(200)))
      yield* until(
        () =>
          Effect.runPromise(
            Effect.map(Effect.exit(broker.stored("t")), (exit) => exit._tag === "Success" && exit.value.length > 0)
          ),
        "the broker has some"
      )
      child.process.kill("SIGINT")
      const { code, stderr, stdout } = yield* child.ended
      assert.strictEqual(code, 130, stderr)
      assert.include(stderr, "interrupted; waiting for what was sent")
      const summary = JSON.parse(stdout)
      assert.deepInclude(summary, { not_stored: 0, unknown: 0 })
      assert.strictEqual(summary.stored, summary.read)
      assert.strictEqual((yield* readTopic(broker.url, "t", summary.stored)).length, summary.stored)
    }))

  it.live("says that nobody knows when no answer comes", () =>
    Effect.gen(function*() {
      const broker = yield* startBroker()
      yield* broker.fault({ command: "SEND_RECEIPT", times: Infinity, action: { _tag: "Drop" } })
      const { code, stderr, stdout } = yield* pulsar(broker.url)(["produce", "t", "--send-timeout", "1", "--json"], {
        input: "one\ntwo\n"
      })
      assert.strictEqual(code, 7, stderr)
      assert.match(stderr, /Message 1 did not get through\. It is unknown .* 2 may be\..*\[E_PULSAR_UNKNOWN\]\n$/)
      assert.deepInclude(JSON.parse(stdout), { read: 2, stored: 0, not_stored: 0, unknown: 2 })
    }))

  it.live("says which message the broker did not take", () =>
    Effect.gen(function*() {
      const broker = yield* startBroker({ maxMessageSize: 1000 })
      const { code, stderr, stdout } = yield* pulsar(broker.url)(["produce", "t", "--batch-messages", "1", "--json"], {
        input: lines(["small", "x".repeat(2000)])
      })
      assert.strictEqual(code, 7, stderr)
      assert.match(
        stderr,
        /Message 2 did not get through\. Not sent: 2000 bytes are more than .*\[E_PULSAR_NOT_SENT\]\n$/
      )
      assert.deepInclude(JSON.parse(stdout), { stored: 1, not_stored: 1, unknown: 0 })
    }))
})

describe("perigee pulsar consume", { timeout: 120_000 }, () => {
  it.live("prints messages, acknowledges what it printed, and goes on there", () =>
    Effect.gen(function*() {
      const broker = yield* startBroker()
      const run = pulsar(broker.url)
      yield* fill(broker.url, "t", numbers(100), { key: () => "k" })
      const first = yield* run(["consume", "t", "-s", "s", "--from", "earliest", "--count", "40", "--raw"])
      assert.strictEqual(first.code, 0, first.stderr)
      assert.strictEqual(first.stdout, lines(numbers(40)))
      assert.match(first.stderr, /^ 40 received {2}40 acknowledged {2}.*\/s\n$/)
      const rest = yield* run(["consume", "t", "-s", "s", "--type", "shared", "--idle", "1", "--json"])
      const envelopes = rest.stdout.trimEnd().split("\n").map((line) => JSON.parse(line))
      // Batches are acknowledged whole: those of the batch that was cut come again.
      assert.deepStrictEqual(envelopes.map(({ payload }) => payload).slice(-60), numbers(100).slice(40))
      assert.deepInclude(envelopes.at(-1), { key: "k", topic: "persistent://public/default/t", properties: {} })
      assert.strictEqual((yield* broker.stats("t")).subscriptions["s"]!.backlog, 0)
    }))

  it.live("runs until SIGINT, and what it printed is acknowledged", () =>
    Effect.gen(function*() {
      const broker = yield* startBroker()
      const child = yield* spawnPerigee(["pulsar", "consume", "t", "-s", "s", "--create", "--url", broker.url])
      yield* until(
        () =>
          Effect.runPromise(Effect.map(Effect.exit(broker.stats("t")), (exit) =>
            exit._tag === "Success" && "s" in exit.value.subscriptions)),
        "it is subscribed"
      )
      yield* fill(broker.url, "t", ["a", "b\u001b[2J"], { batching: false })
      yield* until(() =>
        child.stdout().split("\n").length === 3, "both are printed")
      child.process.kill("SIGINT")
      const { code, stderr, stdout } = yield* child.ended
      assert.strictEqual(code, 130, stderr)
      assert.match(stdout, /^\d{4}-\S+Z {2}\d+:\d+:-1:-1 {2}- {2}a\n/)
      assert.include(stdout, "b\\u001b[2J\n")
      assert.include(stderr, "2 received  2 acknowledged")
      assert.strictEqual((yield* broker.stats("t")).subscriptions["s"]!.backlog, 0)
    }))

  it.live("waits for a broker that goes away, and says so", () =>
    Effect.gen(function*() {
      const broker = yield* startBroker()
      yield* fill(broker.url, "t", ["a"])
      const child = yield* consumeRaw(broker.url)
      yield* until(() => child.stdout() === "a\n", "the first")
      yield* broker.kill()
      yield* until(() => child.stderr().includes("is lost. Waiting for it."), "it notices")
      yield* broker.start()
      yield* fill(broker.url, "t", ["b"])
      yield* until(() => child.stdout().endsWith("b\n"), "the second")
      yield* until(() => child.stderr().includes("perigee: connected again"), "it says so")
    }))
})

describe("perigee pulsar read and peek", { timeout: 120_000 }, () => {
  it.live("begin where they are told, end with what is there, and leave nothing behind", () =>
    Effect.gen(function*() {
      const broker = yield* startBroker()
      const run = pulsar(broker.url)
      yield* fill(broker.url, "t", numbers(10), { batching: false })
      yield* fill(broker.url, "t", ["10", "11", "12"])
      const raw = (...args: ReadonlyArray<string>) =>
        Effect.map(run([...args, "--raw"]), ({ code, stderr, stdout }) => {
          assert.strictEqual(code, 0, stderr)
          return stdout.trimEnd().split("\n")
        })
      assert.deepStrictEqual(yield* raw("read", "t"), numbers(13))
      assert.deepStrictEqual(yield* raw("read", "t", "--count", "4"), numbers(4))
      const envelopes = (yield* run(["read", "t", "--json"])).stdout.trimEnd().split("\n").map((line) =>
        JSON.parse(line)
      )
      assert.deepStrictEqual(yield* raw("read", "t", "--from", envelopes[7].id), numbers(13).slice(7))
      assert.deepStrictEqual(yield* raw("read", "t", "--from", envelopes[11].id), ["11", "12"])
      assert.deepStrictEqual(yield* raw("read", "t", "--from", "1h", "--wait", "2"), numbers(13))
      assert.deepStrictEqual(yield* raw("read", "t", "--from", "latest"), [""])
      assert.deepStrictEqual(yield* raw("peek", "t"), ["12"])
      assert.deepStrictEqual(yield* raw("peek", "t", "--count", "5"), ["8", "9", "10", "11", "12"])
      assert.deepStrictEqual(yield* raw("peek", "t", "--count", "2", "--from", "earliest"), ["0", "1"])
      assert.deepStrictEqual(yield* raw("peek", "t", "--count", "100"), numbers(13))
      assert.deepStrictEqual((yield* broker.stats("t")).subscriptions, {})
    }))

  it.live("read all partitions, and follow", () =>
    Effect.gen(function*() {
      const broker = yield* startBroker()
      yield* broker.setPartitions("p", 3)
      const run = pulsar(broker.url)
      yield* fill(broker.url, "p", numbers(30), { key: (value) => value })
      const read = yield* run(["read", "p", "--raw"])
      assert.sameMembers(read.stdout.trimEnd().split("\n"), numbers(30))
      const peeked = yield* run(["peek", "p", "--count", "30", "--raw"])
      assert.sameMembers(peeked.stdout.trimEnd().split("\n"), numbers(30))
      const child = yield* spawnPerigee([
        "pulsar",
        "read",
        "p",
        "--follow",
        "--count",
        "33",
        "--raw",
        "--url",
        broker.url
      ])
      yield* until(() => child.stdout().trimEnd().split("\n").length === 30, "what was there")
      yield* fill(broker.url, "p", ["30", "31", "32"], { key: (value) => value })
      const { code, stdout } = yield* child.ended
      assert.strictEqual(code, 0)
      assert.sameMembers(stdout.trimEnd().split("\n"), numbers(33))
    }))

  it.live("say that a topic is empty", () =>
    Effect.gen(function*() {
      const broker = yield* startBroker()
      yield* broker.createTopic("t")
      const { code, stderr, stdout } = yield* pulsar(broker.url)(["peek", "t"])
      assert.deepStrictEqual([code, stdout, stderr], [0, "", "perigee: there is no message there.\n"])
      assert.strictEqual((yield* pulsar(broker.url)(["read", "t"])).code, 0)
    }))
})

describe("perigee pulsar fails", { timeout: 120_000 }, () => {
  it.live("with a code, an exit code and what to do", () =>
    Effect.gen(function*() {
      const dir = yield* scratch
      const broker = yield* startBroker({ tokens: ["good"], autoCreateTopics: false })
      yield* broker.setPartitions("t", 1)
      const good = { PULSAR_TOKEN: "good" }
      const file = join(dir, "token")
      writeFileSync(file, "good\n")
      const cases: ReadonlyArray<readonly [ReadonlyArray<string>, number, string, Record<string, string>?]> = [
        [["read", "t", "--url", "http://127.0.0.1:1"], 2, "E_PULSAR_URL"],
        [["read", "t", "--url", "pulsar://127.0.0.1:99999"], 2, "E_PULSAR_URL"],
        [["read", "t", "--url", "pulsar://127.0.0.1:1", "--wait", "1"], 3, "E_PULSAR_UNREACHABLE"],
        [["produce", "t", "--url", "pulsar://127.0.0.1:1", "--wait", "1"], 3, "E_PULSAR_UNREACHABLE"],
        [["read", "t", "--url", broker.url], 4, "E_PULSAR_TOKEN"],
        [["read", "t", "--url", broker.url], 4, "E_PULSAR_TOKEN", { PULSAR_TOKEN: "a secret that is wrong" }],
        [["read", "t", "--url", broker.url, "--token-file", join(dir, "missing")], 2, "E_PULSAR_TOKEN_FILE"],
        [["read", "t", "--url", broker.url, "--tls-trust", join(dir, "missing")], 2, "E_PULSAR_TLS"],
        [["read", "t", "--url", broker.url, "--tls-cert", file], 2, "E_PULSAR_TLS"],
        [["read", "t", "--url", broker.url, "--from", "yesterday"], 2, "E_PULSAR_POSITION", good],
        [["read", "a/b", "--url", broker.url], 2, "E_PULSAR_OPTION", good],
        [["read", "missing", "--url", broker.url, "--wait", "2"], 8, "E_PULSAR_NO_TOPIC", good],
        [["peek", "missing", "--url", broker.url, "--wait", "2"], 8, "E_PULSAR_NO_TOPIC", good],
        [["consume", "missing", "-s", "s", "--url", broker.url, "--wait", "2"], 8, "E_PULSAR_NO_TOPIC", good],
        [["produce", "missing", "--url", broker.url, "--wait", "2"], 8, "E_PULSAR_NO_TOPIC", good],
        [["produce", "t", "--url", broker.url, "--property", "novalue"], 2, "E_PULSAR_OPTION", good],
        [["produce", "t", "--url", broker.url, "--sequence", "1"], 2, "E_PULSAR_OPTION", good],
        [["produce", "t", join(dir, "missing.txt"), "--url", broker.url], 5, "E_INPUT", good],
        [["consume", "t", "--url", broker.url], 2, "E_USAGE", good],
        [["consume", "t", "-s", "s", "--count", "0", "--url", broker.url], 2, "E_USAGE", good]
      ]
      yield* Effect.forEach(cases, ([args, code, name, env]) =>
        Effect.gen(function*() {
          const ended = yield* perigee(["pulsar", ...args], { env: { PULSAR_TOKEN: "", ...env }, input: "x\n" })
          assert.strictEqual(ended.code, code, `${args.join(" ")}: ${ended.stderr}`)
          assert.include(ended.stderr, `[${name}]\n`)
          assert.notInclude(ended.stderr, "secret")
          assert.strictEqual(ended.stdout, "")
        }), { concurrency: 2 })
      const ended = yield* perigee(["pulsar", "produce", "t", "--url", broker.url, "--token-file", file], {
        input: "x\n"
      })
      assert.strictEqual(ended.code, 0, ended.stderr)
    }))

  it.live("when somebody else has the subscription", () =>
    Effect.gen(function*() {
      const broker = yield* startBroker()
      yield* fill(broker.url, "t", ["a"])
      const first = yield* consumeRaw(broker.url)
      yield* until(() => first.stdout() === "a\n", "the first has it")
      const second = yield* pulsar(broker.url)(["consume", "t", "-s", "s", "--wait", "1"])
      assert.strictEqual(second.code, 8, second.stderr)
      assert.match(second.stderr, /Somebody else has the subscription: .* \[E_PULSAR_BUSY\]\n$/)
    }))

  it.live("when the broker refuses a send for good", () =>
    Effect.gen(function*() {
      const broker = yield* startBroker()
      yield* broker.fault({
        command: "SEND",
        action: { _tag: "Reject", code: "NotAllowedError", message: "no more today" }
      })
      const { code, stderr } = yield* pulsar(broker.url)(["produce", "t"], { input: "x\n" })
      assert.strictEqual(code, 7, stderr)
      assert.include(stderr, "no more today")
    }))
})
