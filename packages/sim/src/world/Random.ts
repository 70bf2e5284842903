/**
 * Randomness of one host, drawn from the seed: `Random` and `SecureRandom` have a stream each.
 */
import * as SecureRandom from "effect/crypto/SecureRandom"
import type * as Random from "effect/Random"
import type { World } from "./World.ts"

/** The `Random` service of a host. */
export const makeRandom = (world: World, host: string): Random.Random => {
  const stream = world.stream(`random:${host}`)
  return {
    nextDoubleUnsafe: () => stream.double(),
    nextIntUnsafe: () =>
      Math.floor(stream.double() * (Number.MAX_SAFE_INTEGER - Number.MIN_SAFE_INTEGER + 1)) + Number.MIN_SAFE_INTEGER
  }
}

/** The `SecureRandom` service of a host: repeatable, and therefore not secure. */
export const makeSecureRandom = (world: World, host: string): SecureRandom.SecureRandom["Service"] => {
  const stream = world.stream(`secure:${host}`)
  return SecureRandom.make((size) => stream.bytes(size))
}
