/** Orders in Avro, a handler that cannot do all of them, and where those end up. */
import { Console, Effect, Layer, Schema } from "effect"
import { Consumer, Producer, PulsarSchema } from "@perigee/engine"
import { TestBroker } from "@perigee/engine/testing"

const Order = Schema.Struct({ id: Schema.String, cups: Schema.Int, note: Schema.NullOr(Schema.String) })

const orders = PulsarSchema.avro(Order, {
  definition: {
    type: "record",
    name: "Order",
    fields: [
      { name: "id", type: "string" },
      { name: "cups", type: "int" },
      { name: "note", type: ["null", "string"], default: null }
    ]
  }
})

export const program = Effect.gen(function*() {
  const producer = yield* Producer.make({ topic: "orders", schema: orders, batching: { byKey: true } })
  const listener = yield* Consumer.listen(
    {
      topic: "orders",
      subscription: "kitchen",
      type: "keyShared",
      initialPosition: "earliest",
      schema: orders,
      nackDelay: "100 millis",
      deadLetter: { maxRedeliveries: 2 }
    },
    (message) =>
      message.value.cups > 0
        ? Effect.andThen(Console.log(`${message.key}: ${message.value.cups} cups`), message.ack)
        : Effect.andThen(
          Console.log(`${message.key}: cannot make ${message.value.cups} cups, try ${message.redeliveryCount + 1}`),
          message.nack
        )
  )
  const letters = yield* Consumer.make({
    topic: "orders-kitchen-DLQ",
    subscription: "manager",
    initialPosition: "earliest",
    schema: orders
  })
  yield* producer.sendAll([
    { key: "table 4", value: { id: "a", cups: 2, note: null } },
    { key: "table 7", value: { id: "b", cups: -1, note: "decaf" } },
    { key: "table 4", value: { id: "c", cups: 1, note: null } }
  ])
  const letter = yield* letters.receive
  yield* Console.log(`put aside: ${letter.value.id} of ${letter.properties["REAL_TOPIC"]}`)
  yield* letter.ack
  yield* listener.stop
})

export const layer = TestBroker.layerClient().pipe(Layer.provide(TestBroker.layer()))

if (import.meta.main) await Effect.runPromise(Effect.scoped(program).pipe(Effect.provide(layer)))
