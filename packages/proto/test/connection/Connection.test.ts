import { assert, describe, it } from "@effect/vitest"
import * as Commands from "../../src/wire/Commands.ts"
import { Harness, Type } from "../support/Broker.ts"

describe("handshake", () => {
  it("says who it is and what it can, and learns the limits", () => {
    const harness = new Harness({ clientVersion: "me", proxyTarget: "b:1" })
    harness.connection.begin(0, { method: "token", data: Uint8Array.of(1) })
    const [connect] = harness.seen()
    assert.deepInclude(connect!.command.connect!, {
      clientVersion: "me",
      authMethodName: "token",
      protocolVersion: 21,
      proxyToBrokerUrl: "b:1"
    })
    assert.isTrue(connect!.command.connect!.featureFlags!.supportsBrokerEntryMetadata)
    assert.isFalse(harness.connection.isConnected)
    harness.say(0, { type: Type.CONNECTED, connected: { serverVersion: "s", protocolVersion: 20, maxMessageSize: 77 } })
    assert.isTrue(harness.connection.isConnected)
    assert.strictEqual(harness.connection.maxMessageSize, 77)
  })

  it("answers challenges before and after CONNECTED, and is connected only by CONNECTED", () => {
    const harness = new Harness()
    harness.connection.begin(0, { method: "sasl", data: undefined })
    harness.seen()
    const challenge = {
      type: Type.AUTH_CHALLENGE,
      authChallenge: { challenge: { authMethodName: "sasl", authData: Uint8Array.of(9) } }
    }
    harness.say(0, challenge)
    assert.deepInclude(harness.events.at(-1), { _tag: "AuthChallenge", method: "sasl" })
    harness.connection.respond({ method: "sasl", data: Uint8Array.of(8) })
    assert.deepStrictEqual(harness.types(), [Type.AUTH_RESPONSE])
    assert.isFalse(harness.connection.isConnected)
    harness.say(0, { type: Type.CONNECTED, connected: { serverVersion: "s" } })
    harness.say(0, challenge)
    assert.isTrue(harness.connection.isConnected)
  })

  it("keeps the broker's refusal, cut, and only from before CONNECTED", () => {
    const harness = new Harness()
    harness.connection.begin(0, { method: "none", data: undefined })
    harness.say(0, { type: Type.ERROR, error: { requestId: 2n ** 64n - 1n, error: 3, message: "x".repeat(1000) } })
    assert.deepStrictEqual(harness.connection.refusal, { code: 3, message: "x".repeat(256) })
    const later = new Harness().connect()
    later.say(0, { type: Type.ERROR, error: { requestId: 0n, error: 3, message: "late" } })
    assert.isUndefined(later.connection.refusal)
  })
})

describe("keepalive", () => {
  it("answers pings, pings after an interval, and gives up after another", () => {
    const harness = new Harness({ keepalive: 1000 }).connect()
    harness.say(0, { type: Type.PING, ping: {} })
    assert.deepStrictEqual(harness.types(), [Type.PONG])
    assert.strictEqual(harness.connection.pollTimeout(), 1000)
    harness.tick(1000)
    assert.deepStrictEqual(harness.types(), [Type.PING])
    harness.say(1500, { type: Type.PONG, pong: {} })
    harness.tick(2000)
    assert.deepStrictEqual(harness.types(), [])
    harness.tick(2500)
    harness.tick(3500)
    assert.deepStrictEqual([harness.connection.state, harness.connection.failure], ["failed", { _tag: "Silent" }])
  })

  it("is not fooled by bytes that never become a frame", () => {
    const harness = new Harness({ keepalive: 1000 }).connect()
    harness.connection.handleBytes(10, Uint8Array.of(0, 0, 0x40, 0))
    for (let now = 100; now <= 2000; now += 100) {
      harness.connection.handleBytes(now, Uint8Array.of(1))
      harness.tick(now)
    }
    assert.strictEqual(harness.connection.state, "failed")
  })
})

describe("bad input", () => {
  const failure = (bytes: Uint8Array) => {
    const harness = new Harness().connect()
    harness.connection.handleBytes(0, bytes)
    assert.strictEqual(harness.connection.state, "failed")
    // Whatever comes after is ignored.
    harness.connection.handleBytes(0, Commands.ping())
    const { failure } = harness.connection
    return failure?._tag === "Protocol" ? failure.error.reason : failure?._tag
  }
  const frame = (...command: ReadonlyArray<number>) =>
    Uint8Array.of(0, 0, 0, command.length + 4, 0, 0, 0, command.length, ...command)

  it("ends the connection with what was wrong", () => {
    assert.strictEqual(failure(Uint8Array.of(0xff, 0xff, 0xff, 0xff)), "BadLength")
    assert.strictEqual(failure(frame(8, 69)), "UnknownCommand")
    assert.strictEqual(failure(frame()), "MissingField")
    assert.strictEqual(failure(frame(8, 7)), "MissingField")
    assert.strictEqual(failure(frame(8, 14)), "MissingField")
    assert.strictEqual(failure(frame(8, 9, 74, 9, 1)), "Truncated")
    assert.strictEqual(failure(frame(8, 13, 106, 50, 1)), "Truncated")
    assert.strictEqual(failure(frame(8, 9, 74, 6, 8, 1, 18, 2, 8, 1)), "MissingField")
  })

  it("of any kind never throws, and commands for unknown ids are ignored", () => {
    const harness = new Harness().connect()
    const unknown: Array<Commands.CommandInit> = [
      { type: Type.SEND_RECEIPT, sendReceipt: { producerId: 9n, sequenceId: 1n } },
      { type: Type.SEND_ERROR, sendError: { producerId: 9n, sequenceId: 1n, error: 1, message: "" } },
      { type: Type.CLOSE_PRODUCER, closeProducer: { producerId: 9n, requestId: 1n } },
      { type: Type.CLOSE_CONSUMER, closeConsumer: { consumerId: 9n, requestId: 1n } },
      { type: Type.REACHED_END_OF_TOPIC, reachedEndOfTopic: { consumerId: 9n } },
      { type: Type.ACTIVE_CONSUMER_CHANGE, activeConsumerChange: { consumerId: 9n } },
      { type: Type.SUCCESS, success: { requestId: 99n } },
      { type: Type.ERROR, error: { requestId: 99n, error: 1, message: "" } },
      { type: Type.ACK_RESPONSE, ackResponse: { consumerId: 9n, requestId: 99n } },
      { type: Type.LOOKUP_RESPONSE, lookupTopicResponse: { requestId: 99n } },
      { type: Type.NEW_TXN_RESPONSE, newTxnResponse: { requestId: 99n } }
    ]
    for (const command of unknown) harness.say(0, command)
    harness.deliver(9, 1, new Uint8Array(3))
    assert.strictEqual(harness.connection.state, "connected")
    let state = 12_345
    for (let round = 0; round < 3000; round++) {
      const fuzzed = new Harness().connect()
      const noise = Uint8Array.from(
        { length: 1 + (round % 40) },
        () => (state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0) >>> 24
      )
      fuzzed.connection.handleBytes(0, frame(8, noise[0]! % 85, ...noise))
      fuzzed.drain()
    }
  })
})

describe("requests", () => {
  it("end as lost with the session, as refused over the limit, and as terminal at the end", () => {
    const harness = new Harness({ maxRequests: 2 }).connect()
    const outcomes: Array<string> = []
    const ask = () =>
      harness.connection.lookups.topic(0, "t", false, undefined, (outcome) => outcomes.push(outcome._tag))
    ask()
    ask()
    ask()
    harness.drain()
    assert.deepStrictEqual(outcomes, ["Failed"])
    harness.connection.disconnected("gone")
    harness.connection.reset()
    harness.drain()
    assert.deepStrictEqual(outcomes, ["Failed", "SessionLost", "SessionLost"])
    ask()
    harness.drain()
    assert.strictEqual(outcomes.at(-1), "SessionLost")
    harness.connect()
    ask()
    harness.connection.terminate("over")
    harness.drain()
    assert.strictEqual(outcomes.at(-1), "Terminal")
    assert.strictEqual(harness.connection.pendingRequests, 0)
  })

  it("that nobody waits for any more leave nothing behind", () => {
    const harness = new Harness().connect()
    let called = 0
    const request = harness.connection.lookups.topic(0, "t", false, undefined, () => called++)
    request.abandon()
    harness.say(0, { type: Type.LOOKUP_RESPONSE, lookupTopicResponse: { requestId: BigInt(request.id), response: 1 } })
    assert.strictEqual(called, 0)
    assert.strictEqual(harness.connection.pendingRequests, 0)
  })

  it("inform without growing", () => {
    const harness = new Harness().connect()
    for (let index = 0; index < 5000; index++) {
      harness.connection.handleBytes(
        0,
        Commands.encode({
          type: Type.TOPIC_MIGRATED,
          topicMigrated: { resourceId: 1n, resourceType: 0, brokerServiceUrl: "nonsense" }
        })
      )
    }
    assert.strictEqual(harness.connection.droppedEvents, 5000 - 4096)
  })
})
