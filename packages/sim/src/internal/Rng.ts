/**
 * The generator behind every draw: sfc32, 128 bits of state, integer arithmetic only, so that every
 * platform and Node version draws the same numbers.
 */
export class Rng {
  #a: number
  #b: number
  #c: number
  #d: number
  /** Number of 32-bit words drawn so far. */
  draws = 0

  constructor(hi: number, lo: number, label: string) {
    this.#a = hi | 0
    this.#b = lo | 0
    this.#c = hashText(label, 0x9e3779b9)
    this.#d = hashText(label, 0x85ebca6b) | 1
    for (let i = 0; i < 15; i++) this.u32()
    this.draws = 0
  }

  /** Starts the stream again as if it had been made from another seed. */
  reseed(hi: number, lo: number, label: string): void {
    const fresh = new Rng(hi, lo, label)
    this.#a = fresh.#a
    this.#b = fresh.#b
    this.#c = fresh.#c
    this.#d = fresh.#d
  }

  /** A whole number in [0, 2^32). */
  u32(): number {
    this.draws++
    const t = (((this.#a + this.#b) | 0) + this.#d) | 0
    this.#d = (this.#d + 1) | 0
    this.#a = this.#b ^ (this.#b >>> 9)
    this.#b = (this.#c + (this.#c << 3)) | 0
    this.#c = (this.#c << 21) | (this.#c >>> 11)
    this.#c = (this.#c + t) | 0
    return t >>> 0
  }

  /** A number in [0, 1) with 53 bits. */
  double(): number {
    return ((this.u32() >>> 5) * 67108864 + (this.u32() >>> 6)) / 9007199254740992
  }

  /** A whole number in [0, bound), for bounds up to 2^32. */
  int(bound: number): number {
    return Math.floor((this.u32() / 4294967296) * bound)
  }

  /** A whole number in [low, high], both included. */
  between(low: number, high: number): number {
    return low + this.int(high - low + 1)
  }

  /** True with the given probability. */
  chance(probability: number): boolean {
    return this.u32() < probability * 4294967296
  }

  /** One element of a list that is not empty. */
  pick<A>(items: ReadonlyArray<A>): A {
    return items[this.int(items.length)]!
  }

  /** A Fisher-Yates shuffled copy. */
  shuffle<A>(items: ReadonlyArray<A>): Array<A> {
    const out = items.slice()
    for (let i = out.length - 1; i > 0; i--) {
      const j = this.int(i + 1)
      const kept = out[i]!
      out[i] = out[j]!
      out[j] = kept
    }
    return out
  }

  /** `size` bytes. */
  bytes(size: number): Uint8Array {
    const out = new Uint8Array(size)
    for (let i = 0; i < size; i++) out[i] = this.u32() & 0xff
    return out
  }
}

/** 32 bits of a text: FNV-1a with a final avalanche. */
export const hashText = (text: string, basis = 0x811c9dc5): number => {
  let h = basis | 0
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193)
  return avalanche(h)
}

/** Mixes all bits of a 32-bit word into all others (murmur3's finaliser). */
export const avalanche = (word: number): number => {
  let h = word | 0
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}
