import { assert, describe, layer } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { createHash } from "node:crypto"
import { type JavaId, JavaPeer, pattern } from "../support/JavaPeer.ts"
import { PulsarBroker, skipReason } from "../support/PulsarBroker.ts"

const digest = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex")

describe.skipIf(skipReason() !== undefined)("the peers themselves", () => {
  layer(Layer.merge(PulsarBroker.shared, JavaPeer.layer), { timeout: "5 minutes", excludeTestServices: true })((it) => {
    it.effect("carry a message from the Java producer to the Java consumer", () =>
      Effect.gen(function*() {
        const broker = yield* PulsarBroker
        const peer = yield* JavaPeer
        const topic = `persistent://${yield* broker.namespace()}/java`
        const produced = yield* peer.produce({
          url: broker.serviceUrl,
          topic,
          compression: "LZ4",
          batching: true,
          batch: 3
        }, [
          { payload: "00ff", key: "k", properties: { a: "1" }, eventTime: 17 },
          { payload: "", orderingKey: "0102" },
          { repeat: 5000, keyBytes: "ff00" }
        ])
        const received = yield* peer.consume({ url: broker.serviceUrl, topic, subscription: "s", count: 3 })
        assert.strictEqual(produced.ids.length, 3)
        // A producer's id does not know the size of its batch.
        const place = ({ id }: { readonly id: JavaId }) => `${id.ledger}:${id.entry}:${id.batchIndex}`
        assert.deepStrictEqual(received.map(place), produced.ids.map(place))
        assert.deepStrictEqual(received.map(({ payload }) => payload), ["00ff", "", undefined])
        assert.strictEqual(received[2]!.sha256, digest(pattern(5000)))
        assert.deepInclude(received[0], {
          key: "k",
          keyIsBase64: false,
          eventTime: 17,
          sequenceId: "0",
          properties: { a: "1" }
        })
        assert.deepInclude(received[2], { keyBytes: "ff00", keyIsBase64: true })
      }))
    it.effect("report a refused schema as the error the client sees", () =>
      Effect.gen(function*() {
        const broker = yield* PulsarBroker
        const peer = yield* JavaPeer
        const topic = `persistent://${yield* broker.namespace()}/schema`
        const order = {
          id: "a",
          quantity: 2,
          total: 3,
          price: 1.5,
          paid: true,
          tags: ["x"],
          stock: { y: 1 },
          address: null
        }
        yield* peer.produce({ url: broker.serviceUrl, topic, schema: "json" }, [{ value: order }])
        const refused = yield* Effect.flip(
          peer.produce({ url: broker.serviceUrl, topic, schema: "jsonRefused" }, [{ value: { id: "a" } }])
        )
        assert.match(refused.message, /IncompatibleSchema/)
      }))
  })
  layer(PulsarBroker.layer({ tls: true, auth: true }), { timeout: "5 minutes", excludeTestServices: true })((it) => {
    it.effect("keep acknowledged messages over SIGKILL and refuse whoever has no token", () =>
      Effect.gen(function*() {
        const broker = yield* PulsarBroker
        const { certificates, tlsUrl, tokens } = broker.info
        const topic = `persistent://${yield* broker.namespace()}/kept`
        const java = yield* JavaPeer
        const options = { url: tlsUrl, topic, token: tokens!.admin, trust: certificates!.ca }
        const { ids } = yield* java.produce(options, [{ payload: "01" }, { payload: "02" }])
        yield* broker.kill
        yield* broker.restart
        const received = yield* java.consume({ ...options, subscription: "s", count: 2 })
        assert.deepStrictEqual(received.map(({ id }) => id), ids.map(({ id }) => id))
        const anonymous = yield* Effect.flip(java.produce({ ...options, token: undefined }, [{ payload: "03" }]))
        assert.match(anonymous.message, /Authentication|authenticat/)
        const expired = yield* Effect.flip(java.produce({ ...options, token: tokens!.expired }, [{ payload: "03" }]))
        assert.match(expired.message, /Authentication|authenticat/)
      }).pipe(Effect.provide(JavaPeer.layer)), { timeout: 120_000 })
  })
})
