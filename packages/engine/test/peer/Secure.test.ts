/**
 * TLS, tokens and client certificates against Apache Pulsar: who is let in, and what everybody else is told.
 */
import { assert, describe, layer } from "@effect/vitest"
import { Effect, Redacted } from "effect"
import { FetchHttpClient } from "effect/http"
import { readFileSync } from "node:fs"
import { Auth, Consumer, type NodeTransport, OAuth2, Producer, PulsarClient } from "../../src/index.ts"
import { signToken } from "../support/BrokerProcess.ts"
import { bytes, text } from "../support/client.ts"
import { JavaPeer } from "../support/JavaPeer.ts"
import { PulsarBroker, skipReason } from "../support/PulsarBroker.ts"
import { tokenServer } from "../support/TokenServer.ts"

const pem = (path: string) => readFileSync(path, "utf8")

interface Way {
  readonly url?: string | undefined
  readonly auth?: Auth.Auth
  readonly tls?: NodeTransport.TlsOptions
}

/** One message there and back as the given client. */
const roundTrip = Effect.fnUntraced(function*(topic: string, { auth, tls, url }: Way) {
  const broker = yield* PulsarBroker
  return yield* Effect.gen(function*() {
    const consumer = yield* Consumer.make({ topic, subscription: "s", initialPosition: "earliest" })
    const producer = yield* Producer.make({ topic })
    yield* producer.send(bytes("secret"))
    const message = yield* consumer.receive
    yield* message.ackConfirmed
    return text(message.value)
  }).pipe(
    Effect.scoped,
    Effect.provide(PulsarClient.layer({
      serviceUrl: url ?? broker.info.tlsUrl!,
      operationTimeout: "5 seconds",
      ...(auth === undefined ? {} : { auth }),
      tls: tls ?? { trust: pem(broker.info.certificates!.ca) }
    }))
  )
})

const fresh = Effect.gen(function*() {
  const broker = yield* PulsarBroker
  return { ...broker.info, topic: `persistent://${yield* broker.namespace()}/a`, admin: broker.admin }
})

describe.skipIf(skipReason() !== undefined)("a broker that asks who is there", () => {
  layer(PulsarBroker.layer({ tls: true, auth: true, settings: { authenticationRefreshCheckSeconds: "1" } }), {
    timeout: "5 minutes",
    excludeTestServices: true
  })((it) => {
    it.effect("lets a token in, over TLS and over TCP", () =>
      Effect.gen(function*() {
        const { serviceUrl, tokens, topic } = yield* fresh
        const auth = Auth.token(Redacted.make(tokens!.admin))
        assert.strictEqual(yield* roundTrip(topic, { auth }), "secret")
        assert.strictEqual(yield* roundTrip(topic, { auth, url: serviceUrl }), "secret")
      }))
    it.effect("lets a client certificate in", () =>
      Effect.gen(function*() {
        const { certificates, topic } = yield* fresh
        const { ca, clientCert, clientKey } = certificates!
        const tls = { trust: pem(ca), certificate: pem(clientCert), key: Redacted.make(pem(clientKey)) }
        assert.strictEqual(yield* roundTrip(topic, { auth: Auth.tls, tls }), "secret")
      }))
    it.effect("takes a fresh token from an effect each time one is needed", () =>
      Effect.gen(function*() {
        const { secret, topic } = yield* fresh
        let asked = 0
        const auth = Auth.token(Effect.sync(() => {
          asked++
          return Redacted.make(signToken(Buffer.from(secret!, "base64"), "admin", 60))
        }))
        assert.strictEqual(yield* roundTrip(topic, { auth }), "secret")
        assert.isAtLeast(asked, 1)
      }))
    it.effect("takes tokens of an OAuth2 server, and a fresh one on the open connection when the first has ended", () =>
      Effect.gen(function*() {
        const { secret, serviceUrl, topic } = yield* fresh
        const key = Buffer.from(secret!, "base64")
        // The first ends within the test; the broker looks every second, and asks.
        const server = yield* tokenServer({
          expiresIn: 3600,
          issue: (number) => signToken(key, "admin", number === 1 ? 2 : 600)
        })
        const auth = yield* OAuth2.make({
          issuer: server.url,
          clientId: "me",
          clientSecret: Redacted.make("s3cret"),
          allowHttp: true
        })
        yield* Effect.gen(function*() {
          const producer = yield* Producer.make({ topic, batching: false })
          const consumer = yield* Consumer.make({ topic, subscription: "s", initialPosition: "earliest" })
          yield* producer.send(bytes("before"))
          yield* Effect.sync(() => server.grants.length).pipe(
            Effect.delay(100),
            Effect.repeat({ until: (count) => count >= 2 }),
            Effect.timeout("30 seconds")
          )
          yield* Effect.sleep(1500)
          yield* producer.send(bytes("after"))
          const seen = [yield* consumer.receive, yield* consumer.receive]
          assert.deepStrictEqual(seen.map(({ value }) => text(value)), ["before", "after"])
          const connections = yield* (yield* PulsarClient).connections
          assert.isTrue(connections.every(({ sessions }) => sessions === 1), "the connections stayed")
          assert.strictEqual(server.discoveries, 1)
        }).pipe(Effect.provide(PulsarClient.layer({ serviceUrl, auth })))
        server.answer = { status: 401, body: "no, s3cret is not it" }
        const late = yield* OAuth2.make({
          issuer: server.url,
          clientId: "me",
          clientSecret: Redacted.make("s3cret"),
          allowHttp: true
        })
        const error = yield* Effect.flip(roundTrip(topic, { auth: late, url: serviceUrl }))
        assert.deepInclude(error.reason, { _tag: "Authentication" })
        assert.notInclude(`${error.message} ${JSON.stringify(error)}`, "s3cret")
      }).pipe(Effect.scoped, Effect.provide(FetchHttpClient.layer)))
    it.effect("turns away a token that is expired, forged or missing, in words without the token", () =>
      Effect.gen(function*() {
        const { tokens, topic } = yield* fresh
        const forged = signToken(new Uint8Array(32), "admin")
        for (const token of [tokens!.expired, forged, "no token at all"]) {
          const error = yield* Effect.flip(roundTrip(topic, { auth: Auth.token(Redacted.make(token)) }))
          assert.deepInclude(error.reason, { _tag: "Authentication" }, error.message)
          assert.notInclude(`${error.message} ${JSON.stringify(error)}`, token)
        }
        const anonymous = yield* Effect.flip(roundTrip(topic, {}))
        assert.deepInclude(anonymous.reason, { _tag: "Authentication" }, anonymous.message)
      }))
    it.effect("refuses a token without rights as a decision, not as a passing trouble", () =>
      Effect.gen(function*() {
        const { tokens, topic } = yield* fresh
        const error = yield* Effect.flip(roundTrip(topic, { auth: Auth.token(Redacted.make(tokens!.user)) }))
        assert.deepInclude(
          error.reason,
          { _tag: "Refused", name: "AuthorizationError", retryable: false },
          error.message
        )
      }))
    it.effect("is refused itself when its certificate is not to be trusted", () =>
      Effect.gen(function*() {
        const { certificates, tlsUrl, tokens, topic } = yield* fresh
        const auth = Auth.token(Redacted.make(tokens!.admin))
        const wrong = yield* Effect.flip(roundTrip(topic, { auth, tls: { trust: pem(certificates!.otherCa) } }))
        assert.match(wrong.message, /certificate|signed|issuer|verify/i)
        const system = yield* Effect.flip(roundTrip(topic, { auth, tls: {} }))
        assert.match(system.message, /certificate|signed|issuer|verify/i)
        assert.strictEqual(yield* roundTrip(topic, { auth, tls: { allowInsecure: true } }), "secret")
        // A client that speaks plainly to the TLS port, and the reverse, hears of it in time.
        const plain = yield* Effect.flip(roundTrip(topic, { auth, url: tlsUrl!.replace("pulsar+ssl", "pulsar") }))
        assert.include(["Connect", "Timeout"], plain.reason._tag, plain.message)
      }))
    it.effect("lets the Java client read what we wrote under a token", () =>
      Effect.gen(function*() {
        const { certificates, tlsUrl, tokens, topic } = yield* fresh
        const java = yield* JavaPeer
        yield* roundTrip(topic, { auth: Auth.token(Redacted.make(tokens!.admin)) })
        const [message] = yield* java.consume({
          url: tlsUrl,
          topic,
          subscription: "java",
          token: tokens!.admin,
          trust: certificates!.ca,
          count: 1
        })
        assert.strictEqual(message!.payload, Buffer.from("secret").toString("hex"))
      }).pipe(Effect.provide(JavaPeer.layer)))
  })
})
