/**
 * The bus of a node and the file that it stores into.
 */
import { type Adapter, EventBus, ProducerIdentity } from "@perigee/bus"
import * as SqliteStore from "@perigee/bus/sqlite"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Limits, NodeConfig } from "./Config.ts"
import type { Failure } from "./Failure.ts"
import { startFailure } from "./startFailure.ts"
import { State } from "./State.ts"

/** Nothing is acknowledged before it is forced to the disk: a bus over a weaker store is not built. */
const bus = Layer.unwrap(Effect.gen(function*() {
  const { shards } = yield* NodeConfig
  const { maxEventBytes } = yield* Limits
  const { identityPath } = yield* State
  return EventBus.layer({ shards, maxEventBytes, atLeast: "fsync", identity: ProducerIdentity.file(identityPath) })
}))

const store = Layer.unwrap(Effect.map(State, ({ storePath }) => SqliteStore.layer({ path: storePath })))

/** Fails with what a person can do about it. */
export const layer: Layer.Layer<EventBus | Adapter.Adapter, Failure, Limits | NodeConfig | State> = Layer.effectContext(
  Effect.mapError(Layer.build(Layer.provideMerge(bus, store)), startFailure)
)
