/**
 * `perigee pulsar consume`: messages of a subscription, acknowledged once they are printed.
 */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Flags from "./flags.ts"
import { lazily } from "./lazily.ts"

const flags = {
  topic: Flags.topic,
  ...Flags.connection,
  subscription: Flag.String("subscription").pipe(
    Flag.withDescription("Name of the subscription; it is made when there is none, and stays"),
    Flag.withAlias("s"),
    Flag.withMetavar("NAME")
  ),
  type: Flag.Literals("type", ["exclusive", "shared", "failover", "keyShared"]).pipe(
    Flag.withDescription("Who gets which message (default exclusive)"),
    Flag.withDefault("exclusive" as const)
  ),
  from: Flag.Literals("from", ["earliest", "latest"]).pipe(
    Flag.withDescription("Where a new subscription begins (default latest); an old one goes on where it was"),
    Flag.withDefault("latest" as const)
  ),
  count: Flags.limit("End after so many messages (default: never)"),
  idle: Flag.Int("idle").pipe(
    Flag.withDescription("End when nothing has come for so many seconds (default: never)"),
    Flag.withMetavar("SECONDS"),
    Flag.filter((seconds) => seconds >= 1, (seconds) => `${seconds} seconds: at least 1`),
    Flag.optional
  ),
  create: Flags.create,
  raw: Flags.raw,
  json: Flags.json
}

export type ConsumeOptions = Command.Command.Config.Infer<typeof flags>

export const command = Command.make(
  "consume",
  flags,
  (options) => lazily(() => import("./programs/consume.ts"), (program) => program.run(options))
).pipe(
  Command.withDescription("Print the messages of a subscription and acknowledge them"),
  Command.withExamples([
    { command: "perigee pulsar consume orders -s billing", description: "What comes from now on" },
    {
      command: "perigee pulsar consume orders -s audit --from earliest --json --idle 5 > orders.ndjson",
      description: "Everything there is, until nothing comes for five seconds"
    }
  ])
)
