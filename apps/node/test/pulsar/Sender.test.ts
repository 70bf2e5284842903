import { assert, describe, it } from "@effect/vitest"
import { type MessageId, type Producer, SendError } from "@perigee/engine"
import { Deferred, Effect, Fiber } from "effect"
import { Sender } from "../../src/pulsar/Sender.ts"

type Outcome = Effect.Effect<ReadonlyArray<Producer.Receipt>, SendError>

const id: MessageId.MessageId = {
  ledger: BigInt(1),
  entry: BigInt(1),
  partition: -1,
  batchIndex: -1,
  batchSize: 0
}
const receipts = (...duplicates: ReadonlyArray<boolean>): Outcome =>
  Effect.succeed(duplicates.map((duplicate) => ({ id, duplicate })))
const failed = (...results: ReadonlyArray<"done" | "notDone" | "unknown">): Outcome =>
  Effect.fail(new SendError({ reason: { _tag: "Unknown", why: "no receipt in time" }, results }))

/** A producer whose sends end when the test says so. */
const scripted = () => {
  const calls: Array<{ readonly size: number; readonly end: (outcome: Outcome) => Effect.Effect<boolean> }> = []
  const producer = {
    sendAll: (messages: ReadonlyArray<unknown>) =>
      Effect.suspend(() => {
        const outcome = Deferred.makeUnsafe<ReadonlyArray<Producer.Receipt>, SendError>()
        calls.push({ size: messages.length, end: (effect) => Deferred.complete(outcome, effect) })
        return Deferred.await(outcome)
      })
  } as unknown as Producer.Producer<Uint8Array>
  return { calls, producer }
}

const batch = (count: number, bytes = 1) => Array.from({ length: count }, () => ({ value: new Uint8Array(bytes) }))

describe("Sender", () => {
  it.effect("submits in order, as many as fit", () =>
    Effect.gen(function*() {
      const { calls, producer } = scripted()
      const sender = yield* Sender.make(producer, { messages: 5, bytes: 100 })
      assert.isTrue(yield* sender.send(batch(3), 0))
      assert.isTrue(yield* sender.send(batch(2), 3))
      const third = yield* Effect.forkChild(sender.send(batch(1), 5), { startImmediately: true })
      assert.deepStrictEqual(calls.map(({ size }) => size), [3, 2])
      yield* calls[1]!.end(receipts(false, true))
      assert.isTrue(yield* Fiber.join(third))
      assert.deepStrictEqual(calls.map(({ size }) => size), [3, 2, 1])
      yield* calls[0]!.end(receipts(false, false, false))
      yield* calls[2]!.end(receipts(false))
      yield* sender.settled
      assert.deepStrictEqual([sender.stored, sender.duplicates, sender.pending], [6, 1, 0])
    }).pipe(Effect.scoped))

  it.effect("bounds bytes too, and lets a message through that is larger than the bound", () =>
    Effect.gen(function*() {
      const { calls, producer } = scripted()
      const sender = yield* Sender.make(producer, { messages: 100, bytes: 10 })
      assert.isTrue(yield* sender.send(batch(1, 50), 0))
      const second = yield* Effect.forkChild(sender.send(batch(1, 1), 1), { startImmediately: true })
      assert.lengthOf(calls, 1)
      yield* calls[0]!.end(receipts(false))
      assert.isTrue(yield* Fiber.join(second))
      yield* calls[1]!.end(receipts(false))
      yield* sender.settled
    }).pipe(Effect.scoped))

  it.effect("counts each end, names the first that went wrong, and submits nothing more", () =>
    Effect.gen(function*() {
      const { calls, producer } = scripted()
      const sender = yield* Sender.make(producer, { messages: 100, bytes: 100 })
      yield* sender.send(batch(4), 10)
      yield* sender.send(batch(2), 14)
      yield* calls[0]!.end(failed("done", "unknown", "notDone", "done"))
      assert.isFalse(yield* sender.send(batch(1), 16))
      assert.lengthOf(calls, 2)
      yield* calls[1]!.end(failed("notDone", "notDone"))
      yield* sender.settled
      assert.deepStrictEqual([sender.stored, sender.unknown, sender.notStored], [2, 1, 3])
      assert.strictEqual(sender.failure?.at, 11)
    }).pipe(Effect.scoped))
})
