const encoder = new TextEncoder()

/** Murmur3 of 32 bits with seed 0, masked to 31 bits: how brokers place keys and consumers. */
export const murmur = (input: Uint8Array | string): number => {
  const bytes = typeof input === "string" ? encoder.encode(input) : input
  const blocks = bytes.length & ~3
  const mix = (k: number): number => {
    const m = Math.imul(k, 0xcc9e2d51)
    return Math.imul((m << 15) | (m >>> 17), 0x1b873593)
  }
  let h = 0
  for (let at = 0; at < blocks; at += 4) {
    h ^= mix(bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24))
    h = (Math.imul((h << 13) | (h >>> 19), 5) + 0xe6546b64) | 0
  }
  let tail = 0
  for (let at = bytes.length - 1; at >= blocks; at--) tail = (tail << 8) | bytes[at]!
  if (blocks !== bytes.length) h ^= mix(tail)
  h ^= bytes.length
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) & 0x7fffffff
}
