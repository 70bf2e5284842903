/**
 * `GET /v1/events`: pages of stored events.
 */
import type { Event, EventBus, Poll } from "@perigee/bus"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import type { LimitValues } from "../Config.ts"
import { pollProblem } from "./failures.ts"
import type * as Problem from "./Problem.ts"
import { eventJson, eventLine } from "./render.ts"
import * as Selection from "./Selection.ts"

export interface ReadQuery {
  readonly filter?: string
  readonly channel?: string
  readonly shards?: string
  readonly cursor?: string
  readonly limit?: number
  readonly order?: "shards" | "insertion_ts"
}

interface Page {
  readonly events: Array<Event.StoredEvent>
  readonly nextCursor: string | null
  readonly hasMore: boolean
  readonly unreadable: number
  readonly failedShards: Poll.PollResponse["failedShards"]
}

/** The first poll of a page asks for few events, for nobody knows how large they are; the next ones for as many as should fit. */
const firstStep = 64

/** While a filter lets nothing through, polls look at more and more events at a time, up to so many. */
const largestBlindStep = 1024

/** After so long a page ends with what it has: a filter that matches next to nothing would else look through the whole store in one request. */
const pageMillis = 2000

/**
 * Polls until the page has `limit` events or `maxBytes` bytes. A page is cut short rather than held whole in memory because events are large:
 * that it ended early shows in `has_more`.
 */
const collect = Effect.fnUntraced(function*(
  bus: EventBus["Service"],
  request: Poll.PollRequest,
  maxBytes: number
): Effect.fn.Return<Page, Poll.PollError> {
  const events: Array<Event.StoredEvent> = []
  let bytes = 0
  let cursor = request.cursor
  let unreadable = 0
  let blindStep = firstStep
  const started = yield* Clock.currentTimeMillis
  while (true) {
    const wanted = request.limit - events.length
    const step = events.length === 0
      ? blindStep
      : Math.max(1, Math.floor((maxBytes - bytes) / Math.max(1, bytes / events.length)))
    const page = yield* bus.poll({ ...request, cursor, limit: Math.min(wanted, step) })
    for (const event of page.events) {
      events.push(event)
      bytes += event.raw.length
    }
    unreadable += page.unreadable
    blindStep = Math.min(blindStep * 2, largestBlindStep)
    const elapsed = (yield* Clock.currentTimeMillis) - started
    const done = !page.hasMore || elapsed >= pageMillis || events.length >= request.limit || bytes >= maxBytes ||
      page.nextCursor === (cursor ?? null) ||
      page.failedShards.length > 0
    cursor = page.nextCursor ?? cursor
    if (done) {
      return { events, nextCursor: cursor ?? null, hasMore: page.hasMore, unreadable, failedShards: page.failedShards }
    }
  }
})

const document = (page: Page): string =>
  `{"events":[${page.events.map(eventJson).join(",")}],"next_cursor":${
    JSON.stringify(page.nextCursor)
  },"has_more":${page.hasMore},` +
  `"unreadable":${page.unreadable},"failed_shards":${
    JSON.stringify(page.failedShards.map(({ error, shard }) => ({ shard, error: error.message })))
  }}\n`

/** Answers with one document, or with a line an event and the cursor in a header when `lines` are asked for. */
export const read: (
  bus: EventBus["Service"],
  limits: LimitValues,
  query: ReadQuery,
  lines: boolean
) => Effect.Effect<HttpServerResponse.HttpServerResponse, Problem.BadRequest | Problem.Unavailable> = Effect.fnUntraced(
  function*(
    bus,
    limits,
    query,
    lines
  ) {
    const selection = yield* Selection.decode(query)
    const page = yield* Effect.mapError(
      collect(bus, {
        ...selection,
        // Base64 has plus signs, and whoever forgets to encode one sends a space.
        cursor: query.cursor?.replaceAll(" ", "+"),
        limit: Math.min(query.limit ?? 100, limits.maxPage),
        order: query.order === "insertion_ts" ? "insertionTs" : "shards"
      }, limits.maxPageBytes),
      pollProblem
    )
    if (!lines) return HttpServerResponse.text(document(page), { contentType: "application/json" })
    return HttpServerResponse.text(page.events.map((event) => `${eventLine(event)}\n`).join(""), {
      contentType: "application/x-ndjson",
      headers: {
        ...(page.nextCursor === null ? {} : { "perigee-next-cursor": page.nextCursor }),
        "perigee-has-more": String(page.hasMore)
      }
    })
  }
)
