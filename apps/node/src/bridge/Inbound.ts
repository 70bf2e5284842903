/**
 * From a topic to a channel of the bus, each message once.
 *
 * The bus stores an event of a named producer once, whatever number of times it is submitted under its number, and wants the numbers without gaps.
 * A message id is no such number. So before messages are published it is written down, with the messages, which numbers they get: after a
 * crash the same messages are published under the same numbers again, from the file, and everything the broker delivers up to the last id in it is
 * known to be stored. Only then is it acknowledged.
 */
import { EventBus } from "@perigee/bus"
import { Consumer, type Message, MessageId, PulsarClient, type PulsarError } from "@perigee/engine"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { describe } from "../Failure.ts"
import type { BridgeSpec } from "./BridgeSpec.ts"
import type { Keep } from "./Keep.ts"
import type { Status } from "./Status.ts"
import { Trouble } from "./Trouble.ts"

/** Most of what is written down and published at once. */
const step = { messages: 1000, bytes: 1024 * 1024 } as const

/** How often it is looked whether the topic has more partitions. */
const partitionsEvery = "60 seconds"

/** The messages published last, or being published, under the numbers from `sequence` on. */
const Plan = Schema.Struct({
  version: Schema.Literal(1),
  channel: Schema.String,
  topic: Schema.String,
  sequence: Schema.Int,
  /** Id of the last of them. */
  last: Schema.String,
  keys: Schema.Array(Schema.String),
  /** Base64. */
  payloads: Schema.Array(Schema.String)
})
type Plan = typeof Plan.Type

export interface InboundOptions {
  readonly spec: BridgeSpec
  /** Name of the subscription. */
  readonly name: string
  /** A place for each partition. */
  readonly keep: (topic: string) => Keep
  readonly status: Status
  /** Longest event that the bus takes. */
  readonly maxEventBytes: number
}

const because = (why: string | undefined): string => why === undefined ? "" : ` (${why})`

/** What is stored up to. */
interface Place {
  readonly end: number
  readonly last: MessageId.MessageId | undefined
}

/** One topic without partitions, or one partition, in order. */
const runOne = Effect.fnUntraced(function*(
  options: InboundOptions,
  topic: string
): Effect.fn.Return<never, PulsarError | Trouble, EventBus | PulsarClient | Scope.Scope> {
  const { maxEventBytes, name, spec, status } = options
  const bus = yield* EventBus
  const keep = options.keep(topic)
  const producer = `bridge:${name}:${topic}`

  const publish = Effect.fnUntraced(function*(plan: Plan): Effect.fn.Return<Place, Trouble> {
    const summary = yield* Effect.mapError(
      bus.publishAllRaw(plan.payloads.map((payload) => Buffer.from(payload, "base64")), {
        channel: spec.channel,
        key: plan.keys,
        producer: { name: producer, sequence: plan.sequence },
        until: "durable"
      }),
      (error) => new Trouble({ message: `the bus did not store: ${describe(error)}` })
    )
    if (summary.accepted + summary.duplicates !== plan.payloads.length) {
      return yield* new Trouble({
        message: `the bus took ${summary.accepted + summary.duplicates} of ${plan.payloads.length} events`
      })
    }
    status.forwarded += summary.accepted
    status.duplicates += summary.duplicates
    return { end: plan.sequence + plan.payloads.length - 1, last: MessageId.parse(plan.last) }
  })

  const plan = yield* keep.load(Plan)
  const stored = yield* Effect.mapError(
    bus.lastSequence(producer),
    (error) => new Trouble({ message: `the store could not be read: ${describe(error)}` })
  )
  if (stored > (plan === undefined ? 0 : plan.sequence + plan.payloads.length - 1)) {
    return yield* new Trouble({
      message:
        `${keep.path} is missing or older than what is stored, so it is not known which messages are: restore it, or give the bridge another ?name=`
    })
  }
  let place: Place = plan === undefined ? { end: 0, last: undefined } : yield* publish(plan)

  let unreadable: string | undefined
  const consumer = yield* Consumer.make({
    topic,
    subscription: name,
    initialPosition: spec.from === "beginning" ? "earliest" : "latest",
    receiverQueue: step.messages,
    // Messages in pieces are waited for: one that is given up would be a gap.
    maxPendingChunked: 100,
    expireIncompleteChunks: "1 hour",
    onEvent: ({ event }) => {
      if (event._tag === "MessageDropped") unreadable = `message ${MessageId.format(event.id)}: ${event.why}`
    }
  })

  const isNew = ({ id }: Message<Uint8Array>): boolean =>
    place.last === undefined || MessageId.compare(id, place.last) > 0

  const bring = Effect.fnUntraced(function*(messages: ReadonlyArray<Message<Uint8Array>>) {
    const next: Plan = {
      version: 1,
      channel: spec.channel,
      topic,
      sequence: place.end + 1,
      last: MessageId.format(messages.at(-1)!.id),
      // Without a key, messages keep the order of the topic.
      keys: messages.map((message) => message.key ?? topic),
      payloads: messages.map(({ value }) =>
        Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("base64")
      )
    }
    yield* keep.save(Plan, next)
    place = yield* publish(next)
  })

  status.state = "running"
  while (true) {
    const messages = yield* consumer.receiveAll(step.messages)
    // Whatever comes behind a message that came damaged must not be acknowledged before it: all of it comes again, in order.
    if (unreadable !== undefined || (yield* consumer.stats).dropped > 0) {
      return yield* new Trouble({ message: `a message came damaged; asking for it again${because(unreadable)}` })
    }
    const fresh = messages.filter(isNew)
    status.duplicates += messages.length - fresh.length
    const large = fresh.find(({ value }) => value.length > maxEventBytes)
    if (large !== undefined) {
      return yield* new Trouble({
        message: `message ${
          MessageId.format(large.id)
        } of ${topic} has ${large.value.length} bytes, and the node takes ${maxEventBytes}: raise PERIGEE_MAX_EVENT_BYTES`
      })
    }
    for (let from = 0; from < fresh.length;) {
      let to = from
      for (let bytes = 0; to < fresh.length && (to === from || bytes + fresh[to]!.value.length <= step.bytes); to++) {
        bytes += fresh[to]!.value.length
      }
      yield* bring(fresh.slice(from, to))
      from = to
    }
    yield* consumer.ackUpTo(messages.at(-1)!)
  }
})

/** Forwards until something is in the way. */
export const run = Effect.fnUntraced(function*(
  options: InboundOptions
): Effect.fn.Return<never, PulsarError | Trouble, EventBus | PulsarClient | Scope.Scope> {
  const { topic } = options.spec
  const client = yield* PulsarClient
  const partitions = yield* client.partitionsOf(topic)
  const topics = partitions === 0
    ? [topic]
    : Array.from({ length: partitions }, (_, partition) => `${topic}-partition-${partition}`)
  const grows = client.partitionsOf(topic).pipe(
    Effect.delay(partitionsEvery),
    Effect.flatMap((now) =>
      now > partitions ? Effect.fail(new Trouble({ message: `the topic has ${now} partitions now` })) : Effect.void
    ),
    Effect.forever
  )
  const work = Effect.forEach(topics, (one) => runOne(options, one), { concurrency: "unbounded" })
  return yield* Effect.andThen(Effect.raceFirst(work, grows), Effect.never)
})
