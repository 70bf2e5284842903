import { Channel, EventBus } from "@perigee/bus"
import * as SqliteStore from "@perigee/bus/sqlite"
import { Console, Effect, Layer, Schema, Stream } from "effect"

const Reading = Schema.Struct({ station: Schema.String, magnitude: Schema.Number })
const Readings = Channel.make("readings", { schema: Reading, key: (reading) => reading.station })

const program = Effect.gen(function*() {
  yield* Readings.publish({ station: "NC", magnitude: 2.1 }, { until: "durable" }) // on the disk when this line is through
  yield* Readings.publish({ station: "AV", magnitude: 3.4 }, { until: "durable" })
  yield* Readings.subscribe({ from: "beginning" }).pipe(
    Stream.take(2), // without it: what is stored, then whatever comes, until the bus shuts down
    Stream.runForEach(({ cursor, value }) => Console.log(value.station, value.magnitude, cursor.length > 0))
  )
})

const BusLive = EventBus.layer({ atLeast: "fsync" }).pipe( // an adapter that cannot promise fsync fails here, not at 3 a.m.
  Layer.provide(SqliteStore.layer({ path: "events.db" }))
)

Effect.runPromise(Effect.provide(program, BusLive))
