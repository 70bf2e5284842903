import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { insertionTs } from "../../src/Batch.ts"
import { BLOCK_BYTES, BLOCK_EVENTS, BlockPool, type Lease } from "../../src/core/Block.ts"
import { Ring } from "../../src/core/Ring.ts"

const bytes = (...values: ReadonlyArray<number>) => new Uint8Array(values)
const make = (capacity: number, maxBytes = 1 << 20) => new Ring(capacity, maxBytes, new BlockPool(8))
const push = (ring: Ring, value: number): boolean => {
  if (!ring.accepts(1)) return false
  ring.push(bytes(value), 0, 1, 1000, 0, 0)
  return true
}
const fill = (ring: Ring, ...values: ReadonlyArray<number>) => values.map((value) => push(ring, value))
const pop = (ring: Ring) => ring.pop()?.[0]
const drain = (ring: Ring, max = Number.POSITIVE_INFINITY) => {
  const out: Array<Uint8Array<ArrayBuffer>> = []
  ring.popInto(out, max)
  return out.map((payload) => payload[0])
}

describe("Ring", () => {
  it("R01 R14 R15 uses all but one slot", () => {
    const ring = make(4)
    assert.deepStrictEqual(fill(ring, 1, 2, 3, 4), [true, true, true, false])
    assert.isTrue(ring.isFull)
    assert.deepStrictEqual([pop(ring), pop(ring), pop(ring), pop(ring)], [1, 2, 3, undefined])
    const eight = make(8)
    assert.strictEqual(eight.freeSlots, 7)
    push(eight, 1)
    assert.strictEqual(eight.freeSlots, 6)
    fill(eight, 2, 3)
    assert.strictEqual(eight.freeSlots, 4)
    assert.isFalse(eight.isFull)
  })

  it("R02 R03 R16 pops batches after what is there already", () => {
    const ring = make(8)
    fill(ring, 0, 1, 2, 3, 4)
    assert.deepStrictEqual(drain(ring, 3), [0, 1, 2])
    const scratch = [bytes(9)]
    assert.strictEqual(ring.popInto(scratch, 10), 2)
    assert.deepStrictEqual(scratch.map((payload) => payload[0]), [9, 3, 4])
    assert.strictEqual(ring.popInto(scratch, 10), 0)
    assert.strictEqual(ring.cut(10).count, 0)
  })

  it("R04 R05 R07 keeps the order over many rounds at the boundary", () => {
    const ring = make(4)
    for (let round = 0; round < 100; round++) {
      assert.deepStrictEqual(fill(ring, 1, 2, 3, 4), [true, true, true, false])
      assert.deepStrictEqual(drain(ring), [1, 2, 3])
    }
  })

  it("R06 is exact: full, one out, one in, full", () => {
    const ring = make(4)
    fill(ring, 1, 2, 3)
    assert.strictEqual(pop(ring), 1)
    assert.deepStrictEqual(fill(ring, 4, 5), [true, false])
    assert.deepStrictEqual(drain(ring), [2, 3, 4])
  })

  it("R08 R09 wants a power of two of at least 2", () => {
    for (const capacity of [5, 1, 0, -2, 2.5]) assert.throws(() => make(capacity), RangeError)
  })

  it("holds its byte limit, but takes any single event", () => {
    const ring = make(16, 10)
    assert.isTrue(ring.accepts(100))
    ring.push(new Uint8Array(9), 0, 9, 0, 0, 0)
    assert.isTrue(ring.accepts(1))
    assert.isFalse(ring.accepts(2))
    ring.evict()
    assert.strictEqual(ring.byteLength, 0)
  })

  it("a cut is a view that stays intact until it is released, whatever is pushed meanwhile", () => {
    const ring = make(1 << 16)
    const payload = (i: number) => Uint8Array.from({ length: 1 + i % 300 }, (_, j) => (i + j) & 255)
    const push = (i: number) => {
      const event = payload(i)
      ring.push(event, 0, event.length, 1000 + i, i % 7, i % 3)
    }
    for (let i = 0; i < 5000; i++) push(i)
    const cut = ring.cut(3000)
    for (let i = 5000; i < 20_000; i++) push(i)
    while (!ring.isEmpty) ring.release(ring.cut(1000), false)
    for (let i = 0; i < 5000; i++) push(i)
    let i = 0
    for (const segment of cut.segments) {
      let from = segment.start
      for (let k = 0; k < segment.count; k++, i++) {
        assert.deepStrictEqual(segment.bytes.subarray(from, segment.ends[k]!), payload(i))
        assert.strictEqual(insertionTs(segment.baseMillis, segment.deltas[k]!), BigInt((1000 + i) * 1e6 + i % 7))
        assert.strictEqual(segment.channels?.[k] ?? 0, i % 3)
        from = segment.ends[k]!
      }
    }
    assert.strictEqual(i, 3000)
    ring.release(cut, false)
  })

  it("leaves stale events out of a cut and reports the last sequence of the others", () => {
    const ring = make(64)
    const lost: Lease = { producer: "p", stale: false }
    const kept: Lease = { producer: "q", stale: false }
    for (let i = 1; i <= 6; i++) {
      push(ring, i)
      if (i % 3 === 1) ring.tag(lost, i)
      if (i % 3 === 2) ring.tag(kept, i * 10)
    }
    lost.stale = true
    const cut = ring.cut(10)
    assert.deepStrictEqual([cut.taken, cut.count, cut.stale], [6, 4, [0, 3]])
    assert.deepStrictEqual([...cut.marks], [[kept, 50]])
    const values = cut.segments.flatMap((
      segment
    ) => [...segment.bytes.subarray(segment.start, segment.ends[segment.count - 1]!)])
    assert.deepStrictEqual(values, [2, 3, 5, 6])
  })

  it("uses drained blocks again, but not those that an abandoned call may still be reading", () => {
    const pool = new BlockPool(8)
    const ring = new Ring(1 << 20, 1 << 30, pool)
    const event = new Uint8Array(1000)
    const cycle = (abandoned: boolean) => {
      for (let i = 0; i < 2000; i++) ring.push(event, 0, 1000, 0, 0, 0)
      const cut = ring.cut(2000)
      const buffers = cut.segments.map((segment) => segment.bytes)
      ring.release(cut, abandoned)
      return new Set(buffers)
    }
    cycle(false)
    const first = cycle(true)
    const second = cycle(false)
    assert.strictEqual([...first].filter((block) => second.has(block)).length, 0)
    const third = cycle(false)
    assert.isAbove([...second].filter((block) => third.has(block)).length, 5)
  })

  it("starts a new block for many tiny events, for a large one and after 52 days", () => {
    const ring = make(1 << 16, 1 << 26)
    for (let i = 0; i < BLOCK_EVENTS + 1; i++) push(ring, 1)
    ring.push(new Uint8Array(BLOCK_BYTES * 2), 0, BLOCK_BYTES * 2, 1000, 0, 0)
    ring.push(bytes(1), 0, 1, 1000 + 53 * 86_400_000, 999_999, 0)
    const cut = ring.cut(1 << 16)
    const last = cut.segments.at(-1)!
    assert.strictEqual(last.baseMillis * 1e6 + last.deltas[0]!, (1000 + 53 * 86_400_000) * 1e6 + 999_999)
    assert.strictEqual(cut.count, BLOCK_EVENTS + 3)
  })

  const Operation = Schema.Struct({
    kind: Schema.Literals(["push", "pop", "evict", "cut"]),
    size: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 40 }))
  })

  it.prop(
    "agrees with an array",
    { operations: Schema.Array(Operation).check(Schema.isMaxLength(200)) },
    ({ operations }) => {
      const ring = make(16, 200)
      const model: Array<ReadonlyArray<number>> = []
      let next = 0
      for (const { kind, size } of operations) {
        const total = model.reduce((sum, event) => sum + event.length, 0)
        if (kind === "push") {
          const event = Array.from({ length: size }, () => next++ & 255)
          const fits = model.length < 15 && (total + size <= 200 || model.length === 0)
          assert.strictEqual(ring.accepts(size), fits)
          if (fits) {
            ring.push(Uint8Array.from(event), 0, size, 1, 0, 0)
            model.push(event)
          }
        } else if (kind === "pop") {
          assert.deepStrictEqual(ring.pop()?.length, model.shift()?.length)
        } else if (kind === "evict") {
          assert.strictEqual(ring.evict(), model.shift() !== undefined)
        } else {
          const cut = ring.cut(size)
          const events = cut.segments.flatMap((segment) =>
            Array.from({ length: segment.count }, (_, i) => [
              ...segment.bytes.subarray(i === 0 ? segment.start : segment.ends[i - 1]!, segment.ends[i]!)
            ])
          )
          assert.deepStrictEqual(events, model.splice(0, size).map((event) => [...event]))
          ring.release(cut, false)
        }
        let inTheWay = 0
        const sizes = model.map((event) => event.length)
        while (sizes.length >= 15 || sizes.length > 0 && sizes.reduce((sum, length) => sum + length, 0) + size > 200) {
          sizes.shift()
          inTheWay++
        }
        assert.strictEqual(ring.inTheWayOf(size), inTheWay)
        assert.strictEqual(ring.length, model.length)
        assert.strictEqual(ring.byteLength, model.reduce((sum, event) => sum + event.length, 0))
      }
    },
    { arbitrary: { runs: 300 } }
  )
})
