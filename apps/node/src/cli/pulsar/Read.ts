/**
 * `perigee pulsar read`: a topic from a place of one's choice, without a subscription.
 */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Flags from "./flags.ts"
import { lazily } from "./lazily.ts"

const flags = {
  topic: Flags.topic,
  ...Flags.connection,
  from: Flag.String("from").pipe(
    Flag.withDescription(`Where to begin (default earliest): ${Flags.places}`),
    Flag.withMetavar("WHERE"),
    Flag.withDefault("earliest")
  ),
  follow: Flag.Boolean("follow").pipe(
    Flag.withDescription("Go on with what comes, instead of ending with what is there now"),
    Flag.withAlias("f"),
    Flag.withDefault(false)
  ),
  count: Flags.limit("End after so many messages"),
  raw: Flags.raw,
  json: Flags.json
}

export type ReadOptions = Command.Command.Config.Infer<typeof flags>

export const command = Command.make(
  "read",
  flags,
  (options) => lazily(() => import("./programs/read.ts"), (program) => program.run(options))
).pipe(
  Command.withDescription("Print a topic from any place, without a subscription and without a trace"),
  Command.withExamples([
    { command: "perigee pulsar read orders --from 15m", description: "The last quarter of an hour" },
    { command: "perigee pulsar read orders --from latest --follow --json", description: "Every new message" }
  ])
)
