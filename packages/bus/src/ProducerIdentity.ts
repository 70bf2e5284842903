/**
 * Who a bus is to its store: a nonce, and the sequence numbers it has not used yet.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import { randomBytes } from "node:crypto"

/** @category errors @since 0.1.0 */
export class IdentityError extends Data.TaggedError("IdentityError")<{
  readonly path: string
  readonly message: string
  readonly cause?: unknown
}> {}

/** @category models @since 0.1.0 */
export interface ProducerIdentity {
  readonly nonce: bigint
  readonly start: (shard: number) => number
  readonly reserve: (shard: number, upTo: number) => Effect.Effect<void, IdentityError>
  readonly release: (next: ReadonlyMap<number, number>) => Effect.Effect<void>
}

/** @category constructors @since 0.1.0 */
export const ephemeral: Effect.Effect<ProducerIdentity> = Effect.sync(() => ({
  nonce: randomBytes(8).readBigUInt64LE() || BigInt(1),
  start: () => 0,
  reserve: () => Effect.void,
  release: () => Effect.void
}))
