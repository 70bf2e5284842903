/**
 * Stored events as text, their payloads spliced in byte for byte.
 */
import { Event } from "@perigee/bus"
import { Buffer } from "node:buffer"
import * as Result from "effect/Result"

/** An event as one JSON object; a payload that is no JSON is given as `raw_base64`, with `raw` null. */
export const eventJson = (event: Event.StoredEvent): string =>
  Result.getOrElse(Event.toJson(event), () =>
    JSON.stringify({
      id: event.id,
      raw: null,
      raw_base64: Buffer.from(event.raw).toString("base64"),
      insertion_ts: String(event.insertionTs),
      shard_id: event.shard,
      dedup_id: event.dedupId,
      channel: event.channel
    }))

const lineEnds = /[\r\n]+/g

/** The same on one line: ends of line inside JSON can only be white space between its tokens. */
export const eventLine = (event: Event.StoredEvent): string => eventJson(event).replace(lineEnds, " ")
