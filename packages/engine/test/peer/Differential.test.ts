/**
 * The same scripts against the testing broker and against Apache Pulsar: what the client saw must be equal.
 */
import { NodeSocket, NodeSocketServer } from "@effect/platform-node"
import { assert, describe, layer } from "@effect/vitest"
import { Effect, Layer } from "effect"
import type { Socket } from "effect/socket"
import { TestBroker } from "../../src/testing/index.ts"
import { PulsarBroker, skipReason } from "../support/PulsarBroker.ts"
import { WireClient } from "../support/WireClient.ts"
import { consuming } from "./scripts/consuming.ts"
import { managing } from "./scripts/managing.ts"
import { producing } from "./scripts/producing.ts"
import { ofPulsar, ofTestBroker } from "./scripts/operators.ts"
import { normalise, type Operator, type Script, type World } from "./scripts/Script.ts"

const play = Effect.fn("play")(function*(
  { run }: Script,
  dial: () => Effect.Effect<Socket.Socket, Socket.SocketError>,
  namespace: string,
  operator: Operator
) {
  const record: Array<readonly [string, unknown]> = []
  const socket = Effect.suspend(dial)
  const world: World = {
    connect: Effect.flatMap(socket, WireClient.connected),
    open: Effect.flatMap(socket, WireClient.open),
    namespace,
    topic: (name) => `persistent://${namespace}/${name}`,
    operator,
    // What was seen is kept as it was then.
    see: (label, value) => record.push([label, structuredClone(value)])
  }
  yield* Effect.scoped(run(world))
  return normalise(record, namespace)
})

const againstPulsar = Effect.fn("againstPulsar")(function*(script: Script) {
  const broker = yield* PulsarBroker
  const { hostname, port } = new URL(broker.serviceUrl.replace("pulsar:", "http:"))
  const namespace = yield* broker.namespace({ deduplication: script.deduplication })
  return yield* play(
    script,
    () => NodeSocket.makeNet({ host: hostname, port: Number(port) }),
    namespace,
    ofPulsar(broker)
  )
})

const againstTestBroker = Effect.fn("againstTestBroker")(function*(script: Script) {
  const broker = yield* TestBroker.make({ deduplication: script.deduplication })
  const overMemory = yield* play(
    script,
    () => Effect.succeed(broker.dial(broker.serviceUrl)),
    "public/script",
    ofTestBroker(broker)
  )
  const second = yield* TestBroker.make({ deduplication: script.deduplication })
  const url = yield* second.listen().pipe(
    Effect.provide(yield* Layer.build(NodeSocketServer.layer({ host: "127.0.0.1", port: 0 })))
  )
  const { hostname, port } = new URL(url.replace("pulsar:", "http:"))
  const overTcp = yield* play(
    script,
    () => NodeSocket.makeNet({ host: hostname, port: Number(port) }),
    "public/script",
    ofTestBroker(second)
  )
  assert.deepStrictEqual(overTcp, overMemory, "memory and TCP")
  return overMemory
}, Effect.scoped)

const scripts: ReadonlyArray<Script> = [...producing, ...consuming, ...managing]

describe.skipIf(skipReason() !== undefined)("the testing broker does as Apache Pulsar", () => {
  layer(PulsarBroker.shared, { timeout: "5 minutes", excludeTestServices: true })((it) => {
    it.effect.each(scripts.map((script) => ({ script, name: script.name })))(
      "$name",
      ({ script }) =>
        Effect.gen(function*() {
          const ours = yield* againstTestBroker(script)
          const theirs = yield* againstPulsar(script)
          assert.deepStrictEqual(ours, theirs)
        })
    )
  })
})
