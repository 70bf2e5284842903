/**
 * `perigee pulsar produce`: lines of a file, or of standard input, as messages.
 */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Flags from "./flags.ts"
import { lazily } from "./lazily.ts"

const whole = (name: string, description: string, byDefault: number, least: number, most: number) =>
  Flag.Int(name).pipe(
    Flag.withDescription(`${description} (default ${byDefault})`),
    Flag.withMetavar("N"),
    Flag.filter((value) => value >= least && value <= most, (value) => `${value}: ${least} to ${most}`),
    Flag.withDefault(byDefault)
  )

const flags = {
  topic: Flags.topic,
  file: Argument.String("file").pipe(
    Argument.withDescription("A file of one message a line, plain or gzip; - for standard input (default)"),
    Argument.withDefault("-")
  ),
  ...Flags.connection,
  format: Flag.Literals("format", ["text", "json", "envelope"]).pipe(
    Flag.withDescription(
      "What a line is: text (default): a payload, whatever it holds; json: a payload that has to be JSON; envelope: what `consume --json` prints"
    ),
    Flag.withDefault("text" as const)
  ),
  key: Flag.String("key").pipe(
    Flag.withDescription("Key of all messages"),
    Flag.withMetavar("KEY"),
    Flag.optional
  ),
  property: Flag.String("property").pipe(
    Flag.withDescription("Property of all messages; may be repeated"),
    Flag.withMetavar("NAME=VALUE"),
    Flag.atLeast(0)
  ),
  count: Flags.limit("Send no more than so many messages"),
  name: Flag.String("name").pipe(
    Flag.withDescription("Name of the producer (default: the broker gives one)"),
    Flag.withMetavar("NAME"),
    Flag.optional
  ),
  sequence: Flag.Int("sequence").pipe(
    Flag.withDescription(
      "Number the messages from N, for a producer with a name: where the topic deduplicates, the same lines sent again are stored once"
    ),
    Flag.withMetavar("N"),
    Flag.filter((value) => value >= 0, (value) => `${value}: numbers begin with 0`),
    Flag.optional
  ),
  batchMessages: whole("batch-messages", "Messages of a batch; 1 sends each alone", 1000, 1, 100_000),
  batchBytes: whole("batch-bytes", "Bytes of a batch", 131_072, 1, 64 << 20),
  batchDelay: whole("batch-delay", "Milliseconds that a message waits for company", 1, 0, 60_000),
  compression: Flag.Literals("compression", ["none", "lz4", "zlib", "zstd", "snappy"]).pipe(
    Flag.withDescription("How batches are compressed (default none)"),
    Flag.withDefault("none" as const)
  ),
  chunking: Flag.Boolean("chunking").pipe(
    Flag.withDescription("Split messages that are larger than the broker takes"),
    Flag.withDefault(false)
  ),
  maxMessageBytes: whole("max-message-bytes", "Longest line taken", 5_242_880, 1, 1 << 30),
  sendTimeout: whole("send-timeout", "Seconds after which a send without an answer ends as unknown", 30, 1, 86_400),
  json: Flag.Boolean("json").pipe(
    Flag.withDescription("Print the outcome as JSON"),
    Flag.withDefault(false)
  )
}

export type ProduceOptions = Command.Command.Config.Infer<typeof flags>

export const command = Command.make(
  "produce",
  flags,
  (options) => lazily(() => import("./programs/produce.ts"), (program) => program.run(options))
).pipe(
  Command.withDescription("Send the lines of a file as messages and wait until the broker has them"),
  Command.withExamples([
    { command: "echo hello | perigee pulsar produce greetings", description: "One message" },
    {
      command: "perigee pulsar produce orders orders.ndjson --format json --name import --sequence 0",
      description: "A file, each line once however often it is sent, where the topic deduplicates"
    },
    {
      command: "perigee pulsar read orders --json | perigee pulsar produce copy --format envelope",
      description: "A topic into another one, keys and properties too"
    }
  ])
)
