/** Tokens from an OAuth2 server: a local HTTP server in its place, with its own ideas of what an answer is. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Redacted } from "effect"
import { FetchHttpClient } from "effect/http"
import { TestClock } from "effect/testing"
import { OAuth2, Producer, PulsarClient } from "../src/index.ts"
import { TestBroker } from "../src/testing/index.ts"
import { bytes, transport } from "./support/client.ts"
import { tokenServer } from "./support/TokenServer.ts"

const secret = "cl13nt-s3cret"
const client = { clientId: "me", clientSecret: Redacted.make(secret), allowHttp: true } as const

const textOf = (auth: { readonly credentials: Effect.Effect<{ readonly data: Uint8Array | undefined }, unknown> }) =>
  Effect.map(auth.credentials, ({ data }) => new TextDecoder().decode(data))

describe("OAuth2 client credentials", () => {
  it.effect("are exchanged for one token, however many ask, found by the issuer's own word", () =>
    Effect.gen(function*() {
      const server = yield* tokenServer()
      const auth = yield* OAuth2.make({ ...client, issuer: server.url, audience: "urn:pulsar", scope: "a b" })
      const tokens = yield* Effect.all(Array.from({ length: 5 }, () => textOf(auth)), { concurrency: "unbounded" })
      assert.deepStrictEqual([...new Set(tokens)], ["token-1"])
      assert.strictEqual(server.discoveries, 1)
      assert.deepStrictEqual(server.grants, [{
        grant_type: "client_credentials",
        client_id: "me",
        client_secret: secret,
        audience: "urn:pulsar",
        scope: "a b"
      }])
    }).pipe(Effect.provide(FetchHttpClient.layer)))
  it.effect("are renewed before the token ends, once, and whenever the broker asks", () =>
    Effect.gen(function*() {
      const server = yield* tokenServer({ expiresIn: 100 })
      const auth = yield* OAuth2.make({ ...client, issuer: "", tokenEndpoint: server.endpoint })
      assert.strictEqual(yield* textOf(auth), "token-1")
      yield* TestClock.adjust("69 seconds")
      assert.strictEqual(yield* textOf(auth), "token-1")
      yield* TestClock.adjust("1 second")
      const both = yield* Effect.all([textOf(auth), textOf(auth)], { concurrency: 2 })
      assert.deepStrictEqual(both, ["token-2", "token-2"])
      yield* auth.respond!(new Uint8Array(0))
      assert.strictEqual(yield* textOf(auth), "token-3")
      assert.strictEqual(server.discoveries, 0)
    }).pipe(Effect.provide(FetchHttpClient.layer)))
  it.effect("keep a token that is still good while the server is in trouble, and no longer", () =>
    Effect.gen(function*() {
      const server = yield* tokenServer({ expiresIn: 100 })
      const auth = yield* OAuth2.make({ ...client, issuer: "", tokenEndpoint: server.endpoint })
      assert.strictEqual(yield* textOf(auth), "token-1")
      server.answer = { status: 503, body: `busy; you sent ${secret}` }
      yield* TestClock.adjust("80 seconds")
      assert.strictEqual(yield* textOf(auth), "token-1")
      yield* TestClock.adjust("20 seconds")
      const error = yield* Effect.flip(auth.credentials)
      assert.strictEqual(error.message, "OAuth2: asking for a token: the server answered 503")
      server.answer = undefined
      assert.strictEqual(yield* textOf(auth), "token-2")
    }).pipe(Effect.provide(FetchHttpClient.layer)))
  it.effect("that are refused, answered with nonsense or not at all end in words without a secret", () =>
    Effect.gen(function*() {
      const server = yield* tokenServer()
      const auth = yield* OAuth2.make({ ...client, issuer: "", tokenEndpoint: server.endpoint })
      const answers = [
        { status: 401, body: `{"error":"invalid_client","secret":"${secret}"}` },
        { status: 200, body: `<html>${secret}</html>` },
        { status: 200, body: `{"access_token":"","note":"${secret}"}` },
        { status: 200, body: `{"access_token":"${"t".repeat(300_000)}"}` }
      ]
      for (const answer of answers) {
        server.answer = answer
        const error = yield* Effect.flip(auth.credentials)
        assert.match(error.message, /^OAuth2: asking for a token: /)
        assert.notInclude(JSON.stringify(error), secret)
      }
      server.answer = "silence"
      const waiting = yield* Effect.forkChild(Effect.flip(auth.credentials), { startImmediately: true })
      yield* TestClock.adjust("10 seconds")
      assert.include((yield* Fiber.join(waiting)).message, "no answer in time")
      for (const url of ["http://tokens.test/", "ftp://tokens.test/", "nonsense"]) {
        const plain = yield* OAuth2.make({ ...client, allowHttp: false, issuer: "", tokenEndpoint: url })
        assert.include((yield* Effect.flip(plain.credentials)).message, "https only")
      }
      assert.notInclude(JSON.stringify(auth), secret)
    }).pipe(Effect.provide(FetchHttpClient.layer)))
  it.effect("let a client in, and in again when the broker asks for a fresh token on the open connection", () =>
    Effect.gen(function*() {
      const server = yield* tokenServer()
      const auth = yield* OAuth2.make({ ...client, issuer: server.url })
      const service = PulsarClient.layerTransport({ serviceUrl: "pulsar://broker-0.test:6650", auth })
      yield* Effect.gen(function*() {
        const broker = yield* TestBroker
        const producer = yield* Producer.make({ topic: "t", batching: false })
        yield* broker.setTokens(["token-2"])
        yield* broker.challenge
        yield* server.granted(2)
        yield* producer.send(bytes("x"))
        assert.strictEqual((yield* (yield* PulsarClient).connections)[0]!.sessions, 1)
      }).pipe(Effect.provide(service.pipe(Layer.provideMerge(transport))))
    }).pipe(Effect.provide([FetchHttpClient.layer, TestBroker.layer({ tokens: ["token-1"] })])))
})
