/**
 * `perigee stats`: figures of the node.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Command from "effect/cli/Command"
import { Stats } from "../api/Api.ts"
import { Client } from "../Client.ts"
import * as Flags from "./flags.ts"
import { ago, count, printLine, size, table } from "./Output.ts"

const decode = Schema.decodeUnknownEffect(Schema.fromJsonString(Stats))

const text = (stats: typeof Stats.Type, url: string): string =>
  [
    `perigee ${stats.version} at ${url}, up ${
      ago(stats.uptime_seconds)
    }, store ${stats.store.adapter} (${stats.store.durability})`,
    table([
      ...Object.entries(stats.bus).map(([name, value]) => [name.replaceAll("_", " "), count(value)] as const),
      ["tails", count(stats.tails)],
      ...stats.bridges.map((bridge) =>
        [
          `bridge ${bridge.direction} ${bridge.channel}`,
          `${bridge.state}, ${count(bridge.forwarded)} forwarded, ${count(bridge.duplicates)} recognised again${
            bridge.last_error === null ? "" : `; last trouble: ${bridge.last_error}`
          }`
        ] as const
      ),
      ["resident memory", size(stats.process.resident_bytes)],
      ["event loop delay p99", `${stats.process.event_loop_delay_p99_ms} ms`]
    ])
  ].join("\n")

export const command = Command.make(
  "stats",
  { ...Flags.target, json: Flags.json },
  (options) =>
    Effect.gen(function*() {
      const client = yield* Client
      const body = yield* client.getText("/v1/stats")
      yield* printLine(options.json ? body : text(yield* Effect.orDie(decode(body)), client.url))
    }).pipe(Effect.provide(Flags.client(options)))
).pipe(
  Command.withDescription("Print the counters of the bus and of the process, since the node's start")
)
