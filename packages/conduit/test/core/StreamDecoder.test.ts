import { assert, describe, it } from "@effect/vitest"
import { encode, StreamDecoder } from "../../src/core/StreamDecoder.ts"
import { hex, seeded } from "../support.ts"

const collect = (decoder: StreamDecoder, chunk: Uint8Array, into: Array<string>) =>
  decoder.push(chunk, 0, chunk.length, true, {
    payload: (bytes, offset, length) => {
      into.push(hex(bytes.subarray(offset, offset + length)))
    }
  })

describe("StreamDecoder", () => {
  it.each(Array.from({ length: 100 }, (_, seed) => seed))(
    "cuts the same payloads however input is split (%i)",
    (seed) => {
      const random = seeded(seed)
      const payloads = Array.from(
        { length: 30 },
        () => random.bytes(random.below(8) === 0 ? random.below(5000) : random.below(12))
      )
      const stream = Uint8Array.from(payloads.flatMap((payload) => [...encode(payload)]))
      const decoder = new StreamDecoder(5000)
      const seen: Array<string> = []
      for (let at = 0; at < stream.length;) {
        const step = 1 + random.below(random.below(3) === 0 ? 3000 : 7)
        assert.isUndefined(collect(decoder, stream.slice(at, at + step), seen))
        at += step
      }
      assert.deepStrictEqual(seen, payloads.map(hex))
      assert.isUndefined(decoder.finish())
    }
  )
  it("[oversize-prefix] refuses an announced length over the limit without allocating for it", () => {
    for (const split of [1, 2, 3, 4]) {
      const decoder = new StreamDecoder(1024)
      const prefix = Uint8Array.of(0xff, 0xff, 0xff, 0xff, 1, 2, 3)
      const first = collect(decoder, prefix.subarray(0, split), [])
      assert.strictEqual(first ?? collect(decoder, prefix.subarray(split), []), "PayloadTooLarge")
      assert.isAtMost(decoder.pending, 8)
    }
  })
  it("[partial-prefix] tells a cut inside a prefix from one inside a payload", () => {
    const decoder = new StreamDecoder(1024)
    collect(decoder, Uint8Array.of(5, 0), [])
    assert.strictEqual(decoder.finish(), "PartialPrefix")
    collect(decoder, Uint8Array.of(0, 0, 1), [])
    assert.strictEqual(decoder.finish(), "PartialPayload")
  })
  it("grows with the data of a large payload, not with its prefix", () => {
    const decoder = new StreamDecoder(0x4000_0000)
    collect(decoder, Uint8Array.of(0, 0, 0, 0x40, 1, 2, 3), [])
    assert.strictEqual(decoder.pending, 7)
  })
})
