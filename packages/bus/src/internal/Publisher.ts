/** The publishing half of a bus: checks what a call asks for and puts its events into the rings. */
import * as Effect from "effect/Effect"
import { insertionTs } from "../Batch.ts"
import type { Lane } from "../core/Lane.ts"
import { shardOf } from "../core/XxHash3.ts"
import type { EventBus, PublishOptions, PublishSummary, Receipt } from "../EventBus.ts"
import { PublishError } from "../PublishError.ts"
import type { Parts } from "./Parts.ts"
import type { ProducerLookup } from "./ProducerLookup.ts"
import { type Desk, Publication, type Tally, type Terms } from "./Publication.ts"
import { KeyedSource, LineSource, PayloadSource, type Source } from "./Source.ts"

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

type Publisher = Pick<
  EventBus["Service"],
  "publish" | "publishRaw" | "publishAll" | "publishAllRaw" | "publishLines" | "offerUnsafe"
>

export const make = (parts: Parts, producerLookup: ProducerLookup): Publisher => {
  const { channels, clock, intake, lanes, settings, staging } = parts
  const now = () => clock.currentTimeMillisUnsafe()
  const desk: Desk = { intake, staging, now, isClosing: () => parts.phase !== "open", producer: producerLookup.find }

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
    if (parts.phase !== "open") return CLOSING
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

  return {
    publish: (value, options = noOptions) =>
      Effect.flatMap(serialized(() => serialize(value)), (text) => publishPayload(text, options)),
    publishRaw: (payload, options = noOptions) => Effect.suspend(() => publishPayload(payload, options)),
    publishAll: (values, options = noOptions) =>
      Effect.map(publishSource(() => new PayloadSource(values.map(serialize), staging), options), summary),
    publishAllRaw: (payloads, options = noOptions) =>
      Effect.map(publishSource(() => new PayloadSource(validated(payloads, options), staging), options), summary),
    publishLines: (lines, options = noOptions) =>
      Effect.map(publishSource(() => new LineSource(lines, staging), options), summary),
    offerUnsafe: offerCounted
  }
}
