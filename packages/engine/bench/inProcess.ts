/** The client against the broker in the process: client and testing broker on one core, without a network or a disk. */
import { Effect, Layer, type Scope, Stream } from "effect"
import type { ServiceUrl } from "@perigee/proto"
import { measure, type Row, versus } from "../../../bench/harness.ts"
import { payload } from "../../proto/bench/machine.ts"
import { Consumer, Producer, PulsarClient, Transport } from "../src/index.ts"
import { TestBroker } from "../src/testing/index.ts"

const transport = Layer.effect(
  Transport,
  Effect.map(TestBroker, (broker) => ({
    socket: ({ address }: { readonly address: ServiceUrl.BrokerAddress }) =>
      Effect.sync(() => broker.dial(`${address.host}:${address.port}`))
  }))
)

const client = PulsarClient.layerTransport({ serviceUrl: "pulsar://broker-0.test", memoryLimit: 0 }).pipe(
  Layer.provide(transport),
  Layer.provide(TestBroker.layer({ maxEntries: 1_000_000, maxBytes: 4 * 2 ** 30 }))
)

const run = <A>(effect: Effect.Effect<A, unknown, PulsarClient | Scope.Scope>) =>
  Effect.runPromise(Effect.scoped(effect).pipe(Effect.provide(client)) as Effect.Effect<A>)

let topics = 0
const topic = () => `persistent://public/default/bench-${process.pid}-${topics++}`

const timed = <E, R>(count: number, effect: Effect.Effect<unknown, E, R>) =>
  Effect.gen(function*() {
    const start = performance.now()
    yield* effect
    return (count / (performance.now() - start)) * 1000
  })

const sendAll = (size: number, count: number) => () =>
  run(Effect.gen(function*() {
    const producer = yield* Producer.make({ topic: topic(), maxPending: 10_000 })
    const batch = Array.from({ length: 1000 }, () => ({ value: payload(size) }))
    return yield* timed(
      count,
      Effect.forEach(Array.from({ length: count / 1000 }), () => producer.sendAll(batch), {
        concurrency: 10,
        discard: true
      })
    )
  }))

const sendOne = (size: number, count: number) => () =>
  run(Effect.gen(function*() {
    const producer = yield* Producer.make({ topic: topic(), maxPending: 10_000 })
    const value = payload(size)
    return yield* timed(
      count,
      Effect.forEach(Array.from({ length: count }), () => producer.send(value), { concurrency: 1000, discard: true })
    )
  }))

const single = (size: number, count: number) => () =>
  run(Effect.gen(function*() {
    const producer = yield* Producer.make({ topic: topic(), batching: false })
    const value = payload(size)
    return yield* timed(count, Effect.repeat(producer.send(value), { times: count - 1 }))
  }))

const consume = (size: number, count: number) => () =>
  run(Effect.gen(function*() {
    const name = topic()
    const producer = yield* Producer.make({ topic: name, maxPending: 10_000 })
    const batch = Array.from({ length: 1000 }, () => ({ value: payload(size) }))
    for (let sent = 0; sent < count; sent += 1000) yield* producer.sendAll(batch)
    const consumer = yield* Consumer.make({
      topic: name,
      subscription: "s",
      initialPosition: "earliest",
      type: "shared"
    })
    return yield* timed(
      count,
      consumer.stream.pipe(
        Stream.take(count),
        Stream.runForEachArray((messages) =>
          Effect.sync(() => {
            for (const message of messages) message.ackUnsafe()
          })
        )
      )
    )
  }))

export const inProcess = async (
  runs: number,
  scale: number,
  wanted: (work: string) => boolean
): Promise<ReadonlyArray<Row>> => {
  const works: ReadonlyArray<readonly [string, () => Promise<number>]> = [
    ["sendAll 100 B", sendAll(100, 200_000 * scale)],
    ["sendAll 1 KB", sendAll(1024, 100_000 * scale)],
    ["send 100 B, 1,000 fibers", sendOne(100, 50_000 * scale)],
    ["send 100 B, one after another", single(100, 2000 * scale)],
    ["consume 100 B, acked one by one", consume(100, 200_000 * scale)],
    ["consume 1 KB, acked one by one", consume(1024, 50_000 * scale)]
  ]
  const rows: Array<Row> = []
  for (const [name, f] of works) {
    const work = `${name}, testing broker in process`
    if (wanted(work)) rows.push(versus(work, "msg/s", await measure(f, runs, 1)))
  }
  return rows
}
