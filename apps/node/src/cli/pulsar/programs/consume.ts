/**
 * Prints the messages of a subscription and acknowledges them.
 */
import { Consumer, type Message } from "@perigee/engine"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { form, printed } from "../../../pulsar/messageText.ts"
import { pulsarFailure } from "../../../pulsar/pulsarFailure.ts"
import { watch } from "../../../pulsar/Watch.ts"
import { count, print, rate, tell } from "../../Output.ts"
import * as Progress from "../../Progress.ts"
import type { ConsumeOptions } from "../Consume.ts"
import { client } from "./client.ts"

interface Figures {
  readonly received: number
  readonly acknowledged: number
  readonly millis: number
}

/** Messages on their way; fewer when fewer are wanted, so that the others are not held up. */
const queue = 1000

export const run = (options: ConsumeOptions) =>
  Effect.scoped(Effect.gen(function*() {
    const toFailure = pulsarFailure(options.url)
    const as = form(options)
    const limit = Option.getOrElse(options.count, () => Number.POSITIVE_INFINITY)
    const consumer = yield* Effect.mapError(
      Consumer.make({
        topic: options.topic,
        subscription: options.subscription,
        type: options.type,
        initialPosition: options.from,
        createTopic: options.create,
        receiverQueue: Math.min(queue, limit)
      }),
      toFailure
    )
    const started = yield* Clock.currentTimeMillis
    const meter = Progress.meter<Figures>(
      (figures) =>
        ` ${count(figures.received)} received  ${count(figures.acknowledged)} acknowledged  ${
          rate(figures.received, figures.millis)
        }`,
      { sharesTerminal: true }
    )
    yield* watch(meter.interrupt)
    let received = 0
    const figures = (acknowledged: number) =>
      Effect.map(Clock.currentTimeMillis, (now): Figures => ({ received, acknowledged, millis: now - started }))

    const next = (max: number): Effect.Effect<ReadonlyArray<Message<Uint8Array>>, ReturnType<typeof toFailure>> =>
      Effect.mapError(
        Option.isSome(options.idle)
          ? consumer.receiveWithin(Duration.seconds(options.idle.value), max)
          : consumer.receiveAll(max),
        toFailure
      )

    const consume = Effect.gen(function*() {
      while (received < limit) {
        const messages = yield* next(Math.min(queue, limit - received))
        if (messages.length === 0) return
        yield* print(printed(messages, as))
        for (const message of messages) message.ackUnsafe()
        received += messages.length
        yield* Effect.flatMap(figures(received), meter.update)
      }
    })

    // After a signal too: what was printed is acknowledged, or it is said that nobody knows.
    yield* consume.pipe(Effect.onExit(() =>
      consumer.flushAcks.pipe(
        Effect.timeout("5 seconds"),
        Effect.matchEffect({
          onSuccess: () => Effect.flatMap(figures(received), meter.end),
          onFailure: () =>
            Effect.andThen(
              Effect.flatMap(figures(0), meter.end),
              tell("perigee: the broker did not confirm the last acknowledgements; some messages may come again.")
            )
        })
      )
    ))
  })).pipe(Effect.provide(client(options)))
