import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import type { ProducerMark } from "../../src/Batch.ts"
import { Producer, Producers, storedPrefix } from "../../src/core/Producers.ts"

const never = () => 0

describe("Producer", () => {
  it("starts at 1, refuses gaps, accepts going back", () => {
    const producer = new Producer("p", 4, [])
    assert.isFalse(producer.begin(2))
    assert.isTrue(producer.begin(1))
    producer.accept(1, 0)
    producer.accept(2, 3)
    assert.isFalse(producer.begin(4))
    assert.isTrue(producer.begin(3))
    assert.isTrue(producer.begin(1))
    assert.isTrue(producer.isDuplicate(1, 0, never))
    assert.isTrue(producer.isDuplicate(2, 3, never))
    assert.isFalse(producer.isDuplicate(3, 0, never))
  })

  it("its prefix ends before the first event that is not stored", () => {
    const producer = new Producer("p", 2, [])
    producer.begin(1)
    for (let i = 1; i <= 6; i++) producer.accept(i, i % 2)
    assert.strictEqual(producer.prefix, 0)
    producer.stored(5, 1)
    assert.strictEqual(producer.prefix, 0)
    producer.stored(2, 0)
    assert.strictEqual(producer.prefix, 2)
    producer.stored(6, 0)
    assert.strictEqual(producer.prefix, 6)
    assert.isFalse(producer.isBusy)
  })

  it("what is stored with a batch counts the batch itself", () => {
    const producer = new Producer("p", 2, [])
    producer.begin(1)
    for (let i = 1; i <= 4; i++) producer.accept(i, 0)
    assert.strictEqual(storedPrefix(producer.marksAt(4, 0)), 4)
    producer.accept(5, 1)
    assert.strictEqual(storedPrefix(producer.marksAt(4, 0)), 0)
  })

  it("after a loss it is broken, and what was accepted behind the loss is stale", () => {
    const producer = new Producer("p", 2, [])
    producer.begin(1)
    const lease = producer.accept(1, 0)
    producer.accept(2, 1)
    producer.stored(2, 1)
    producer.lost(0)
    assert.isTrue(lease.stale)
    assert.isTrue(producer.broken)
    const marks: ReadonlyArray<ProducerMark> = [{ producer: "p", shards: 2, shard: 1, sequence: 2 }]
    const again = new Producer("p", 2, marks, producer)
    assert.isFalse(again.begin(3))
    assert.isTrue(again.begin(1))
    assert.isFalse(again.isDuplicate(1, 0, never))
    assert.isTrue(again.isDuplicate(2, 1, never))
  })

  it("forgets idle ones first, and keeps busy ones", () => {
    const producers = new Producers(2)
    const [a, b, c] = ["a", "b", "c"].map((name) => new Producer(name, 1, []))
    a!.begin(1)
    a!.accept(1, 0)
    producers.add(a!)
    producers.add(b!)
    producers.add(c!)
    assert.deepStrictEqual([producers.peek("a"), producers.peek("b"), producers.peek("c")], [a, undefined, c])
  })

  // A life of a producer: it sends, shards store in their own time, the process dies, the shard count may change, it resends from its acknowledgements.
  const Step = Schema.Struct({
    send: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 12 })),
    store: Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 6 }))).check(Schema.isMaxLength(5)),
    crash: Schema.Boolean,
    shards: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 5 })),
    resend: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 5 }))
  })
  const route = (sequence: number, shards: number) => ((sequence * 2654435761) >>> 7) % shards

  it.prop("stores every event once over crashes and changes of the shard count", {
    steps: Schema.Array(Step).check(Schema.isMaxLength(30))
  }, ({ steps }) => {
    const marks = new Map<string, ProducerMark>()
    const storedEvents: Array<number> = []
    let shards = 3
    let producer = new Producer("p", shards, [])
    let queues: Array<Array<number>> = Array.from({ length: shards }, () => [])
    let acknowledged = 0
    const storeFrom = (shard: number, count: number) => {
      const taken = queues[shard]!.splice(0, count)
      if (taken.length === 0) return
      const last = taken.at(-1)!
      for (const mark of producer.marksAt(last, shard)) marks.set(`${mark.shards} ${mark.shard}`, mark)
      storedEvents.push(...taken)
      producer.stored(last, shard)
    }
    const send = (from: number, count: number) => {
      assert.isTrue(producer.begin(from))
      for (let sequence = from; sequence < from + count; sequence++) {
        const shard = route(sequence, shards)
        if (producer.isDuplicate(sequence, shard, (n) => route(sequence, n))) producer.skip(sequence)
        else {
          producer.accept(sequence, shard)
          queues[shard]!.push(sequence)
        }
      }
    }
    for (const step of steps) {
      send(Math.max(1, acknowledged + 1 - step.resend), step.send + step.resend)
      step.store.forEach((count, shard) => shard < shards && storeFrom(shard, count))
      acknowledged = Math.max(acknowledged, producer.prefix)
      if (step.crash) {
        shards = step.shards
        producer = new Producer("p", shards, [...marks.values()])
        queues = Array.from({ length: shards }, () => [])
        const there = new Set(storedEvents)
        for (let i = 1; i <= storedPrefix([...marks.values()]); i++) assert.isTrue(there.has(i))
      }
    }
    send(acknowledged + 1, 20)
    for (let shard = 0; shard < shards; shard++) storeFrom(shard, Number.POSITIVE_INFINITY)
    assert.strictEqual(producer.prefix, acknowledged + 20)
    assert.deepStrictEqual(
      storedEvents.toSorted((a, b) => a - b),
      Array.from({ length: acknowledged + 20 }, (_, i) => i + 1)
    )
  }, { arbitrary: { runs: 500 } })
})

describe("Producers", () => {
  const named = (name: string) => new Producer(name, 1, [])
  /** Has an event under way. */
  const busy = (name: string) => {
    const producer = named(name)
    producer.begin(1)
    producer.accept(1, 0)
    return producer
  }

  it("remembers as many as its limit: the one not used for longest is forgotten", () => {
    const producers = new Producers(2)
    const first = named("a")
    producers.add(first)
    const second = named("b")
    producers.add(second)
    producers.get("a")
    producers.add(named("c"))
    assert.isTrue(second.forgotten)
    assert.isFalse(first.forgotten)
    assert.isUndefined(producers.peek("b"))
  })

  it("keeps whoever has events under way, beyond its limit if need be, and shrinks once they have landed", () => {
    const producers = new Producers(2)
    const all = ["a", "b", "c"].map(busy)
    for (const producer of all) producers.add(producer)
    assert.deepStrictEqual(all.map(({ forgotten }) => forgotten), [false, false, false])
    for (const producer of all) producer.stored(1, 0)
    producers.add(named("d"))
    assert.deepStrictEqual(all.map(({ forgotten }) => forgotten), [true, true, false])
  })

  it("forgets one with a gap to close last: the store does not know of the gap", () => {
    const producers = new Producers(2)
    const broken = busy("a")
    broken.lost(0)
    producers.add(broken)
    const idle = named("b")
    producers.add(idle)
    producers.add(named("c"))
    assert.isTrue(idle.forgotten)
    assert.isFalse(broken.forgotten)
    producers.add(busy("d"))
    producers.add(busy("e"))
    assert.isTrue(broken.forgotten)
  })
})
