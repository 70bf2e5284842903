/** The counters of a bus, read from its lanes. */
import * as Effect from "effect/Effect"
import type { Lane } from "../core/Lane.ts"
import type { BusStats, ShardStats } from "../EventBus.ts"
import type { Parts } from "./Parts.ts"

export const make = ({ intake, lanes }: Parts) => {
  const sum = (of: (lane: Lane) => number): number => lanes.reduce((total, lane) => total + of(lane), 0)
  const stats: Effect.Effect<BusStats> = Effect.sync(() => {
    const rejected = sum((lane) => lane.rejected) + intake.tooLarge
    const evicted = sum((lane) => lane.evicted)
    const failed = sum((lane) => lane.failed)
    const stranded = sum((lane) => lane.stranded)
    const dispatched = sum((lane) => lane.dispatched)
    const accepted = sum((lane) => lane.settlement.accepted)
    return {
      accepted,
      rejected,
      unrouted: intake.unrouted,
      duplicates: intake.duplicates,
      evicted,
      failed,
      stranded,
      dispatched,
      batchesDispatched: sum((lane) => lane.batchesDispatched),
      batchesFailed: sum((lane) => lane.batchesFailed),
      retries: sum((lane) => lane.retries),
      dropped: rejected + evicted + failed + stranded,
      pending: accepted - dispatched - evicted - failed - stranded,
      pendingBytes: sum((lane) => lane.ring.byteLength)
    }
  })
  const shardStats = Effect.sync(() =>
    lanes.map((lane): ShardStats => ({
      shard: lane.id,
      accepted: lane.settlement.accepted,
      rejected: lane.rejected,
      evicted: lane.evicted,
      failed: lane.failed,
      stranded: lane.stranded,
      dispatched: lane.dispatched,
      batchesDispatched: lane.batchesDispatched,
      queued: lane.ring.length,
      queuedBytes: lane.ring.byteLength,
      targetBatchSize: lane.batcher.target
    }))
  )
  return { stats, shardStats, pendingInRings: Effect.sync(() => sum((lane) => lane.ring.length)) }
}
