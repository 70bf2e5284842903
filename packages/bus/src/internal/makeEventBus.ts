/**
 * Builds a bus: the lanes, the workers that empty them, and the functions that publish into them.
 */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as RcMap from "effect/RcMap"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import { Adapter, type AdapterError, adapterError } from "../Adapter.ts"
import { BusConfigError, type EventBusOptions, validate } from "../BusConfig.ts"
import { insertionTs } from "../Batch.ts"
import { Batcher } from "../core/Batcher.ts"
import { BlockPool } from "../core/Block.ts"
import { Channels } from "../core/Channels.ts"
import { Intake } from "../core/Intake.ts"
import { Lane } from "../core/Lane.ts"
import { Producer, Producers, storedPrefix } from "../core/Producers.ts"
import { Ring } from "../core/Ring.ts"
import { Pulse } from "../core/Signal.ts"
import { Staging } from "../core/Staging.ts"
import { Timestamps } from "../core/Timestamps.ts"
import { shardOf } from "../core/XxHash3.ts"
import { isAtLeast } from "../Durability.ts"
import type {
  BusStats,
  EventBus,
  FlushReport,
  PublishOptions,
  PublishSummary,
  Receipt,
  ShardStats,
  ShutdownReport
} from "../EventBus.ts"
import * as ProducerIdentity from "../ProducerIdentity.ts"
import { PublishError } from "../PublishError.ts"
import { work, type Works } from "./Dispatcher.ts"
import * as Poller from "./Poller.ts"
import {
  type Desk,
  KeyedSource,
  LineSource,
  PayloadSource,
  Publication,
  type Source,
  type Tally,
  type Terms
} from "./Publication.ts"
import * as Subscriber from "./Subscriber.ts"

/** Blocks kept for reuse, over all shards: 8 MiB. */
const POOLED_BLOCKS = 64

/** What each step of a shutdown gets at least, when the time for all of it is over. */
const LAST_CALL = Duration.seconds(1)

class LazyReceipt implements Receipt {
  readonly shard: number
  readonly duplicate: boolean
  readonly #millis: number
  readonly #nanos: number

  constructor(shard: number, duplicate: boolean, millis: number, nanos: number) {
    this.shard = shard
    this.duplicate = duplicate
    this.#millis = millis
    this.#nanos = nanos
  }

  get insertionTs(): bigint {
    return insertionTs(this.#millis, this.#nanos)
  }
}

const noOptions: PublishOptions = {}

// What `offer` gives instead of a shard; NO_ROOM − n means no room in shard n.
const CLOSING = -1
const TOO_LARGE = -2
const NO_ROOM = -3

/** JSON.stringify's word for a value that has no JSON form is undefined, and for some it throws. */
const serialize = (value: unknown): string => {
  let cause: unknown = "undefined, a function or a symbol"
  try {
    const text = JSON.stringify(value) as string | undefined
    if (text !== undefined) return text
  } catch (thrown) {
    cause = thrown
  }
  throw new PublishError({ reason: { _tag: "Serialization", offset: null, cause } })
}

/** Runs code that throws a {@link PublishError}; anything else that it throws is a defect. */
const serialized = <A>(f: () => A): Effect.Effect<A, PublishError> =>
  Effect.suspend(() => {
    try {
      return Effect.succeed(f())
    } catch (error) {
      return error instanceof PublishError ? Effect.fail(error) : Effect.die(error)
    }
  })

export const make = Effect.fnUntraced(function*(options: EventBusOptions) {
  const settings = yield* Effect.try({ try: () => validate(options), catch: (error) => error as BusConfigError })
  const adapter = yield* Adapter
  if (!isAtLeast(adapter.durability, settings.atLeast)) {
    return yield* new BusConfigError({
      option: "atLeast",
      problem: `asks for ${settings.atLeast}, but the adapter "${adapter.name}" promises ${adapter.durability}`
    })
  }
  const clock = yield* Clock.Clock
  const scope = yield* Effect.scope
  const identity = yield* options.identity ?? ProducerIdentity.ephemeral

  const pool = new BlockPool(POOLED_BLOCKS)
  const lanes = Array.from(
    { length: settings.shards },
    (_, id) =>
      new Lane(
        id,
        new Ring(settings.capacity, settings.capacityBytes, pool),
        new Batcher(settings.batch),
        identity.start(id)
      )
  )
  const intake = new Intake(
    lanes,
    settings.backpressure,
    settings.maxEventBytes,
    new Timestamps(adapter.lastInsertionTs)
  )
  const staging = new Staging({ maxBytes: settings.maxEventBytes })
  const channels = new Channels()
  const producers = new Producers(settings.maxProducers)
  const stored = new Pulse()
  let closing = false
  let closed = false
  const isClosing = () => closing
  const now = () => clock.currentTimeMillisUnsafe()

  const works: Works = {
    adapter,
    identity,
    channels,
    producers,
    stored,
    clock,
    timeout: settings.adapterTimeout,
    retries: settings.retries,
    onBatchFailed: options.onBatchFailed ?? (() => Effect.void),
    isClosing
  }
  const workers: Array<Fiber.Fiber<void>> = []

  /** Waits, within `limit`, for everything accepted into a lane to be settled; true when it was. */
  const settled = (lane: Lane): Effect.Effect<void> =>
    Effect.callback<void>((resume) => {
      if (lane.settlement.settled >= lane.settlement.accepted) return resume(Effect.void)
      const run = lane.settlement.open(lane.settlement.settled + 1)
      lane.settlement.close(run, () => resume(Effect.yieldNow))
      lane.wake()
      return Effect.sync(() => lane.settlement.drop(run))
    })

  // One look-up of a name at a time: two calls of one producer must end up with one state.
  const turns = yield* RcMap.make({ lookup: (_name: string) => Semaphore.make(1) })
  const lookUp = (name: string, broken: Producer | undefined): Effect.Effect<Producer, PublishError> =>
    Effect.suspend(() => {
      const known = producers.peek(name)
      if (known !== undefined && !known.broken) return Effect.succeed(known)
      // What is still on its way has to land before the store can say how far it got.
      return Effect.forEach(known === undefined ? [] : lanes, settled, { concurrency: "unbounded", discard: true })
        .pipe(
          Effect.andThen(adapter.producerMarks(name)),
          Effect.timeoutOrElse({
            duration: settings.adapterTimeout,
            orElse: () => Effect.fail(adapterError(adapter.name, "Transient", "no answer about a producer's marks"))
          }),
          Effect.mapError((cause) =>
            new PublishError({ reason: { _tag: "ProducerUnavailable", producer: name, cause } })
          ),
          Effect.map((marks) => {
            const producer = new Producer(name, settings.shards, marks, known ?? broken)
            producers.add(producer)
            return producer
          })
        )
    })
  const findProducer = (name: string, broken: Producer | undefined): Effect.Effect<Producer, PublishError> =>
    Effect.suspend(() => {
      const known = producers.get(name)
      return known !== undefined && !known.broken
        ? Effect.succeed(known)
        : Effect.scoped(Effect.flatMap(RcMap.get(turns, name), (turn) => turn.withPermit(lookUp(name, broken))))
    })

  const desk: Desk = { intake, staging, now, isClosing, producer: findProducer }

  const hashOf = (key: string): bigint => {
    const length = staging.stageString(key)
    if (length > settings.maxEventBytes) {
      throw new PublishError({ reason: { _tag: "TooLarge", bytes: length, limit: settings.maxEventBytes } })
    }
    return staging.hash(length)
  }

  const keyedSource = (source: Source, keys: ReadonlyArray<string>): Source => {
    if (keys.length !== source.count) {
      throw new PublishError({ reason: { _tag: "InvalidKeys", keys: keys.length, events: source.count } })
    }
    return new KeyedSource(source, BigUint64Array.from(keys, hashOf), shardOf)
  }

  /** Checks what a call asks for before any of it is published. */
  const termsOf = (source: Source, options: PublishOptions): Terms => {
    const keyHash = typeof options.key === "string" ? hashOf(options.key) : undefined
    const channel = options.channel === undefined ? 0 : channels.indexOf(options.channel)
    if (channel === -1) throw new PublishError({ reason: { _tag: "InvalidChannel", channel: options.channel! } })
    const sequence = options.producer?.sequence
    if (
      sequence !== undefined &&
      (!Number.isSafeInteger(sequence) || !Number.isSafeInteger(sequence + source.count) || sequence < 1 ||
        options.producer!.name === "")
    ) {
      throw new PublishError({ reason: { _tag: "InvalidProducer", producer: options.producer!.name, sequence } })
    }
    return {
      source: typeof options.key === "object" ? keyedSource(source, options.key) : source,
      keyed: keyHash === undefined ? undefined : (shards) => shardOf(keyHash, shards),
      channel,
      durable: options.until === "durable",
      onAccepted: options.onAccepted,
      producer: options.producer
    }
  }

  /** Refuses a call with a payload that is not JSON before any of it is published. */
  const validated = (
    payloads: ReadonlyArray<Uint8Array | string>,
    options: PublishOptions
  ): ReadonlyArray<Uint8Array | string> => {
    if (options.validate !== true) return payloads
    for (const payload of payloads) {
      const length = typeof payload === "string" ? staging.stageString(payload) : staging.stageBytes(payload)
      if (length > settings.maxEventBytes) continue
      const offset = staging.validate(length)
      if (offset !== -1) throw new PublishError({ reason: { _tag: "Serialization", offset, cause: staging.fault } })
    }
    return payloads
  }

  const publishSource = (source: () => Source, options: PublishOptions): Effect.Effect<Tally, PublishError> =>
    Effect.flatMap(serialized(() => termsOf(source(), options)), (terms) => new Publication(desk, terms).run)

  const summary = (tally: Tally): PublishSummary => ({
    accepted: tally.accepted,
    duplicates: tally.duplicates,
    rejected: tally.rejected,
    tooLarge: tally.tooLarge
  })

  const sizeOf = (payload: Uint8Array | string): number =>
    typeof payload === "string" ? staging.stageString(payload) : payload.length

  /** The receipt of a call of one event; what a call of many reports in its summary is a failure here. */
  const receipt = (payload: Uint8Array | string) => (tally: Tally): Effect.Effect<Receipt, PublishError> => {
    if (tally.rejected > 0) {
      return Effect.fail(new PublishError({ reason: { _tag: "Backpressure", shard: tally.shard } }))
    }
    if (tally.tooLarge > 0) {
      return Effect.fail(
        new PublishError({ reason: { _tag: "TooLarge", bytes: sizeOf(payload), limit: settings.maxEventBytes } })
      )
    }
    return Effect.succeed(new LazyReceipt(tally.shard, tally.duplicates > 0, tally.lastMillis, tally.lastNanos))
  }

  /**
   * The time for a synchronous caller. A reading costs as much as hashing 200 bytes, so that events which come faster than their shard's worker
   * is woken share one, up to 16 of them.
   */
  let sharing = 0
  let shared = 0
  const roughly = (lane: Lane): number => {
    if (lane.isQuiet || (sharing++ & 15) === 0) shared = now()
    return shared
  }

  /** The short way for one plain event: no call object, no fiber step. Gives the shard, or why not. */
  const offer = (payload: Uint8Array | string, time: (lane: Lane) => number): number => {
    if (closing) return CLOSING
    let length: number
    if (typeof payload === "string") length = staging.stageString(payload)
    else length = settings.shards === 1 ? payload.length : staging.stageBytes(payload)
    if (length > settings.maxEventBytes) return TOO_LARGE
    const bytes = typeof payload === "string" ? staging.staged(length) : payload
    const shard = settings.shards === 1 ? 0 : staging.route(length, settings.shards)
    const lane = lanes[shard]!
    return intake.admit(lane, bytes, 0, length, 0, time(lane), false) ? shard : NO_ROOM - shard
  }

  /** The same for synchronous code, which has no long way to go: a refusal is counted here. */
  const offerCounted = (payload: Uint8Array | string): boolean => {
    const shard = offer(payload, roughly)
    if (shard >= 0) return true
    if (shard === TOO_LARGE) intake.tooLarge++
    else if (shard <= NO_ROOM) lanes[NO_ROOM - shard]!.rejected++
    return false
  }

  const isPlain = (options: PublishOptions): boolean =>
    options.key === undefined && options.channel === undefined && options.producer === undefined &&
    options.validate !== true && options.until !== "durable"

  const publishPayload = (
    payload: Uint8Array | string,
    options: PublishOptions
  ): Effect.Effect<Receipt, PublishError> => {
    if (isPlain(options)) {
      const shard = offer(payload, now)
      if (shard >= 0) return Effect.succeed(new LazyReceipt(shard, false, intake.lastMillis, intake.lastNanos))
    }
    return Effect.flatMap(
      publishSource(() => new PayloadSource(validated([payload], options), staging), options),
      receipt(payload)
    )
  }

  const poller = Poller.make(adapter)
  const wake: Subscriber.Wake = {
    version: () => stored.version,
    changed: (seen) =>
      Effect.callback<void>((resume) => {
        if (closed) return resume(Effect.void)
        const stop = stored.sleep(seen, () => resume(Effect.void))
        // Whoever waits for news should not wait for a batch to fill up as well.
        for (const lane of lanes) if (!lane.ring.isEmpty) lane.wake()
        return Effect.sync(stop)
      }),
    closed: () => closed
  }

  const unansweredFlush = Effect.fail(adapterError(adapter.name, "Transient", "the flush had no answer in time"))
  const flushAdapter = adapter.flush.pipe(
    Effect.timeoutOrElse({
      duration: settings.adapterTimeout,
      orElse: () => unansweredFlush
    }),
    Effect.catchDefect((defect) => Effect.fail(adapterError(adapter.name, "Fatal", "the adapter died", defect)))
  )

  const flush: Effect.Effect<FlushReport, AdapterError> = Effect.suspend(() => {
    const targets = lanes.map((lane) => ({ lane, ordinal: lane.settlement.accepted }))
    return Effect.forEach(lanes, settled, { concurrency: "unbounded", discard: true }).pipe(
      Effect.timeoutOption(settings.adapterTimeout),
      Effect.andThen(flushAdapter),
      Effect.map(() => {
        const outstanding = targets.reduce(
          (sum, { lane, ordinal }) => sum + Math.max(0, ordinal - lane.settlement.settled),
          0
        )
        return { complete: outstanding === 0, outstanding }
      })
    )
  })

  /** Waits for `effect` no longer than `limit`, also when it cannot be interrupted: then it is left behind. */
  const within = <A, E>(effect: Effect.Effect<A, E>, limit: Duration.Duration): Effect.Effect<Option.Option<A>, E> =>
    Effect.flatMap(
      Effect.forkDetach(effect, { startImmediately: true }),
      (fiber) =>
        Effect.tap(
          Effect.timeoutOption(Fiber.join(fiber), limit),
          (result) => Effect.sync(() => Option.isNone(result) && fiber.interruptUnsafe())
        )
    )

  const drain: Effect.Effect<ShutdownReport> = Effect.gen(function*() {
    const deadline = now() + Duration.toMillis(settings.shutdownTimeout)
    const timeLeft = () => Duration.max(LAST_CALL, Duration.millis(Math.max(0, deadline - now())))
    closing = true
    for (const lane of lanes) {
      lane.refuseWaiting()
      lane.wake()
    }
    const drained = yield* Effect.timeoutOption(Fiber.awaitAll(workers), settings.shutdownTimeout)
    // A hung adapter keeps its worker: leave it behind, and say what went down with it.
    if (Option.isNone(drained)) yield* within(Fiber.interruptAll(workers), LAST_CALL)
    let stranded = 0
    for (const lane of lanes) {
      lane.strand(producers)
      stranded += lane.stranded
    }
    // The last batches carried prefixes that did not count one another: a producer that comes back need not send those again.
    const marks = producers.prefixes
    if (marks.length > 0) {
      yield* within(
        Effect.suspend(() => adapter.saveMarks(marks)),
        Duration.min(settings.adapterTimeout, timeLeft())
      ).pipe(
        Effect.catchCause((cause) => Effect.logWarning("the marks of named producers were not saved", cause))
      )
    }
    const flushed = yield* Effect.exit(
      Effect.flatMap(
        within(flushAdapter, timeLeft()),
        (answer) => Option.isSome(answer) ? Effect.void : unansweredFlush
      )
    )
    if (stranded === 0) yield* identity.release(new Map(lanes.map((lane) => [lane.id, lane.nextSequence])))
    const flushError = Exit.isFailure(flushed)
      ? flushed.cause.reasons.find((reason) => reason._tag === "Fail")?.error ?? null
      : null
    if (stranded > 0) yield* Effect.logError("the bus shut down with a loss", { stranded })
    closed = true
    stored.beat()
    return { stranded, lossy: stranded > 0, flushError }
  })

  const report = yield* Deferred.make<ShutdownReport>()
  let started = false
  // Runs detached from its caller: a caller that is interrupted does not leave a bus half shut down.
  const shutdown: Effect.Effect<ShutdownReport> = Effect.suspend(() => {
    if (started) return Deferred.await(report)
    started = true
    return Effect.andThen(
      Effect.forkDetach(Effect.onExit(drain, (exit) => Deferred.done(report, exit)), { startImmediately: true }),
      Deferred.await(report)
    )
  })
  // The workers are not the scope's: it would wait for one that hangs, after the shutdown has given it up.
  yield* Effect.uninterruptible(Effect.gen(function*() {
    for (const lane of lanes) workers.push(yield* Effect.forkDetach(work(works, lane)))
    yield* Scope.addFinalizer(scope, shutdown)
  }))

  const sum = (of: (lane: Lane) => number): number => lanes.reduce((total, lane) => total + of(lane), 0)
  const stats: Effect.Effect<BusStats> = Effect.sync(() => {
    const rejected = sum((lane) => lane.rejected) + intake.tooLarge
    const evicted = sum((lane) => lane.evicted)
    const failed = sum((lane) => lane.failed)
    const stranded = sum((lane) => lane.stranded)
    const dispatched = sum((lane) => lane.dispatched)
    const accepted = sum((lane) => lane.settlement.accepted)
    return {
      accepted,
      rejected,
      unrouted: intake.unrouted,
      duplicates: intake.duplicates,
      evicted,
      failed,
      stranded,
      dispatched,
      batchesDispatched: sum((lane) => lane.batchesDispatched),
      batchesFailed: sum((lane) => lane.batchesFailed),
      retries: sum((lane) => lane.retries),
      dropped: rejected + evicted + failed + stranded,
      pending: accepted - dispatched - evicted - failed - stranded,
      pendingBytes: sum((lane) => lane.ring.byteLength)
    }
  })
  const shardStats = Effect.sync(() =>
    lanes.map((lane): ShardStats => ({
      shard: lane.id,
      accepted: lane.settlement.accepted,
      rejected: lane.rejected,
      evicted: lane.evicted,
      failed: lane.failed,
      stranded: lane.stranded,
      dispatched: lane.dispatched,
      batchesDispatched: lane.batchesDispatched,
      queued: lane.ring.length,
      queuedBytes: lane.ring.byteLength,
      targetBatchSize: lane.batcher.target
    }))
  )

  const service: EventBus["Service"] = {
    publish: (value, options = noOptions) =>
      Effect.flatMap(serialized(() => serialize(value)), (text) => publishPayload(text, options)),
    publishRaw: (payload, options = noOptions) => Effect.suspend(() => publishPayload(payload, options)),
    publishAll: (values, options = noOptions) =>
      Effect.map(publishSource(() => new PayloadSource(values.map(serialize), staging), options), summary),
    publishAllRaw: (payloads, options = noOptions) =>
      Effect.map(publishSource(() => new PayloadSource(validated(payloads, options), staging), options), summary),
    publishLines: (lines, options = noOptions) =>
      Effect.map(publishSource(() => new LineSource(lines, staging), options), summary),
    offerUnsafe: offerCounted,
    poll: poller.poll,
    subscribe: (options) => Subscriber.make(poller, wake, adapter, options),
    lastSequence: (name) =>
      Effect.suspend(() => {
        const known = producers.peek(name)
        return known !== undefined && !known.broken
          ? Effect.succeed(known.prefix)
          : Effect.map(adapter.producerMarks(name), storedPrefix)
      }),
    flush,
    shutdown,
    isShutdown: Effect.sync(() => closed),
    stats,
    shardStats,
    pendingInRings: Effect.sync(() => sum((lane) => lane.ring.length)),
    shards: settings.shards,
    isHealthy: adapter.isHealthy
  }
  return service
})
