/** Builds a bus: its lanes, the workers that empty them, and the service around them. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import { Adapter } from "../Adapter.ts"
import { BusConfigError, type EventBusOptions, validate } from "../BusConfig.ts"
import { Batcher } from "../core/Batcher.ts"
import { BlockPool } from "../core/Block.ts"
import { Channels } from "../core/Channels.ts"
import { Intake } from "../core/Intake.ts"
import { Lane } from "../core/Lane.ts"
import { Producers } from "../core/Producers.ts"
import { Ring } from "../core/Ring.ts"
import { Pulse } from "../core/Signal.ts"
import { Staging } from "../core/Staging.ts"
import { Timestamps } from "../core/Timestamps.ts"
import { isAtLeast } from "../Durability.ts"
import type { EventBus } from "../EventBus.ts"
import * as ProducerIdentity from "../ProducerIdentity.ts"
import * as Counters from "./Counters.ts"
import { work } from "./Dispatcher.ts"
import * as Flush from "./Flush.ts"
import type { Parts } from "./Parts.ts"
import * as Poller from "./Poller.ts"
import * as ProducerLookup from "./ProducerLookup.ts"
import * as Publisher from "./Publisher.ts"
import * as Shutdown from "./Shutdown.ts"
import * as Subscriber from "./Subscriber.ts"

/** Blocks kept for reuse, over all shards: 8 MiB. */
const POOLED_BLOCKS = 64

const makeParts = Effect.fnUntraced(function*(options: EventBusOptions) {
  const settings = yield* Effect.try({ try: () => validate(options), catch: (error) => error as BusConfigError })
  const adapter = yield* Adapter
  if (!isAtLeast(adapter.durability, settings.atLeast)) {
    return yield* new BusConfigError({
      option: "atLeast",
      problem: `asks for ${settings.atLeast}, but the adapter "${adapter.name}" promises ${adapter.durability}`
    })
  }
  const identity = yield* options.identity ?? ProducerIdentity.ephemeral
  const pool = new BlockPool(POOLED_BLOCKS)
  const lanes = Array.from({ length: settings.shards }, (_, id) => {
    const ring = new Ring(settings.capacity, settings.capacityBytes, pool)
    return new Lane(id, ring, new Batcher(settings.batch), identity.start(id))
  })
  const timestamps = new Timestamps(adapter.lastInsertionTs)
  const parts: Parts = {
    settings,
    adapter,
    identity,
    clock: yield* Clock.Clock,
    lanes,
    intake: new Intake(lanes, settings.backpressure, settings.maxEventBytes, timestamps),
    staging: new Staging({ maxBytes: settings.maxEventBytes }),
    channels: new Channels(),
    producers: new Producers(settings.maxProducers),
    stored: new Pulse(),
    phase: "open"
  }
  return parts
})

/** How the bus wakes its subscriptions. */
const wakeOf = (parts: Parts): Subscriber.Wake => ({
  version: () => parts.stored.version,
  changed: (seen) =>
    Effect.callback<void>((resume) => {
      if (parts.phase === "closed") return resume(Effect.void)
      const stop = parts.stored.sleep(seen, () => resume(Effect.void))
      // Whoever waits for news should not wait for a batch to fill up as well.
      for (const lane of parts.lanes) if (!lane.ring.isEmpty) lane.wake()
      return Effect.sync(stop)
    }),
  closed: () => parts.phase === "closed"
})

export const make = Effect.fnUntraced(function*(options: EventBusOptions) {
  const scope = yield* Effect.scope
  const parts = yield* makeParts(options)
  const { adapter, lanes, settings } = parts
  const producerLookup = yield* ProducerLookup.make(parts)
  const flush = Flush.make(parts)
  const workers: Array<Fiber.Fiber<void>> = []
  const shutdown = yield* Shutdown.make(parts, workers, flush)
  const onBatchFailed = options.onBatchFailed ?? (() => Effect.void)
  // The workers are not the scope's: it would wait for one that hangs, after the shutdown has given it up.
  yield* Effect.uninterruptible(Effect.gen(function*() {
    for (const lane of lanes) workers.push(yield* Effect.forkDetach(work(parts, lane, onBatchFailed)))
    yield* Scope.addFinalizer(scope, shutdown)
  }))

  const poller = Poller.make(adapter)
  const wake = wakeOf(parts)
  const service: EventBus["Service"] = {
    ...Publisher.make(parts, producerLookup),
    ...Counters.make(parts),
    poll: poller.poll,
    subscribe: (options) => Subscriber.make(poller, wake, adapter, options),
    lastSequence: producerLookup.lastSequence,
    flush: flush.flush,
    shutdown,
    isShutdown: Effect.sync(() => parts.phase === "closed"),
    shards: settings.shards,
    isHealthy: adapter.isHealthy
  }
  return service
})
