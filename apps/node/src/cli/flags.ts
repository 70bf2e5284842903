/**
 * Flags that several commands share.
 */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Flag from "effect/cli/Flag"
import { Client } from "../Client.ts"
import type { Failure } from "../Failure.ts"

export const stateDir = Flag.String("state").pipe(
  Flag.withDescription("State directory of the node (PERIGEE_STATE, default ./.perigee)"),
  Flag.withMetavar("DIR"),
  Flag.withFallbackConfig(Config.String("PERIGEE_STATE")),
  Flag.withDefault("./.perigee")
)

const url = Flag.String("url").pipe(
  Flag.withDescription("URL of the node, instead of finding it by its state directory (PERIGEE_URL)"),
  Flag.withMetavar("URL"),
  Flag.withFallbackConfig(Config.String("PERIGEE_URL")),
  Flag.optional
)

/** The node that a command talks to. */
export const target = { stateDir, url }

export const json = Flag.Boolean("json").pipe(
  Flag.withDescription("Print JSON for programs, one document a line"),
  Flag.withDefault(false)
)

export const filter = Flag.String("filter").pipe(
  Flag.withDescription("Only events that match, as 'magnitude>=6' or as JSON"),
  Flag.withMetavar("FILTER"),
  Flag.optional
)

export const channel = Flag.String("channel").pipe(
  Flag.withDescription("Only events of this channel"),
  Flag.withMetavar("NAME"),
  Flag.optional
)

export const envelope = Flag.Boolean("envelope").pipe(
  Flag.withDescription("Print whole stored events as JSON: id, payload, time, shard, channel"),
  Flag.withDefault(false)
)

// Not a flag: every process of the machine could read it from the command line.
const token = Config.option(Config.Redacted("PERIGEE_TOKEN"))

/** A client for the node that the flags and the environment name. */
export const client = (parsed: {
  readonly stateDir: string
  readonly url: Option.Option<string>
}): Layer.Layer<Client, Config.ConfigError | Failure> =>
  Layer.unwrap(Effect.map(token, (token) =>
    Client.layer({
      stateDir: parsed.stateDir,
      url: Option.getOrUndefined(parsed.url),
      token: Option.getOrUndefined(token)
    })))
