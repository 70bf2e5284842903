/**
 * Finding the broker of a topic, and what else there is to ask about topics.
 */
import * as Effect from "effect/Effect"
import {
  type Connection,
  type PendingRequest,
  readLookup,
  readPartitions,
  type RequestOutcome,
  ServiceUrl,
  TopicName,
  truncate
} from "@perigee/proto"
import type { Api } from "@perigee/proto/wire"
import { closed, PulsarError, refused } from "../PulsarError.ts"
import type { ClientCore } from "./ClientCore.ts"
import type { Pool } from "./Pool.ts"
import type { Supervisor } from "./Supervisor.ts"

/** Redirects followed for one lookup. */
const MAX_HOPS = 20
/** How often a question is asked again because the session broke under it. */
const MAX_REISSUES = 5

/** Makes a request on a connection and waits for its answer; interruption leaves nothing behind. */
export const request = (
  supervisor: Supervisor,
  make: (connection: Connection, now: number, onDone: (outcome: RequestOutcome) => void) => PendingRequest
): Effect.Effect<Api.BaseCommand, PulsarError> =>
  Effect.callback<Api.BaseCommand, PulsarError>((resume) => {
    const pending = make(supervisor.connection, supervisor.driver.now(), (outcome) => {
      switch (outcome._tag) {
        case "Reply":
          return resume(Effect.succeed(outcome.command))
        case "Failed":
          return resume(Effect.fail(refused(outcome.failure)))
        case "SessionLost":
          return resume(Effect.fail(new PulsarError({ reason: { _tag: "SessionLost" } })))
        case "TimedOut":
          return resume(
            Effect.fail(new PulsarError({ reason: { _tag: "Timeout", operation: "the request", last: undefined } }))
          )
        case "Terminal":
          return resume(Effect.fail(supervisor.over ?? closed(outcome.reason)))
      }
    })
    supervisor.driver.notify()
    return Effect.sync(() => pending.abandon())
  })

/** Asks on the connection to the service; a session that breaks under the question is no answer. */
export const ask = (
  pool: Pool,
  make: (connection: Connection, now: number, onDone: (outcome: RequestOutcome) => void) => PendingRequest
): Effect.Effect<Api.BaseCommand, PulsarError> =>
  Effect.flatMap(pool.bootstrap, (supervisor) => request(supervisor, make)).pipe(
    Effect.retry({ times: MAX_REISSUES, while: ({ reason }) => reason._tag === "SessionLost" })
  )

const addressOf = (text: string): Effect.Effect<ServiceUrl.BrokerAddress, PulsarError> => {
  const parsed = ServiceUrl.parse(text)
  return parsed._tag === "Ok"
    ? Effect.succeed(parsed.url.addresses[0]!)
    : Effect.fail(
      new PulsarError({
        reason: { _tag: "Connect", address: truncate(text), why: `a broker names an address: ${parsed.why}` }
      })
    )
}

/** The connected connection to the broker that owns a topic. */
export const owner = (
  core: ClientCore,
  pool: Pool,
  topic: string,
  index: number,
  home?: ServiceUrl.BrokerAddress
): Effect.Effect<Supervisor, PulsarError> => {
  const { listenerName, url } = core.settings
  const once = Effect.gen(function*() {
    let supervisor = home === undefined ? yield* pool.bootstrap : yield* pool.get(home)
    yield* supervisor.ready
    const service = supervisor
    let authoritative = false
    for (let hop = 0; hop <= MAX_HOPS; hop++) {
      const reply = yield* request(
        supervisor,
        (connection, now, onDone) => connection.lookups.topic(now, topic, authoritative, listenerName, onDone)
      )
      const answer = readLookup(reply)
      if (answer._tag === "Failed") return yield* Effect.fail(refused(answer))
      const target = url.tls ? answer.urlTls : answer.url
      if (answer._tag === "Redirect") {
        if (target === undefined) {
          return yield* Effect.fail(refused({ code: 0, message: "a redirect without an address" }))
        }
        supervisor = yield* pool.get(yield* addressOf(target))
        yield* supervisor.ready
        authoritative = answer.authoritative
        continue
      }
      let found = supervisor
      if (answer.throughProxy && target !== undefined) {
        const broker = ServiceUrl.formatAddress(yield* addressOf(target))
        found = yield* pool.get(service.address, broker, index)
      } else if (target !== undefined) found = yield* pool.get(yield* addressOf(target), undefined, index)
      yield* found.ready
      return found
    }
    return yield* Effect.fail(refused({ code: 0, message: `more than ${MAX_HOPS} redirects` }))
  })
  return Effect.retry(once, { times: MAX_REISSUES, while: ({ reason }) => reason._tag === "SessionLost" })
}

/** Number of partitions of a topic, 0 for one without. Names of partitions answer themselves. */
export const partitions = (pool: Pool, topic: string, create = true): Effect.Effect<number, PulsarError> =>
  TopicName.partitionOf(topic) >= 0
    ? Effect.succeed(0)
    : Effect.flatMap(
      ask(pool, (connection, now, onDone) => connection.lookups.partitions(now, topic, create, onDone)),
      (reply) => {
        const count = readPartitions(reply)
        return typeof count === "number" ? Effect.succeed(count) : Effect.fail(refused(count))
      }
    )
