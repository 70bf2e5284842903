import { assert, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
import * as Crc32c from "../../src/wire/Crc32c.ts"
import { dice } from "../support/Dice.ts"

/** By the definition, a bit at a time. */
const slowly = (crc: number, bytes: Uint8Array): number => {
  let register = ~crc
  for (const byte of bytes) {
    register ^= byte
    for (let bit = 0; bit < 8; bit++) register = register & 1 ? (register >>> 1) ^ 0x82f63b78 : register >>> 1
  }
  return ~register >>> 0
}

const random = (length: number, seed: number) => {
  const roll = dice(seed)
  return Uint8Array.from({ length }, () => roll(256))
}

describe("CRC32C", () => {
  it("is that of the catalogue and of RFC 3720", () => {
    assert.strictEqual(Crc32c.crc32c(new TextEncoder().encode("123456789")), 0xe3069283)
    assert.strictEqual(Crc32c.crc32c(new Uint8Array(32)), 0x8a9136aa)
    assert.strictEqual(Crc32c.crc32c(new Uint8Array(32).fill(0xff)), 0x62a8ab43)
  })

  it("is the same by every way through it: any length, place and beginning", () => {
    const memory = random(200_100, 1)
    const lengths = [
      ...Array.from({ length: 90 }, (_, length) => length),
      ...Array.from({ length: 64 }, (_, at) => 740 + at),
      ...Array.from({ length: 40 }, (_, at) => 65_536 - 20 + at),
      65_536 + 306,
      65_536 + 767,
      65_536 + 768,
      131_072,
      200_000
    ]
    for (const [index, length] of lengths.entries()) {
      const start = index % 37
      const before = Math.imul(index, 0x9e3779b1) >>> 0
      const view = memory.subarray(3)
      assert.strictEqual(
        Crc32c.update(before, view, start, start + length),
        slowly(before, view.subarray(start, start + length)),
        `${length} bytes from ${start}`
      )
    }
  })

  it("finds every single bit that is wrong in a folded stretch, and depends on nothing from before", () => {
    const bytes = random(1000, 2)
    const right = Crc32c.crc32c(bytes)
    for (let bit = 0; bit < 8000; bit += 7) {
      bytes[bit >>> 3]! ^= 1 << (bit & 7)
      assert.notStrictEqual(Crc32c.crc32c(bytes), right)
      bytes[bit >>> 3]! ^= 1 << (bit & 7)
    }
    assert.strictEqual(Crc32c.crc32c(bytes), right)
  })

  it("the committed WebAssembly is what its sources compile to", async () => {
    const script = new URL("../../../../scripts/build-wasm.mjs", import.meta.url).href
    const { compile } = (await import(script)) as {
      compile: (name: string) => Promise<{ path: string; source: string }>
    }
    const { path, source } = await compile("proto")
    assert.strictEqual(readFileSync(path, "utf8"), source)
  })
})
