/**
 * The number that decides everything in a run: scheduling, time, randomness, faults.
 */
import * as Data from "effect/Data"

/** A seed as written by people: a whole number from 0 to 2^64 - 1, decimal or `0x` hexadecimal. */
export type Input = number | bigint | string

/** A text that is not a seed. `input` is what was given, shortened to 80 characters. */
export class SeedError extends Data.TaggedError("SeedError")<{ readonly input: string }> {
  override get message(): string {
    return `not a seed: ${
      JSON.stringify(this.input)
    }; expected a whole number from 0 to 18446744073709551615 or up to 16 hexadecimal digits after 0x`
  }
}

/** A parsed seed: two 32-bit halves for the generators and its canonical decimal text. */
export interface Seed {
  readonly hi: number
  readonly lo: number
  readonly text: string
}

const limit = 1n << 64n

/** Parses a seed. Throws {@link SeedError} when the input is not one. */
export const make = (input: Input): Seed => {
  const text = String(input).trim()
  if (!/^(?:\d{1,20}|0x[\da-f]{1,16})$/i.test(text)) throw new SeedError({ input: text.slice(0, 80) })
  const value = BigInt(text)
  if (value >= limit) throw new SeedError({ input: text.slice(0, 80) })
  return { hi: Number(value >> 32n), lo: Number(value & 0xffffffffn), text: value.toString() }
}

/** The seed `offset` places after this one, wrapping at 2^64. */
export const add = (seed: Seed, offset: number): Seed => make((BigInt(seed.text) + BigInt(offset)) % limit)
