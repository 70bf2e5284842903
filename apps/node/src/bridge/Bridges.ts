/**
 * The bridges of a node, each kept going: what stops one is logged, shown in the figures, and tried again.
 */
import { Adapter, Cursor, type EventBus } from "@perigee/bus"
import type { PulsarClient } from "@perigee/engine"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { Limits, NodeConfig } from "../Config.ts"
import { describe, type Failure, failure } from "../Failure.ts"
import * as Connection from "../pulsar/Connection.ts"
import { State } from "../State.ts"
import type { BridgeSpec } from "./BridgeSpec.ts"
import * as Inbound from "./Inbound.ts"
import { keep } from "./Keep.ts"
import * as Outbound from "./Outbound.ts"
import { Status } from "./Status.ts"

/** Milliseconds between two attempts: doubling while nothing gets through. */
const pause = { first: 100, longest: 10_000 } as const

/** Runs attempts one after the other until one of them has done what there was to do. */
const supervise = <E, R>(
  status: Status,
  attempt: Effect.Effect<void, E, R | Scope.Scope>
): Effect.Effect<void, never, Exclude<R, Scope.Scope>> =>
  Effect.gen(function*() {
    let wait: number = pause.first
    while (true) {
      const before = status.forwarded
      const exit = yield* Effect.exit(Effect.scoped(attempt))
      if (Exit.isSuccess(exit)) return
      const why = describe(Cause.squash(exit.cause))
      const isNews = status.lastError !== why || status.state !== "waiting"
      status.state = "waiting"
      status.lastError = why
      const { channel, direction, topic } = status.spec
      if (Cause.hasDies(exit.cause)) yield* Effect.logError("bridge: it failed unexpectedly", exit.cause)
      else if (isNews) yield* Effect.logWarning("bridge: it has to wait", { direction, channel, topic, why })
      if (status.forwarded > before) wait = pause.first
      yield* Effect.sleep(wait)
      wait = Math.min(wait * 2, pause.longest)
    }
  }) as Effect.Effect<void, never, Exclude<R, Scope.Scope>>

const bridge = (
  spec: BridgeSpec,
  status: Status,
  place: {
    readonly dir: string
    readonly storeId: string
    readonly maxEventBytes: number
    readonly tails: Outbound.OutboundOptions["tails"]
  }
): Effect.Effect<void, never, EventBus | PulsarClient> => {
  const name = spec.name ?? `perigee-${place.storeId}-${encodeURIComponent(spec.channel)}`
  const keepOf = (topic: string) => keep(place.dir, [spec.direction, name, spec.channel, topic])
  return spec.direction === "out"
    ? supervise(status, Outbound.run({ spec, name, status, keep: keepOf(spec.topic), tails: place.tails }))
    : supervise(
      status,
      Inbound.run({ spec, name, status, keep: keepOf, maxEventBytes: place.maxEventBytes })
    )
}

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
      const client = yield* Layer.build(Connection.layer(pulsar))
      const running = bridges.map((spec) => ({ spec, status: new Status(spec) }))
      for (const { spec, status } of running) {
        yield* bridge(spec, status, { dir, storeId, maxEventBytes, tails }).pipe(
          Effect.provideContext(client),
          Effect.forkScoped
        )
      }
      return Bridges.of({ status: () => running.map(({ status }) => status.report) })
    })
  )
}
