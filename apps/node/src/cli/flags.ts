/**
 * Flags that several commands share.
 */
import * as Config from "effect/Config"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import * as Flag from "effect/cli/Flag"
import type { Target } from "../Client.ts"

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

// Not on the command line, where every process of the machine could read it.
const token = Flag.Never.pipe(
  Flag.withFallbackConfig(Config.Redacted("PERIGEE_TOKEN")),
  Flag.optional
)

/** The node that a command talks to. */
export const target = { stateDir, url, token }

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

/** Turns what was parsed into what the client wants. */
export const toTarget = (parsed: {
  readonly stateDir: string
  readonly url: Option.Option<string>
  readonly token: Option.Option<Redacted.Redacted>
}): Target => ({
  stateDir: parsed.stateDir,
  url: Option.getOrUndefined(parsed.url),
  token: Option.getOrUndefined(parsed.token)
})
