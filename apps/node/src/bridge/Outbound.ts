/**
 * From a channel of the bus to a topic, each event once where the broker deduplicates.
 *
 * Every shard of the bus has a producer of its own, named after the store, the channel and the shard, and the sequence id of a message is the
 * position of its event in that shard. So an event has the same identity whenever and by whomever it is sent, and the broker's last sequence
 * id of the name says what is on the topic: a restart goes on behind it.
 *
 * A shard has one entry on its way at a time. The broker recognises a batch by its first message: were a second one cut differently on the heels of
 * one whose fate is not known yet, its new messages could go down with the old ones. An answer that is anything but "stored now" therefore ends the
 * attempt, and the next one asks the broker again how far it is.
 */
import { type BusEvent, Cursor, EventBus } from "@perigee/bus"
import { Producer, PulsarClient, type PulsarError } from "@perigee/engine"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { describe } from "../Failure.ts"
import type { BridgeSpec } from "./BridgeSpec.ts"
import type { Keep } from "./Keep.ts"
import type { Status } from "./Status.ts"
import { Trouble } from "./Trouble.ts"

/** Most of one entry: below what any broker takes. */
const entry = { messages: 1000, bytes: 512 * 1024 } as const
const batching = { maxMessages: entry.messages, maxBytes: 2 * entry.bytes, maxDelay: 0 } as const

/** How often it is written down how far the bridge is, if it went on. */
const saveEvery = "200 millis"

/** How far a bridge was. Behind the truth after a crash, never ahead of it. */
const Progress = Schema.Struct({
  version: Schema.Literal(1),
  channel: Schema.String,
  topic: Schema.String,
  cursor: Schema.NullOr(Schema.String),
  /** Partitions of the topic when the bridge was new; a shard stays on its partition. */
  partitions: Schema.Int,
  /** Position of the last event of each shard that is on the topic. */
  sent: Schema.Record(Schema.String, Schema.Int)
})
type Progress = typeof Progress.Type

export interface OutboundOptions {
  readonly spec: BridgeSpec
  /** Who the bridge is to the broker: never that of events of another store. */
  readonly name: string
  readonly keep: Keep
  readonly status: Status
  /** Where the bus ends, for a bridge that begins there. */
  readonly tails: Effect.Effect<Cursor.Cursor, { readonly message: string }>
}

interface Lane {
  readonly producer: Producer.Producer<Uint8Array>
  /** Position of the last event that is known to be on the topic. */
  last: number
}

const trouble = (what: string) => (cause: { readonly message: string }): Trouble =>
  new Trouble({ message: `${what}: ${describe(cause)}` })

const begin = Effect.fnUntraced(function*(
  { keep, spec, tails }: OutboundOptions
): Effect.fn.Return<Progress, PulsarError | Trouble, PulsarClient> {
  const known = yield* keep.load(Progress)
  if (known !== undefined) return known
  const client = yield* PulsarClient
  const partitions = yield* client.partitionsOf(spec.topic)
  const cursor = spec.from === "beginning" ? null : yield* tails.pipe(
    Effect.flatMap((end) => Effect.fromResult(Cursor.encode(end))),
    Effect.mapError(trouble("the end of the bus could not be found"))
  )
  const progress = { version: 1 as const, channel: spec.channel, topic: spec.topic, cursor, partitions, sent: {} }
  // From here on the bridge knows where it began.
  yield* keep.save(Progress, progress)
  return progress
})

/** Events of one shard, cut into what goes into one entry. */
const entries = function*(events: ReadonlyArray<BusEvent>): Generator<ReadonlyArray<BusEvent>> {
  let from = 0
  let bytes = 0
  for (let at = 0; at < events.length; at++) {
    const size = events[at]!.raw.length
    if (at > from && (at - from >= entry.messages || bytes + size > entry.bytes)) {
      yield events.slice(from, at)
      from = at
      bytes = 0
    }
    bytes += size
  }
  if (from < events.length) yield events.slice(from)
}

const positionOf = ({ id }: BusEvent): number => Number(id)

const messageOf = (event: BusEvent): Producer.Outgoing<Uint8Array> => ({
  value: event.raw,
  sequenceId: positionOf(event),
  eventTime: Number(event.insertionTs / BigInt(1_000_000)),
  properties: { "perigee-channel": event.channel ?? "", "perigee-shard": String(event.shard), "perigee-id": event.id }
})

/** Forwards until the bus has ended, or until something is in the way. */
export const run = Effect.fnUntraced(function*(
  options: OutboundOptions
): Effect.fn.Return<void, PulsarError | Trouble, EventBus | PulsarClient | Scope.Scope> {
  const { keep, name, spec, status } = options
  const bus = yield* EventBus
  let progress = yield* begin(options)
  let saved = progress
  const sent = new Map(Object.entries(progress.sent).map(([shard, position]) => [Number(shard), position]))
  const save = Effect.suspend(() => {
    const latest = progress
    if (latest === saved) return Effect.void
    return Effect.andThen(
      keep.save(Progress, latest),
      Effect.sync(() => {
        saved = latest
      })
    )
  })
  yield* Effect.addFinalizer(() => Effect.ignore(save))

  const lanes = new Map<number, Lane>()
  const lane = (shard: number): Effect.Effect<Lane, PulsarError | Trouble, PulsarClient | Scope.Scope> => {
    const open = lanes.get(shard)
    if (open !== undefined) return Effect.succeed(open)
    const topic = progress.partitions === 0 ? spec.topic : `${spec.topic}-partition-${shard % progress.partitions}`
    return Effect.gen(function*() {
      const tail = yield* Effect.mapError(options.tails, trouble("the end of the bus could not be found"))
      const producer = yield* Producer.make({
        topic,
        name: `${name}-${shard}`,
        batching,
        chunking: true,
        maxPending: entry.messages
      })
      const stored = yield* producer.lastSequenceId
      const before = sent.get(shard) ?? -1
      if (stored > Number(Cursor.get(tail, shard) ?? 0)) {
        return yield* new Trouble({
          message:
            `${topic} has events of this store up to position ${stored} of shard ${shard}, which the store does not have: an older copy of it was put in place. Give the bridge another ?name=`
        })
      }
      if (stored >= 0) status.deduplicated = true
      else if (before >= 0 && status.deduplicated !== false) {
        status.deduplicated = false
        yield* Effect.logWarning("bridge: the broker does not deduplicate; after a crash events may be there twice", {
          topic
        })
      }
      const made = { producer, last: Math.max(stored, before) }
      lanes.set(shard, made)
      return made
    })
  }

  const sendEntry = Effect.fnUntraced(function*(to: Lane, events: ReadonlyArray<BusEvent>) {
    const receipts = yield* Effect.mapError(
      to.producer.sendAll(events.map(messageOf)),
      trouble("the broker did not take an entry")
    )
    // Had all of it before, or a part: its last sequence id says which.
    if (receipts.some(({ duplicate }) => duplicate)) {
      status.duplicates += events.length
      return yield* new Trouble({ message: "the broker had some of an entry already; asking it how far it is" })
    }
    status.forwarded += events.length
    to.last = positionOf(events.at(-1)!)
  })

  const sendShard = Effect.fnUntraced(function*(shard: number, events: ReadonlyArray<BusEvent>) {
    const to = yield* lane(shard)
    const fresh = events.filter((event) => positionOf(event) > to.last)
    status.duplicates += events.length - fresh.length
    for (const some of entries(fresh)) {
      yield* sendEntry(to, some)
      sent.set(shard, to.last)
    }
    sent.set(shard, Math.max(to.last, sent.get(shard) ?? 0))
  })

  const forward = Effect.fnUntraced(function*(events: ReadonlyArray<BusEvent>) {
    const shards = Map.groupBy(events, ({ shard }) => shard)
    yield* Effect.forEach(shards, ([shard, own]) => sendShard(shard, own), { concurrency: "unbounded", discard: true })
      .pipe(
        // What other shards have done by then is not forgotten.
        Effect.ensuring(Effect.sync(() => {
          progress = { ...progress, sent: Object.fromEntries(sent) }
        }))
      )
    progress = { ...progress, cursor: events.at(-1)!.cursor }
  })

  // The broker is asked for at once: whether it can be reached shows before the first event.
  yield* Effect.flatMap(PulsarClient, (client) => client.partitionsOf(spec.topic))
  status.state = "running"
  yield* Effect.raceFirst(
    Effect.forever(Effect.andThen(Effect.sleep(saveEvery), save)),
    bus.subscribe({
      channel: spec.channel,
      from: progress.cursor === null ? "beginning" : { cursor: progress.cursor },
      chunkSize: 1000
    }).pipe(
      Stream.mapError(trouble("the bus could not be read")),
      Stream.runForEachArray(forward)
    )
  )
})
