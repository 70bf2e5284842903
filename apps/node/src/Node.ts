/**
 * A node: the packages composed into one Layer.
 *
 * Built from the bottom up, released from the top down: requests are told to end, the listener closes, the bridges stop, the bus drains into the
 * store, the store closes, the lock on the state directory goes last.
 */
import { type Adapter, EventBus } from "@perigee/bus"
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServer from "effect/http/HttpServer"
import { resolve } from "node:path"
import * as Routes from "./api/Routes.ts"
import { Bridges } from "./bridge/Bridges.ts"
import { Limits, type LimitValues, NodeConfig, type NodeOptions } from "./Config.ts"
import * as Http from "./Http.ts"
import { Lifecycle } from "./Lifecycle.ts"
import { State } from "./State.ts"
import * as Store from "./Store.ts"
import { version } from "./Version.ts"

/** Tells the commands where the node is, while it is there. */
const announced = Layer.effectDiscard(Effect.gen(function*() {
  const config = yield* NodeConfig
  const state = yield* State
  const node = {
    pid: process.pid,
    url: Http.urlOf(yield* HttpServer.HttpServer, config),
    started_at: DateTime.formatIso(DateTime.makeUnsafe(yield* Clock.currentTimeMillis)),
    version,
    certificate: config.tls === undefined ? null : resolve(config.tls.cert)
  }
  yield* Effect.acquireRelease(state.announce(node), () => state.retract)
}))

/** Released first: requests without an end hear that they have to find one. */
const stopsRequests = Layer.effectDiscard(Effect.gen(function*() {
  const lifecycle = yield* Lifecycle
  yield* Effect.addFinalizer(() => lifecycle.stop)
}))

/** Released once no request is left: everything accepted goes to the store, and what does not is known. */
const drainsBus = Layer.effectDiscard(Effect.gen(function*() {
  const bus = yield* EventBus
  const lifecycle = yield* Lifecycle
  yield* Effect.addFinalizer(() => Effect.map(bus.shutdown, (report) => lifecycle.stopped(report)))
}))

/** A node over any store of the bus. */
export const layerWith = <E, R>(
  options: NodeOptions,
  store: Layer.Layer<EventBus | Adapter.Adapter, E, R>,
  limits: Partial<LimitValues> = {}
) =>
  stopsRequests.pipe(
    Layer.provideMerge(announced),
    Layer.provideMerge(HttpRouter.serve(Routes.layer, { disableListenLog: true, disableLogger: true })),
    Layer.provideMerge(Http.layer),
    Layer.provideMerge(Bridges.layer),
    Layer.provideMerge(drainsBus),
    Layer.provideMerge(store),
    Layer.provideMerge(State.layer),
    Layer.provideMerge([Limits.layerWith(limits), Layer.succeed(NodeConfig, options)])
  )

/** A node over the SQLite file of its state directory. */
export const layer = (options: NodeOptions) => layerWith(options, Store.layer)
