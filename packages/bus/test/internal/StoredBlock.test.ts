import { assert, describe, it } from "@effect/vitest"
import { batch, type Plan } from "../../src/conformance/Batches.ts"
import { dedupId, forEach } from "../../src/Batch.ts"
import type { StoredEvent } from "../../src/Event.ts"
import { hash } from "../../src/core/XxHash3.ts"
import { Block, BlockError, encode, isIntact, seal } from "../../src/internal/StoredBlock.ts"
import { Prng } from "../utils/prng.ts"

const plan = (random: Prng): Plan => {
  const count = random.int(1, 40)
  const cuts = random.chance(0.5) ? [] : [random.int(1, count + 1)].filter((cut) => cut < count)
  return {
    shard: random.int(0, 65_535),
    nonce: (BigInt(random.uint32()) << 32n) | BigInt(random.uint32()) || 1n,
    sequenceStart: random.int(0, 1_000_000) * 1_000_000,
    payloads: Array.from({ length: count }, () => random.bytes(random.int(0, 60))),
    channels: random.chance(0.5)
      ? undefined
      : Array.from({ length: count }, () => random.pick(["", "a", "b", "überschrift", "c".repeat(255)])),
    segments: cuts
  }
}

const events = (blocks: ReadonlyArray<Uint8Array<ArrayBuffer>>, shard: number): ReadonlyArray<StoredEvent> => {
  const out: Array<StoredEvent> = []
  for (const bytes of blocks) {
    const block = new Block(bytes, shard, out.length + 1)
    block.collect(out, 0, Infinity)
  }
  return out
}

const packed = (seed: number, maxBytes = 1_000_000) => {
  const source = batch(plan(new Prng(seed)))
  return { source, blocks: encode(source, maxBytes).map(({ buffer, length }) => new Uint8Array(buffer, 0, length)) }
}

describe("StoredBlock", () => {
  it("gives back every member of every event, however the batch was cut", () => {
    for (let seed = 0; seed < 500; seed++) {
      const { blocks, source } = packed(seed, seed % 2 === 0 ? 1_000_000 : 100)
      const out = events(blocks, source.shard)
      assert.strictEqual(out.length, source.count)
      forEach(source, (payload, ts, channel, index) => {
        const event = out[index]!
        assert.deepStrictEqual(
          [event.id, event.shard, event.insertionTs, event.channel, event.dedupId],
          [
            String(index + 1),
            source.shard,
            ts,
            channel,
            dedupId(source.nonce, source.shard, source.sequenceStart, index)
          ]
        )
        assert.deepStrictEqual(event.raw, payload.slice())
      })
      if (seed % 2 === 1) { for (const block of blocks) assert.isBelow(new Block(block, 0, 1).raw(0).length, 101) }
    }
  })

  it("reads a block at any place in a buffer", () => {
    const { blocks } = packed(3)
    const [block] = blocks
    const moved = new Uint8Array(block!.length + 20)
    for (let offset = 0; offset < 17; offset++) {
      moved.set(block!, offset)
      const read = new Block(moved.subarray(offset, offset + block!.length), 0, 1)
      assert.deepStrictEqual(read.raw(0), new Block(block!, 0, 1).raw(0).slice())
    }
  })

  it("collects from any position up to any limit", () => {
    const source = batch({ payloads: Array.from({ length: 10 }, (_, i) => String(i)) })
    const [encoded] = encode(source, 1_000_000)
    const block = new Block(new Uint8Array(encoded!.buffer), 0, 100)
    for (
      const [from, limit, ids] of [[0, 2, ["100", "101"]], [105, 3, ["105", "106", "107"]], [108, 9, ["108", "109"]], [
        110,
        5,
        []
      ]] as const
    ) {
      const out: Array<StoredEvent> = []
      block.collect(out, from, limit)
      assert.deepStrictEqual(out.map(({ id }) => id), [...ids])
    }
  })

  it("finds every changed bit by its checksum", () => {
    const { blocks } = packed(7)
    const [block] = blocks
    seal(block!, hash)
    assert.isTrue(isIntact(block!, hash))
    for (let at = 8; at < block!.length; at++) {
      block![at]! ^= 1 << (at % 8)
      assert.isFalse(isIntact(block!, hash), `byte ${at}`)
      block![at]! ^= 1 << (at % 8)
    }
    assert.isFalse(isIntact(new Uint8Array(10), hash))
  })

  it("refuses damaged blocks with BlockError or reads within their bytes, without allocating by what they claim", () => {
    let refused = 0
    for (let seed = 0; seed < 8000; seed++) {
      const random = new Prng(seed)
      const { blocks } = packed(seed % 50)
      let bytes = blocks[0]!.slice()
      const kind = random.int(0, 4)
      if (kind === 0) bytes = bytes.slice(0, random.int(0, bytes.length))
      else if (kind === 1) bytes = random.bytes(random.int(0, 200))
      else {for (let i = random.int(1, 4); i > 0; i--) {
          bytes[random.int(0, Math.min(bytes.length, kind === 2 ? 60 : bytes.length))] = random.uint32() & 0xff
        }}
      try {
        for (const event of events([bytes], 0)) {
          assert.isAtMost(event.raw.length, bytes.length)
          assert.isString(event.dedupId)
          assert.isTrue(event.channel === null || typeof event.channel === "string")
          assert.strictEqual(typeof event.insertionTs, "bigint")
        }
      } catch (cause) {
        if (!(cause instanceof BlockError)) throw cause
        refused++
      }
    }
    assert.isAbove(refused, 3000)
  })

  it("refuses a channel name beyond 255 bytes", () => {
    assert.throws(() => encode(batch({ payloads: ["a"], channels: ["é".repeat(128)] }), 1000), BlockError)
  })
})
