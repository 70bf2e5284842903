/**
 * Events as consumers see them.
 *
 * @since 0.1.0
 */
import * as Result from "effect/Result"

/**
 * One event as an adapter stored it. Members may be computed on access; `raw` is a view, copy it to keep it beyond the page.
 *
 * @category models
 * @since 0.1.0
 */
export interface StoredEvent {
  /** Position in its shard, in the adapter's own form: a decimal number, a Redis id, or opaque text. */
  readonly id: string
  readonly shard: number
  /** The payload, byte for byte as it was published. */
  readonly raw: Uint8Array<ArrayBuffer>
  /** Nanoseconds since the Unix epoch; strictly increasing in the order of publication over all shards of one bus. */
  readonly insertionTs: bigint
  /** `{nonce}:{shard}:{sequenceStart}:{index}`, or null when the store does not keep it. */
  readonly dedupId: string | null
  /** Name of the channel it was published on, or null. Never part of the payload. */
  readonly channel: string | null
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

/**
 * The payload as text; fails on invalid UTF-8 instead of substituting.
 *
 * @category getters
 * @since 0.1.0
 */
export const text = (event: StoredEvent): Result.Result<string, Error> =>
  Result.try({ try: () => utf8.decode(event.raw), catch: (cause) => cause as Error })

/**
 * The payload parsed as JSON; fails on anything else.
 *
 * @category getters
 * @since 0.1.0
 */
export const json = (event: StoredEvent): Result.Result<unknown, Error> =>
  Result.try({ try: () => JSON.parse(utf8.decode(event.raw)) as unknown, catch: (cause) => cause as Error })

/**
 * The event as one JSON object: `id`, `raw`, `insertion_ts`, `shard_id`, `dedup_id`, `channel`, always all of them and in this order. The
 * payload is spliced in byte for byte, so number spelling, key order and white space survive; `insertion_ts` is a decimal string, because
 * nanoseconds since the epoch exceed what JSON readers keep exactly. Fails when the payload is not JSON.
 *
 * @category conversions
 * @since 0.1.0
 */
export const toJson = (event: StoredEvent): Result.Result<string, Error> =>
  Result.try({
    try: () => {
      const raw = utf8.decode(event.raw)
      JSON.parse(raw)
      return `{"id":${
        JSON.stringify(event.id)
      },"raw":${raw},"insertion_ts":"${event.insertionTs}","shard_id":${event.shard},` +
        `"dedup_id":${JSON.stringify(event.dedupId)},"channel":${JSON.stringify(event.channel)}}`
    },
    catch: (cause) => cause as Error
  })
