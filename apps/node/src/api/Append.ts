/**
 * `POST /v1/events`: events in, an answer once they are on stable storage.
 */
import * as NodeHttpServerRequest from "@effect/platform-node/NodeHttpServerRequest"
import { EventBus, JsonLines, type PublishError } from "@perigee/bus"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import type { IncomingMessage, ServerResponse } from "node:http"
import { Limits, type LimitValues } from "../Config.ts"
import { BodyReader } from "../internal/BodyReader.ts"
import { Intake } from "../internal/Intake.ts"
import { type JsonBodyFailure, jsonSpans } from "../internal/jsonSpans.ts"
import { Lifecycle } from "../Lifecycle.ts"
import { type AppendProblem, publishProblem } from "./failures.ts"
import * as Problem from "./Problem.ts"

export interface AppendQuery {
  readonly producer?: string
  readonly sequence?: number
  readonly channel?: string
  readonly key?: string
}

/** Takes the events of one request. */
export class Append extends Context.Service<Append, {
  readonly handle: (
    request: HttpServerRequest.HttpServerRequest,
    query: AppendQuery
  ) => Effect.Effect<HttpServerResponse.HttpServerResponse, AppendProblem, Scope.Scope>
}>()("perigee/api/Append") {
  static readonly layer = Layer.effect(
    Append,
    Effect.gen(function*() {
      const bus = yield* EventBus
      const limits = yield* Limits
      const lifecycle = yield* Lifecycle
      const open = openBody(limits, lifecycle)

      const handle = Effect.fnUntraced(function*(request: HttpServerRequest.HttpServerRequest, query: AppendQuery) {
        if (lifecycle.isStopping()) return yield* stopping(undefined)
        const type = yield* mediaType(request)
        if ((query.producer === undefined) !== (query.sequence === undefined)) {
          return yield* new Problem.BadRequest({ code: "E_REQUEST", detail: "`producer` and `sequence` go together." })
        }
        const body = yield* open(request)
        const summary = yield* type === "lines"
          ? appendLines(bus, limits, body, query)
          : appendJson(bus, limits, body, query)
        return HttpServerResponse.text(`${JSON.stringify(summary)}\n`, { contentType: "application/json" })
      }, (answer, request) => Effect.tapError(answer, () => leaveBody(request)))
      return Append.of({ handle })
    })
  )
}

/** A refused body is not read to its end: the connection closes instead. */
const leaveBody = (request: HttpServerRequest.HttpServerRequest): Effect.Effect<void> =>
  Effect.sync(() => {
    if (!(NodeHttpServerRequest.toIncomingMessage(request) as IncomingMessage).complete) {
      ;(NodeHttpServerRequest.toServerResponse(request) as ServerResponse).shouldKeepAlive = false
    }
  })

const stopping = (progress: Problem.AppendSummary | undefined) =>
  new Problem.Unavailable({
    code: "E_STOPPING",
    detail: "The node is stopping. Send the rest again once it is back.",
    ...(progress === undefined ? {} : { progress })
  })

const mediaType = (
  request: HttpServerRequest.HttpServerRequest
): Effect.Effect<"lines" | "json", Problem.UnsupportedMediaType> => {
  const encoding = request.headers["content-encoding"]
  if (encoding !== undefined && encoding !== "identity") {
    return Effect.fail(
      new Problem.UnsupportedMediaType({
        code: "E_MEDIA_TYPE",
        detail: "Bodies are taken as they are: send no Content-Encoding."
      })
    )
  }
  switch ((request.headers["content-type"] ?? "").split(";", 1)[0]!.trim().toLowerCase()) {
    case "application/x-ndjson":
    case "application/ndjson":
    case "application/jsonl":
    case "application/x-jsonlines":
      return Effect.succeed("lines")
    case "application/json":
      return Effect.succeed("json")
    default:
      return Effect.fail(
        new Problem.UnsupportedMediaType({
          code: "E_MEDIA_TYPE",
          detail:
            "Say what the body is: `Content-Type: application/json` for an object or an array, `application/x-ndjson` for one event a line."
        })
      )
  }
}

/** A request body, piece by piece; null at its end. */
interface Body {
  readonly next: Effect.Effect<Uint8Array | null, BodyEnd>
}
type BodyEnd = "idle" | "aborted" | "stopping"

/** Opens the body of a request for the life of the request's scope. A stopping node ends it early. */
const openBody = (limits: LimitValues, lifecycle: Lifecycle["Service"]) =>
  Effect.fnUntraced(function*(request: HttpServerRequest.HttpServerRequest) {
    const incoming = NodeHttpServerRequest.toIncomingMessage(request) as IncomingMessage
    const reader = yield* Effect.acquireRelease(
      Effect.sync(() => new BodyReader(incoming, limits.readAheadBytes)),
      (reader) => Effect.sync(() => reader.close())
    )
    if (/^100-continue$/i.test(request.headers["expect"] ?? "")) {
      NodeHttpServerRequest.toServerResponse(request).writeContinue()
    }
    yield* Effect.forkScoped(Effect.andThen(lifecycle.stopping, Effect.sync(() => reader.fail("stopping"))))

    const arrival = Effect.callback<void>((resume) => reader.wait(() => resume(Effect.void))).pipe(
      Effect.timeoutOrElse({ duration: limits.bodyIdle, orElse: () => Effect.fail("idle" as const) })
    )
    const next: Body["next"] = Effect.suspend(() => {
      if (reader.failure !== undefined) return Effect.fail(reader.failure)
      const taken = reader.take()
      return taken === undefined ? Effect.andThen(arrival, next) : Effect.succeed(taken)
    })
    return { next } satisfies Body
  })

const bodyProblem = (
  end: BodyEnd,
  limits: LimitValues,
  progress: Problem.AppendSummary | undefined
): Problem.BadRequest | Problem.RequestTimeout | Problem.Unavailable => {
  const so = progress === undefined ? {} : { progress }
  switch (end) {
    case "idle":
      return new Problem.RequestTimeout({
        code: "E_BODY_IDLE",
        detail: `Nothing of the body arrived for ${Duration.format(limits.bodyIdle)}, and it is not at its end.`,
        ...so
      })
    case "aborted":
      return new Problem.BadRequest({ code: "E_BODY", detail: "The body broke off.", ...so })
    case "stopping":
      return stopping(progress)
  }
}

const producerOf = (query: AppendQuery, offset: number) =>
  query.producer === undefined ? undefined : { name: query.producer, sequence: query.sequence! + offset }

/** Number of the last event of the named producer that is stored without a gap before it. */
const lastSequence = (bus: EventBus["Service"], query: AppendQuery): Effect.Effect<number | null> =>
  query.producer === undefined
    ? Effect.succeed(null)
    : Effect.orElseSucceed(bus.lastSequence(query.producer), () => null)

/**
 * Validates and publishes a body of NDJSON chunk by chunk, several chunks on their way to the store at once. The bus's rings push back on the
 * body, the body on the socket: memory does not grow with the length of the body, nor with that of a line.
 */
const appendLines = Effect.fnUntraced(function*(
  bus: EventBus["Service"],
  limits: LimitValues,
  body: Body,
  query: AppendQuery
): Effect.fn.Return<Problem.AppendSummary, AppendProblem, Scope.Scope> {
  const decoder = new JsonLines.JsonLines({
    maxLineBytes: limits.maxEventBytes,
    maxDepth: limits.maxDepth,
    maxRejected: limits.rejectedListed
  })
  const intake = yield* Intake.make(bus, limits.chunksInFlight)
  const rejected: Array<typeof Problem.RejectedLine.Type> = []
  let rejectedTotal = 0
  let lines = 0

  const summary = Effect.map(lastSequence(bus, query), (last_sequence): Problem.AppendSummary => ({
    accepted: intake.accepted,
    duplicates: intake.duplicates,
    durable: intake.accepted + intake.duplicates,
    rejected: { total: rejectedTotal, lines: rejected },
    last_sequence
  }))

  const run = Effect.gen(function*() {
    while (true) {
      const chunk = yield* body.next
      const batch = chunk === null ? decoder.end(bus.shards) : decoder.push(chunk, bus.shards)
      rejectedTotal += batch.rejectedCount
      if (batch.rejected.length > 0) rejected.push(...batch.rejected)
      if (batch.count > 0) {
        yield* intake.submit(batch, { channel: query.channel, key: query.key, producer: producerOf(query, lines) })
        lines += batch.count
      }
      if (chunk === null) return yield* intake.settled
    }
  })
  const exit = yield* Effect.exit(run)
  if (Exit.isSuccess(exit)) return yield* summary
  // What was submitted before the end is on its way, and counts.
  yield* Effect.ignore(intake.settled)
  const progress = yield* summary
  return yield* Effect.failCause(exit.cause).pipe(
    Effect.mapError((error): AppendProblem =>
      typeof error === "string" ? bodyProblem(error, limits, progress) : publishProblem(error, progress)
    )
  )
})

const jsonProblem = (failure: JsonBodyFailure, limits: LimitValues): Problem.BadRequest | Problem.TooLarge => {
  switch (failure._tag) {
    case "Utf8":
      return new Problem.BadRequest({ code: "E_UTF8", detail: "The body is not UTF-8." })
    case "Json":
      return new Problem.BadRequest({
        code: "E_JSON",
        detail: `The body is not JSON: ${failure.message}. Nothing of it was stored.`
      })
    case "Depth":
      return new Problem.BadRequest({
        code: "E_DEPTH",
        detail: `The body is nested deeper than ${limits.maxDepth} at byte ${failure.offset}. Nothing of it was stored.`
      })
    case "Size":
      return new Problem.TooLarge({
        code: "E_EVENT_SIZE",
        detail:
          `Event ${failure.index} has ${failure.bytes} bytes; the limit is ${limits.maxEventBytes}. Nothing of the body was stored.`,
        limit: limits.maxEventBytes
      })
  }
}

/** Pauses of the longest kind that a body may make when it is read whole. */
const wholeBodyPauses = 10

/** Reads a body whole, up to `limits.maxJsonBytes`. */
const readWhole = Effect.fnUntraced(function*(body: Body, limits: LimitValues) {
  const chunks: Array<Uint8Array> = []
  let bytes = 0
  while (true) {
    const chunk = yield* Effect.mapError(body.next, (end) => bodyProblem(end, limits, undefined))
    if (chunk === null) return Buffer.concat(chunks, bytes)
    bytes += chunk.length
    if (bytes > limits.maxJsonBytes) {
      return yield* new Problem.TooLarge({
        code: "E_BODY_SIZE",
        detail:
          `A body of type application/json has at most ${limits.maxJsonBytes} bytes. Send more as application/x-ndjson.`,
        limit: limits.maxJsonBytes
      })
    }
    chunks.push(chunk)
  }
}, (whole, _body, limits) =>
  Effect.timeoutOrElse(whole, {
    duration: Duration.times(limits.bodyIdle, wholeBodyPauses),
    orElse: () => Effect.fail(bodyProblem("idle", limits, undefined))
  }))

/** Publishes the value of a JSON body, or the elements of its array: all of them, or none when the body is not acceptable. */
const appendJson = Effect.fnUntraced(function*(
  bus: EventBus["Service"],
  limits: LimitValues,
  body: Body,
  query: AppendQuery
): Effect.fn.Return<Problem.AppendSummary, AppendProblem> {
  const spans = jsonSpans(yield* readWhole(body, limits), limits)
  if ("_tag" in spans) return yield* jsonProblem(spans, limits)
  const { accepted, duplicates } = yield* Effect.mapError(
    bus.publishAllRaw(spans, {
      channel: query.channel,
      key: query.key,
      producer: producerOf(query, 0),
      until: "durable"
    }),
    (error: PublishError.PublishError) => publishProblem(error, undefined)
  )
  return {
    accepted,
    duplicates,
    durable: accepted + duplicates,
    rejected: { total: 0, lines: [] },
    last_sequence: yield* lastSequence(bus, query)
  }
})
