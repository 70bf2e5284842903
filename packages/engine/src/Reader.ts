/**
 * Reading a topic from a position of one's own, without leaving a trace at the broker.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { MessageId } from "@perigee/proto/wire"
import * as Consumer from "./Consumer.ts"
import type { Message } from "./Message.ts"
import type { PulsarClient } from "./PulsarClient.ts"
import type { PulsarError } from "./PulsarError.ts"
import type { PulsarSchema } from "./PulsarSchema.ts"

/** @category models @since 0.1.0 */
export interface ReaderOptions<A = Uint8Array> {
  readonly topic: string
  readonly schema?: PulsarSchema<A> | undefined
  /** Where to begin. Default `earliest`. */
  readonly from?: MessageId.MessageId | "earliest" | "latest" | undefined
  readonly readCompacted?: boolean | undefined
  /** Default 1,000. */
  readonly receiverQueue?: number | undefined
}

/** @category models @since 0.1.0 */
export interface Reader<A> {
  /** The next message. */
  readonly read: Effect.Effect<Message<A>, PulsarError>
  /** Whether there is a message that was not read yet. */
  readonly hasNext: Effect.Effect<boolean, PulsarError>
  /** Everything, without end. */
  readonly stream: Stream.Stream<Message<A>, PulsarError>
  /** What is there now, and then the end. */
  readonly untilNow: Stream.Stream<Message<A>, PulsarError>
  readonly seek: Consumer.Consumer<A>["seek"]
}

/**
 * Opens a reader; it is closed with the scope.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <A = Uint8Array>(
  options: ReaderOptions<A>
): Effect.Effect<Reader<A>, PulsarError, PulsarClient | Scope.Scope> =>
  Effect.gen(function*() {
    const from = options.from ?? "earliest"
    let position = from === "earliest" ? MessageId.earliest : from === "latest" ? MessageId.latest : from
    const consumer = yield* Consumer.make({
      topic: options.topic,
      subscription: `reader-${(yield* Random.nextIntBetween(0, 0x7fffffff)).toString(36)}`,
      durable: false,
      startMessageId: position,
      schema: options.schema,
      readCompacted: options.readCompacted,
      receiverQueue: options.receiverQueue,
      initialPosition: from === "latest" ? "latest" : "earliest"
    })
    const seen = (message: Message<A>): Effect.Effect<void> =>
      Effect.sync(() => {
        position = message.id
        // The cursor of a reader is only as good as its session, but it keeps the broker from holding everything.
        message.ackUnsafe()
      })
    const read = Effect.tap(consumer.receive, seen)
    const hasNext = Effect.suspend(() =>
      from === "latest" && position === MessageId.latest
        ? Effect.map(consumer.stats, ({ queued }) => queued > 0)
        : consumer.hasMessageAfter(position)
    )
    const untilNow: Stream.Stream<Message<A>, PulsarError> = Stream.unwrap(
      Effect.map(hasNext, (more) =>
        more ? Stream.concat(Stream.fromEffect(read), Stream.suspend(() => untilNow)) : Stream.empty)
    )
    return {
      read,
      hasNext,
      stream: Stream.tap(consumer.stream, seen),
      untilNow,
      seek: (to) =>
        Effect.tap(consumer.seek(to), () =>
          Effect.sync(() => {
            position = to === "latest" ? MessageId.latest : typeof to === "object" ? to : MessageId.earliest
          }))
    }
  })
