/**
 * The `perigee` command.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Cause from "effect/Cause"
import * as Config from "effect/Config"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Runtime from "effect/Runtime"
import * as CliError from "effect/cli/CliError"
import * as CliOutput from "effect/cli/CliOutput"
import * as Command from "effect/cli/Command"
import * as Ingest from "./cli/Ingest.ts"
import { interruption } from "./cli/Interruption.ts"
import { tell } from "./cli/Output.ts"
import * as Pulsar from "./cli/pulsar/Pulsar.ts"
import * as Query from "./cli/Query.ts"
import * as Start from "./cli/Start.ts"
import * as Stats from "./cli/Stats.ts"
import * as Status from "./cli/Status.ts"
import * as Tail from "./cli/Tail.ts"
import { describe, exitCodes, Failure, failure } from "./Failure.ts"
import { version } from "./Version.ts"

const perigee = Command.make("perigee").pipe(
  Command.withDescription(
    "A durable event bus behind HTTP, in one process and one directory.\n\n" +
      "Exit codes: 0 done · 1 unexpected · 2 wrong flag, filter or cursor · 3 no node answers · 4 token refused · 5 input unreadable or not JSON · " +
      "6 the node cannot start · 7 not everything is stored · 8 a Pulsar broker refused · 130 SIGINT · 143 SIGTERM"
  ),
  Command.withSubcommands([
    Start.command,
    Ingest.command,
    Query.command,
    Tail.command,
    Stats.command,
    Status.command,
    Pulsar.command
  ])
)

// Standard output is for data: help that nobody asked for, with what was wrong, goes to standard error.
const presenter = CliOutput.layerPresenter({
  present: (event) =>
    event._tag === "InvalidInvocation"
      ? Effect.gen(function*() {
        const formatter = yield* CliOutput.Formatter
        yield* Console.error(formatter.formatErrors(event.errors))
        yield* Console.error(`Run \`${event.commandPath.join(" ")} --help\` for what it takes. [E_USAGE]`)
      })
      : CliOutput.defaultPresenter.present(event)
}).pipe(Layer.provideMerge(CliOutput.layer(CliOutput.defaultFormatter())))

/** Everything that can go wrong, as one line and an exit code. */
const toFailure = (error: unknown): Failure => {
  if (error instanceof Failure) return error
  if (error instanceof Config.ConfigError) {
    return failure("E_CONFIG", "usage", `An environment variable does not fit: ${describe(error)}.`)
  }
  return failure("E_UNEXPECTED", "unexpected", `${describe(error)}.`)
}

const report = (cause: Cause.Cause<unknown>): Effect.Effect<never, Failure> => {
  if (Cause.hasInterruptsOnly(cause)) return Effect.interrupt
  const error = Cause.squash(cause)
  if (CliError.isCliError(error)) {
    const wrong = error._tag === "ShowHelp" && error.errors.length === 0
    return Effect.fail(new Failure({ code: "E_USAGE", message: "", exit: wrong ? exitCodes.ok : exitCodes.usage }))
  }
  const failed = toFailure(error)
  const trace = failed.code === "E_UNEXPECTED" && process.env["PERIGEE_DEBUG"] !== undefined
    ? `\n${Cause.pretty(cause)}`
    : ""
  return Effect.andThen(tell(failed.text + trace), Effect.fail(failed))
}

const teardown: Runtime.Teardown = (exit, onExit) =>
  Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause)
    ? onExit(interruption.exitCode)
    : Runtime.defaultTeardown(exit, onExit)

Command.run(perigee, { version }).pipe(
  Effect.catchCause((cause: Cause.Cause<unknown>) => report(cause)),
  Effect.provide([NodeServices.layer, presenter, Logger.layer([Logger.withConsoleError(Logger.formatLogFmt)])]),
  NodeRuntime.runMain({ disableErrorReporting: true, teardown })
)
