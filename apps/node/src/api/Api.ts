/**
 * The HTTP API of a node as a contract: served by the files beside this one, described at `/openapi.json`, called by the commands.
 */
import * as Schema from "effect/Schema"
import * as HttpApi from "effect/http-api/HttpApi"
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import * as HttpApiMiddleware from "effect/http-api/HttpApiMiddleware"
import * as HttpApiSchema from "effect/http-api/HttpApiSchema"
import * as HttpApiSecurity from "effect/http-api/HttpApiSecurity"
import * as OpenApi from "effect/http-api/OpenApi"
import * as Problem from "./Problem.ts"
import { version } from "../Version.ts"

/** Every route except the two probes wants `Authorization: Bearer TOKEN`; the token is in the file `token` of the state directory. */
export class Authenticated extends HttpApiMiddleware.Service<Authenticated>()("perigee/api/Authenticated", {
  error: Problem.Unauthorized,
  security: { token: HttpApiSecurity.bearer }
}) {}

/** Says in a problem document which parameter does not fit. */
export class WellFormed extends HttpApiMiddleware.Service<WellFormed>()("perigee/api/WellFormed", {
  error: Problem.BadRequest
}) {}

const Name = Schema.String.check(Schema.isMinLength(1), Schema.isMaxLength(255))

/** A stored event. `raw` is the payload, byte for byte as it was appended. */
export const StoredEvent = Schema.Struct({
  id: Schema.String,
  raw: Schema.Unknown,
  raw_base64: Schema.optionalKey(
    Schema.String.annotate({
      description: "The payload when it is no JSON; `raw` is null then. Events that came over HTTP are JSON"
    })
  ),
  insertion_ts: Schema.String.annotate({ description: "Nanoseconds since the Unix epoch, in decimal" }),
  shard_id: Schema.Int,
  dedup_id: Schema.NullOr(Schema.String),
  channel: Schema.NullOr(Schema.String)
})

/** One page of events. */
export const Page = Schema.Struct({
  events: Schema.Array(StoredEvent),
  next_cursor: Schema.NullOr(Schema.String).annotate({
    description: "Ask for the next page with `cursor` set to this; null when nothing was read yet"
  }),
  has_more: Schema.Boolean.annotate({ description: "Whether more can probably be read now" }),
  unreadable: Schema.Int.annotate({
    description: "Events passed over because a filter cannot judge them: their payload is not JSON"
  }),
  failed_shards: Schema.Array(Schema.Struct({ shard: Schema.Int, error: Schema.String })).annotate({
    description: "Shards that could not be read"
  })
})

const reading = {
  filter: Schema.optionalKey(
    Schema.String.annotate({
      description:
        "As text (`magnitude>=6 and source=us`) or as JSON (`{\"$gte\":{\"path\":\"magnitude\",\"value\":6}}`)"
    })
  ),
  channel: Schema.optionalKey(Name),
  shards: Schema.optionalKey(Schema.String.annotate({ description: "Only these shards, as `0,3,7`" }))
}

const events = HttpApiGroup.make("events").add(
  HttpApiEndpoint.post("append", "/v1/events", {
    query: {
      producer: Schema.optionalKey(
        Name.annotate({
          description:
            "Name under which the events are numbered: each is then stored exactly once, however often it is sent"
        })
      ),
      sequence: Schema.optionalKey(
        Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER })).annotate({
          description: "Number of the first event of the body, from 1. Refused lines have no number"
        })
      ),
      channel: Schema.optionalKey(Name),
      key: Schema.optionalKey(Schema.String.annotate({ description: "Events with the same key stay in order" }))
    },
    payload: [Schema.Json, HttpApiSchema.StreamUint8Array({ contentType: "application/x-ndjson" })],
    success: Problem.AppendSummary,
    error: [
      Problem.BadRequest,
      Problem.RequestTimeout,
      Problem.Conflict,
      Problem.TooLarge,
      Problem.UnsupportedMediaType,
      Problem.Unavailable,
      Problem.StorageFull
    ]
  }).annotate(OpenApi.Summary, "Append events; answers once they are on stable storage"),
  HttpApiEndpoint.get("read", "/v1/events", {
    query: {
      ...reading,
      cursor: Schema.optionalKey(
        Schema.String.annotate({
          description: "Go on behind this: `next_cursor` of a page, or the id of an event of the tail"
        })
      ),
      limit: Schema.optionalKey(
        Schema.Int.check(Schema.isGreaterThanOrEqualTo(0)).annotate({
          description: "Most events of the page. Default 100"
        })
      ),
      order: Schema.optionalKey(
        Schema.Literals(["shards", "insertion_ts"]).annotate({
          description:
            "`shards` (default): stored order inside a shard, shards interleaved fairly. `insertion_ts`: by time of insertion"
        })
      )
    },
    success: Page,
    error: [Problem.BadRequest, Problem.Unavailable]
  }).annotate(OpenApi.Summary, "One page of stored events; one a line with `Accept: application/x-ndjson`"),
  HttpApiEndpoint.get("tail", "/v1/tail", {
    query: {
      ...reading,
      from: Schema.optionalKey(Schema.String.annotate({ description: "`beginning` (default), `end`, or a cursor" }))
    },
    headers: {
      "last-event-id": Schema.optionalKey(
        Schema.String.annotate({ description: "Go on behind this cursor, whatever `from` says" })
      )
    },
    success: HttpApiSchema.StreamSse({ data: StoredEvent }),
    error: [Problem.BadRequest, Problem.Unavailable]
  }).annotate(OpenApi.Summary, "Stored events, then live ones, as server-sent events whose ids are cursors")
)

const producers = HttpApiGroup.make("producers").add(
  HttpApiEndpoint.get("get", "/v1/producers/:name", {
    params: { name: Name },
    success: Schema.Struct({
      name: Schema.String,
      last_sequence: Schema.Int.annotate({
        description: "Number of the last event stored without a gap before it; 0 for an unknown producer"
      })
    }),
    error: Problem.Unavailable
  }).annotate(OpenApi.Summary, "Where a named producer continues")
)

const Counters = Schema.Record(Schema.String, Schema.Int)

/** Figures of a node. */
export const Stats = Schema.Struct({
  version: Schema.String,
  started_at: Schema.String,
  uptime_seconds: Schema.Finite,
  stopping: Schema.Boolean,
  store: Schema.Struct({
    adapter: Schema.String,
    durability: Schema.Literals(["memory", "os", "fsync", "quorum"]),
    store_id: Schema.NullOr(Schema.String),
    healthy: Schema.Boolean
  }),
  bus: Counters,
  shards: Schema.Array(Counters),
  tails: Schema.Int,
  bridges: Schema.Array(Schema.Struct({
    direction: Schema.Literals(["in", "out"]),
    channel: Schema.String,
    topic: Schema.String,
    state: Schema.Literals(["starting", "running", "waiting"]),
    forwarded: Schema.Int.annotate({ description: "Since the start" }),
    duplicates: Schema.Int.annotate({
      description: "Sent again or delivered again, and recognised: not forwarded twice"
    }),
    deduplicated: Schema.NullOr(Schema.Boolean).annotate({
      description: "Whether the broker deduplicates on the topic; null while that is not known"
    }),
    last_error: Schema.NullOr(Schema.String)
  })),
  process: Schema.Struct({
    pid: Schema.Int,
    cpu_seconds: Schema.Finite.annotate({ description: "Of all threads, since the start" }),
    resident_bytes: Schema.Int,
    heap_bytes: Schema.Int,
    event_loop_delay_p99_ms: Schema.Finite.annotate({ description: "Since the last look at these figures" })
  })
})

const node = HttpApiGroup.make("node").add(
  HttpApiEndpoint.get("stats", "/v1/stats", { success: Stats }).annotate(
    OpenApi.Summary,
    "Counters of the bus and of the process"
  ),
  HttpApiEndpoint.get("metrics", "/metrics", {
    success: Schema.String.pipe(HttpApiSchema.asText({ contentType: "text/plain; version=0.0.4" }))
  })
    .annotate(OpenApi.Summary, "The same for Prometheus"),
  HttpApiEndpoint.get("openapi", "/openapi.json", { success: Schema.Json }).annotate(
    OpenApi.Summary,
    "This description"
  )
)

const probes = HttpApiGroup.make("probes").add(
  HttpApiEndpoint.get("live", "/livez", { success: Schema.Struct({ status: Schema.Literal("ok") }) })
    .annotate(OpenApi.Summary, "The process runs"),
  HttpApiEndpoint.get("ready", "/readyz", {
    success: Schema.Struct({ status: Schema.Literal("ok") }),
    error: Problem.Unavailable
  })
    .annotate(OpenApi.Summary, "The node takes events")
)

/** The contract. */
export class Api extends HttpApi.make("perigee")
  .add(events.middleware(Authenticated), producers.middleware(Authenticated), node.middleware(Authenticated), probes)
  .middleware(WellFormed)
  .annotate(OpenApi.Title, "Perigee node")
  .annotate(OpenApi.Version, version)
{}
