/**
 * Scripts of the client: what a user of it sees must not depend on which broker is behind.
 */
import { Effect, Fiber, Schema, type Scope } from "effect"
import {
  Consumer,
  type Message,
  type MessageId,
  Producer,
  PulsarClient,
  type PulsarError,
  PulsarSchema,
  Reader,
  type SendError,
  TableView
} from "../../../src/index.ts"
import { bytes, text } from "../../support/client.ts"
import type { Operator } from "./Script.ts"

export interface ClientWorld {
  readonly namespace: string
  readonly topic: (name: string) => string
  readonly operator: Operator
  readonly see: (label: string, value: unknown) => void
}

export interface ClientScript {
  readonly name: string
  readonly deduplication?: boolean
  readonly run: (
    world: ClientWorld
  ) => Effect.Effect<void, unknown, PulsarClient | Scope.Scope>
}

const script = (
  name: string,
  run: (
    world: ClientWorld
  ) => Generator<Effect.Effect<unknown, unknown, PulsarClient | Scope.Scope>, void, never>,
  options: { readonly deduplication?: boolean } = {}
): ClientScript => ({ name, run: (world) => Effect.gen(() => run(world)), ...options })

const place = ({ batchIndex, batchSize, entry, ledger, partition }: MessageId.MessageId) => ({
  ledgerId: ledger.toString(),
  entry: entry.toString(),
  partition,
  batchIndex,
  batchSize
})

const shown = (message: Message<Uint8Array>) => ({
  ...place(message.id),
  value: text(message.value),
  key: message.key,
  properties: message.properties,
  eventTime: message.eventTime,
  sequence: message.sequenceId.toString(),
  redelivery: message.redeliveryCount,
  index: message.index?.toString(),
  topic: message.topic,
  isNull: message.isNull
})

const receive = <A>(consumer: Consumer.Consumer<A>, count: number) =>
  Effect.gen(function*() {
    const messages: Array<Message<A>> = []
    while (messages.length < count) {
      const more = yield* consumer.receiveWithin("10 seconds", count - messages.length)
      if (more.length === 0) break
      messages.push(...more)
    }
    return messages
  })

const values = (messages: ReadonlyArray<Message<Uint8Array>>) => messages.map(({ value }) => text(value))
/** What comes until nothing does. */
const quiet = (consumer: Consumer.Consumer<Uint8Array>) =>
  Effect.gen(function*() {
    const all: Array<string> = []
    while (true) {
      const more = yield* consumer.receiveWithin("300 millis")
      if (more.length === 0) return all
      all.push(...values(more))
    }
  })
const all = (count: number) => Array.from({ length: count }, (_, at) => ({ value: bytes(`m${at}`) }))
const earliest = { subscription: "s", initialPosition: "earliest" } as const

/** Error without the broker's words. */
const why = (error: PulsarError | SendError) => {
  const { reason } = error
  return reason._tag === "Refused"
    ? { _tag: reason._tag, name: reason.name, retryable: reason.retryable }
    : { _tag: reason._tag }
}

export const clientScripts: ReadonlyArray<ClientScript> = [
  script("messages alone and in batches, with all that belongs to them", function*({ see, topic }) {
    const producer = yield* Producer.make({ topic: topic("a"), name: "me", batching: { maxMessages: 3 } })
    const receipts = yield* producer.sendAll([
      { value: bytes("a"), key: "k", properties: { p: "1" }, eventTime: 7 },
      { value: bytes("b"), keyBytes: Uint8Array.of(0xff) },
      { value: bytes("c"), sequenceId: 10 },
      { value: bytes("d") }
    ])
    see("receipts", receipts.map(({ duplicate, id }) => ({ duplicate, ...place(id) })))
    yield* producer.sendNull("k")
    see("last", yield* producer.lastSequenceId)
    const consumer = yield* Consumer.make({ topic: topic("a"), ...earliest })
    see("messages", (yield* receive(consumer, 5)).map(shown))
    see("last id", place(yield* consumer.lastMessageId))
    see("partitions", yield* (yield* PulsarClient).partitionsOf(topic("a")))
  }),
  script("acknowledgements: one, up to one, inside a batch", function*({ see, topic }) {
    const producer = yield* Producer.make({ topic: topic("a"), batching: { maxMessages: 4 } })
    yield* producer.sendAll(all(12))
    const open = Consumer.make({ topic: topic("a"), ...earliest, batchIndexAck: true })
    const first = yield* open
    const messages = yield* receive(first, 12)
    yield* messages[5]!.ackConfirmed
    yield* messages[7]!.ackConfirmed
    yield* messages[11]!.ackConfirmed
    yield* first.close
    const second = yield* open
    const rest = yield* receive(second, 9)
    see("single ones", rest.map(shown))
    yield* second.ackUpTo(rest.find(({ value }) => text(value) === "m9")!)
    yield* second.flushAcks
    yield* second.close
    const third = yield* open
    see("up to one", values(yield* receive(third, 1)))
    see("no more", yield* quiet(third))
  }),
  script("negative acknowledgements and dead letters", function*({ see, topic }) {
    const producer = yield* Producer.make({ topic: topic("a"), name: "me", batching: false })
    yield* producer.send(bytes("good"))
    yield* producer.send(bytes("bad"), { key: "k", properties: { p: "1" } })
    const consumer = yield* Consumer.make({
      topic: topic("a"),
      ...earliest,
      type: "shared",
      nackDelay: "50 millis",
      deadLetter: { maxRedeliveries: 2 }
    })
    const dead = yield* Consumer.make({ topic: topic("a-s-DLQ"), subscription: "d", initialPosition: "earliest" })
    const counts: Array<number> = []
    while (true) {
      const [message] = yield* consumer.receiveWithin("1 second", 1)
      if (message === undefined) break
      if (text(message.value) === "good") yield* message.ackConfirmed
      else {
        counts.push(message.redeliveryCount)
        yield* message.nack
      }
    }
    see("redeliveries", counts)
    const [letter] = yield* receive(dead, 1)
    const { key, properties, value } = shown(letter!)
    see("dead letter", { key, value, properties: Object.keys(properties).sort(), real: properties["REAL_TOPIC"] })
    see("nothing left", yield* quiet(consumer))
  }),
  script("the four kinds of subscription", function*({ see, topic }) {
    const producer = yield* Producer.make({ topic: topic("a"), batching: false })
    const one = yield* Consumer.make({
      topic: topic("a"),
      ...earliest,
      subscription: "shared",
      type: "shared",
      receiverQueue: 2
    })
    const two = yield* Consumer.make({
      topic: topic("a"),
      ...earliest,
      subscription: "shared",
      type: "shared",
      receiverQueue: 2
    })
    const standby: Array<string> = []
    const first = yield* Consumer.make({
      topic: topic("a"),
      ...earliest,
      subscription: "failover",
      type: "failover",
      name: "a",
      priorityLevel: 0
    })
    const second = yield* Consumer.make({
      topic: topic("a"),
      ...earliest,
      subscription: "failover",
      type: "failover",
      name: "b",
      priorityLevel: 1,
      onEvent: ({ event }) => standby.push(event._tag)
    })
    yield* producer.sendAll(all(8).map((message, at) => ({ ...message, key: `k${at % 2}` })))
    const shared: Array<string> = []
    while (shared.length < 8) {
      for (const consumer of [one, two]) {
        for (const message of yield* consumer.receiveWithin("1 second", 1)) {
          shared.push(text(message.value))
          yield* message.ackConfirmed
        }
      }
    }
    see("shared, each once", shared.toSorted())
    see("failover", values(yield* receive(first, 8)))
    see("standby", yield* quiet(second))
    yield* first.close
    see("taken over", values(yield* receive(second, 8)))
    see("told", standby.includes("ActiveChanged"))
    const keyed = yield* Consumer.make({ topic: topic("a"), ...earliest, subscription: "keyed", type: "keyShared" })
    see("key shared", values(yield* receive(keyed, 8)))
  }),
  script("moving in a topic", function*({ see, topic }) {
    const producer = yield* Producer.make({ topic: topic("a"), batching: false })
    yield* producer.sendAll(all(5))
    const consumer = yield* Consumer.make({ topic: topic("a"), ...earliest })
    const messages = yield* receive(consumer, 5)
    for (const message of messages) yield* message.ackConfirmed
    yield* consumer.seek(messages[2]!.id)
    see("to a message", values(yield* receive(consumer, 3)))
    yield* consumer.seek("earliest")
    see("to the earliest", values(yield* receive(consumer, 5)))
    yield* consumer.seek(1000)
    see("to a time", values(yield* receive(consumer, 5)))
    yield* consumer.seek("latest")
    see("to the latest", yield* quiet(consumer))
    yield* producer.send(bytes("new"))
    see("what comes then", values(yield* receive(consumer, 1)))
    see("more after the third", yield* consumer.hasMessageAfter(messages[2]!.id))
    yield* consumer.redeliverAll
    see("again", values(yield* receive(consumer, 1)))
    yield* consumer.unsubscribe()
    const again = yield* Consumer.make({ topic: topic("a"), ...earliest })
    see("a new subscription", values(yield* receive(again, 6)))
  }),
  script("reading without a subscription", function*({ see, topic }) {
    const producer = yield* Producer.make({ topic: topic("a"), batching: { maxMessages: 2 } })
    const receipts = yield* producer.sendAll(all(6))
    const drain = (reader: Reader.Reader<Uint8Array>) =>
      Effect.gen(function*() {
        const read: Array<string> = []
        while (yield* reader.hasNext) read.push(text((yield* reader.read).value))
        return read
      })
    see("from the beginning", yield* drain(yield* Reader.make({ topic: topic("a") })))
    see("from a place in a batch", yield* drain(yield* Reader.make({ topic: topic("a"), from: receipts[2]!.id })))
    const view = yield* Producer.make({ topic: topic("view"), batching: false })
    for (const [key, value] of [["a", "1"], ["b", "2"], ["a", "3"]] as const) yield* view.send(bytes(value), { key })
    yield* view.sendNull("b")
    const table = yield* TableView.make({ topic: topic("view") })
    const entries = yield* Effect.delay(table.entries, 200)
    see("table", [...entries].map(([key, value]) => [key, text(value)]))
  }),
  script("a name that deduplication knows", function*({ see, topic }) {
    const options = { topic: topic("a"), name: "me", batching: { maxMessages: 4 } } as const
    const first = yield* Producer.make(options)
    yield* first.sendAll(all(6))
    see("last", yield* first.lastSequenceId)
    yield* first.close
    const second = yield* Producer.make(options)
    see("resumed", yield* second.lastSequenceId)
    const receipt = yield* second.send(bytes("next"))
    see("new", { duplicate: receipt.duplicate, ...place(receipt.id) })
    yield* second.close
    const third = yield* Producer.make({ ...options, batching: false, initialSequenceId: 5 })
    const stale = yield* third.send(bytes("again"))
    see("stale", { duplicate: stale.duplicate, ...place(stale.id) })
    const consumer = yield* Consumer.make({ topic: topic("a"), ...earliest })
    see("stored", values(yield* receive(consumer, 7)))
    see("no more", yield* quiet(consumer))
  }, { deduplication: true }),
  script("who may produce, who may consume", function*({ see, topic }) {
    const owner = yield* Producer.make({ topic: topic("a"), accessMode: "exclusive" })
    see("exclusive", why(yield* Effect.flip(Producer.make({ topic: topic("a"), accessMode: "exclusive" }))))
    see("shared", why(yield* Effect.flip(Producer.make({ topic: topic("a") }))))
    const waiting = yield* Effect.forkScoped(Producer.make({ topic: topic("a"), accessMode: "waitForExclusive" }), {
      startImmediately: true
    })
    yield* Effect.sleep(200)
    see("still waiting", waiting.pollUnsafe() === undefined)
    yield* owner.close
    const heir = yield* Fiber.join(waiting)
    yield* heir.send(bytes("x"))
    yield* Consumer.make({ topic: topic("a"), ...earliest })
    see("second exclusive consumer", why(yield* Effect.flip(Consumer.make({ topic: topic("a"), ...earliest }))))
    see(
      "missing topic",
      why(yield* Effect.flip(Consumer.make({ topic: topic("missing"), ...earliest, createTopic: false })))
    )
  }),
  script("a schema that does not fit", function*({ see, topic }) {
    const json = (type: string) =>
      PulsarSchema.json(Schema.Struct({ id: Schema.Unknown }), {
        avro: { type: "record", name: "R", fields: [{ name: "id", type }] }
      })
    const producer = yield* Producer.make({ topic: topic("a"), schema: json("string") })
    yield* producer.send({ id: "x" })
    see("refused", why(yield* Effect.flip(Producer.make({ topic: topic("a"), schema: json("int") }))))
    see("other kind", why(yield* Effect.flip(Producer.make({ topic: topic("a"), schema: PulsarSchema.string }))))
    const consumer = yield* Consumer.make({ topic: topic("a"), ...earliest })
    const [message] = yield* receive(consumer, 1)
    see("version", Buffer.from(message!.schemaVersion ?? []).toString("hex"))
  }),
  script("a topic in parts", function*({ operator, see, topic }) {
    yield* operator.setPartitions(topic("a"), 3)
    const producer = yield* Producer.make({ topic: topic("a"), batching: false })
    const consumer = yield* Consumer.make({ topic: topic("a"), ...earliest })
    see("parts", [...yield* consumer.topics].toSorted())
    const receipts = yield* producer.sendAll(all(9).map((message, at) => ({ ...message, key: `key${at % 4}` })))
    see("by key", receipts.map(({ id }) => id.partition))
    const messages = yield* receive(consumer, 9)
    see("received", messages.map(({ id, value }) => `${id.partition} ${text(value)}`).toSorted())
  }),
  script("a message in chunks", function*({ see, topic }) {
    const producer = yield* Producer.make({ topic: topic("a"), chunking: true, batching: false })
    const consumer = yield* Consumer.make({ topic: topic("a"), ...earliest })
    const large = new Uint8Array(11_000_000).map((_, at) => at)
    const receipt = yield* producer.send(large)
    const [message] = yield* receive(consumer, 1)
    see("whole", [
      message!.value.length,
      Buffer.compare(message!.value, large) === 0,
      place(receipt.id),
      place(message!.id)
    ])
    yield* message!.ackConfirmed
    yield* consumer.close
    const again = yield* Consumer.make({ topic: topic("a"), ...earliest })
    see("all chunks are acknowledged", yield* quiet(again))
  }),
  script("a topic that is unloaded under its users", function*({ operator, see, topic }) {
    const producer = yield* Producer.make({ topic: topic("a"), batching: false })
    const consumer = yield* Consumer.make({ topic: topic("a"), ...earliest })
    for (let round = 0; round < 3; round++) {
      for (let at = 0; at < 5; at++) yield* producer.send(bytes(`${round}.${at}`))
      yield* operator.unload(topic("a"))
    }
    yield* producer.send(bytes("end"))
    const seen = new Set<string>()
    while (!seen.has("end")) {
      for (const message of yield* receive(consumer, 1)) {
        seen.add(text(message.value))
        yield* message.ack
      }
    }
    see("seen", [...seen])
  }),
  script("a topic that ends", function*({ operator, see, topic }) {
    const producer = yield* Producer.make({ topic: topic("a"), batching: false, sendTimeout: "2 seconds" })
    yield* producer.send(bytes("last"))
    const events: Array<string> = []
    const consumer = yield* Consumer.make({
      topic: topic("a"),
      ...earliest,
      onEvent: ({ event }) => events.push(event._tag)
    })
    const [message] = yield* receive(consumer, 1)
    yield* operator.terminate(topic("a"))
    yield* message!.ackConfirmed
    yield* Effect.sleep(300)
    see("told", events.includes("EndOfTopic"))
    see("send", why(yield* Effect.flip(producer.send(bytes("more")))))
  }),
  script("a topic that was compacted", function*({ operator, see, topic }) {
    const alone = yield* Producer.make({ topic: topic("a"), batching: false })
    const batched = yield* Producer.make({ topic: topic("a"), batching: { maxMessages: 4 }, compression: "zlib" })
    const put = (key: string | undefined, value: string) => ({
      value: bytes(value),
      ...(key === undefined ? {} : { key })
    })
    yield* alone.sendAll([put("a", "1"), put("b", "1"), put(undefined, "no key"), put("gone", "1"), put("empty", "1")])
    yield* batched.sendAll([put("c", "1"), put("a", "2"), put("c", "2"), put(undefined, "no key")])
    yield* batched.sendAll([put("b", "2"), put("d", "1"), put("d", "2"), put("empty", "")])
    yield* alone.sendNull("gone")
    yield* batched.sendAll([put("e", "1"), put("f", "1"), put("e", ""), put("f", "2")])
    const all = yield* Consumer.make({ topic: topic("a"), ...earliest })
    see("everything", (yield* receive(all, 18)).map(shown))
    yield* operator.compact(topic("a"))
    const read = yield* Consumer.make({ topic: topic("a"), ...earliest, subscription: "c", readCompacted: true })
    yield* alone.sendAll([put("a", "3"), put(undefined, "later")])
    const compacted = yield* receive(read, 7)
    see("compacted", compacted.map(shown))
    see("no more", yield* quiet(read))
    // What is gone stays in the backlog: only a cumulative acknowledgement moves the cursor over it.
    yield* read.ackUpTo(compacted.at(-1)!)
    yield* read.flushAcks
    yield* read.close
    const again = yield* Consumer.make({ topic: topic("a"), ...earliest, subscription: "c", readCompacted: true })
    see("all acknowledged", yield* quiet(again))
    const uncompacted = yield* Consumer.make({ topic: topic("a"), ...earliest, subscription: "u" })
    see("not compacted", values(yield* receive(uncompacted, 20)))
    const table = yield* TableView.make({ topic: topic("a") })
    const entries = yield* Effect.delay(table.entries, 200)
    see("table", [...entries].map(([key, value]) => [key, text(value)]).toSorted())
  }),
  script("a message for later, and topics by pattern", function*({ namespace, see, topic }) {
    const producer = yield* Producer.make({ topic: topic("one-a"), batching: false })
    const other = yield* Producer.make({ topic: topic("one-b"), batching: false })
    yield* Producer.make({ topic: topic("two"), batching: false })
    const consumer = yield* Consumer.make({ topic: { namespace, pattern: /\/one-/ }, ...earliest, type: "shared" })
    see("topics", [...yield* consumer.topics].toSorted())
    yield* producer.send(bytes("later"), { deliverAfter: "1500 millis" })
    yield* other.send(bytes("now"))
    see("order", values(yield* receive(consumer, 2)))
  })
]
