import { NodeSocketServer } from "@effect/platform-node"
import { Consumer, type Message, Producer, PulsarClient, type PulsarError } from "@perigee/engine"
import { TestBroker, type TestBrokerOptions } from "@perigee/engine/testing"
import { Effect, Layer, type Scope } from "effect"

/** The testing broker behind a real port, for commands and nodes in processes of their own. */
export const startBroker = (
  options: TestBrokerOptions = {}
): Effect.Effect<TestBroker["Service"] & { readonly url: string }, never, Scope.Scope> =>
  Effect.gen(function*() {
    const broker = yield* TestBroker.make(options)
    const server = yield* Effect.orDie(Layer.build(NodeSocketServer.layer({ host: "127.0.0.1", port: 0 })))
    const url = yield* Effect.provideContext(broker.listen(), server)
    return { ...broker, url }
  })

/** A client of this process. */
export const withClient =
  (url: string) => <A, E>(effect: Effect.Effect<A, E, PulsarClient | Scope.Scope>): Effect.Effect<A, E | PulsarError> =>
    Effect.scoped(Effect.provide(effect, PulsarClient.layer({ serviceUrl: url })))

export const text = (message: Message<Uint8Array>): string => new TextDecoder().decode(message.value)

/** Messages of a topic from its beginning: as many as asked for, and then those that come within a while all the same. */
export const readTopic = (url: string, topic: string, count: number) =>
  withClient(url)(Effect.gen(function*() {
    const consumer = yield* Consumer.make({ topic, subscription: "audit", durable: false, initialPosition: "earliest" })
    const seen: Array<Message<Uint8Array>> = []
    while (seen.length < count) {
      const some = yield* consumer.receiveWithin("20 seconds")
      if (some.length === 0) break
      seen.push(...some)
    }
    seen.push(...(yield* consumer.receiveWithin("300 millis")))
    return seen
  }))

/** Sends texts, and says with which keys. */
export const fill = (
  url: string,
  topic: string,
  values: ReadonlyArray<string>,
  options: Omit<Producer.ProducerOptions, "topic"> & { readonly key?: (value: string) => string } = {}
) =>
  withClient(url)(Effect.gen(function*() {
    const { key, ...rest } = options
    const producer = yield* Producer.make({ topic, maxPending: 10_000, ...rest })
    for (let from = 0; from < values.length; from += 1000) {
      yield* producer.sendAll(
        values.slice(from, from + 1000).map((value) => ({
          value: Buffer.from(value),
          ...(key === undefined ? {} : { key: key(value) })
        }))
      )
    }
  }))
