/**
 * The bridges of a node.
 */
import { Adapter, Cursor, type EventBus } from "@perigee/bus"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Limits, NodeConfig } from "../Config.ts"
import { type Failure, failure } from "../Failure.ts"
import { State } from "../State.ts"
import { Status } from "./Status.ts"

export class Bridges extends Context.Service<Bridges, {
  readonly status: () => ReadonlyArray<Status["report"]>
}>()("perigee/bridge/Bridges") {
  /**
   * Runs the bridges of the node's configuration for the life of the scope. A broker that is away keeps no node from starting; an address that
   * makes no sense does.
   */
  static readonly layer: Layer.Layer<
    Bridges,
    Failure,
    Adapter.Adapter | EventBus | Limits | NodeConfig | State
  > = Layer.effect(
    Bridges,
    Effect.gen(function*() {
      const { bridges, pulsar } = yield* NodeConfig
      if (bridges.length === 0 || pulsar === undefined) return Bridges.of({ status: () => [] })
      const adapter = yield* Adapter.Adapter
      const { maxEventBytes } = yield* Limits
      const { dir } = yield* State
      const { storeId } = adapter
      if (storeId === null) {
        return yield* failure(
          "E_BRIDGE",
          "start",
          "A store that has no identity cannot be bridged: nobody could tell its events apart."
        )
      }
      const tails = Effect.map(adapter.tails, (positions) => Cursor.make({ positions, store: storeId }))
      const statuses = bridges.map((spec) => new Status(spec))
      // A node without bridges has no use for a client.
      const { start } = yield* Effect.promise(() => import("./run.ts"))
      yield* start(statuses, pulsar, { dir, storeId, maxEventBytes, tails })
      return Bridges.of({ status: () => statuses.map(({ report }) => report) })
    })
  )
}
