/**
 * The events that come with the command: 38,094 real earthquakes of 2016. See `data/README.md`.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { fileURLToPath } from "node:url"
import { Client } from "../Client.ts"
import { count, rate } from "./Output.ts"
import * as Progress from "./Progress.ts"
import { ingest, type IngestProgress } from "../Ingest.ts"
import * as Source from "../Source.ts"
import { State } from "../State.ts"

export const sample = {
  path: fileURLToPath(new URL("../../data/earthquakes.ndjson.gz", import.meta.url)),
  producer: "sample:earthquakes-2016",
  events: 38_094
} as const

/** How that went, for people. */
export const sampled = (result: IngestProgress): string =>
  result.accepted === 0
    ? `sample   ${count(result.read)} earthquakes of 2016 found again, all of them durable`
    : `sample   ${count(result.accepted)} earthquakes of 2016 accepted, ${count(result.read)} durable, ${
      rate(result.accepted, result.millis)
    }` + (result.resumedAt > 0 ? `, resumed behind ${count(result.resumedAt)}` : "")

/** Sends what the node does not have of it, by the way in that any client takes. */
export const ingestSample = Effect.fnUntraced(function*(url: string, dir: string) {
  const { token } = yield* State
  return yield* Effect.scoped(Effect.gen(function*() {
    const client = yield* Client
    if ((yield* client.lastSequence(sample.producer)) >= sample.events) {
      return {
        read: sample.events,
        resumedAt: sample.events,
        accepted: 0,
        duplicates: 0,
        rejected: 0,
        bytes: 0,
        millis: 0
      }
    }
    const source = yield* Source.open(sample.path)
    const meter = Progress.make(() => undefined, sample.events)
    const result = yield* ingest(client, source.chunks, {
      producer: sample.producer,
      channel: undefined,
      key: undefined,
      maxEventBytes: 1_048_576,
      patience: Duration.seconds(10),
      onProgress: meter.update,
      onRejected: () => Effect.void,
      onWaiting: (cause) => meter.interrupt(`perigee: waiting: ${cause.message}`)
    })
    if (result.accepted > 0) yield* meter.end(result)
    return result
  })).pipe(Effect.provide(Client.layer({ stateDir: dir, url, token })))
})
