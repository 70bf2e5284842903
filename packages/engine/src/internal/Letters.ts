/** Messages that are put aside for good (dead letters) or for a while (retry letters), and are acknowledged once they are stored there. */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import type { ReceivedMessage } from "@perigee/proto"
import { MessageId } from "@perigee/proto/wire"
import type { ConsumerOptions } from "../Consumer.ts"
import * as Producer from "../Producer.ts"
import { type Internals, PulsarClient } from "../PulsarClient.ts"
import type { PulsarError, SendError } from "../PulsarError.ts"
import type { ConsumerPart } from "./ConsumerPart.ts"
import { firstTopic, retryTopicOf } from "./ConsumerTopics.ts"
import { toMillis } from "./options.ts"

const TRIPS = "RECONSUMETIMES"

/** How often a message went over the retry topic. */
const trips = ({ properties }: ReceivedMessage): number =>
  Number(properties.find(([name]) => name === TRIPS)?.[1] ?? 0) || 0

export class Letters {
  readonly #internals: Internals
  readonly #options: ConsumerOptions<any>
  readonly #scope: Scope.Scope
  readonly #producers = new Map<string, Effect.Effect<Producer.Producer<Uint8Array>, PulsarError>>()

  constructor(internals: Internals, options: ConsumerOptions<any>, scope: Scope.Scope) {
    this.#internals = internals
    this.#options = options
    this.#scope = scope
  }

  /**
   * Whether a message was delivered again as often as it may be and has come once more: by the broker's count, or by its trips over the
   * retry topic. As with the Java client, `maxRedeliveries: 2` lets a consumer see a message three times.
   */
  isTired(message: ReceivedMessage): boolean {
    const limit = this.#options.deadLetter?.maxRedeliveries
    return limit !== undefined && Math.max(message.redeliveryCount, trips(message)) > limit
  }

  #producer(topic: string): Effect.Effect<Producer.Producer<Uint8Array>, PulsarError> {
    return Effect.suspend(() => {
      const known = this.#producers.get(topic)
      if (known !== undefined) return known
      const internals = this.#internals
      return Effect.cached(
        Producer.make({ topic, batching: false, chunking: true }).pipe(
          Effect.provideService(PulsarClient, PulsarClient.of({ internals } as PulsarClient["Service"])),
          Scope.provide(this.#scope)
        )
      ).pipe(Effect.flatMap((producer) => {
        this.#producers.set(topic, producer)
        return Effect.tapError(producer, () => Effect.sync(() => this.#producers.delete(topic)))
      }))
    })
  }

  #copy(message: ReceivedMessage, part: ConsumerPart, extra: Readonly<Record<string, string>>): Producer.SendOptions {
    const original = Object.fromEntries(message.properties)
    return {
      ...(message.key === undefined ? {} : message.keyIsBase64
        ? { keyBytes: Buffer.from(message.key, "base64") }
        : { key: message.key }),
      orderingKey: message.orderingKey,
      eventTime: message.eventTime,
      properties: {
        ...original,
        REAL_TOPIC: original["REAL_TOPIC"] ?? part.topic,
        REAL_SUBSCRIPTION: this.#options.subscription,
        ORIGIN_MESSAGE_ID: original["ORIGIN_MESSAGE_ID"] ?? MessageId.format(message.id),
        ...extra
      }
    }
  }

  /** Puts a message aside for good; only what is stored there is acknowledged here. */
  bury(
    part: ConsumerPart,
    message: ReceivedMessage,
    extra: Readonly<Record<string, string>> = {}
  ): Effect.Effect<void> {
    const base = firstTopic(this.#options) ?? part.topic
    const topic = this.#options.deadLetter?.topic ?? `${base}-${this.#options.subscription}-DLQ`
    return this.#producer(topic).pipe(
      Effect.flatMap((producer) => producer.send(message.payload, this.#copy(message, part, extra))),
      Effect.flatMap(() =>
        Effect.sync(() => {
          part.slot.ack(part.now(), message)
          part.acked()
        })
      ),
      Effect.catch((error) =>
        Effect.andThen(
          Effect.logWarning("pulsar: a message could not be put aside; it will come again", {
            topic,
            why: error.message
          }),
          Effect.sync(() => part.nack(message.id))
        )
      )
    )
  }

  /** Sends a message to the retry topic, or, after as many trips as there may be, to the dead letters. */
  later(
    part: ConsumerPart,
    message: ReceivedMessage,
    delay: Duration.Input
  ): Effect.Effect<void, PulsarError | SendError> {
    return Effect.gen({ self: this }, function*() {
      const times = trips(message) + 1
      const wait = toMillis(delay)
      const extra = { [TRIPS]: `${times}`, DELAY_TIME: `${wait}` }
      const limit = this.#options.deadLetter?.maxRedeliveries
      if (limit !== undefined && times > limit) return yield* this.bury(part, message, extra)
      const producer = yield* this.#producer(yield* retryTopicOf(this.#options))
      yield* producer.send(message.payload, { ...this.#copy(message, part, extra), deliverAfter: wait })
      part.slot.ack(part.now(), message)
      part.acked()
    })
  }
}
