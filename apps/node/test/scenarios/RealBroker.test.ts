/**
 * The commands and a bridge against Apache Pulsar itself.
 */
import { assert, describe, layer } from "@effect/vitest"
import { Effect } from "effect"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { PulsarBroker, skipReason } from "../../../../packages/engine/test/support/PulsarBroker.ts"
import { fill, readTopic, text } from "../support/Broker.ts"
import { perigee, startChild } from "../support/ChildNode.ts"
import { scratch, until } from "../support/TestNode.ts"

const keys = ["north", "south", "east"] as const
const event = (key: string, number: number) => JSON.stringify({ key, number })

describe.skipIf(skipReason() !== undefined)("Apache Pulsar", () => {
  layer(PulsarBroker.shared, { timeout: "5 minutes", excludeTestServices: true })((it) => {
    it.effect("takes what the commands send and gives it back", () =>
      Effect.gen(function*() {
        const { namespace, serviceUrl } = yield* PulsarBroker
        const topic = `persistent://${yield* namespace({ deduplication: true })}/cli`
        const run = (args: ReadonlyArray<string>, input?: string) =>
          perigee(["pulsar", ...args, "--url", serviceUrl], input === undefined ? {} : { input })
        const missing = yield* run(["peek", topic, "--wait", "3"])
        assert.strictEqual(missing.code, 8, missing.stderr)
        assert.include(missing.stderr, "[E_PULSAR_NO_TOPIC]")
        const lines = Array.from({ length: 500 }, (_, index) => `${index}`)
        const input = lines.map((line) => `${line}\n`).join("")
        for (const duplicates of [0, 500]) {
          const sent = yield* run(
            ["produce", topic, "--name", "import", "--sequence", "0", "--key", "k", "--compression", "lz4", "--json"],
            input
          )
          assert.strictEqual(sent.code, 0, sent.stderr)
          assert.deepInclude(JSON.parse(sent.stdout), { stored: 500, duplicates })
        }
        const raw = (...args: ReadonlyArray<string>) =>
          Effect.map(run([...args, "--raw"]), ({ code, stderr, stdout }) => {
            assert.strictEqual(code, 0, stderr)
            return stdout.trimEnd().split("\n")
          })
        assert.deepStrictEqual(yield* raw("read", topic), lines)
        assert.deepStrictEqual(yield* raw("peek", topic, "--count", "3"), ["497", "498", "499"])
        const { stdout } = yield* run(["peek", topic, "--from", "earliest", "--count", "400", "--json"])
        const id = JSON.parse(stdout.trimEnd().split("\n").at(-1)!).id
        assert.deepStrictEqual(yield* raw("read", topic, "--from", id), lines.slice(399))
        assert.deepStrictEqual(yield* raw("read", topic, "--from", "1h"), lines)
        assert.deepStrictEqual(
          yield* raw("consume", topic, "-s", "s", "--from", "earliest", "--count", "500"),
          lines
        )
        const rest = yield* run(["consume", topic, "-s", "s", "--idle", "1"])
        assert.deepStrictEqual([rest.code, rest.stdout], [0, ""])
      }))

    it.effect("keeps a bridge's events once, both ways, though its node is killed", () =>
      Effect.gen(function*() {
        const { admin, namespace, serviceUrl } = yield* PulsarBroker
        const name = yield* namespace({ deduplication: true })
        const [out, inn] = [`persistent://${name}/out`, `persistent://${name}/in`]
        yield* admin("PUT", `persistent/${name}/in/partitions`, 3)
        const dir = yield* scratch
        const start = startChild(dir, [
          "--pulsar-url",
          serviceUrl,
          "--bridge",
          `out:out=${out}`,
          "--bridge",
          `in:in=${inn}`
        ])
        const lives = 4
        const share = 200
        for (let life = 0; life < lives; life++) {
          const numbers = Array.from({ length: share }, (_, index) => life * share + index)
          yield* fill(serviceUrl, inn, numbers.flatMap((number) => keys.map((key) => event(key, number))), {
            key: (value) => JSON.parse(value).key,
            batching: { maxMessages: 11 }
          })
          yield* Effect.scoped(Effect.gen(function*() {
            const node = yield* start
            for (const key of keys) {
              const body = numbers.map((number) => `${event(key, number)}\n`).join("")
              const { status } = yield* node.append(
                body,
                `?channel=out&key=${key}&producer=${key}&sequence=${life * share + 1}`
              )
              assert.strictEqual(status, 200)
            }
            // Some lives end at once, some in the middle, some when all is done.
            yield* Effect.sleep(life * 60)
            node.child.process.kill("SIGKILL")
            yield* node.child.ended
          }))
        }
        const node = yield* start
        const total = lives * share * keys.length
        const stored = Effect.gen(function*() {
          const { body } = yield* node.json("/v1/events?limit=10000&channel=in")
          return body.events.map(({ raw }: any) => raw) as ReadonlyArray<{ key: string; number: number }>
        })
        yield* until(() => Effect.runPromise(Effect.map(stored, ({ length }) => length >= total)), "everything came in")
        const cameIn = yield* stored
        const wentOut = (yield* readTopic(serviceUrl, out, total)).map((message) => JSON.parse(text(message)))
        for (const found of [cameIn, wentOut]) {
          assert.lengthOf(found, total)
          for (const key of keys) {
            assert.deepStrictEqual(
              found.filter((one) => one.key === key).map(({ number }) => number),
              Array.from({ length: lives * share }, (_, index) => index)
            )
          }
        }
        yield* node.append("{\"key\":\"last\"}\n", "?channel=out&key=north")
        const known = Effect.map(node.json("/v1/stats"), ({ body }) => body.bridges[0].deduplicated === true)
        yield* until(() => Effect.runPromise(known), "it knows that the broker deduplicates")
      }).pipe(Effect.scoped))
  })

  layer(PulsarBroker.layer({ tls: true, auth: true }), { timeout: "5 minutes", excludeTestServices: true })((it) => {
    it.effect("lets in who shows what it asks for, and the others hear what is wrong", () =>
      Effect.gen(function*() {
        const { info, namespace } = yield* PulsarBroker
        const { certificates, tlsUrl, tokens } = info
        const { ca, clientCert, clientKey } = certificates!
        const dir = yield* scratch
        const file = join(dir, "token")
        writeFileSync(file, `${tokens!.admin}\n`)
        const topic = `persistent://${yield* namespace()}/cli`
        const trust = ["--tls-trust", ca]
        const produce = (args: ReadonlyArray<string>, env: Record<string, string> = {}, url = tlsUrl!) =>
          perigee(["pulsar", "produce", topic, "--wait", "5", "--url", url, ...args], { input: "x\n", env })
        const ways = [
          yield* produce([...trust, "--token-file", file]),
          yield* produce(trust, { PULSAR_TOKEN: tokens!.admin }),
          yield* produce(["--tls-insecure"], { PULSAR_TOKEN: tokens!.admin }),
          yield* produce([...trust, "--tls-cert", clientCert, "--tls-key", clientKey]),
          yield* produce(["--token-file", file], {}, info.serviceUrl)
        ]
        for (const { code, stderr } of ways) assert.strictEqual(code, 0, stderr)
        const refusals = [
          [4, "E_PULSAR_TOKEN", yield* produce(trust)],
          [4, "E_PULSAR_TOKEN", yield* produce(trust, { PULSAR_TOKEN: tokens!.expired })],
          [4, "E_PULSAR_FORBIDDEN", yield* produce(trust, { PULSAR_TOKEN: tokens!.user })],
          [3, "E_PULSAR_UNREACHABLE", yield* produce([], { PULSAR_TOKEN: tokens!.admin })]
        ] as const
        for (const [exit, name, { code, stderr }] of refusals) {
          assert.strictEqual(code, exit, stderr)
          assert.include(stderr, `[${name}]\n`)
          for (const token of Object.values(tokens!)) assert.notInclude(stderr, token)
        }
        assert.match(refusals[3][2].stderr, /certificate/)
      }).pipe(Effect.scoped))
  })
})
