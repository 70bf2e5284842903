/**
 * XXH3, 64-bit variant, seed 0, default secret: the hash that spreads payloads and keys over shards.
 *
 * @see https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md
 * @since 0.1.0
 */
import { type Exports, instantiate, reserve, slack } from "./internal/Wasm.ts"

/** Larger inputs get a memory of their own, which is garbage afterwards. */
const keptBytes = 1_048_576

let shared: Exports | undefined

const utf8 = new TextEncoder()

/**
 * XXH3-64 of bytes, or of the UTF-8 of a text.
 *
 * @category hashing
 * @since 0.1.0
 */
export const hash = (input: Uint8Array | string): bigint => {
  const bytes = typeof input === "string" ? utf8.encode(input) : input
  const wasm = bytes.length > keptBytes ? instantiate() : (shared ??= instantiate())
  const base = wasm.base.value
  reserve(wasm.memory, base + bytes.length + slack)
  new Uint8Array(wasm.memory.buffer, base, bytes.length).set(bytes)
  return BigInt.asUintN(64, wasm.hash(base, bytes.length))
}

/**
 * The shard of a hash: floor(hash × shards / 2^64), 0 for no shards.
 *
 * @category hashing
 * @since 0.1.0
 */
export const shardOf = (hash: bigint, shards: number): number => Number((hash * BigInt(shards)) >> BigInt(64))
