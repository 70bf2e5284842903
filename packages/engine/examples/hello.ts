/** A message in, a message out, against the broker in the process. */
import { Console, Effect, Layer, Stream } from "effect"
import { Consumer, Producer, PulsarSchema } from "@perigee/engine"
import { TestBroker } from "@perigee/engine/testing"

export const program = Effect.gen(function*() {
  const consumer = yield* Consumer.make({ topic: "orders", subscription: "billing", schema: PulsarSchema.string })
  const producer = yield* Producer.make({ topic: "orders", schema: PulsarSchema.string })
  const { id } = yield* producer.send("two coffees", { key: "table 4" })
  yield* Console.log("stored in entry", id.entry)
  yield* consumer.stream.pipe(
    Stream.take(1),
    Stream.runForEach((message) => Effect.andThen(Console.log(message.key, "wants", message.value), message.ack))
  )
})

/** The same program with a server: `PulsarClient.layer({ serviceUrl: "pulsar://localhost:6650" })`. */
export const layer = TestBroker.layerClient().pipe(Layer.provide(TestBroker.layer()))

if (import.meta.main) await Effect.runPromise(Effect.scoped(program).pipe(Effect.provide(layer)))
