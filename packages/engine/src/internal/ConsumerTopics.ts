/** Which topics a consumer is about. */
import * as Effect from "effect/Effect"
import { TopicName, truncate } from "@perigee/proto"
import type { ConsumerOptions } from "../Consumer.ts"
import * as Lookup from "../driver/Lookup.ts"
import type { PulsarClient } from "../PulsarClient.ts"
import { invalid, type PulsarError } from "../PulsarError.ts"
import { withinOperation } from "./withinOperation.ts"

/** Whether its topics are whatever a namespace has. */
export const isPattern = ({ topic }: ConsumerOptions<any>): boolean =>
  typeof topic === "object" && !Array.isArray(topic)

/** The topic that others are named after; a pattern has none. */
export const firstTopic = (options: ConsumerOptions<any>): string | undefined => {
  const { topic } = options
  return typeof topic === "string" ? topic : Array.isArray(topic) ? (topic as ReadonlyArray<string>)[0] : undefined
}

/** Where messages wait for another try. */
export const retryTopicOf = (options: ConsumerOptions<any>): Effect.Effect<string, PulsarError> => {
  const base = firstTopic(options)
  const given = options.deadLetter?.retryTopic
  if (given === undefined && base === undefined) return invalid("a consumer of a pattern needs deadLetter.retryTopic")
  const name = TopicName.normalize(given ?? `${base}-${options.subscription}-RETRY`)
  return name === undefined ? invalid("deadLetter.retryTopic is no topic name") : Effect.succeed(name)
}

/** The topics to subscribe to, partitions apart. */
export const topicsOf = Effect.fnUntraced(function*(client: PulsarClient["Service"], options: ConsumerOptions<any>) {
  const { internals } = client
  const { topic } = options
  let bases: ReadonlyArray<string>
  if (typeof topic === "string") bases = [topic]
  else if (Array.isArray(topic)) bases = topic as ReadonlyArray<string>
  else {
    const { namespace, pattern } = topic as { readonly namespace: string; readonly pattern: RegExp }
    const all = yield* withinOperation(internals, "listing topics", client.topicsOf(namespace))
    // Partitions answer for their topic already; the name is what the pattern is about.
    return all.filter((name) => pattern.test(name.replace(/-partition-\d+$/, "")))
  }
  const names: Array<string> = []
  for (const base of bases) {
    const name = TopicName.normalize(base)
    if (name === undefined) return yield* invalid(`${JSON.stringify(truncate(base, 120))} is no topic name`)
    const count = yield* withinOperation(
      internals,
      "asking for partitions",
      Lookup.partitions(internals.pool, name, options.createTopic ?? true)
    )
    if (count === 0) names.push(name)
    else for (let index = 0; index < count; index++) names.push(TopicName.partition(name, index))
  }
  return names
})
