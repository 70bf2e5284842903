import { assert, describe, it } from "@effect/vitest"
import { Staging } from "../../src/core/Staging.ts"
import { hash, shardOf } from "../../src/core/XxHash3.ts"
import { Prng } from "../utils/prng.ts"
import { slowHash } from "../utils/xxh3.ts"

const vectors: ReadonlyArray<readonly [text: string, hash: string, shards: ReadonlyArray<number>]> = [
  ["", "2d06800538d394c2", [0, 0, 0, 1, 2]],
  ["a", "e6c632b61e964e1f", [1, 2, 3, 7, 14]],
  ["{\"i\":0}", "15d9454e60f57c72", [0, 0, 0, 0, 1]],
  ["{\"i\":1}", "521eb1ba05eb1622", [0, 0, 1, 2, 5]],
  ["{\"key\":\"value\"}", "673fcac4cba506cf", [0, 1, 1, 3, 6]],
  ["{\"token\":\"hello\",\"index\":42}", "6743f379b54f588f", [0, 1, 1, 3, 6]],
  ["{\"index\":42,\"token\":\"hello\"}", "6da3448234c4a2de", [0, 1, 1, 3, 6]],
  ["null", "b785b6ec423c44e1", [1, 2, 2, 5, 11]],
  ["x".repeat(17), "89975e6b7d2f5a11", [1, 1, 2, 4, 8]],
  ["y".repeat(129), "ed2ac973732f0769", [1, 2, 3, 7, 14]],
  ["z".repeat(241), "c9b6e99de4449036", [1, 2, 3, 6, 12]],
  ["w".repeat(1025), "9ab3811b25e43ecd", [1, 1, 2, 4, 9]]
]

describe("XxHash3", () => {
  it("gives the published vectors and their shards", () => {
    const staging = new Staging()
    for (const [text, hex, shards] of vectors) {
      assert.strictEqual(hash(text).toString(16).padStart(16, "0"), hex, text)
      const length = staging.stageString(text)
      assert.strictEqual(staging.hash(length), hash(text))
      for (const [i, n] of [2, 3, 4, 8, 16].entries()) {
        assert.strictEqual(shardOf(hash(text), n), shards[i])
        assert.strictEqual(staging.route(length, n), shards[i])
      }
    }
  })

  it("agrees with a plain implementation at every length up to 1,100 and around block ends", () => {
    const bytes = new Prng(1).bytes(70_000)
    const lengths = Array.from({ length: 1101 }, (_, i) => i)
    for (const block of [2048, 3072, 16_384, 65_536]) for (let d = -65; d <= 65; d += 1) lengths.push(block + d)
    for (const length of lengths) {
      // Unaligned on purpose.
      const input = bytes.subarray(length % 7, length % 7 + length)
      assert.strictEqual(hash(input), slowHash(input), `length ${length}`)
    }
  })

  it("hashes inputs beyond the memory it keeps", () => {
    const bytes = new Prng(2).bytes(1_500_000)
    assert.strictEqual(hash(bytes), slowHash(bytes))
    assert.strictEqual(hash("a").toString(16), "e6c632b61e964e1f")
  })

  it("multiplies out to the same shard as 128-bit arithmetic", () => {
    const staging = new Staging()
    const random = new Prng(3)
    for (let i = 0; i < 2000; i++) {
      const length = staging.stageBytes(random.bytes(random.int(0, 64)))
      const shards = random.pick([1, 2, 3, 7, 16, 1000, 65_535])
      const shard = staging.route(length, shards)
      assert.strictEqual(shard, shardOf(staging.hash(length), shards))
      assert.isBelow(shard, shards)
    }
    assert.strictEqual(shardOf(0xffffffffffffffffn, 0), 0)
  })
})

describe("Staging", () => {
  it("stages texts as their UTF-8, lone surrogates replaced", () => {
    const staging = new Staging()
    for (
      const text of ["", "plain", "é€", "日本語", "😀😀", "\ud800", "a\udc00b", "x".repeat(70_000), "é".repeat(50_000)]
    ) {
      const length = staging.stageString(text)
      assert.deepStrictEqual(Buffer.from(staging.staging.subarray(0, length)), Buffer.from(text), text.slice(0, 10))
    }
  })

  it("grows up to the largest payload and refuses what is larger", () => {
    const staging = new Staging({ maxBytes: 300_000 })
    const random = new Prng(4)
    for (const length of [10, 65_000, 300_000, 20]) {
      const bytes = random.bytes(length)
      assert.strictEqual(staging.stageBytes(bytes), length)
      assert.deepStrictEqual(staging.staging.slice(0, length), bytes)
      assert.strictEqual(staging.hash(length), slowHash(bytes))
    }
    const kept = staging.staging.slice(0, 20)
    assert.strictEqual(staging.stageBytes(new Uint8Array(300_001)), 300_001)
    assert.strictEqual(staging.stageString("é".repeat(150_001)), 300_002)
    assert.deepStrictEqual(staging.staging.slice(0, 20), kept)
    assert.strictEqual(staging.stageString("é".repeat(150_000)), 300_000)
  })

  it("measures a refused text exactly", () => {
    const staging = new Staging({ maxBytes: 8 })
    for (const text of ["123456789", "ééééé", "日本語日", "😀😀😀", "\ud800\ud800\ud800", "ab\udc00\ud800cde"]) {
      const length = staging.stageString(text)
      assert.strictEqual(length, Buffer.byteLength(text), text)
      assert.isAbove(length, 8)
    }
  })

  it("refuses limits that are out of range", () => {
    for (const maxBytes of [0, -1, 1.5, 67_108_865, Number.NaN]) {
      assert.throws(() => new Staging({ maxBytes }), RangeError)
    }
    for (const maxDepth of [0, 4097]) assert.throws(() => new Staging({ maxDepth }), RangeError)
  })
})
