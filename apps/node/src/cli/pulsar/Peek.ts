/**
 * `perigee pulsar peek`: a few messages of a topic, at once, without a trace.
 *
 * The binary protocol has no way to look at the cursor of a subscription without attaching to it, and whoever attaches is noticed: an exclusive
 * subscription refuses, a failover or Key_Shared one is dealt out anew, a missing one is made. So this looks at the topic, with a cursor of its own
 * that the broker forgets with the connection. The admin interface can show the next messages of a subscription
 * (`GET /admin/v2/persistent/TENANT/NAMESPACE/TOPIC/subscription/NAME/position/1`).
 */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Flags from "./flags.ts"
import { lazily } from "./lazily.ts"

const flags = {
  topic: Flags.topic,
  ...Flags.connection,
  from: Flag.String("from").pipe(
    Flag.withDescription(`Look at the first messages from here, instead of the newest: ${Flags.places}`),
    Flag.withMetavar("WHERE"),
    Flag.optional
  ),
  count: Flag.Int("count").pipe(
    Flag.withDescription("How many messages (default 1)"),
    Flag.withMetavar("N"),
    Flag.filter((count) => count >= 1 && count <= 10_000, (count) => `${count} messages: 1 to 10000`),
    Flag.withDefault(1)
  ),
  raw: Flags.raw,
  json: Flags.json
}

export type PeekOptions = Command.Command.Config.Infer<typeof flags>

export const command = Command.make(
  "peek",
  flags,
  (options) => lazily(() => import("./programs/peek.ts"), (program) => program.run(options))
).pipe(
  Command.withDescription(
    "Print the newest messages of a topic, or the first from a place, and end; leaves no trace"
  ),
  Command.withExamples([
    { command: "perigee pulsar peek orders", description: "The newest message" },
    { command: "perigee pulsar peek orders --count 3 --from earliest --json", description: "The three oldest" }
  ])
)
