/**
 * `GET /v1/tail`: stored events, then live ones, as server-sent events.
 */
import { Adapter, type BusEvent, Cursor, EventBus, type SubscribeOptions } from "@perigee/bus"
import * as NodeHttpServerRequest from "@effect/platform-node/NodeHttpServerRequest"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import type * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import { Limits } from "../Config.ts"
import { Lifecycle } from "../Lifecycle.ts"
import { pollProblem } from "./failures.ts"
import * as Problem from "./Problem.ts"
import { eventJson } from "./render.ts"
import * as Selection from "./Selection.ts"

export interface TailRequest {
  readonly query: {
    readonly filter?: string
    readonly channel?: string
    readonly shards?: string
    readonly from?: string
  }
  readonly headers: { readonly "last-event-id"?: string }
  readonly request: HttpServerRequest.HttpServerRequest
}

const encoder = new TextEncoder()
const lineEnds = /\r\n|\r|\n/g

/** The id is the cursor: a reader that was cut off sends it back as `Last-Event-ID`. */
const frame = (event: BusEvent): string =>
  `id: ${event.cursor}\ndata: ${eventJson(event).replace(lineEnds, "\ndata: ")}\n\n`

const problemFrame = (problem: Problem.Unavailable | Problem.BadRequest): string =>
  `event: problem\ndata: ${JSON.stringify({ status: problem.status, code: problem.code, detail: problem.detail })}\n\n`

/** An id without data moves the reader's place, and is no event. */
const opening = (place: string | undefined): string =>
  place === undefined
    ? "retry: 1000\n: stored events first, then live ones\n\n"
    : `retry: 1000\nid: ${place}\n: live events only\n\n`

const start = (request: TailRequest): SubscribeOptions["from"] => {
  const from = request.headers["last-event-id"] || request.query.from || "beginning"
  return from === "beginning" ? "beginning" : from === "end" || from === "now" ? "end" : { cursor: from }
}

/** The readers of this node's tail. */
export class Tails extends Context.Service<Tails, {
  /** Readers connected now. */
  readonly count: () => number
  readonly open: (
    request: TailRequest
  ) => Effect.Effect<HttpServerResponse.HttpServerResponse, Problem.BadRequest | Problem.Unavailable>
}>()("perigee/api/Tails") {
  static readonly layer = Layer.effect(
    Tails,
    Effect.gen(function*() {
      const bus = yield* EventBus
      const adapter = yield* Adapter.Adapter
      const limits = yield* Limits
      const lifecycle = yield* Lifecycle
      let readers = 0

      const heartbeat = Stream.map(
        Stream.drop(Stream.tick(limits.tailHeartbeat), 1),
        () => encoder.encode(": still here\n\n")
      )

      /** Ends the connection of a reader that leaves what was sent unread: its events wait in the store, not here. */
      const cutStalled = Effect.fnUntraced(function*(request: HttpServerRequest.HttpServerRequest) {
        const response = NodeHttpServerRequest.toServerResponse(request)
        const stall = Duration.toMillis(limits.tailStall)
        let blockedSince: number | undefined
        while (!response.destroyed) {
          yield* Effect.sleep(Math.max(10, Math.min(1000, stall / 4)))
          const now = yield* Clock.currentTimeMillis
          if (!response.writableNeedDrain) blockedSince = undefined
          else if (blockedSince === undefined) blockedSince = now
          else if (now - blockedSince >= stall) response.destroy()
        }
      })

      /** The cursor behind everything that is stored now. */
      const end = adapter.tails.pipe(
        Effect.flatMap((positions) =>
          Effect.fromResult(Cursor.encode(Cursor.make({ positions, store: adapter.storeId })))
        ),
        Effect.mapError((error) =>
          new Problem.Unavailable({ code: "E_STORE", detail: `The store cannot be read: ${error.message}.` })
        )
      )

      const open = Effect.fnUntraced(function*(
        request: TailRequest
      ): Effect.fn.Return<HttpServerResponse.HttpServerResponse, Problem.BadRequest | Problem.Unavailable> {
        const selection = yield* Selection.decode(request.query)
        const from = start(request)
        if (lifecycle.isStopping()) {
          return yield* new Problem.Unavailable({ code: "E_STOPPING", detail: "The node is stopping." })
        }
        if (readers >= limits.maxTails) {
          return yield* new Problem.Unavailable({
            code: "E_TAILS",
            detail: `All ${limits.maxTails} places at the tail are taken. Come back later.`
          })
        }
        // Who begins at the end and is cut off before the first event came could not say where that was.
        const place = from === "end" ? yield* end : undefined
        // A wrong cursor must fail the request, not the stream that the answer opens.
        yield* Effect.mapError(
          bus.poll({ ...selection, limit: 1, cursor: typeof from === "object" ? from.cursor : undefined }),
          pollProblem
        )
        const events = bus.subscribe({
          ...selection,
          from: place === undefined ? from : { cursor: place },
          chunkSize: 256
        }).pipe(
          Stream.mapArray((chunk) => [encoder.encode(chunk.map(frame).join(""))]),
          Stream.catch((error) => Stream.succeed(encoder.encode(problemFrame(pollProblem(error)))))
        )
        const body = Stream.succeed(encoder.encode(opening(place))).pipe(
          Stream.concat(Stream.merge(events, heartbeat, { haltStrategy: "left" })),
          Stream.interruptWhen(lifecycle.stopping),
          Stream.concat(
            Stream.suspend(() =>
              lifecycle.isStopping() ? Stream.succeed(encoder.encode(": the node is stopping\n\n")) : Stream.empty
            )
          )
        )
        const watched = Stream.unwrap(Effect.gen(function*() {
          yield* Effect.acquireRelease(Effect.sync(() => readers++), () => Effect.sync(() => readers--))
          yield* Effect.forkScoped(cutStalled(request.request))
          return body
        }))
        return HttpServerResponse.stream(watched, {
          contentType: "text/event-stream",
          headers: { "x-accel-buffering": "no" }
        })
      })

      return Tails.of({ count: () => readers, open })
    })
  )
}
