import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Schema } from "effect"
import { TestClock } from "effect/testing"
import { numbered, open } from "../support/openBus.ts"
import { refuse, ScriptedAdapter } from "../support/ScriptedAdapter.ts"

const whole = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

/** What becomes of a call of the store. */
const Fate = Schema.Literals(["stored", "stored", "stored", "refused", "busy", "stored unheard", "lost unheard"])

const Life = Schema.Struct({
  shards: whole(1, 5),
  backpressure: Schema.Literals(["suspend", "dropOldest", "dropNewest", "failProducer"]),
  maxProducers: whole(1, 3),
  fates: Schema.Array(Fate).check(Schema.isMaxLength(12)),
  /** Sizes of the calls that go out side by side, and whether their senders wait. */
  calls: Schema.Array(Schema.Struct({ size: whole(1, 60), patient: Schema.Boolean })).check(Schema.isMaxLength(6))
})

describe("a named producer among others", () => {
  it.effect.prop(
    "has every event stored once and in order, whatever the store, the mode and the number of shards do",
    { lives: Schema.Array(Life).check(Schema.isMinLength(1), Schema.isMaxLength(4)) },
    ({ lives }) =>
      Effect.gen(function*() {
        const total = 400
        const names = ["a", "b", "c"]
        const events = new Map(
          names.map((name) => [name, numbered(total).map((text) => `{"of":"${name}",${text.slice(1)}`)])
        )
        let fates: ReadonlyArray<typeof Fate.Type> = []
        let call = 0
        const store: ScriptedAdapter = new ScriptedAdapter({
          onAppend: (batch) => {
            switch (fates[call++] ?? "stored") {
              case "refused":
                return refuse("Fatal")
              case "busy":
                return refuse("Transient")
              case "stored unheard":
                return Effect.andThen(Effect.sync(() => store.store(batch)), Effect.never)
              case "lost unheard":
                return Effect.never
              default:
                return Effect.sleep("1 millis")
            }
          }
        })
        const last: typeof Life.Type = { shards: 3, backpressure: "suspend", maxProducers: 10, fates: [], calls: [] }
        for (const life of [...lives, last]) {
          const before = store.events.length
          fates = life.fates
          call = 0
          const { bus, close } = yield* open({
            shards: life.shards,
            backpressure: life.backpressure,
            maxProducers: life.maxProducers,
            capacity: 1024,
            capacityBytes: 1500,
            retries: 1,
            adapterTimeout: "2 seconds",
            batch: { minSize: 1, maxSize: 15 }
          }, store)
          const sender = (name: string) =>
            Effect.gen(function*() {
              for (const { patient, size } of life.calls) {
                const from = yield* bus.lastSequence(name)
                const sent = events.get(name)!.slice(from, from + size)
                if (sent.length === 0) continue
                const options = { producer: { name, sequence: from + 1 }, until: "durable" } as const
                // The same again, side by side: a sender that did not wait for its answer.
                const twin = yield* Effect.forkChild(Effect.exit(bus.publishAllRaw(sent, options)))
                const calls = bus.publishAllRaw(sent, options)
                const exit = yield* Effect.exit(patient ? calls : Effect.timeout(calls, "3 millis"))
                if (Exit.isSuccess(exit) && exit.value.rejected === 0) {
                  const there = new Set(store.texts)
                  assert.isTrue(sent.every((text) => there.has(text)), "acknowledged and not stored")
                }
                yield* patient ? Fiber.await(twin) : Fiber.interrupt(twin)
              }
            })
          const senders = yield* Effect.forEach(names, (name) => Effect.forkChild(sender(name)))
          for (let i = 0; i < 200 && senders.some((fiber) => fiber.pollUnsafe() === undefined); i++) {
            yield* TestClock.adjust("1 second")
          }
          for (const fiber of senders) {
            assert.isDefined(fiber.pollUnsafe(), "a sender hangs")
            yield* Fiber.join(fiber)
          }
          if (life === last) {
            for (const name of names) {
              const rest = yield* Effect.forkChild(
                bus.publishAllRaw(events.get(name)!, { producer: { name, sequence: 1 }, until: "durable" })
              )
              yield* TestClock.adjust("10 seconds")
              yield* Fiber.join(rest)
              assert.strictEqual(yield* bus.lastSequence(name), total)
            }
          }
          const closing = yield* Effect.forkChild(close)
          yield* TestClock.adjust("2 minutes")
          yield* Fiber.join(closing)
          const stats = yield* bus.stats
          assert.strictEqual(stats.pending, 0)
          const order = new Map<string, number>()
          for (const { shard, text } of store.events.slice(before)) {
            const { i, of } = JSON.parse(text) as { readonly of: string; readonly i: number }
            assert.isAbove(i, order.get(`${of} ${shard}`) ?? -1, "out of order")
            order.set(`${of} ${shard}`, i)
          }
        }
        assert.strictEqual(store.texts.length, names.length * total)
        assert.deepStrictEqual(store.texts.toSorted(), [...events.values()].flat().toSorted())
      }),
    { arbitrary: { runs: 60 } }
  )
})
