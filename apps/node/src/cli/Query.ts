/**
 * `perigee query`: stored events, page by page.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { Client } from "../Client.ts"
import * as Flags from "./flags.ts"
import { eventText, form } from "./eventText.ts"
import { print, tell } from "./Output.ts"

const pageSize = 1000

const flags = {
  ...Flags.target,
  filter: Flags.filter,
  channel: Flags.channel,
  limit: Flag.Int("limit").pipe(
    Flag.withDescription("Most events to print (default 100); 0 prints all"),
    Flag.withDefault(100)
  ),
  order: Flag.Literals("order", ["shards", "insertion_ts"]).pipe(
    Flag.withDescription("shards (default): as stored, shards interleaved; insertion_ts: by time of insertion"),
    Flag.withDefault("shards" as const)
  ),
  cursor: Flag.String("cursor").pipe(
    Flag.withDescription("Go on behind this cursor"),
    Flag.withMetavar("CURSOR"),
    Flag.optional
  ),
  json: Flags.json,
  envelope: Flags.envelope
}

export const command = Command.make("query", flags, (options) =>
  Effect.gen(function*() {
    const client = yield* Client
    const as = form(options)
    const limit = options.limit === 0 ? Number.POSITIVE_INFINITY : options.limit
    let cursor = Option.getOrUndefined(options.cursor)
    let printed = 0
    while (true) {
      const page = yield* client.get("/v1/events", {
        query: {
          filter: Option.getOrUndefined(options.filter),
          channel: Option.getOrUndefined(options.channel),
          order: options.order,
          limit: String(Math.min(pageSize, limit - printed)),
          cursor
        },
        headers: { accept: "application/x-ndjson" }
      })
      const lines = (yield* Effect.orDie(page.text)).split("\n").filter((line) => line !== "")
      if (lines.length > 0) yield* print(lines.map((line) => eventText(line, as)).join(""))
      printed += lines.length
      cursor = page.headers["perigee-next-cursor"] ?? cursor
      const more = page.headers["perigee-has-more"] === "true"
      if (!more || printed >= limit) {
        if (more) yield* tell(`There is more: --cursor ${cursor}`)
        return
      }
    }
  }).pipe(Effect.provide(Flags.client(options)))).pipe(
    Command.withDescription("Print stored events"),
    Command.withExamples([
      { command: "perigee query --filter 'magnitude>=6' --limit 3", description: "Three strong earthquakes" },
      { command: "perigee query --limit 0 --json > all.ndjson", description: "Every payload, one a line" }
    ])
  )
