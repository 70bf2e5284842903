/**
 * Prints a few messages of a topic.
 */
import type { Message } from "@perigee/engine"
import { MessageId } from "@perigee/engine"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { form, printed } from "../../../pulsar/messageText.ts"
import { pulsarFailure } from "../../../pulsar/pulsarFailure.ts"
import { read } from "../../../pulsar/TopicReader.ts"
import { print, tell } from "../../Output.ts"
import type { PeekOptions } from "../Peek.ts"
import { client } from "./client.ts"
import { positionOf } from "./read.ts"

const byTime = (left: Message<Uint8Array>, right: Message<Uint8Array>): number =>
  left.publishTime - right.publishTime || MessageId.compare(left.id, right.id)

export const run = (options: PeekOptions) =>
  Effect.scoped(Effect.gen(function*() {
    const as = form(options)
    const { count } = options
    const from = Option.isSome(options.from) ? yield* positionOf(options.from.value) : undefined
    const found: Array<Message<Uint8Array>> = []
    yield* read({
      topic: options.topic,
      from: from ?? { _tag: "Newest", count },
      follow: false,
      queue: Math.min(1000, Math.max(count, 16)),
      patience: `${options.wait} seconds`,
      onMessages: (messages) =>
        Effect.sync(() => {
          found.push(...messages)
          if (from === undefined && found.length > 2 * count) found.sort(byTime).splice(0, found.length - count)
          return from !== undefined && found.length >= count
        })
    }).pipe(Effect.mapError(pulsarFailure(options.url)))
    found.sort(byTime)
    const wanted = from === undefined ? found.slice(-count) : found.slice(0, count)
    if (wanted.length === 0) return yield* tell("perigee: there is no message there.")
    yield* print(printed(wanted, as))
    if (wanted.length < count && from === undefined) {
      yield* tell(
        "perigee: these are all of the topic's newest ledger; `perigee pulsar read` goes further back."
      )
    }
  })).pipe(Effect.provide(client(options)))
