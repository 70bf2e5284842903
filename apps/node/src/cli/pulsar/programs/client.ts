import type { PulsarClient } from "@perigee/engine"
import type * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Failure } from "../../../Failure.ts"
import * as Connection from "../../../pulsar/Connection.ts"
import { connectionOf, type ParsedConnection } from "../flags.ts"

/** A client for the broker that the flags and the environment name. */
export const client = (parsed: ParsedConnection): Layer.Layer<PulsarClient, Config.ConfigError | Failure> =>
  Layer.unwrap(Effect.map(connectionOf(parsed), Connection.layer))
