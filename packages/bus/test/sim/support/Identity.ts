// A bus's identity that outlives its process, as the one in files does: sequence numbers are reserved in blocks before they
// are used, so that no restart uses one again.
import { Effect } from "effect"
import type { ProducerIdentity } from "../../../src/ProducerIdentity.ts"

/** Provides the same identity to every process that a scenario starts. */
export const durable = (blockSize = 20): Effect.Effect<ProducerIdentity> => {
  const reserved = new Map<number, number>()
  return Effect.sync(() => {
    const started = new Map(reserved)
    return {
      nonce: 7n,
      start: (shard) => started.get(shard) ?? 0,
      reserve: (shard, upTo) =>
        Effect.sync(() => {
          if (upTo > (reserved.get(shard) ?? 0)) reserved.set(shard, upTo - 1 + blockSize)
        }),
      release: (next) =>
        Effect.sync(() => {
          for (const [shard, sequence] of next) reserved.set(shard, sequence)
        })
    }
  })
}
