/** TLS, client certificates and tokens against a real broker that wants them. */
import { assert, describe, layer } from "@effect/vitest"
import { Effect, Layer, Redacted } from "effect"
import { readFileSync } from "node:fs"
import { Auth, Consumer, Producer, PulsarClient, type PulsarClientOptions } from "../../src/index.ts"
import { PulsarBroker, skipReason } from "../support/PulsarBroker.ts"
import { bytes, text } from "../support/client.ts"

const pem = (value: string): string => value.includes("-----BEGIN") ? value : readFileSync(value, "utf8")

const attempt = (options: Omit<PulsarClientOptions, "serviceUrl"> & { readonly serviceUrl?: string }) =>
  Effect.gen(function*() {
    const broker = yield* PulsarBroker
    const topic = `persistent://${yield* broker.namespace()}/secure`
    return yield* Effect.gen(function*() {
      const consumer = yield* Consumer.make({ topic, subscription: "s", initialPosition: "earliest" })
      const producer = yield* Producer.make({ topic })
      yield* producer.send(bytes("secret"))
      return text((yield* consumer.receive).value)
    }).pipe(
      Effect.scoped,
      Effect.provide(Layer.fresh(PulsarClient.layer({ operationTimeout: "8 seconds", serviceUrl: broker.info.tlsUrl!, ...options })))
    )
  })

describe.skipIf(skipReason() !== undefined)("a broker that wants TLS and tokens", () => {
  layer(PulsarBroker.layer({ tls: true, auth: true }), { timeout: "5 minutes", excludeTestServices: true })((it) => {
    it.effect("lets in who has them, and tells the others why not, without their secrets", () =>
      Effect.gen(function*() {
        const { certificates, serviceUrl, tokens } = (yield* PulsarBroker).info
        const trust = pem(certificates!.ca)
        const token = (value: string) => Auth.token(Redacted.make(value))
        assert.strictEqual(yield* attempt({ auth: token(tokens!.admin), tls: { trust } }), "secret")
        assert.strictEqual(yield* attempt({ auth: token(tokens!.admin), tls: { allowInsecure: true } }), "secret")
        assert.strictEqual(yield* attempt({ auth: token(tokens!.admin), serviceUrl }), "secret")
        const nobody = yield* Effect.flip(attempt({ tls: { trust } }))
        assert.match(nobody.message, /uthentication/)
        const expired = yield* Effect.flip(attempt({ auth: token(tokens!.expired), tls: { trust } }))
        assert.match(expired.message, /uthentication/)
        assert.notInclude(expired.message, tokens!.expired)
        const powerless = yield* Effect.flip(attempt({ auth: token(tokens!.user), tls: { trust } }))
        assert.match(powerless.message, /uthoriz|uthentication/)
        const stranger = yield* Effect.flip(attempt({ auth: token(tokens!.admin) }))
        assert.match(stranger.message, /certificate/)
      }), 120_000)
  })
})
