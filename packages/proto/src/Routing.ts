/**
 * Which partition a message goes to: the hashes of the other clients, so that a key lands where they would put it.
 *
 * @since 0.1.0
 */

/** Hash of a key, from 0 to 2^31 - 1. @category models @since 0.1.0 */
export type KeyHash = "java" | "murmur3"

/** `String.hashCode` of Java over UTF-16 code units, without the sign. @category hashes @since 0.1.0 */
export const javaStringHash = (key: string): number => {
  let hash = 0
  for (let index = 0; index < key.length; index++) hash = (Math.imul(31, hash) + key.charCodeAt(index)) | 0
  return hash & 0x7fffffff
}

const encoder = new TextEncoder()
const rotate = (value: number, by: number): number => (value << by) | (value >>> (32 - by))
const mix = (block: number): number => Math.imul(rotate(Math.imul(block, 0xcc9e2d51), 15), 0x1b873593)

/** Murmur3 (32 bit, seed 0) over UTF-8, without the sign. @category hashes @since 0.1.0 */
export const murmur3 = (key: string | Uint8Array): number => {
  const bytes = typeof key === "string" ? encoder.encode(key) : key
  const blocks = bytes.length & ~3
  let hash = 0
  for (let index = 0; index < blocks; index += 4) {
    const block = bytes[index]! | (bytes[index + 1]! << 8) | (bytes[index + 2]! << 16) | (bytes[index + 3]! << 24)
    hash = (Math.imul(rotate(hash ^ mix(block), 13), 5) + 0xe6546b64) | 0
  }
  let tail = 0
  for (let index = bytes.length - 1; index >= blocks; index--) tail = (tail << 8) | bytes[index]!
  if (blocks < bytes.length) hash ^= mix(tail)
  hash ^= bytes.length
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) & 0x7fffffff
}

/**
 * - `keyOrRoundRobin`: by the hash of the key; without a key, in turn.
 * - `roundRobin`: in turn, whatever the key.
 * - `single`: always the same partition (the last one when there are fewer).
 * - `custom`: the answer is brought into range.
 *
 * @category models
 * @since 0.1.0
 */
export type RoutingMode =
  | { readonly _tag: "keyOrRoundRobin"; readonly hash: KeyHash }
  | { readonly _tag: "roundRobin" }
  | { readonly _tag: "single"; readonly partition: number }
  | { readonly _tag: "custom"; readonly route: (key: string | undefined, partitions: number) => number }

/** Chooses partitions; keeps the turn of the round robin. @category models @since 0.1.0 */
export class Router {
  readonly mode: RoutingMode
  #turn = 0

  constructor(mode: RoutingMode) {
    this.mode = mode
  }

  /** A partition from 0 to `partitions - 1`. */
  route(key: string | undefined, partitions: number): number {
    const mode = this.mode
    switch (mode._tag) {
      case "single":
        return Math.max(0, Math.min(mode.partition, partitions - 1))
      case "custom": {
        const chosen = Math.trunc(mode.route(key, partitions))
        return Number.isNaN(chosen) ? 0 : Math.max(0, Math.min(chosen, partitions - 1))
      }
      case "keyOrRoundRobin":
        if (key !== undefined && key !== "") {
          return (mode.hash === "java" ? javaStringHash(key) : murmur3(key)) % partitions
        }
        break
    }
    const chosen = this.#turn % partitions
    this.#turn = (this.#turn + 1) % 0x7fffffff
    return chosen
  }
}
