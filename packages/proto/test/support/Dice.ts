import { Effect, Random } from "effect"

/** Whole numbers from 0 to `sides` - 1, the same for a seed. */
export const dice = (seed: number): (sides: number) => number => {
  const random = Effect.runSync(Random.Random.pipe(Random.withSeed(seed)))
  return (sides) => Math.floor(random.nextDoubleUnsafe() * sides)
}
