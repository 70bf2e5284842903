import { Api, Commands, MessageId } from "@perigee/proto/wire"
import { Effect } from "effect"
import type { WireClient } from "../../support/WireClient.ts"
import { answer, messages, script, shown, text } from "./Script.ts"

const encoder = new TextEncoder()

const record = (fields: ReadonlyArray<Record<string, unknown>>) =>
  encoder.encode(JSON.stringify({ type: "record", name: "Order", fields }))

const json = (schemaData: Uint8Array) => ({ name: "a", type: Api.Schema_Type.Json, schemaData, properties: [] })

const v0 = json(record([{ name: "id", type: "string" }]))
const v1 = json(record([{ name: "id", type: "string" }, { name: "note", type: ["null", "string"], default: null }]))
const broken = json(record([{ name: "id", type: "int" }]))
const missing = json(record([{ name: "id", type: "string" }, { name: "must", type: "int" }]))

const getSchema = (client: WireClient, topic: string, version?: Uint8Array) =>
  client.request("GET_SCHEMA_RESPONSE", (requestId) => ({
    type: Commands.Type.GET_SCHEMA,
    getSchema: { requestId, topic, ...(version === undefined ? {} : { schemaVersion: version }) }
  }))

export const managing = [
  script("ignores what is for a consumer or producer that is not there", function*({ connect, see, topic }) {
    const client = yield* connect
    yield* client.producer(topic("a"))
    yield* client.flow(10, 7)
    yield* client.write({
      type: Commands.Type.ACK,
      ack: { consumerId: 7n, ackType: 0, messageId: [{ ledgerId: 1n, entryId: 0n }] }
    })
    yield* client.write({
      type: Commands.Type.REDELIVER_UNACKNOWLEDGED_MESSAGES,
      redeliverUnacknowledgedMessages: { consumerId: 7n }
    })
    see(
      "seek",
      answer(
        yield* client.request(
          "SUCCESS",
          (requestId) => ({ type: Commands.Type.SEEK, seek: { consumerId: 7n, requestId, messagePublishTime: 1n } })
        )
      )
    )
    see(
      "last id",
      answer(
        yield* client.request(
          "GET_LAST_MESSAGE_ID_RESPONSE",
          (requestId) => ({ type: Commands.Type.GET_LAST_MESSAGE_ID, getLastMessageId: { consumerId: 7n, requestId } })
        )
      )
    )
    see(
      "close",
      answer(
        yield* client.request(
          "SUCCESS",
          (requestId) => ({ type: Commands.Type.CLOSE_CONSUMER, closeConsumer: { consumerId: 7n, requestId } })
        )
      )
    )
    see("alive", answer(yield* client.producer(topic("a"), { producerId: 1n })))
    see(
      "ack of nothing",
      answer(yield* Effect.andThen(client.subscribe(topic("a"), "s"), client.ack([MessageId.make(99_999n, 5n)])))
    )
    yield* client.request(
      "SUCCESS",
      (requestId) => ({ type: Commands.Type.CLOSE_PRODUCER, closeProducer: { producerId: 0n, requestId } })
    )
    yield* client.send({ sequenceId: 0, payload: "late" })
    yield* client.ended
    see("not what comes after a producer closed itself", true)
  }),
  script("takes the largest message and no larger one", function*({ connect, see, topic }) {
    const client = yield* connect
    yield* client.producer(topic("a"))
    see("largest", answer(yield* client.sent({ sequenceId: 0, payload: "x".repeat(5 * 1024 * 1024 - 100) })))
    yield* client.subscribe(topic("a"), "s")
    yield* client.flow(1)
    see("comes back whole", (yield* messages(client, 1)).map((received) => text(received).length))
    // The broker may hang up before it has read it all.
    yield* Effect.ignore(client.send({ sequenceId: 1, payload: "x".repeat(5 * 1024 * 1024 + 20_000) }))
    yield* client.ended
    see("ended", true)
  }),
  script("shakes hands first", function*({ open, see }) {
    const client = yield* open
    yield* client.write({ type: Commands.Type.LOOKUP, lookupTopic: { topic: "a", requestId: 0n } })
    yield* client.ended
    see("ended", true)
  }),
  script("answers PING, and ends a stream of nonsense", function*({ connect, see }) {
    const client = yield* connect
    yield* client.write({ type: Commands.Type.PING, ping: {} })
    see("pong", answer(yield* client.next("PONG")))
    yield* client.writeBytes(Uint8Array.of(0x7f, 0xff, 0xff, 0xff, 1, 2, 3, 4, 5))
    yield* client.ended
    see("ended", true)
  }),
  script("versions schemas and refuses what old readers cannot read", function*({ connect, see, topic }) {
    const client = yield* connect
    see("none yet", answer(yield* getSchema(client, topic("a"))))
    see("v0", answer(yield* client.producer(topic("a"), { schema: v0 })))
    see("v0 again", answer(yield* client.producer(topic("a"), { producerId: 1n, schema: v0 })))
    see("v1", answer(yield* client.producer(topic("a"), { producerId: 2n, schema: v1 })))
    see("type changed", answer(yield* client.producer(topic("a"), { producerId: 3n, schema: broken })))
    see("field without default", answer(yield* client.producer(topic("a"), { producerId: 4n, schema: missing })))
    see(
      "other kind",
      answer(
        yield* client.producer(topic("a"), {
          producerId: 5n,
          schema: { name: "a", type: Api.Schema_Type.String, schemaData: new Uint8Array(0), properties: [] }
        })
      )
    )
    see("newest", answer(yield* getSchema(client, topic("a"))))
    see("first", answer(yield* getSchema(client, topic("a"), new Uint8Array(8))))
    see("never", answer(yield* getSchema(client, topic("a"), Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 9))))
    see(
      "get or create",
      answer(
        yield* client.request("GET_OR_CREATE_SCHEMA_RESPONSE", (requestId) => ({
          type: Commands.Type.GET_OR_CREATE_SCHEMA,
          getOrCreateSchema: { requestId, topic: topic("a"), schema: v0 }
        }))
      )
    )
    see("consumer", answer(yield* client.subscribe(topic("a"), "s", { schema: v0 })))
    see("consumer with another", answer(yield* client.subscribe(topic("a"), "t", { consumerId: 1n, schema: broken })))
    see("producer without one", answer(yield* client.producer(topic("a"), { producerId: 6n })))
  }),
  script("numbers the partitions of a topic", function*({ connect, operator, see, topic }) {
    const client = yield* connect
    yield* operator.setPartitions(topic("parts"), 2)
    see("partitions", answer(yield* client.partitions(topic("parts"))))
    see("a part", answer(yield* client.partitions(`${topic("parts")}-partition-1`)))
    const part = `${topic("parts")}-partition-1`
    see("open", answer(yield* client.producer(part)))
    see("receipt", answer(yield* client.sent({ sequenceId: 0, payload: "x" })))
    yield* client.subscribe(part, "s")
    yield* client.flow(10)
    see("message", (yield* messages(client, 1)).map(shown))
    see(
      "last id",
      answer(
        yield* client.request("GET_LAST_MESSAGE_ID_RESPONSE", (requestId) => ({
          type: Commands.Type.GET_LAST_MESSAGE_ID,
          getLastMessageId: { consumerId: 0n, requestId }
        }))
      )
    )
    yield* operator.setPartitions(topic("parts"), 3)
    see("grown", answer(yield* client.partitions(topic("parts"))))
    see("whole", answer(yield* client.producer(topic("parts"), { producerId: 1n })))
  }),
  script("does not make a topic for whoever only asks", function*({ connect, see, topic }) {
    const client = yield* connect
    see("asked", answer(yield* client.partitions(topic("none"), false)))
    see("still not there", answer(yield* client.partitions(topic("none"), false)))
  }),
  script("lists and watches the topics of a namespace", function*({ connect, namespace, operator, see, topic }) {
    const client = yield* connect
    yield* client.producer(topic("one"))
    yield* operator.setPartitions(topic("two"), 2)
    const list = (options: object) =>
      Effect.map(
        client.request("GET_TOPICS_OF_NAMESPACE_RESPONSE", (requestId) => ({
          type: Commands.Type.GET_TOPICS_OF_NAMESPACE,
          getTopicsOfNamespace: { requestId, namespace, ...options }
        })),
        ({ body, type }) => ({
          type,
          ...body,
          topics: [...body["topics"] as ReadonlyArray<string> ?? []].sort().map((name) => name.split("/").at(-1))
        })
      )
    see("all", yield* list({ mode: Api.CommandGetTopicsOfNamespace_Mode.ALL }))
    see("by pattern", yield* list({ topicsPattern: `${topic("o.*")}` }))
    const watched = yield* client.request("WATCH_TOPIC_LIST_SUCCESS", (requestId) => ({
      type: Commands.Type.WATCH_TOPIC_LIST,
      watchTopicList: { requestId, watcherId: 0n, namespace, topicsPattern: topic("t.*") }
    }))
    const names = (value: unknown) =>
      [...(value as ReadonlyArray<string> | undefined) ?? []].map((name) => name.split("/").at(-1)).sort()
    see("watch", { ...answer(watched), topic: names(watched.body["topic"]) })
    yield* client.producer(topic("three"), { producerId: 1n })
    const update = yield* client.next("WATCH_TOPIC_UPDATE")
    see("added", { ...answer(update), newTopics: names(update.body["newTopics"]) })
    yield* client.request(
      "SUCCESS",
      (requestId) => ({ type: Commands.Type.CLOSE_PRODUCER, closeProducer: { producerId: 1n, requestId } })
    )
    yield* operator.deleteTopic(topic("three"))
    const removed = yield* client.next("WATCH_TOPIC_UPDATE")
    see("removed", { ...answer(removed), deletedTopics: names(removed.body["deletedTopics"]) })
    see(
      "unwatch",
      answer(
        yield* client.request("SUCCESS", (requestId) => ({
          type: Commands.Type.WATCH_TOPIC_LIST_CLOSE,
          watchTopicListClose: { requestId, watcherId: 0n }
        }))
      )
    )
  }),
  script("ends a topic", function*({ connect, operator, see, topic }) {
    const client = yield* connect
    yield* client.producer(topic("a"))
    yield* client.sent({ sequenceId: 0, payload: "m0" })
    yield* client.subscribe(topic("a"), "s")
    yield* client.flow(10)
    const [only] = yield* messages(client, 1)
    yield* operator.terminate(topic("a"))
    see("told", answer(yield* client.next("CLOSE_PRODUCER")))
    see("open", answer(yield* client.producer(topic("a"), { producerId: 1n })))
    yield* client.ack([only!.message!.delivery.messageId])
    see("end", answer(yield* client.next("REACHED_END_OF_TOPIC")))
  }),
  script(
    "sends everyone away when a topic is unloaded, and serves them again",
    function*({ connect, operator, see, topic }) {
      const client = yield* connect
      yield* client.producer(topic("a"), { producerName: "mine", userProvidedProducerName: true })
      yield* client.sent({ sequenceId: 0, payload: "m0" })
      yield* client.subscribe(topic("a"), "s")
      yield* client.flow(10)
      yield* messages(client, 1)
      yield* operator.unload(topic("a"))
      see("producer", answer(yield* client.next("CLOSE_PRODUCER")))
      see("consumer", answer(yield* client.next("CLOSE_CONSUMER")))
      see(
        "open again",
        answer(yield* client.producer(topic("a"), { producerName: "mine", userProvidedProducerName: true, epoch: 1n }))
      )
      see("send", answer(yield* client.sent({ sequenceId: 1, payload: "m1" })))
      see("subscribe again", answer(yield* client.subscribe(topic("a"), "s")))
      yield* client.flow(10)
      see("messages", (yield* messages(client, 2)).map(shown))
    }
  )
]
