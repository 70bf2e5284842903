/**
 * `import * as MemoryStore from "@perigee/bus/memory"`: a store that keeps events in this process, for tests and local use.
 *
 * @since 0.1.0
 */
import { randomUUID } from "node:crypto"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Adapter, type AdapterError, adapterError } from "../Adapter.ts"
import { EventLog } from "../core/EventLog.ts"
import { emptyPage, positionError, positionOf } from "../internal/Positions.ts"

/** @category models @since 0.1.0 */
export interface MemoryStoreOptions {
  /** At least so many of the newest events are kept, and at most one batch more. Default: no limit of their number. */
  readonly maxEvents?: number | undefined
  /** At most so many bytes are kept: payloads and about ten bytes an event. The newest batch always is. Default 256 MiB. */
  readonly maxBytes?: number | undefined
}

const adapter = "memory"

/**
 * Makes an empty store that forgets everything when its scope closes. The oldest events of all shards go when it is full.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(options: MemoryStoreOptions = {}) {
  const log = new EventLog({ maxEvents: options.maxEvents ?? Infinity, maxBytes: options.maxBytes ?? 268_435_456 })
  let isOpen = true
  yield* Effect.addFinalizer(() => Effect.sync(() => void (isOpen = false)))
  const whileOpen = <A>(effect: () => Effect.Effect<A, AdapterError>): Effect.Effect<A, AdapterError> =>
    Effect.suspend(() => isOpen ? effect() : Effect.fail(adapterError(adapter, "Shutdown", "the store is closed")))

  return Adapter.of({
    name: adapter,
    durability: "memory",
    storeId: randomUUID(),
    lastInsertionTs: BigInt(0),
    append: (batch) =>
      whileOpen(() =>
        Effect.try({
          try: () => log.append(batch),
          catch: (cause) =>
            adapterError(
              adapter,
              cause instanceof RangeError ? "Fatal" : "Serialization",
              (cause as Error).message,
              cause
            )
        })
      ),
    flush: whileOpen(() => Effect.void),
    poll: (shard, from, limit) =>
      whileOpen(() => {
        const tail = log.tail(shard)
        const after = positionOf(from, tail)
        if (after === undefined) return Effect.fail(positionError(adapter, shard, from!, tail))
        const events = log.read(shard, after, limit)
        const nextId = events.at(-1)?.id
        return Effect.succeed(nextId === undefined ? emptyPage : { events, nextId, hasMore: Number(nextId) < tail })
      }),
    tails: whileOpen(() => Effect.succeed(log.tails)),
    producerMarks: (producer) => whileOpen(() => Effect.succeed(log.marks(producer))),
    saveMarks: (marks) => whileOpen(() => Effect.sync(() => log.save(marks))),
    isHealthy: Effect.sync(() => isOpen)
  })
})

/**
 * The store as an {@link Adapter}.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: MemoryStoreOptions): Layer.Layer<Adapter> => Layer.effect(Adapter, make(options))
