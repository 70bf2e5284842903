/**
 * Batches for laws, and what should come back.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import { type Batch, dedupId, forEach, type ProducerMark, type Segment } from "../Batch.ts"
import type { StoredEvent } from "../Event.ts"
import { type Body, Broken, check, type Opened, same } from "./Law.ts"

const utf8 = new TextEncoder()

export interface Plan {
  readonly shard?: number | undefined
  readonly nonce?: bigint | undefined
  readonly sequenceStart?: number | undefined
  readonly payloads: ReadonlyArray<string | Uint8Array>
  /** Channel of each event, "" for none; default none. */
  readonly channels?: ReadonlyArray<string> | undefined
  readonly marks?: ReadonlyArray<ProducerMark> | undefined
  /** Sizes of the segments; the last takes what is left. Default one segment. */
  readonly segments?: ReadonlyArray<number> | undefined
  /** Milliseconds since the Unix epoch. */
  readonly millis?: number | undefined
}

const baseMillis = 1_767_225_600_000

/**
 * Builds a batch. Payloads do not start at offset 0 of their segment, as in a bus.
 *
 * @category constructors
 * @since 0.1.0
 */
export const batch = (plan: Plan): Batch => {
  const payloads = plan.payloads.map((payload) => typeof payload === "string" ? utf8.encode(payload) : payload)
  const names = [""]
  const indexes = plan.channels?.map((name) => {
    if (name !== "" && !names.includes(name)) names.push(name)
    return names.indexOf(name)
  })
  const sizes = [...(plan.segments ?? [])]
  sizes.push(payloads.length - sizes.reduce((sum, size) => sum + size, 0))
  const segments: Array<Segment> = []
  let from = 0
  for (const count of sizes) {
    const part = payloads.slice(from, from + count)
    const start = 5
    const ends = new Uint32Array(count)
    let end = start
    part.forEach((payload, i) => (ends[i] = end += payload.length))
    const bytes = new Uint8Array(end + 3).fill(0xee)
    part.forEach((payload, i) => bytes.set(payload, ends[i]! - payload.length))
    const first = from
    segments.push({
      bytes,
      start,
      ends,
      count,
      baseMillis: (plan.millis ?? baseMillis) + segments.length,
      deltas: Float64Array.from({ length: count }, (_, i) => 17 + (first + i) * 3),
      channels: indexes === undefined ? undefined : Uint16Array.from(indexes.slice(first, first + count))
    })
    from += count
  }
  return {
    shard: plan.shard ?? 0,
    nonce: plan.nonce ?? BigInt(7),
    sequenceStart: plan.sequenceStart ?? 0,
    count: payloads.length,
    byteLength: payloads.reduce((sum, payload) => sum + payload.length, 0),
    segments,
    channels: names,
    marks: plan.marks ?? []
  }
}

/** An event as a law compares it: everything but its position. */
interface Expected {
  readonly raw: Uint8Array
  readonly insertionTs: bigint
  readonly dedupId: string | null
  readonly channel: string | null
  readonly shard: number
}

const expected = (batches: ReadonlyArray<Batch>): ReadonlyArray<Expected> =>
  batches.flatMap((batch) => {
    const events: Array<Expected> = []
    forEach(batch, (raw, insertionTs, channel, index) =>
      events.push({
        raw,
        insertionTs,
        dedupId: dedupId(batch.nonce, batch.shard, batch.sequenceStart, index),
        channel,
        shard: batch.shard
      }))
    return events
  })

const isEqual = (a: Uint8Array, b: Uint8Array): boolean => a.length === b.length && a.every((byte, i) => byte === b[i])

const hex = (bytes: Uint8Array): string =>
  Array.from(bytes.subarray(0, 100), (byte) => byte.toString(16).padStart(2, "0")).join("")

const isAs = (event: StoredEvent, wanted: Expected): boolean =>
  event.insertionTs === wanted.insertionTs && event.channel === wanted.channel && event.shard === wanted.shard &&
  // A store need not keep the producer's identity.
  (event.dedupId === null || event.dedupId === wanted.dedupId) && isEqual(event.raw, wanted.raw)

const show = ({ channel, dedupId, insertionTs, raw, shard }: Expected) => ({
  raw: hex(raw),
  insertionTs,
  dedupId,
  channel,
  shard
})

/** Reads a shard from `after` to its end, page by page. */
export const readAll = (
  adapter: Opened,
  shard: number,
  limit = 1000,
  after: string | null = null
): Body<ReadonlyArray<StoredEvent>> =>
  Effect.gen(function*() {
    const events: Array<StoredEvent> = []
    for (let position = after, hasMore = true; hasMore;) {
      const page = yield* adapter.poll(shard, position, limit)
      yield* check(page.events.length <= limit, () => `a page of at most ${limit} has ${page.events.length} events`)
      events.push(...page.events)
      hasMore = page.hasMore
      if (page.nextId === null) {
        if (hasMore) return yield* new Broken({ detail: "a page says that there is more, but not where" })
      } else {
        if (page.nextId === position) return yield* new Broken({ detail: "a page ends where it began" })
        position = page.nextId
      }
    }
    return events
  })

/** Fails unless the shard holds exactly these batches, each event exact to the byte and the nanosecond. */
export const holds = (adapter: Opened, shard: number, batches: ReadonlyArray<Batch>, limit?: number): Body =>
  Effect.gen(function*() {
    const events = yield* readAll(adapter, shard, limit)
    const wanted = expected(batches)
    yield* same(events.length, wanted.length, `the number of events of shard ${shard}`)
    const wrong = events.findIndex((event, i) => !isAs(event, wanted[i]!))
    if (wrong !== -1) yield* same(show(events[wrong]!), show(wanted[wrong]!), `event ${wrong} of shard ${shard}`)
    yield* check(new Set(events.map(({ id }) => id)).size === events.length, () => `positions of shard ${shard} repeat`)
  })

/** `count` different payloads. */
export const payloads = (count: number, prefix = "event"): ReadonlyArray<string> =>
  Array.from({ length: count }, (_, i) => `{"name":"${prefix}","i":${i}}`)
