import { Api, Commands } from "@perigee/proto/wire"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Scope } from "effect"
import { TestClock } from "effect/testing"
import { fail, type FaultRule, TestBroker, type TestBrokerOptions } from "../../src/testing/index.ts"
import { answer, idOf, shown, text } from "../peer/scripts/Script.ts"
import { type Received, WireClient } from "../support/WireClient.ts"

const { Failover, Key_Shared: KeyShared, Shared } = Api.CommandSubscribe_SubType
const topic = "persistent://public/default/a"

const setup = Effect.fnUntraced(function*(options: TestBrokerOptions = {}) {
  const broker = yield* TestBroker.make(options)
  return { broker, connect: (url = broker.serviceUrl) => WireClient.connected(broker.dial(url)) }
})

/** What has arrived so far: over a memory link everything that is ready has. */
const arrived = (client: WireClient, type: Received["type"] = "MESSAGE") =>
  Effect.sync(() => client.inbox.filter((received) => received.type === type))

const settle = Effect.yieldNow.pipe(Effect.repeat({ times: 5 }))

const texts = (client: WireClient) =>
  Effect.map(Effect.andThen(settle, arrived(client)), (messages) => messages.map(text))

const publish = (client: WireClient, payloads: ReadonlyArray<string>, first = 0) =>
  Effect.forEach(payloads, (payload, at) => client.sent({ producerId: 9, sequenceId: first + at, payload }))

describe("time", () => {
  it.effect("delivers a delayed message when it is due, not before", () =>
    Effect.gen(function*() {
      const { connect } = yield* setup()
      const client = yield* connect()
      yield* client.subscribe(topic, "s", { subType: Shared })
      yield* client.flow(10)
      yield* client.producer(topic, { producerId: 9n })
      yield* client.sent({ producerId: 9, sequenceId: 0, payload: "later", metadata: { deliverAtTime: 5000 } })
      yield* client.sent({ producerId: 9, sequenceId: 1, payload: "now" })
      assert.deepStrictEqual(yield* texts(client), ["now"])
      yield* TestClock.adjust("4999 millis")
      assert.deepStrictEqual(yield* texts(client), ["now"])
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(yield* texts(client), ["now", "later"])
    }))
  it.effect("stamps entries by the test's clock, so that two runs are the same to the byte", () =>
    Effect.gen(function*() {
      const run = Effect.gen(function*() {
        const { broker, connect } = yield* setup()
        const client = yield* connect()
        yield* client.subscribe(topic, "s")
        yield* client.flow(10)
        yield* client.producer(topic, { producerId: 9n })
        yield* TestClock.adjust("3 seconds")
        yield* publish(client, ["a", "b"])
        yield* settle
        const [first] = yield* arrived(client)
        return {
          messages: (yield* arrived(client)).map(shown),
          at: first!.message!.brokerEntry,
          stored: yield* broker.stored("a")
        }
      }).pipe(Effect.scoped, Effect.provide(TestClock.layer()))
      const first = yield* run
      assert.deepStrictEqual(first.at, { brokerTimestamp: 3000, index: 0n })
      assert.deepStrictEqual(yield* run, first)
    }))
})

describe("faults", () => {
  const sendOnce = Effect.fnUntraced(function*(rule: FaultRule) {
    const { broker, connect } = yield* setup()
    const client = yield* connect()
    yield* client.producer(topic, { producerId: 9n })
    const remove = yield* broker.fault(rule)
    yield* client.send({ producerId: 9, sequenceId: 0, payload: "x" })
    yield* settle
    const answers = client.inbox.map(answer)
    client.inbox.length = 0
    const stored = (yield* broker.stored(topic)).length
    return { answers, broker, client, remove, stored }
  })
  const types = (answers: ReadonlyArray<Record<string, unknown>>) => answers.map(({ type }) => type)

  it.effect("lose a receipt after the message was stored", () =>
    Effect.gen(function*() {
      const { answers, broker, client, stored } = yield* sendOnce({ command: "SEND_RECEIPT", action: { _tag: "Drop" } })
      assert.deepStrictEqual([answers, stored], [[], 1])
      assert.strictEqual(yield* broker.faultsCaught, 1)
      assert.strictEqual((yield* client.sent({ producerId: 9, sequenceId: 1, payload: "y" })).type, "SEND_RECEIPT")
    }))
  it.effect("lose a message before it is stored", () =>
    Effect.gen(function*() {
      const { answers, stored } = yield* sendOnce({ command: "SEND", action: { _tag: "Drop" } })
      assert.deepStrictEqual([answers, stored], [[], 0])
    }))
  it.effect("repeat a receipt, or the message", () =>
    Effect.gen(function*() {
      const receipts = yield* sendOnce({ command: "SEND_RECEIPT", action: { _tag: "Duplicate" } })
      assert.deepStrictEqual([types(receipts.answers), receipts.stored], [["SEND_RECEIPT", "SEND_RECEIPT"], 1])
      const messages = yield* sendOnce({ command: "SEND", action: { _tag: "Duplicate" } })
      assert.deepStrictEqual([types(messages.answers), messages.stored], [["SEND_RECEIPT", "SEND_RECEIPT"], 2])
    }))
  it.effect("delay a receipt by the clock", () =>
    Effect.gen(function*() {
      const { answers, client, stored } = yield* sendOnce({
        command: "SEND_RECEIPT",
        action: { _tag: "Delay", millis: 700 }
      })
      assert.deepStrictEqual([answers, stored], [[], 1])
      yield* TestClock.adjust("699 millis")
      assert.lengthOf(client.inbox, 0)
      yield* TestClock.adjust("1 millis")
      yield* settle
      assert.deepStrictEqual(client.inbox.map(({ type }) => type), ["SEND_RECEIPT"])
    }))
  it.effect("refuse with a protocol error", () =>
    Effect.gen(function*() {
      const { answers, stored } = yield* sendOnce({
        command: "SEND",
        action: { _tag: "Reject", code: "PersistenceError", message: "disk" }
      })
      assert.deepInclude(answers[0], { type: "SEND_ERROR", error: Api.ServerError.PersistenceError, message: "disk" })
      assert.strictEqual(stored, 0)
    }))
  it.effect("refuse each kind of request in its own form", () =>
    Effect.gen(function*() {
      const { broker, connect } = yield* setup()
      const client = yield* connect()
      yield* client.subscribe(topic, "s")
      yield* broker.fault({
        command: "*",
        direction: "inbound",
        times: Infinity,
        action: { _tag: "Reject", code: "ServiceNotReady" }
      })
      const error = Api.ServerError.ServiceNotReady
      assert.deepInclude((yield* client.lookup(topic)).body, {
        error,
        response: Api.CommandLookupTopicResponse_LookupType.Failed
      })
      assert.deepInclude((yield* client.partitions(topic)).body, { error })
      assert.deepInclude((yield* client.ack([])).body, { error })
      const opened = yield* client.request("PRODUCER_SUCCESS", (requestId) => ({
        type: Commands.Type.PRODUCER,
        producer: { topic, producerId: 1n, requestId }
      }))
      assert.deepInclude(answer(opened), { type: "ERROR", error })
      yield* broker.clearFaults
      assert.strictEqual((yield* client.lookup(topic)).body["error"], undefined)
    }))
  it.effect("break the connection, before or instead of a command", () =>
    Effect.gen(function*() {
      const before = yield* sendOnce({ command: "SEND", action: { _tag: "Disconnect" } })
      yield* before.client.ended
      assert.strictEqual(before.stored, 0)
      const instead = yield* sendOnce({ command: "SEND_RECEIPT", action: { _tag: "Disconnect" } })
      yield* instead.client.ended
      assert.deepStrictEqual([instead.answers, instead.stored], [[], 1])
    }))
  it.effect("bend a message so that its checksum fails", () =>
    Effect.gen(function*() {
      const { broker, connect } = yield* setup()
      const client = yield* connect()
      yield* client.subscribe(topic, "s")
      yield* client.flow(10)
      yield* client.producer(topic, { producerId: 9n })
      yield* broker.fault({ command: "MESSAGE", action: { _tag: "Corrupt" } })
      yield* publish(client, ["bent", "whole"])
      assert.deepStrictEqual(yield* texts(client), ["(corrupt)", "whole"])
    }))
  it.effect("catch as many as they say, of the topic they say, after those they let pass", () =>
    Effect.gen(function*() {
      const { broker, connect } = yield* setup()
      const client = yield* connect()
      const remove = yield* broker.fault({ command: "LOOKUP", topic: "b", skip: 1, times: 2, action: { _tag: "Drop" } })
      yield* client.lookup(topic)
      yield* client.lookup("b")
      assert.strictEqual(yield* broker.faultsCaught, 0)
      yield* client.write({
        type: Commands.Type.LOOKUP,
        lookupTopic: { topic: "persistent://public/default/b", requestId: 71n }
      })
      assert.strictEqual(yield* broker.faultsCaught, 1)
      yield* remove
      yield* client.lookup("persistent://public/default/b")
    }))
})

describe("a cluster", () => {
  it.effect("redirects lookups to the broker that serves the topic, and serves it nowhere else", () =>
    Effect.gen(function*() {
      const { broker, connect } = yield* setup({ brokers: 2 })
      yield* broker.assign(topic, 1)
      const [zero, one] = broker.serviceUrls
      const first = yield* connect(zero)
      const second = yield* connect(one)
      const { Connect, Redirect } = Api.CommandLookupTopicResponse_LookupType
      assert.deepInclude((yield* first.lookup(topic)).body, { response: Redirect, brokerServiceUrl: one })
      assert.deepInclude((yield* second.lookup(topic)).body, { response: Connect, brokerServiceUrl: one })
      assert.deepInclude(answer(yield* first.producer(topic)), {
        type: "ERROR",
        error: Api.ServerError.ServiceNotReady
      })
      assert.strictEqual((yield* second.producer(topic)).type, "PRODUCER_SUCCESS")
      yield* broker.unload(topic, { to: 0, tell: true })
      assert.deepInclude((yield* second.next("CLOSE_PRODUCER")).body, { assignedBrokerServiceUrl: zero })
      assert.strictEqual((yield* first.producer(topic)).type, "PRODUCER_SUCCESS")
    }))
  it.effect("moves topics off a broker that is down, and refuses connections to it", () =>
    Effect.gen(function*() {
      const { broker, connect } = yield* setup({ brokers: 2 })
      yield* broker.assign(topic, 1)
      yield* broker.kill(1)
      assert.strictEqual((yield* Effect.flip(connect(broker.serviceUrls[1]))).message, "An error occurred during Open")
      assert.strictEqual(
        (yield* Effect.flip(connect("pulsar://elsewhere:6650"))).message,
        "An error occurred during Open"
      )
      const client = yield* connect()
      assert.strictEqual((yield* client.producer(topic)).type, "PRODUCER_SUCCESS")
    }))
  it.effect("answers lookups as a test wants", () =>
    Effect.gen(function*() {
      const { broker, connect } = yield* setup()
      const client = yield* connect()
      yield* broker.answerLookups((name) =>
        name.endsWith("/loop")
          ? { _tag: "Redirect", serviceUrl: broker.serviceUrl }
          : name.endsWith("/gone")
          ? { _tag: "Failed", failure: fail("TopicNotFound", "gone") }
          : undefined
      )
      const { Connect, Failed, Redirect } = Api.CommandLookupTopicResponse_LookupType
      const responses = yield* Effect.forEach(["loop", "gone", "else"], (name) =>
        Effect.map(client.lookup(name), ({ body }) => body["response"]))
      assert.deepStrictEqual(responses, [Redirect, Failed, Connect])
    }))
  it.effect("tells clients of a migrated topic", () =>
    Effect.gen(function*() {
      const { broker, connect } = yield* setup()
      const client = yield* connect()
      yield* client.producer(topic)
      yield* client.subscribe(topic, "s")
      yield* broker.migrate(topic, "pulsar://other:6650")
      yield* client.next("TOPIC_MIGRATED", ({ body }) =>
        body["resourceType"] === Api.CommandTopicMigrated_ResourceType.Producer)
      const consumer = yield* client.next("TOPIC_MIGRATED")
      assert.deepInclude(consumer.body, { brokerServiceUrl: "pulsar://other:6650", resourceId: "0" })
    }))
})

describe("a broker that dies", () => {
  it.effect("keeps messages, cursors, deduplication and schemas; connections and readers are gone", () =>
    Effect.gen(function*() {
      const { broker, connect } = yield* setup({ deduplication: true })
      const before = yield* connect()
      const named = { producerId: 9n, producerName: "mine", userProvidedProducerName: true }
      yield* before.producer(topic, named)
      yield* publish(before, ["m0", "m1", "m2"])
      yield* before.subscribe(topic, "s")
      yield* before.subscribe(topic, "reader", { consumerId: 1n, durable: false })
      yield* before.flow(2)
      yield* settle
      yield* before.ack([idOf((yield* arrived(before))[0]!)])
      yield* broker.restart()
      yield* before.ended
      const after = yield* connect()
      const opened = yield* after.producer(topic, named)
      assert.strictEqual(opened.body["lastSequenceId"], "2")
      const [again] = yield* publish(after, ["m2"], 2)
      assert.deepInclude(again!.body["messageId"], { ledgerId: "-1", entryId: "-1" })
      yield* after.subscribe(topic, "s")
      yield* after.flow(10)
      assert.deepStrictEqual(yield* texts(after), ["m1", "m2"])
      assert.deepStrictEqual(Object.keys((yield* broker.stats(topic)).subscriptions), ["s"])
      const [next] = yield* publish(after, ["m3"], 3)
      assert.notStrictEqual(
        (next!.body["messageId"] as Record<string, unknown>)["ledgerId"],
        idOf((yield* arrived(after))[0]!).ledger.toString(),
        "a new ledger after the restart"
      )
    }))
  it.effect("may forget acknowledgements since its last checkpoint", () =>
    Effect.gen(function*() {
      const { broker, connect } = yield* setup()
      const before = yield* connect()
      yield* before.producer(topic, { producerId: 9n })
      yield* publish(before, ["m0", "m1", "m2"])
      yield* before.subscribe(topic, "s")
      yield* before.flow(10)
      yield* settle
      const [m0, m1] = yield* arrived(before)
      yield* before.ack([idOf(m0!)])
      yield* broker.checkpoint
      yield* before.ack([idOf(m1!)])
      yield* broker.kill(0, { cursors: "checkpoint" })
      yield* broker.start()
      const after = yield* connect()
      yield* after.subscribe(topic, "s")
      yield* after.flow(10)
      assert.deepStrictEqual(yield* texts(after), ["m1", "m2"])
    }))
})

describe("bounds", () => {
  it.effect("a topic refuses what it has no room for, until the oldest is acknowledged", () =>
    Effect.gen(function*() {
      const { broker, connect } = yield* setup({ maxEntries: 2 })
      const client = yield* connect()
      yield* client.subscribe(topic, "s")
      yield* client.flow(10)
      yield* client.producer(topic, { producerId: 9n })
      const answers = yield* publish(client, ["m0", "m1", "m2"])
      assert.deepStrictEqual(answers.map(({ type }) => type), ["SEND_RECEIPT", "SEND_RECEIPT", "SEND_ERROR"])
      yield* client.ack([idOf((yield* arrived(client))[0]!)])
      assert.deepStrictEqual((yield* publish(client, ["m3"], 3)).map(({ type }) => type), ["SEND_RECEIPT"])
      assert.strictEqual((yield* broker.stats(topic)).entries, 2)
    }))
  it.effect("a client that does not read is sent no more than its share, and all of it in the end", () =>
    Effect.gen(function*() {
      const { broker } = yield* setup({ maxOutbox: 4000 })
      const feeder = yield* WireClient.connected(broker.dial(broker.serviceUrl))
      yield* feeder.producer(topic, { producerId: 9n })
      yield* publish(feeder, Array.from({ length: 40 }, (_, at) => `${at}:${"x".repeat(500)}`))
      // A socket that is written to and read by hand: nothing takes what waits for it.
      const socket = broker.dial(broker.serviceUrl)
      const reader = yield* socket.reader
      const writer = yield* socket.writer
      const commands: ReadonlyArray<Commands.CommandInit> = [
        { type: Commands.Type.CONNECT, connect: { clientVersion: "slow", protocolVersion: 21 } },
        {
          type: Commands.Type.SUBSCRIBE,
          subscribe: { topic, subscription: "s", subType: 0, consumerId: 0n, requestId: 0n, initialPosition: 1 }
        },
        { type: Commands.Type.FLOW, flow: { consumerId: 0n, messagePermits: 1000 } }
      ]
      for (const command of commands) yield* writer.write(Commands.encode(command))
      const sizes: Array<number> = []
      let frames = 0
      while (frames < 42) {
        const chunk = yield* reader.pull
        frames += chunk.length
        sizes.push(chunk.reduce((sum, { length }) => sum + length, 0))
      }
      assert.isAtMost(Math.max(...sizes), 4700)
      assert.isAbove(sizes.length, 4)
    }))
  it.effect("a consumer of Shared that never acknowledges is sent no more than its limit", () =>
    Effect.gen(function*() {
      const { connect } = yield* setup({ maxUnackedMessages: 2 })
      const client = yield* connect()
      yield* client.subscribe(topic, "s", { subType: KeyShared })
      yield* client.flow(100)
      yield* client.producer(topic, { producerId: 9n })
      yield* publish(client, ["m0", "m1", "m2"])
      assert.deepStrictEqual(yield* texts(client), ["m0", "m1"])
      yield* client.ack([idOf((yield* arrived(client))[0]!)])
      assert.deepStrictEqual(yield* texts(client), ["m0", "m1", "m2"])
    }))
  it.effect("connections beyond the limit are refused", () =>
    Effect.gen(function*() {
      const { broker, connect } = yield* setup({ maxConnections: 1 })
      const scope = yield* Scope.make()
      yield* Scope.provide(connect(), scope)
      yield* Effect.flip(connect())
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(yield* broker.connections, 0)
      yield* connect()
    }))
  it.effect("a frame beyond the largest message ends the connection", () =>
    Effect.gen(function*() {
      const { connect } = yield* setup({ maxMessageSize: 1000 })
      const client = yield* connect()
      yield* client.producer(topic, { producerId: 9n })
      yield* client.send({ producerId: 9, sequenceId: 0, payload: "x".repeat(20_000) })
      yield* client.ended
    }))
})

describe("who may come in", () => {
  const shake = (client: WireClient, token: string) =>
    client.write({
      type: Commands.Type.CONNECT,
      connect: {
        clientVersion: "t",
        authMethodName: "token",
        authData: new TextEncoder().encode(token),
        protocolVersion: 21
      }
    })
  it.effect("whoever has a token, and again when challenged", () =>
    Effect.gen(function*() {
      const { broker } = yield* setup({ tokens: ["good"] })
      const good = yield* WireClient.open(broker.dial(broker.serviceUrl))
      yield* shake(good, "good")
      yield* good.next("CONNECTED")
      const bad = yield* WireClient.open(broker.dial(broker.serviceUrl))
      yield* shake(bad, "bad")
      assert.deepInclude((yield* bad.next("ERROR")).body, { error: Api.ServerError.AuthenticationError })
      yield* bad.ended
      yield* broker.setTokens(["fresh"])
      yield* broker.challenge
      assert.deepInclude((yield* good.next("AUTH_CHALLENGE")).body["challenge"], { authMethodName: "token" })
      const respond = (token: string) =>
        good.write({
          type: Commands.Type.AUTH_RESPONSE,
          authResponse: { response: { authMethodName: "token", authData: new TextEncoder().encode(token) } }
        })
      yield* respond("fresh")
      yield* good.lookup(topic)
      yield* respond("good")
      yield* good.ended
    }))
})

describe("a link", () => {
  it.effect("that closes gives back what its consumer held and frees its producer's name", () =>
    Effect.gen(function*() {
      const { broker, connect } = yield* setup()
      const scope = yield* Scope.make()
      const first = yield* Scope.provide(connect(), scope)
      yield* first.producer(topic, { producerId: 9n, producerName: "mine" })
      yield* publish(first, ["m0"])
      yield* first.subscribe(topic, "s", { subType: Failover })
      yield* first.flow(10)
      const second = yield* connect()
      yield* second.subscribe(topic, "s", { subType: Failover, consumerName: "second" })
      yield* second.flow(10)
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(yield* texts(second), ["m0"])
      assert.strictEqual((yield* second.producer(topic, { producerName: "mine" })).type, "PRODUCER_SUCCESS")
      const stats = yield* broker.stats(topic)
      assert.deepStrictEqual(stats.producers, ["mine"])
      assert.deepStrictEqual(stats.subscriptions["s"]!.consumers, [{ name: "second", permits: 9, unacked: 1 }])
    }))
  it.effect("takes a write that was made before it was dialled", () =>
    Effect.gen(function*() {
      const { broker } = yield* setup()
      const socket = broker.dial(broker.serviceUrl)
      const writer = yield* socket.writer
      const early = yield* Effect.forkChild(
        writer.write(
          Commands.encode({ type: Commands.Type.CONNECT, connect: { clientVersion: "t", protocolVersion: 21 } })
        ),
        { startImmediately: true }
      )
      assert.isUndefined(early.pollUnsafe())
      const reader = yield* socket.reader
      yield* Fiber.join(early)
      assert.lengthOf(yield* reader.pull, 1)
    }))
})

it.effect("reads the compacted topic: the newest of each key, then what came after", () =>
  Effect.gen(function*() {
    const { broker, connect } = yield* setup()
    const client = yield* connect()
    yield* client.producer(topic, { producerId: 9n })
    const keyed = (sequenceId: number, partitionKey: string, nullValue = false) =>
      client.sent({
        producerId: 9,
        sequenceId,
        payload: nullValue ? "" : `${partitionKey}${sequenceId}`,
        metadata: { partitionKey, nullValue }
      })
    yield* keyed(0, "a")
    yield* keyed(1, "b")
    yield* keyed(2, "a")
    yield* keyed(3, "c")
    yield* keyed(4, "c", true)
    yield* broker.compact(topic)
    yield* keyed(5, "a")
    yield* client.subscribe(topic, "compacted", { readCompacted: true })
    yield* client.flow(10)
    assert.deepStrictEqual(yield* texts(client), ["b1", "a2", "a5"])
  }))

it.effect("refuses what an operator cannot have", () =>
  Effect.gen(function*() {
    const { broker } = yield* setup({ autoCreateTopics: false })
    assert.deepInclude(yield* Effect.flip(broker.createTopic(topic)), { code: "TopicNotFound" })
    assert.deepInclude(yield* Effect.flip(broker.stats("none")), { code: "TopicNotFound" })
    yield* broker.setPartitions("parts", 2)
    assert.deepInclude(yield* Effect.flip(broker.setPartitions("parts", 1)), { code: "NotAllowedError" })
    assert.deepStrictEqual(yield* broker.topics("public/default"), [
      "persistent://public/default/parts-partition-0",
      "persistent://public/default/parts-partition-1"
    ])
  }))
