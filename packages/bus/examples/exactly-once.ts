// A sender that may be killed at any moment: it names itself, numbers its events and starts again from what is stored.
import { EventBus } from "@perigee/bus"
import * as SqliteStore from "@perigee/bus/sqlite"
import { Console, Effect, Layer } from "effect"

const events = Array.from({ length: 1000 }, (_, i) => ({ reading: i + 1 }))

const send = Effect.gen(function*() {
  const bus = yield* EventBus
  const stored = yield* bus.lastSequence("meter-7") // never ahead of the truth
  const summary = yield* bus.publishAll(events.slice(stored), {
    producer: { name: "meter-7", sequence: stored + 1 },
    until: "durable"
  })
  yield* Console.log(`had ${stored}, stored ${summary.accepted} more, ${summary.duplicates} were there already`)
})

const BusLive = EventBus.layer({ atLeast: "fsync" }).pipe(Layer.provide(SqliteStore.layer({ path: "meter.db" })))

// Twice, each time with a bus of its own: the second run finds everything stored.
await Effect.runPromise(Effect.provide(send, BusLive))
await Effect.runPromise(Effect.provide(send, BusLive))
