/** Hears from a broker that topics of a namespace came or went (PIP-145), over reconnects. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import type { ConnectionEvent } from "@perigee/proto"
import type { Pool } from "../driver/Pool.ts"
import type { Supervisor } from "../driver/Supervisor.ts"
import { isPassing, PulsarError, refused } from "../PulsarError.ts"

/** Every topic: which of them a pattern means is decided here, where it may be any regular expression. Brokers know only some of them. */
const EVERYTHING = ".*"
const FIRST_PAUSE = 1000
const LONGEST_PAUSE = 60_000

/** What the broker's list was when it was last heard of: unchanged lists are not sent again. */
interface Known {
  hash: string | undefined
}

/** Watches over one session; ends with it, or fails when the broker does not watch. */
const session = (
  supervisor: Supervisor,
  namespace: string,
  known: Known,
  onChange: Effect.Effect<void>
): Effect.Effect<void, PulsarError> =>
  Effect.gen(function*() {
    const { connection, driver } = supervisor
    const changed = Latch.makeUnsafe(false)
    const over = Deferred.makeUnsafe<void>()
    const asked = Deferred.makeUnsafe<void, PulsarError>()
    let watcher = -1
    const onEvent = (event: ConnectionEvent): void => {
      if (event._tag !== "TopicListChanged" || event.watcherId !== watcher) return
      known.hash = event.hash
      changed.openUnsafe()
    }
    yield* Effect.acquireRelease(
      Effect.sync(() => [supervisor.watch(onEvent), supervisor.onLoss(() => Deferred.doneUnsafe(over, Effect.void))]),
      (stops) =>
        Effect.sync(() => {
          for (const stop of stops) stop()
          if (watcher < 0 || !connection.isConnected) return
          connection.lookups.unwatch(driver.now(), watcher)
          driver.notify()
        })
    )
    watcher = connection.lookups.watch(driver.now(), namespace, EVERYTHING, known.hash, (outcome) => {
      if (outcome._tag !== "Reply") {
        const error = outcome._tag === "Failed"
          ? refused(outcome.failure)
          : new PulsarError({ reason: { _tag: "SessionLost" } })
        Deferred.doneUnsafe(asked, Effect.fail(error))
        return
      }
      const hash = outcome.command.watchTopicListSuccess?.topicsHash
      // The first list may differ from the one that the consumer began with.
      if (hash === undefined || hash !== known.hash) changed.openUnsafe()
      known.hash = hash
      Deferred.doneUnsafe(asked, Effect.void)
    })
    driver.notify()
    yield* Deferred.await(asked)
    const follow = Effect.gen(function*() {
      while (true) {
        yield* changed.await
        changed.closeUnsafe()
        yield* onChange
      }
    })
    yield* Effect.raceFirst(follow, Deferred.await(over))
  }).pipe(Effect.scoped)

/**
 * Runs `onChange` whenever topics of the namespace came or went. Ends where the broker does not watch: then only the timer is left.
 */
export const watch = (pool: Pool, namespace: string, onChange: Effect.Effect<void>): Effect.Effect<void> =>
  Effect.gen(function*() {
    const known: Known = { hash: undefined }
    let pause = FIRST_PAUSE
    while (true) {
      const result = yield* Effect.result(
        Effect.flatMap(pool.bootstrap, (supervisor) => session(supervisor, namespace, known, onChange))
      )
      if (result._tag === "Success") {
        pause = FIRST_PAUSE
        continue
      }
      if (!isPassing(result.failure)) {
        return yield* Effect.logDebug("pulsar: the broker does not watch topics; they are looked for by time", {
          namespace,
          why: result.failure.message
        })
      }
      yield* Effect.sleep(pause)
      pause = Math.min(2 * pause, LONGEST_PAUSE)
    }
  })
