/**
 * Our client as a process of its own, so that its processor time is its own: does the work that each line of standard input asks for and answers with a
 * line of figures. The programs of the others (`bare.ts`, `java/Bench.java`, `python/bench.py`) speak the same.
 *
 * In: `<work> <size> <count> <topic>`. Out: JSON with `rate` (messages a second), `cpu` (seconds a million messages), `p50` and `p99` (milliseconds).
 */
import { Cause, Effect, Exit, Random, type Scope, Stream } from "effect"
import { createInterface } from "node:readline"
import { payload } from "../../proto/bench/machine.ts"
import { Consumer, Producer, PulsarClient } from "../src/index.ts"
import { latencies, WARMUP, WARMUP_WINDOW, watch } from "./work.ts"

const [serviceUrl] = process.argv.slice(2)
if (serviceUrl === undefined) throw new Error("usage: client.ts SERVICE_URL")

interface Work {
  readonly size: number
  readonly count: number
  readonly topic: string
}
type Figures = Readonly<Record<string, number>>
type Program = (work: Work) => Effect.Effect<Figures, unknown, PulsarClient | Scope.Scope>

/** Messages without a receipt, for every client. */
const WINDOW = 10_000
/** Messages of one `sendAll`. */
const SUBMISSION = 1000
/** Messages a second of the latency measurement. */
const RATE = 2000

const timed = Effect.fnUntraced(function*<E, R>(count: number, effect: Effect.Effect<unknown, E, R>) {
  const figures = watch(count)
  yield* effect
  return figures()
})

const submissions = (size: number, count: number) => {
  const value = payload(size)
  const messages = Array.from({ length: SUBMISSION }, () => ({ value }))
  return Array.from({ length: count / SUBMISSION }, () => messages)
}

const produceBatch: Program = ({ count, size, topic }) =>
  Effect.gen(function*() {
    const producer = yield* Producer.make({ topic, maxPending: WINDOW })
    const all = submissions(size, count)
    return yield* timed(
      count,
      Effect.forEach(all, (messages) => producer.sendAll(messages), { concurrency: WINDOW / SUBMISSION, discard: true })
    )
  })

const produceOne: Program = ({ count, size, topic }) =>
  Effect.gen(function*() {
    const producer = yield* Producer.make({ topic, maxPending: WINDOW })
    const value = payload(size)
    return yield* timed(
      count,
      Effect.gen(function*() {
        for (let sent = 0; sent < count; sent++) yield* producer.submit(value)
        yield* producer.flush
        const { stored } = yield* producer.stats
        if (stored !== count) return yield* Effect.die(new Error(`${stored} of ${count} messages are stored`))
      })
    )
  })

const produceFibers: Program = ({ count, size, topic }) =>
  Effect.gen(function*() {
    const producer = yield* Producer.make({ topic, maxPending: WINDOW })
    const value = payload(size)
    const all = Array.from({ length: count }, () => value)
    return yield* timed(
      count,
      Effect.forEach(all, (one) => producer.send(one), { concurrency: WINDOW, discard: true })
    )
  })

const subscribe = (topic: string, reuseMemory = false) =>
  Effect.flatMap(Random.nextIntBetween(0, 0x7fff_ffff), (unique) =>
    Consumer.make({
      topic,
      subscription: `bench-${unique}`,
      type: "exclusive",
      initialPosition: "earliest",
      receiverQueue: 1000,
      reuseMemory
    }))

const consumeBatch = (reuseMemory: boolean): Program => ({ count, size, topic }) =>
  timed(
    count,
    Effect.gen(function*() {
      const consumer = yield* subscribe(topic, reuseMemory)
      let bytes = 0
      yield* consumer.stream.pipe(
        Stream.take(count),
        Stream.runForEachArray((messages) =>
          Effect.sync(() => {
            for (const message of messages) {
              bytes += message.value.length
              message.ackUnsafe()
            }
          })
        )
      )
      if (bytes !== count * size) return yield* Effect.die(new Error(`${bytes} bytes of ${count * size} were received`))
      yield* consumer.flushAcks
    })
  )

const consumeOne = (reuseMemory: boolean): Program => ({ count, size, topic }) =>
  timed(
    count,
    Effect.gen(function*() {
      const consumer = yield* subscribe(topic, reuseMemory)
      let bytes = 0
      for (let received = 0; received < count; received++) {
        const message = yield* consumer.receive
        bytes += message.value.length
        yield* message.ack
      }
      if (bytes !== count * size) return yield* Effect.die(new Error(`${bytes} bytes of ${count * size} were received`))
      yield* consumer.flushAcks
    })
  )

const single: Program = ({ count, size, topic }) =>
  Effect.gen(function*() {
    const producer = yield* Producer.make({ topic, batching: false })
    const value = payload(size)
    yield* Effect.forEach(Array.from({ length: WARMUP }), () => producer.send(value), {
      concurrency: WARMUP_WINDOW,
      discard: true
    })
    const samples = new Float64Array(count)
    const figures = yield* timed(
      count,
      Effect.gen(function*() {
        for (let sent = 0; sent < count; sent++) {
          const start = performance.now()
          yield* producer.send(value)
          samples[sent] = performance.now() - start
        }
      })
    )
    return { ...figures, ...latencies(samples) }
  })

const endToEnd: Program = ({ count, size, topic }) =>
  Effect.gen(function*() {
    const consumer = yield* subscribe(topic)
    const producer = yield* Producer.make({ topic, maxPending: WINDOW })
    const samples = new Float64Array(count)
    const receive = consumer.stream.pipe(
      Stream.take(count),
      Stream.runForEachArray((messages) =>
        Effect.sync(() => {
          for (const message of messages) {
            const { value } = message
            const view = new DataView(value.buffer, value.byteOffset, value.byteLength)
            samples[view.getUint32(8)] = performance.now() - view.getFloat64(0)
            message.ackUnsafe()
          }
        })
      )
    )
    const send = Effect.gen(function*() {
      const start = performance.now()
      for (let sent = 0; sent < count;) {
        const due = Math.min(count, Math.floor((performance.now() - start) * RATE / 1000))
        for (; sent < due; sent++) {
          const value = payload(size)
          const view = new DataView(value.buffer)
          view.setFloat64(0, performance.now())
          view.setUint32(8, sent)
          yield* Effect.forkChild(producer.send(value), { startImmediately: true })
        }
        yield* Effect.sleep(1)
      }
    })
    const figures = yield* timed(count, Effect.all([receive, send], { concurrency: 2 }))
    return { ...figures, ...latencies(samples) }
  })

/** Memory in use after collections, through a long run of sending and receiving: the last tenth over the second. */
const heap: Program = ({ count, size, topic }) =>
  Effect.gen(function*() {
    const consumer = yield* subscribe(topic)
    const producer = yield* Producer.make({ topic, maxPending: WINDOW })
    const messages = submissions(size, SUBMISSION)[0]!
    const samples: Array<number> = []
    const each = Math.floor(count / 10 / SUBMISSION) * SUBMISSION
    const start = performance.now()
    for (let tenth = 0; tenth < 10; tenth++) {
      const send = Effect.forEach(
        Array.from({ length: each / SUBMISSION }),
        () => producer.sendAll(messages),
        { concurrency: WINDOW / SUBMISSION, discard: true }
      )
      const receive = Effect.gen(function*() {
        for (let left = each; left > 0;) {
          const some = yield* consumer.receiveAll(Math.min(1000, left))
          for (const message of some) message.ackUnsafe()
          left -= some.length
        }
      })
      yield* Effect.all([send, receive], { concurrency: 2, discard: true })
      globalThis.gc?.()
      globalThis.gc?.()
      samples.push(process.memoryUsage().heapUsed + process.memoryUsage().arrayBuffers)
    }
    return {
      rate: each * 10 / ((performance.now() - start) / 1000),
      megabytes: samples.at(-1)! / 1e6,
      growth: samples.at(-1)! / samples[1]!
    }
  })

const programs: Readonly<Record<string, Program>> = {
  produce: produceBatch,
  "produce-one": produceOne,
  "produce-fibers": produceFibers,
  consume: consumeBatch(true),
  "consume-one": consumeOne(true),
  "consume-keeping": consumeBatch(false),
  "consume-one-keeping": consumeOne(false),
  single,
  latency: endToEnd,
  heap
}

const answer = async (line: string): Promise<string> => {
  const [work = "", size, count, topic = ""] = line.split(" ")
  const program = programs[work]
  if (program === undefined) return JSON.stringify({ error: `unknown work ${work}` })
  const exit = await Effect.runPromiseExit(
    Effect.scoped(program({ size: Number(size), count: Number(count), topic })).pipe(
      Effect.provide(PulsarClient.layer({ serviceUrl, memoryLimit: 0 }))
    )
  )
  return JSON.stringify(Exit.isSuccess(exit) ? exit.value : { error: Cause.pretty(exit.cause) })
}

for await (const line of createInterface({ input: process.stdin })) console.log(await answer(line))
process.exit(0)
