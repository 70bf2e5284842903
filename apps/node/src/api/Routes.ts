/**
 * The contract of the API, joined to what answers it.
 */
import { type Adapter, EventBus } from "@perigee/bus"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import type * as Path from "effect/Path"
import type * as Etag from "effect/http/Etag"
import type * as HttpPlatform from "effect/http/HttpPlatform"
import type * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import * as OpenApi from "effect/http-api/OpenApi"
import type { Bridges } from "../bridge/Bridges.ts"
import { Limits, type NodeConfig } from "../Config.ts"
import { Lifecycle } from "../Lifecycle.ts"
import type { State } from "../State.ts"
import { Api } from "./Api.ts"
import { Append } from "./Append.ts"
import * as Auth from "./Auth.ts"
import * as Guard from "./Guard.ts"
import { metricsText } from "./Metrics.ts"
import * as Problem from "./Problem.ts"
import { read } from "./Read.ts"
import { Figures } from "./Stats.ts"
import { Tails } from "./Tail.ts"
import * as WellFormed from "./WellFormed.ts"

const wantsLines = (accept: string | undefined): boolean =>
  accept !== undefined && /application\/(x-)?ndjson/i.test(accept)

const events = HttpApiBuilder.group(
  Api,
  "events",
  Effect.fnUntraced(function*(handlers) {
    const append = yield* Append
    const bus = yield* EventBus
    const limits = yield* Limits
    const tails = yield* Tails
    return handlers
      .handleRaw("append", ({ query, request }) => append.handle(request, query))
      .handle("read", ({ query, request }) => read(bus, limits, query, wantsLines(request.headers["accept"])))
      .handle("tail", (request) => tails.open(request))
  })
)

const producers = HttpApiBuilder.group(
  Api,
  "producers",
  Effect.fnUntraced(function*(handlers) {
    const bus = yield* EventBus
    return handlers.handle("get", ({ params: { name } }) =>
      bus.lastSequence(name).pipe(
        Effect.map((last_sequence) => ({ name, last_sequence })),
        Effect.mapError((error) =>
          new Problem.Unavailable({ code: "E_STORE", detail: `The store cannot be read: ${error.message}.` })
        )
      ))
  })
)

const node = HttpApiBuilder.group(
  Api,
  "node",
  Effect.fnUntraced(function*(handlers) {
    const figures = yield* Figures
    const description = HttpServerResponse.jsonUnsafe(OpenApi.fromApi(Api))
    return handlers
      .handle("stats", () => figures.read)
      .handle("metrics", () => Effect.map(figures.read, metricsText))
      .handle("openapi", () => Effect.succeed(description))
  })
)

const probes = HttpApiBuilder.group(
  Api,
  "probes",
  Effect.fnUntraced(function*(handlers) {
    const bus = yield* EventBus
    const lifecycle = yield* Lifecycle
    return handlers
      .handle("live", () => Effect.succeed({ status: "ok" as const }))
      .handle("ready", () =>
        Effect.gen(function*() {
          if (lifecycle.isStopping()) {
            return yield* new Problem.Unavailable({ code: "E_STOPPING", detail: "The node is stopping." })
          }
          if (!(yield* bus.isHealthy)) {
            return yield* new Problem.Unavailable({ code: "E_STORE", detail: "The store does not answer." })
          }
          return { status: "ok" as const }
        }))
  })
)

/** Every route of the node, guarded. */
export const layer: Layer.Layer<
  never,
  never,
  | Adapter.Adapter
  | Bridges
  | Etag.Generator
  | EventBus
  | FileSystem.FileSystem
  | HttpPlatform.HttpPlatform
  | HttpRouter.HttpRouter
  | Lifecycle
  | Limits
  | NodeConfig
  | Path.Path
  | State
> = HttpApiBuilder.layer(Api).pipe(
  Layer.provide([events, producers, node, probes]),
  Layer.provide([Append.layer, Figures.layer]),
  Layer.provide(Tails.layer),
  Layer.provide([Auth.layer, WellFormed.layer]),
  Layer.provide(Guard.layer)
)
