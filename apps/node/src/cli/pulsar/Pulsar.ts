/**
 * `perigee pulsar`: quick use of any Apache Pulsar broker.
 */
import * as Command from "effect/cli/Command"
import * as Consume from "./Consume.ts"
import * as Peek from "./Peek.ts"
import * as Produce from "./Produce.ts"
import * as Read from "./Read.ts"

export const command = Command.make("pulsar").pipe(
  Command.withDescription("Send to a topic of any Apache Pulsar broker, consume from it, read it, peek at it"),
  Command.withSubcommands([Produce.command, Consume.command, Read.command, Peek.command])
)
