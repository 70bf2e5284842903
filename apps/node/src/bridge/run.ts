/**
 * Runs the bridges of a node, each kept going: what stops one is logged, shown in the figures, and tried again.
 */
import type { EventBus } from "@perigee/bus"
import type { PulsarClient } from "@perigee/engine"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { describe, type Failure } from "../Failure.ts"
import * as Connection from "../pulsar/Connection.ts"
import type { BridgeSpec } from "./BridgeSpec.ts"
import * as Inbound from "./Inbound.ts"
import { keep } from "./Keep.ts"
import * as Outbound from "./Outbound.ts"
import type { Status } from "./Status.ts"

/** What all bridges of a node share. */
export interface Place {
  readonly dir: string
  readonly storeId: string
  readonly maxEventBytes: number
  readonly tails: Outbound.OutboundOptions["tails"]
}

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
  place: Place
): Effect.Effect<void, never, EventBus | PulsarClient> => {
  const own = `${place.storeId}-${encodeURIComponent(spec.channel)}`
  // Positions mean something in one store only: a producer's name says which. A subscription may be one that somebody has made.
  const name = spec.direction === "out" ? `${spec.name ?? "perigee"}-${own}` : spec.name ?? `perigee-${own}`
  const keepOf = (topic: string) => keep(place.dir, [spec.direction, name, spec.channel, topic])
  return spec.direction === "out"
    ? supervise(status, Outbound.run({ spec, name, status, keep: keepOf(spec.topic), tails: place.tails }))
    : supervise(
      status,
      Inbound.run({ spec, name, status, keep: keepOf, maxEventBytes: place.maxEventBytes })
    )
}

/** Starts them, for the life of the scope. Fails when the broker's address makes no sense; a broker that is away is waited for. */
export const start = Effect.fnUntraced(function*(
  statuses: ReadonlyArray<Status>,
  connection: Connection.PulsarConnection,
  place: Place
): Effect.fn.Return<void, Failure, EventBus | Scope.Scope> {
  const client = yield* Layer.build(Connection.layer(connection))
  for (const status of statuses) {
    yield* bridge(status.spec, status, place).pipe(Effect.provideContext(client), Effect.forkScoped)
  }
})
