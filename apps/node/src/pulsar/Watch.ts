/**
 * Says when the connection to the brokers is lost, and when it is back.
 */
import { PulsarClient } from "@perigee/engine"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

/** Runs beside the work of its scope. */
export const watch = (
  say: (text: string) => Effect.Effect<void>
): Effect.Effect<void, never, PulsarClient | Scope.Scope> =>
  Effect.gen(function*() {
    const client = yield* PulsarClient
    let away = false
    while (true) {
      yield* Effect.sleep("500 millis")
      const lost = (yield* client.connections).find(({ connected, residents, sessions }) =>
        !connected && sessions > 0 && residents > 0
      )
      if (lost !== undefined && !away) yield* say(`perigee: the connection to ${lost.address} is lost. Waiting for it.`)
      if (lost === undefined && away) yield* say("perigee: connected again")
      away = lost !== undefined
    }
  }).pipe(Effect.forkScoped, Effect.asVoid)
