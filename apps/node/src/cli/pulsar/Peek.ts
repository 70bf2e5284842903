/**
 * `perigee pulsar peek`: a few messages of a topic, at once, without a trace.
 *
 * The binary protocol has no way to look at the cursor of a subscription without attaching to it, and whoever attaches is noticed: an exclusive
 * subscription refuses, a failover or Key_Shared one is dealt out anew, a missing one is made. So this looks at the topic, with a cursor of its own
 * that the broker forgets with the connection. The admin interface can show the next messages of a subscription
 * (`GET /admin/v2/persistent/TENANT/NAMESPACE/TOPIC/subscription/NAME/position/1`).
 */
import type { Message } from "@perigee/engine"
import { MessageId } from "@perigee/engine"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { form, printed } from "../../pulsar/messageText.ts"
import * as Position from "../../pulsar/Position.ts"
import { pulsarFailure } from "../../pulsar/pulsarFailure.ts"
import { read } from "../../pulsar/TopicReader.ts"
import { print, tell } from "../Output.ts"
import * as Flags from "./flags.ts"
import { positionOf } from "./Read.ts"

const flags = {
  topic: Flags.topic,
  ...Flags.connection,
  from: Flag.String("from").pipe(
    Flag.withDescription(`Look at the first messages from here, instead of the newest: ${Position.expected}`),
    Flag.withMetavar("WHERE"),
    Flag.optional
  ),
  count: Flag.Int("count").pipe(
    Flag.withDescription("How many messages (default 1)"),
    Flag.withMetavar("N"),
    Flag.filter((count) => count >= 1 && count <= 10_000, (count) => `${count} messages: 1 to 10000`),
    Flag.withDefault(1)
  ),
  raw: Flags.raw,
  json: Flags.json
}

const byTime = (left: Message<Uint8Array>, right: Message<Uint8Array>): number =>
  left.publishTime - right.publishTime || MessageId.compare(left.id, right.id)

export const command = Command.make("peek", flags, (options) =>
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
  })).pipe(Effect.provide(Flags.client(options)))).pipe(
    Command.withDescription(
      "Print the newest messages of a topic, or the first from a place, and end; leaves no trace"
    ),
    Command.withExamples([
      { command: "perigee pulsar peek orders", description: "The newest message" },
      { command: "perigee pulsar peek orders --count 3 --from earliest --json", description: "The three oldest" }
    ])
  )
