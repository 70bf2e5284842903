/**
 * Events of one shard on their way to an adapter, packed: no object an event.
 *
 * @since 0.1.0
 */

/**
 * A run of packed events: a view on the shard's own storage.
 *
 * Event `i` (0 ≤ `i` < `count`) occupies `bytes[i === 0 ? start : ends[i - 1], ends[i])`. Its insertion timestamp is
 * `baseMillis` milliseconds plus `deltas[i]` nanoseconds since the Unix epoch (see {@link insertionTs}); both parts are safe integers.
 *
 * @category models
 * @since 0.1.0
 */
export interface Segment {
  readonly bytes: Uint8Array<ArrayBuffer>
  readonly start: number
  readonly ends: Uint32Array<ArrayBuffer>
  readonly count: number
  readonly baseMillis: number
  readonly deltas: Float64Array<ArrayBuffer>
  /** Index into {@link Batch.channels} for each event, 0 for none; absent when no event of the segment has a channel. */
  readonly channels: Uint16Array<ArrayBuffer> | undefined
}

/**
 * The highest sequence number of a named producer that a shard holds once the batch carrying it is stored.
 *
 * A producer numbers its events from 1 and submits them in that order. Events are spread over `shards` shards by content or key, so
 * the marks of one producer form a vector: under `shards` shards, everything it sent to `shard` up to and including `sequence` is stored.
 *
 * @category models
 * @since 0.1.0
 */
export interface ProducerMark {
  readonly producer: string
  readonly shards: number
  readonly shard: number
  readonly sequence: number
}

/**
 * What a bus hands to an adapter's `append`: consecutive events of one shard, in order, under one identity.
 *
 * The identity of the batch is (`nonce`, `shard`, `sequenceStart`); it is the same on every retry. The memory belongs to the bus: it is
 * valid until the effect returned by `append` ends, and an adapter that keeps events copies them.
 *
 * @category models
 * @since 0.1.0
 */
export interface Batch {
  /** 0 … 65,534. */
  readonly shard: number
  /** Identity of the producing bus, 1 … 2^64 − 1. */
  readonly nonce: bigint
  /** Number of the first event in this shard under this nonce, from 0; a safe integer. */
  readonly sequenceStart: number
  /** Number of events over all segments, at least 1. */
  readonly count: number
  /** Payload bytes over all segments. */
  readonly byteLength: number
  readonly segments: ReadonlyArray<Segment>
  /** Channel names by index; index 0 is unused and empty. Append-only for the life of the bus. */
  readonly channels: ReadonlyArray<string>
  /** To be stored in the same transaction as the events. */
  readonly marks: ReadonlyArray<ProducerMark>
}

/**
 * Insertion timestamp in nanoseconds since the Unix epoch.
 *
 * @category getters
 * @since 0.1.0
 */
export const insertionTs = (baseMillis: number, delta: number): bigint =>
  BigInt(baseMillis) * BigInt(1_000_000) + BigInt(delta)

/**
 * The text form of an event's identity: `{nonce}:{shard}:{sequenceStart}:{index}`, the nonce in lower-case hexadecimal without padding,
 * the others in decimal.
 *
 * @category getters
 * @since 0.1.0
 */
export const dedupId = (nonce: bigint, shard: number, sequenceStart: number, index: number): string =>
  `${nonce.toString(16)}:${shard}:${sequenceStart}:${index}`

/**
 * Calls `f` for every event of a batch in order, with a view on its payload that is valid only during the call.
 *
 * For adapters that speak to a server event by event; an adapter on a hot path reads the segments itself.
 *
 * @category combinators
 * @since 0.1.0
 */
export const forEach = (
  batch: Batch,
  f: (payload: Uint8Array<ArrayBuffer>, insertionTs: bigint, channel: string | null, index: number) => void
): void => {
  let index = 0
  for (const segment of batch.segments) {
    let from = segment.start
    for (let i = 0; i < segment.count; i++) {
      const to = segment.ends[i]!
      const channel = segment.channels === undefined ? 0 : segment.channels[i]!
      f(
        segment.bytes.subarray(from, to),
        insertionTs(segment.baseMillis, segment.deltas[i]!),
        channel === 0 ? null : batch.channels[channel]!,
        index++
      )
      from = to
    }
  }
}
