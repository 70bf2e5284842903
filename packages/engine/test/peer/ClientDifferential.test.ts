/**
 * The client on the testing broker and on Apache Pulsar: what a program sees must be equal.
 */
import { assert, describe, layer } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { PulsarClient } from "../../src/index.ts"
import { TestBroker } from "../../src/testing/index.ts"
import { PulsarBroker, skipReason } from "../support/PulsarBroker.ts"
import { type ClientScript, clientScripts } from "./scripts/client.ts"
import { ofPulsar, ofTestBroker } from "./scripts/operators.ts"
import { normalise, type Operator } from "./scripts/Script.ts"

/** Short enough for tests of what does not come to pass; a real broker answers in less. */
const options = { operationTimeout: "3 seconds", backoff: { initial: "20 millis", max: "200 millis" } } as const

const play = Effect.fn("play")(function*({ run }: ClientScript, namespace: string, operator: Operator) {
  const record: Array<readonly [string, unknown]> = []
  yield* Effect.scoped(run({
    namespace,
    topic: (name) => `persistent://${namespace}/${name}`,
    operator,
    see: (label, value) => record.push([label, structuredClone(value)])
  }))
  return normalise(record, namespace)
})

const againstPulsar = Effect.fn("againstPulsar")(function*(script: ClientScript) {
  const broker = yield* PulsarBroker
  const namespace = yield* broker.namespace({ deduplication: script.deduplication })
  return yield* play(script, namespace, ofPulsar(broker)).pipe(
    Effect.provide(PulsarClient.layer({ serviceUrl: broker.serviceUrl, ...options }))
  )
})

const againstTestBroker = Effect.fn("againstTestBroker")(
  function*(script: ClientScript) {
    const broker = yield* TestBroker
    return yield* play(script, "public/script", ofTestBroker(broker))
  },
  (effect, script) =>
    Effect.provide(
      effect,
      TestBroker.layerClient(options).pipe(
        Layer.provideMerge(TestBroker.layer({ deduplication: script.deduplication }))
      )
    )
)

describe.skipIf(skipReason() !== undefined)("a program sees the same", () => {
  layer(PulsarBroker.shared, { timeout: "5 minutes", excludeTestServices: true })((it) => {
    it.effect.each(clientScripts.map((script) => ({ script, name: script.name })))(
      "$name",
      ({ script }) =>
        Effect.gen(function*() {
          const ours = yield* againstTestBroker(script)
          const theirs = yield* againstPulsar(script)
          assert.deepStrictEqual(ours, theirs)
        }),
      { timeout: 60_000 }
    )
  })
})
