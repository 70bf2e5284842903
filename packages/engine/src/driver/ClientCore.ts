/** What every part of a client needs: settings, clock, credentials, transport. */
import type * as Effect from "effect/Effect"
import type { AntiThrash, Backoff, ServiceUrl } from "@perigee/proto"
import type { Auth } from "../Auth.ts"
import type { Transport } from "./Transport.ts"

/** Settled options; all times in milliseconds. */
export interface Settings {
  readonly url: ServiceUrl.ServiceUrl
  readonly auth: Auth
  readonly operationTimeout: number
  readonly connectTimeout: number
  readonly keepalive: number
  readonly backoff: Partial<Backoff.BackoffOptions>
  readonly maxAttempts: number
  readonly dropGrace: number
  readonly antiThrash: AntiThrash.AntiThrashOptions | undefined
  readonly connectionsPerBroker: number
  readonly maxLookups: number
  readonly listenerName: string | undefined
  readonly redirects: ServiceUrl.AllowList
  readonly clientVersion: string
}

export interface ClientCore {
  readonly settings: Settings
  readonly transport: Transport["Service"]
  /** Monotonic milliseconds for deadlines. */
  readonly now: () => number
  /** Milliseconds since the epoch for what others read. */
  readonly wall: () => number
  /** Runs something as long as the client lives. */
  readonly fork: (effect: Effect.Effect<void>) => void
  /** A seed for the next backoff. */
  readonly seed: () => bigint
}
