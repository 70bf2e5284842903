/**
 * `import * as Noop from "@perigee/bus/noop"`: an adapter that counts what it is given and discards it. Nothing can be read from it.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Adapter, type AdapterError, adapterError } from "../Adapter.ts"
import { emptyPage } from "../internal/Positions.ts"

/** @category models @since 0.1.0 */
export interface Counts {
  readonly batches: number
  readonly events: number
  readonly bytes: number
}

/**
 * What the adapter has discarded since it was built, or since the last reset.
 *
 * @category services
 * @since 0.1.0
 */
export class Noop extends Context.Service<Noop, {
  readonly counts: Effect.Effect<Counts>
  readonly reset: Effect.Effect<void>
}>()("@perigee/bus/Noop") {}

const none: Counts = { batches: 0, events: 0, bytes: 0 }

/**
 * The adapter, and what it counts. It promises `memory`, and does not keep that.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<Adapter | Noop> = Layer.effectContext(Effect.gen(function*() {
  let counts = none
  let isOpen = true
  yield* Effect.addFinalizer(() => Effect.sync(() => void (isOpen = false)))
  const whileOpen = <A>(value: () => A): Effect.Effect<A, AdapterError> =>
    Effect.suspend(() =>
      isOpen ? Effect.succeed(value()) : Effect.fail(adapterError("noop", "Shutdown", "the adapter is closed"))
    )
  const adapter = Adapter.of({
    name: "noop",
    durability: "memory",
    storeId: null,
    lastInsertionTs: BigInt(0),
    append: ({ byteLength, count }) =>
      whileOpen(() => {
        counts = { batches: counts.batches + 1, events: counts.events + count, bytes: counts.bytes + byteLength }
      }),
    flush: whileOpen(() => undefined),
    poll: () => whileOpen(() => emptyPage),
    tails: whileOpen(() => new Map()),
    producerMarks: () => whileOpen(() => []),
    saveMarks: () => whileOpen(() => undefined),
    isHealthy: Effect.sync(() => isOpen)
  })
  return Context.make(Adapter, adapter).pipe(
    Context.add(Noop, { counts: Effect.sync(() => counts), reset: Effect.sync(() => void (counts = none)) })
  )
}))
