/**
 * Positions of stores that number the events of each shard from 1.
 */
import { type AdapterError, adapterError, type ShardPage } from "../Adapter.ts"
import { type Batch, insertionTs } from "../Batch.ts"

/** The number of a position that was handed out up to `tail`, 0 for the beginning. */
export const positionOf = (after: string | null, tail: number): number | undefined => {
  if (after === null) return 0
  if (!/^[1-9][0-9]{0,15}$/.test(after)) return undefined
  const position = Number(after)
  return position <= tail ? position : undefined
}

export const positionError = (adapter: string, shard: number, after: string, tail: number): AdapterError => {
  const shown = JSON.stringify(after.slice(0, 40))
  return adapterError(
    adapter,
    "InvalidPosition",
    `shard ${shard} never handed out position ${shown}; its last is ${tail}`
  )
}

export const emptyPage: ShardPage = { events: [], nextId: null, hasMore: false }

/** Insertion timestamp of a batch's newest event. */
export const lastTimestamp = (batch: Batch): bigint => {
  const { baseMillis, count, deltas } = batch.segments.at(-1)!
  return insertionTs(baseMillis, deltas[count - 1]!)
}
