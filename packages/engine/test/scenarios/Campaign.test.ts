import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Random } from "effect"
import { TestClock } from "effect/testing"
import { Consumer, Producer, PulsarClient } from "../../src/index.ts"
import { type FaultRule, TestBroker } from "../../src/testing/index.ts"
import { bytes, layer, text } from "../support/client.ts"

const MESSAGES = 120

/** Trouble, drawn by the seed: broken connections, lost and doubled receipts, a broker that dies, a topic that moves. */
const trouble = Effect.gen(function*() {
  const broker = yield* TestBroker
  const rules: ReadonlyArray<FaultRule> = [
    { command: "SEND_RECEIPT", times: 3, action: { _tag: "Drop" } },
    { command: "SEND_RECEIPT", times: 3, action: { _tag: "Duplicate" } },
    { command: "SEND_RECEIPT", times: 2, action: { _tag: "Delay", millis: 70 } },
    { command: "SEND", action: { _tag: "Disconnect" } },
    { command: "MESSAGE", action: { _tag: "Corrupt" } },
    { command: "PRODUCER", action: { _tag: "Reject", code: "ServiceNotReady" } },
    { command: "SUBSCRIBE", action: { _tag: "Reject", code: "MetadataError" } },
    { command: "LOOKUP", action: { _tag: "Disconnect" } },
    { command: "CONNECTED", action: { _tag: "Drop" } }
  ]
  switch (yield* Random.nextIntBetween(0, 5)) {
    case 0:
      return yield* broker.disconnect()
    case 1:
      return yield* broker.restart()
    case 2:
      return yield* Effect.ignore(broker.unload("t", { to: (yield* Random.nextIntBetween(0, 1000)) % 2 }))
    default:
      return yield* Effect.asVoid(broker.fault(rules[(yield* Random.nextIntBetween(0, 1000)) % rules.length]!))
  }
})

const campaign = (seed: number) =>
  Effect.gen(function*() {
    const broker = yield* TestBroker
    const producer = yield* Producer.make({
      topic: "t",
      name: "p",
      sendTimeout: 0,
      batching: seed % 2 === 0 ? false : { maxMessages: 7, maxDelay: 5 },
      compression: seed % 3 === 0 ? "lz4" : "none"
    })
    const consumer = yield* Consumer.make({ topic: "t", subscription: "s", initialPosition: "earliest" })
    let ends = 0
    const sending = yield* Effect.forkChild(
      Effect.forEach(Array.from({ length: MESSAGES }, (_, index) => index), (index) =>
        Effect.tap(producer.send(bytes(`${index}`)), () => Effect.sync(() => void ends++)), { concurrency: 10 }),
      { startImmediately: true }
    )
    const seen: Array<number> = []
    const receiving = yield* Effect.forkChild(
      Effect.gen(function*() {
        while (true) {
          for (const message of yield* consumer.receiveAll()) {
            seen.push(Number(text(message.value)))
            message.ackUnsafe()
          }
        }
      }),
      { startImmediately: true }
    )
    for (let step = 0; step < 40; step++) {
      if ((yield* Random.nextIntBetween(0, 3)) === 0) {
        yield* trouble
      }
      yield* TestClock.adjust(yield* Random.nextIntBetween(1, 400))
    }
    yield* broker.clearFaults
    // What was lost without a trace is found at a reconnect.
    for (let round = 0; round < 6; round++) {
      if (ends === MESSAGES && new Set(seen).size === MESSAGES) {
        break
      }
      yield* broker.disconnect()
      for (let step = 0; step < 50; step++) {
        yield* TestClock.adjust(500)
      }
    }
    assert.strictEqual(ends, MESSAGES, "every send ends once")
    const receipts = yield* Fiber.join(sending)
    yield* Fiber.interrupt(receiving)
    assert.strictEqual(ends, MESSAGES, "every send ends once")
    assert.strictEqual(receipts.length, MESSAGES)
    const first = [...new Set(seen)]
    assert.deepStrictEqual(
      [...first].sort((a, b) =>
        a - b
      ),
      Array.from({ length: MESSAGES }, (_, index) => index),
      "everything arrives"
    )
    const entries = yield* broker.stored("t")
    assert.strictEqual(entries.reduce((sum, { messages }) => sum + messages, 0), MESSAGES, "everything is stored once")
    const sequences = entries.map(({ sequenceId }) => Number(sequenceId))
    assert.deepStrictEqual(sequences, [...sequences].sort((a, b) => a - b), "in the order of its numbers")
    const stats = yield* producer.stats
    assert.deepStrictEqual([stats.pending, stats.pendingBytes, stats.stored], [0, 0, MESSAGES])
    assert.strictEqual(yield* (yield* PulsarClient).pendingBytes, 0)
    const { permits, queued } = yield* consumer.stats
    assert.isAtMost(permits + queued, 1000, "permits are conserved")
  }).pipe(Effect.scoped, Effect.provide(layer({ backoff: { max: "1 second" } }, { brokers: 2, deduplication: true })))

describe("trouble of every kind", () => {
  for (let seed = 1; seed <= Number(process.env["SEEDS"] ?? 40); seed++) {
    it.effect(`seed ${seed}: every send ends once, everything is stored once, in order, and arrives`, () =>
      Random.withSeed(campaign(seed), seed))
  }
})
