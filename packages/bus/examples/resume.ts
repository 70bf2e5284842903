// A consumer that may be stopped anywhere: it keeps the cursor of the last event that it has finished.
import { Channel, EventBus, Filter } from "@perigee/bus"
import * as SqliteStore from "@perigee/bus/sqlite"
import { Console, Effect, Layer, Schema, Stream } from "effect"
import { existsSync, readFileSync, writeFileSync } from "node:fs"

const Quake = Schema.Struct({ place: Schema.String, magnitude: Schema.Finite })
const Quakes = Channel.make("quakes", { schema: Quake })

const consume = Effect.gen(function*() {
  const from = existsSync("cursor.txt") ? { cursor: readFileSync("cursor.txt", "utf8") } : "beginning"
  yield* Quakes.subscribe({ from, filter: Filter.gte("magnitude", 7) }).pipe(
    Stream.take(2), // this one stops early
    Stream.runForEach(({ cursor, value }) =>
      Effect.andThen(
        Console.log(value.place, value.magnitude),
        Effect.sync(() => writeFileSync("cursor.txt", cursor))
      )
    )
  )
})

const program = Effect.gen(function*() {
  const quakes = [["Tohoku", 9.1], ["Parkfield", 6], ["Maule", 8.8], ["Ridgecrest", 7.1], ["Napa", 6]] as const
  yield* Quakes.publishAll(quakes.map(([place, magnitude]) => ({ place, magnitude })))
  yield* Console.log("first run")
  yield* consume
  yield* EventBus.use((bus) => bus.shutdown) // from here on subscriptions end when they have everything
  yield* Console.log("second run")
  yield* consume
})

const BusLive = EventBus.layer({ shards: 1 }).pipe(Layer.provide(SqliteStore.layer({ path: "quakes.db" })))

await Effect.runPromise(Effect.provide(program, BusLive))
