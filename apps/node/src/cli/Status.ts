/**
 * `perigee status`: whether a node runs, and where.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Command from "effect/cli/Command"
import { Stats } from "../api/Api.ts"
import { Client } from "../Client.ts"
import * as Flags from "./flags.ts"
import { ago, printLine, table } from "./Output.ts"

const decode = Schema.decodeUnknownEffect(Schema.fromJsonString(Stats))

export const command = Command.make(
  "status",
  { ...Flags.target, json: Flags.json },
  (options) =>
    Effect.gen(function*() {
      const client = yield* Client
      const stats = yield* Effect.orDie(decode(yield* client.getText("/v1/stats")))
      const state = stats.stopping ? "stopping" : stats.store.healthy ? "ready" : "store not answering"
      yield* printLine(
        options.json
          ? JSON.stringify({
            url: client.url,
            state,
            pid: stats.process.pid,
            version: stats.version,
            started_at: stats.started_at
          })
          : table([
            ["state", state],
            ["url", client.url],
            ["pid", String(stats.process.pid)],
            ["up", ago(stats.uptime_seconds)],
            ["store", `${stats.store.adapter} (${stats.store.durability})`]
          ])
      )
    }).pipe(Effect.provide(Flags.client(options)))
).pipe(
  Command.withDescription("Print whether a node runs, and where; exit code 3 when none does")
)
