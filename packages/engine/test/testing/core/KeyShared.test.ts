import { Metadata } from "@perigee/proto/wire"
import { assert, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import type { Consumer } from "../../../src/testing/core/Consumer.ts"
import { isFailure } from "../../../src/testing/core/Failure.ts"
import { Log } from "../../../src/testing/core/Log.ts"
import type { Delivery, Outlet } from "../../../src/testing/core/Outlet.ts"
import { Subscription, type SubscriptionType } from "../../../src/testing/core/Subscription.ts"

const KEYS = 4

const Step = Schema.Union([
  Schema.TaggedStruct("Publish", { key: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: KEYS - 1 })) }),
  Schema.TaggedStruct("Join", {}),
  Schema.TaggedStruct("Leave", { who: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 5 })) }),
  Schema.TaggedStruct("Flow", {
    who: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 5 })),
    permits: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 3 }))
  }),
  Schema.TaggedStruct("Ack", { which: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 9 })) }),
  Schema.TaggedStruct("Redeliver", { who: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 5 })) })
])

/** One subscription, and what its consumers hold. */
class World {
  readonly log = new Log({ maxEntries: 1000, maxBytes: 1_000_000 }, 0)
  readonly subscription: Subscription
  readonly consumers: Array<Consumer> = []
  /** Deliveries in order: consumer and entry. */
  readonly sent: Array<{ readonly consumer: number; readonly index: number; readonly key: number }> = []
  #ids = 0

  readonly type: SubscriptionType

  constructor(type: SubscriptionType) {
    this.type = type
    this.subscription = new Subscription({
      name: "s",
      log: this.log,
      topic: "t",
      partition: -1,
      durable: true,
      from: 0,
      maxUnacked: 100,
      properties: [],
      onDelayed: () => {}
    })
  }

  publish(key: number): void {
    const metadata = { ...Metadata.empty(), partitionKey: `k${key}` }
    this.log.append({ section: new Uint8Array(1), metadata, messages: 1, key: Uint8Array.of(key), storedAt: 0 })
  }

  join(): void {
    const outlet: Outlet = {
      writable: true,
      deliver: ({ consumerId, entry }: Delivery) =>
        this.sent.push({ consumer: consumerId, index: entry.index, key: entry.key![0]! }),
      activeChange: () => {},
      endOfTopic: () => {},
      closeConsumer: () => {},
      closeProducer: () => {},
      fenceProducer: () => {},
      migrated: () => {}
    }
    const id = this.#ids++
    const consumer = this.subscription.attach(this.type, {
      id,
      name: `c${id}`,
      outlet,
      priority: 0,
      ranges: undefined,
      allowOutOfOrder: false,
      epoch: undefined,
      properties: []
    })
    if (isFailure(consumer)) throw new Error(consumer.message)
    this.consumers.push(consumer)
  }

  play(steps: ReadonlyArray<typeof Step.Type>, check: () => void): void {
    for (const step of steps) {
      const who = "who" in step ? this.consumers[step.who % Math.max(this.consumers.length, 1)] : undefined
      if (step._tag === "Publish") this.publish(step.key)
      else if (step._tag === "Join" && this.consumers.length < 6) this.join()
      else if (step._tag === "Flow" && who !== undefined) who.permits += step.permits
      else if (step._tag === "Leave" && who !== undefined) {
        this.consumers.splice(this.consumers.indexOf(who), 1)
        this.subscription.detach(who)
      } else if (step._tag === "Redeliver" && who !== undefined) this.subscription.redeliver(who, undefined)
      else if (step._tag === "Ack") {
        const held = this.consumers.flatMap(({ pending }) => [...pending.keys()])
        const index = held[step.which % Math.max(held.length, 1)]
        if (index !== undefined) this.subscription.acknowledge(index, undefined)
      }
      this.subscription.dispatch(0)
      check()
    }
  }

  /** Lets everyone work until nothing is left. */
  drain(): void {
    if (this.consumers.length === 0) this.join()
    for (let round = 0; round < 2000 && this.subscription.backlog > 0; round++) {
      for (const consumer of this.consumers) {
        consumer.permits = 10
        for (const index of consumer.pending.keys()) this.subscription.acknowledge(index, undefined)
      }
      this.subscription.dispatch(0)
    }
  }
}

it.effect.prop("Key_Shared holds a key's entries at one consumer at a time, in order, and loses none", {
  steps: Schema.Array(Step)
}, ({ steps }) =>
  Effect.sync(() => {
    const world = new World("Key_Shared")
    let seen = 0
    world.play(steps, () => {
      for (let key = 0; key < KEYS; key++) {
        const holders = world.consumers.filter(({ pending }) =>
          [...pending.keys()].some((index) => world.log.get(index)!.key![0] === key)
        )
        assert.isAtMost(holders.length, 1, `key ${key} is held by ${holders.map(({ name }) => name).join()}`)
      }
      // An entry goes out only when all older ones of its key are out or settled.
      for (const { index, key } of world.sent.slice(seen)) {
        for (const older of world.log.from(0)) {
          if (older.index >= index || older.key![0] !== key || world.subscription.cursor.isAcked(older.index)) continue
          const held = world.consumers.some(({ pending }) => pending.has(older.index))
          assert.isTrue(held, `entry ${index} overtook ${older.index}`)
        }
      }
      seen = world.sent.length
    })
    world.drain()
    assert.strictEqual(world.subscription.backlog, 0)
    assert.strictEqual(new Set(world.sent.map(({ index }) => index)).size, world.log.end)
  }), { arbitrary: { runs: 300, size: 60 } })

it.effect.prop(
  "Shared sends an entry to one consumer at a time and loses none; permits are never overdrawn by single messages",
  {
    steps: Schema.Array(Step)
  },
  ({ steps }) =>
    Effect.sync(() => {
      const world = new World("Shared")
      world.play(steps, () => {
        const held = world.consumers.flatMap(({ pending }) => [...pending.keys()])
        assert.strictEqual(new Set(held).size, held.length)
        for (const { permits } of world.consumers) assert.isAtLeast(permits, 0)
      })
      world.drain()
      assert.strictEqual(world.subscription.backlog, 0)
      assert.strictEqual(new Set(world.sent.map(({ index }) => index)).size, world.log.end)
    }),
  { arbitrary: { runs: 300, size: 60 } }
)

it.effect.prop("Failover sends to the active consumer only, each time from the first entry that is open", {
  steps: Schema.Array(Step)
}, ({ steps }) =>
  Effect.sync(() => {
    const world = new World("Failover")
    world.play(steps, () => {
      const holders = world.consumers.filter(({ pending }) => pending.size > 0)
      assert.isAtMost(holders.length, 1)
    })
    world.drain()
    assert.strictEqual(world.subscription.backlog, 0)
    assert.strictEqual(new Set(world.sent.map(({ index }) => index)).size, world.log.end)
  }), { arbitrary: { runs: 300, size: 60 } })
