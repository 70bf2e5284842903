/**
 * Errors of the HTTP API: RFC 9457 problem documents with a stable `code`.
 */
import * as Schema from "effect/Schema"
import * as HttpApiError from "effect/http-api/HttpApiError"

/** One refused NDJSON line. */
export const RejectedLine = Schema.Struct({
  line: Schema.Int.annotate({ description: "From 1, over the whole body" }),
  reason: Schema.Literals(["notJson", "invalidUtf8", "tooLong", "tooDeep"]),
  offset: Schema.Int.annotate({ description: "Byte of the line at which it stopped being acceptable" })
})

/** What became of the events of one request. */
export const AppendSummary = Schema.Struct({
  accepted: Schema.Int.annotate({ description: "New events, all of them stored" }),
  duplicates: Schema.Int.annotate({ description: "Events of a named producer that had been stored before" }),
  durable: Schema.Int.annotate({
    description:
      "Events of this request that are on stable storage: `accepted + duplicates`, or less when the request failed on the way"
  }),
  rejected: Schema.Struct({
    total: Schema.Int,
    lines: Schema.Array(RejectedLine).annotate({ description: "The first of them" })
  }),
  last_sequence: Schema.NullOr(Schema.Int).annotate({
    description:
      "Number of the last event of a named producer that is stored without a gap before it; null without a producer"
  })
})
export type AppendSummary = typeof AppendSummary.Type

const title = (status: number): string => titles[status]!
const titles: Record<number, string> = {
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  408: "Request Timeout",
  409: "Conflict",
  413: "Content Too Large",
  415: "Unsupported Media Type",
  421: "Misdirected Request",
  500: "Internal Server Error",
  503: "Service Unavailable",
  507: "Insufficient Storage"
}

/** `about:blank`: the code says what the status does not. */
const declare = <const Status extends number>(status: Status) =>
  ({ type: "about:blank", status, title: title(status) }) as const
/** What was stored of a request before it failed. */
const progress = Schema.optionalKey(AppendSummary)

export class BadRequest extends HttpApiError.Problem<BadRequest>()("BadRequest", declare(400), {
  code: Schema.Literals([
    "E_REQUEST",
    "E_JSON",
    "E_UTF8",
    "E_DEPTH",
    "E_CURSOR",
    "E_FILTER",
    "E_SHARD",
    "E_CHANNEL",
    "E_BODY"
  ]),
  progress
}) {}

export class Unauthorized extends HttpApiError.Problem<Unauthorized>()("Unauthorized", declare(401), {
  code: Schema.Literal("E_TOKEN")
}) {}

export class Forbidden extends HttpApiError.Problem<Forbidden>()("Forbidden", declare(403), {
  code: Schema.Literal("E_ORIGIN")
}) {}

export class NotFound extends HttpApiError.Problem<NotFound>()("NotFound", declare(404), {
  code: Schema.Literal("E_ROUTE")
}) {}

export class RequestTimeout extends HttpApiError.Problem<RequestTimeout>()("RequestTimeout", declare(408), {
  code: Schema.Literal("E_BODY_IDLE"),
  progress
}) {}

export class Conflict extends HttpApiError.Problem<Conflict>()("Conflict", declare(409), {
  code: Schema.Literal("E_SEQUENCE"),
  /** The sequence to go on with. */
  resume_from: Schema.Int,
  progress
}) {}

export class TooLarge extends HttpApiError.Problem<TooLarge>()("TooLarge", declare(413), {
  code: Schema.Literals(["E_EVENT_SIZE", "E_BODY_SIZE"]),
  /** In bytes. */
  limit: Schema.Int,
  progress
}) {}

export class UnsupportedMediaType
  extends HttpApiError.Problem<UnsupportedMediaType>()("UnsupportedMediaType", declare(415), {
    code: Schema.Literal("E_MEDIA_TYPE")
  })
{}

export class Misdirected extends HttpApiError.Problem<Misdirected>()("Misdirected", declare(421), {
  code: Schema.Literal("E_HOST")
}) {}

export class Internal extends HttpApiError.Problem<Internal>()("Internal", declare(500), {
  code: Schema.Literal("E_INTERNAL")
}) {}

export class Unavailable extends HttpApiError.Problem<Unavailable>()("Unavailable", declare(503), {
  code: Schema.Literals(["E_STOPPING", "E_STORE", "E_BACKPRESSURE", "E_NOT_STORED", "E_UNKNOWN", "E_TAILS"]),
  progress
}) {}

export class StorageFull extends HttpApiError.Problem<StorageFull>()("StorageFull", declare(507), {
  code: Schema.Literal("E_STORE_FULL"),
  progress
}) {}
