/**
 * `perigee ingest`: a file of NDJSON into the node, each line once.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { randomUUID } from "node:crypto"
import { Client } from "../Client.ts"
import { failure } from "../Failure.ts"
import { ingest } from "../Ingest.ts"
import * as Source from "../Source.ts"
import * as Flags from "./flags.ts"
import { count, printLine } from "./Output.ts"
import * as Progress from "./Progress.ts"

const flags = {
  file: Argument.String("file").pipe(
    Argument.withDescription("A file of one JSON document a line, plain or gzip; - for standard input")
  ),
  ...Flags.target,
  producer: Flag.String("producer").pipe(
    Flag.withDescription(
      "Name under which the lines are numbered (default: derived from the file's path and first line)"
    ),
    Flag.withMetavar("NAME"),
    Flag.optional
  ),
  channel: Flag.String("channel").pipe(
    Flag.withDescription("Channel to publish on"),
    Flag.withMetavar("NAME"),
    Flag.optional
  ),
  key: Flag.String("key").pipe(
    Flag.withDescription("Key of all events: keeps them in one order"),
    Flag.withMetavar("KEY"),
    Flag.optional
  ),
  maxEventBytes: Flag.Int("max-event-bytes").pipe(
    Flag.withDescription("Longest line taken (default 1048576); must not exceed the node's limit"),
    Flag.withDefault(1_048_576)
  ),
  wait: Flag.Int("wait").pipe(
    Flag.withDescription("Seconds to wait for a node that is away (default 30)"),
    Flag.withMetavar("SECONDS"),
    Flag.withDefault(30)
  ),
  json: Flags.json
}

/** Refused lines that are shown one by one. */
const shown = 20

export const command = Command.make("ingest", flags, (options) =>
  Effect.scoped(Effect.gen(function*() {
    const client = yield* Client
    const source = yield* Source.open(options.file)
    // Standard input has no name: its events are told apart within this run only.
    const producer = Option.getOrUndefined(options.producer) ?? source.name ?? `stdin:${randomUUID()}`
    const meter = Progress.make(() =>
      source.size === undefined || source.size === 0 ? undefined : source.position() / source.size
    )
    let refused = 0
    const result = yield* ingest(client, source.chunks, {
      producer,
      channel: Option.getOrUndefined(options.channel),
      key: Option.getOrUndefined(options.key),
      maxEventBytes: options.maxEventBytes,
      patience: Duration.seconds(options.wait),
      onProgress: meter.update,
      onRejected: (line) =>
        ++refused > shown
          ? Effect.void
          : meter.interrupt(`perigee: line ${line.line} is refused: ${line.reason} at byte ${line.offset}`),
      onWaiting: (cause) => meter.interrupt(`perigee: waiting: ${cause.message}`)
    })
    yield* meter.end(result)
    if (options.json) {
      yield* printLine(JSON.stringify({
        producer,
        accepted: result.accepted,
        duplicates: result.duplicates,
        durable: result.read,
        resumed_behind: result.resumedAt,
        rejected: result.rejected,
        millis: result.millis
      }))
    }
    if (result.resumedAt > result.read) {
      yield* meter.interrupt(
        `perigee: ${count(result.resumedAt)} events of this producer were stored before, and the input has ${
          count(result.read)
        }. If it is another input, give it a name of its own with --producer NAME.`
      )
    }
    if (result.rejected > 0) {
      return yield* failure(
        "E_LINES",
        "input",
        `${
          count(result.rejected)
        } line(s) of ${options.file} are no JSON and were left out; the others are stored. Mend them and send them as a new file.`
      )
    }
  })).pipe(Effect.provide(Flags.client(options)))).pipe(
    Command.withDescription(
      "Send a file to the node; run again after any interruption, it goes on where it durably was"
    ),
    Command.withExamples([
      { command: "perigee ingest quakes.ndjson", description: "A file, once" },
      {
        command: "zcat *.gz | perigee ingest - --producer archive",
        description: "A stream that can be resumed, because it has a name"
      }
    ])
  )
