/**
 * Reads a topic, all partitions of it, and leaves nothing behind: the broker forgets the cursor with the connection, no subscription is made or
 * moved, and a topic that is not there is not created.
 */
import { Consumer, type Message, MessageId, type PulsarClient, type PulsarError } from "@perigee/engine"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import type { Position } from "./Position.ts"

type Messages = ReadonlyArray<Message<Uint8Array>>
type Topic = Consumer.Consumer<Uint8Array>

export interface ReadOptions {
  readonly topic: string
  /** A position applies to every partition; an id belongs to one. */
  readonly from: Position | { readonly _tag: "Newest"; readonly count: number }
  /** Go on with what comes, instead of ending with what was there at the beginning. */
  readonly follow: boolean
  /** Messages on their way, for each partition. */
  readonly queue: number
  /** Without `follow`: a partition whose last message does not come within this time has ended. */
  readonly patience: Duration.Input
  /** Takes messages of one partition in order; true when that is enough. */
  readonly onMessages: (messages: Messages) => Effect.Effect<boolean>
}

/** Partitions that ended without their last message. */
export interface ReadReport {
  readonly silent: ReadonlyArray<string>
}

const before = (id: MessageId.MessageId): MessageId.MessageId =>
  MessageId.make(id.ledger, id.entry - BigInt(1), id.partition)

const subscribe = (
  topic: string,
  startMessageId: MessageId.MessageId,
  queue: number
): Effect.Effect<Topic, PulsarError, PulsarClient | Scope.Scope> =>
  Effect.flatMap(Random.nextIntBetween(0, 0x7fff_ffff), (unique) =>
    Consumer.make({
      topic,
      subscription: `perigee-reader-${unique.toString(36)}`,
      durable: false,
      createTopic: false,
      startMessageId,
      initialPosition: startMessageId === MessageId.latest ? "latest" : "earliest",
      receiverQueue: queue
    }))

/** In the order of one partition: an id without place in a batch is that of the whole entry. */
const isPast = (id: MessageId.MessageId, mark: MessageId.MessageId): boolean => {
  if (id.ledger !== mark.ledger) return id.ledger > mark.ledger
  if (id.entry !== mark.entry) return id.entry > mark.entry
  if (id.batchIndex < 0 || id.batchIndex >= id.batchSize - 1) return true
  return mark.batchIndex >= 0 && id.batchIndex >= mark.batchIndex
}

const isBefore = (id: MessageId.MessageId, mark: MessageId.MessageId): boolean => {
  if (id.ledger !== mark.ledger) return id.ledger < mark.ledger
  if (id.entry !== mark.entry) return id.entry < mark.entry
  return id.batchIndex >= 0 && id.batchIndex < mark.batchIndex
}

/** One topic without partitions, or one partition. True when it ended with silence. */
const readOne = Effect.fnUntraced(function*(
  options: ReadOptions,
  topic: string,
  enough: { reached: boolean }
): Effect.fn.Return<boolean, PulsarError, PulsarClient | Scope.Scope> {
  const { follow, from } = options
  // Where it ends is asked first, so that what is published meanwhile is no part of it.
  const ahead = follow && from._tag !== "Newest"
    ? undefined
    : yield* Effect.scoped(
      Effect.flatMap(subscribe(topic, MessageId.latest, 1), (consumer) => consumer.lastMessageId)
    )
  if (ahead !== undefined && ahead.entry < BigInt(0) && !follow) return false
  if (from._tag === "Latest" && !follow) return false
  if (from._tag === "At" && ahead !== undefined && !isPast(ahead, from.id)) return false
  const start = from._tag === "Latest" || from._tag === "Since"
    ? MessageId.latest
    : from._tag === "At"
    ? before(from.id)
    : from._tag === "Earliest" || ahead === undefined
    ? MessageId.earliest
    : MessageId.make(
      ahead.ledger,
      ahead.entry >= BigInt(from.count) ? ahead.entry - BigInt(from.count) : BigInt(-1),
      ahead.partition
    )
  const consumer = yield* subscribe(topic, start, options.queue)
  if (from._tag === "Since") yield* consumer.seek(from.millis)
  // A session that breaks begins again where this one did.
  let seen: MessageId.MessageId | undefined
  while (!enough.reached) {
    const messages: Messages = follow
      ? yield* consumer.receiveAll(options.queue)
      : yield* consumer.receiveWithin(options.patience, options.queue)
    if (messages.length === 0) return true
    const fresh: Array<Message<Uint8Array>> = []
    let ended = false
    for (const message of messages) {
      message.ackUnsafe()
      const { id } = message
      if (seen !== undefined && MessageId.compare(id, seen) <= 0) continue
      seen = id
      if (from._tag === "At" && isBefore(id, from.id)) continue
      fresh.push(message)
      ended ||= ahead !== undefined && isPast(id, ahead)
      if (ended) break
    }
    if (fresh.length > 0 && (yield* options.onMessages(fresh))) enough.reached = true
    if (ended && !follow) return false
  }
  return false
})

/** Ends when `onMessages` has enough, or without `follow` when everything that was there was read. */
export const read = Effect.fnUntraced(
  function*(options: ReadOptions): Effect.fn.Return<ReadReport, PulsarError, PulsarClient | Scope.Scope> {
    const topics = yield* Effect.scoped(
      Effect.flatMap(subscribe(options.topic, MessageId.latest, 1), (consumer) => consumer.topics)
    )
    const silent: Array<string> = []
    const enough = { reached: false }
    const all = Effect.forEach(topics, (topic) =>
      Effect.map(readOne(options, topic, enough), (wasSilent) => {
        if (wasSilent) silent.push(topic)
      }), { concurrency: "unbounded", discard: true })
    const satisfied = Effect.gen(function*() {
      while (!enough.reached) yield* Effect.sleep("20 millis")
    })
    // Partitions that wait for messages do not see that others had enough of them.
    yield* topics.length > 1 && options.follow ? Effect.raceFirst(all, satisfied) : all
    return { silent }
  }
)
