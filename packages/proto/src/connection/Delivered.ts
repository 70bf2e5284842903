/**
 * What a consumer was sent and nobody took yet: a message, or a batch that is taken apart message by message.
 */
import type { ReceivedEntry } from "../ReceivedMessage.ts"
import type { BatchCursor } from "../wire/Batch.ts"
import * as Compression from "../wire/Compression.ts"

export interface Delivered extends ReceivedEntry {
  readonly payload: Uint8Array
  readonly ackSet: ReadonlyArray<bigint> | undefined
  readonly arrivedAt: number
  /** Permits it cost: its messages, without those of a batch that are acknowledged already. */
  readonly permits: number
  /** How many of those were repaid. */
  repaid: number
  cursor: BatchCursor | undefined
}

/** Whether a message of a batch is not acknowledged yet. */
export const isOpen = (ackSet: ReadonlyArray<bigint>, index: number): boolean =>
  ((ackSet[index >>> 6] ?? 0n) >> BigInt(index & 63) & 1n) === 1n

/** Messages of a batch that are still to be handed out: what brokers count a batch as. */
export const openCount = (ackSet: ReadonlyArray<bigint> | undefined, size: number): number => {
  if (ackSet === undefined) return size
  let open = 0
  for (let index = 0; index < size; index++) if (isOpen(ackSet, index)) open++
  return open
}

/** The payload as it was before compression; throws on what is none. `limit` is that of one message, compressed. */
export const inflate = ({ metadata, payload }: Delivered, limit: number): Uint8Array =>
  metadata.compression === 0
    ? payload
    // A message that was compressed to fit may be larger than the limit; a hundredfold is no message.
    : Compression.decompress(metadata.compression, payload, metadata.uncompressedSize, Math.max(limit * 16, 64 << 20))
