/**
 * Who a client is, as the broker asks.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type { Credentials } from "@perigee/proto"

/**
 * Gives credentials: for every connection, and again when the broker asks because the earlier ones expire.
 * A failure ends the attempt to connect; its text is shown, so it must not contain a secret.
 *
 * @category models
 * @since 0.1.0
 */
export interface Auth {
  /** What the broker knows the method by. */
  readonly method: string
  readonly credentials: Effect.Effect<Credentials, { readonly message: string }>
  /** Answers a challenge. Default: the credentials again. */
  readonly respond?: ((challenge: Uint8Array) => Effect.Effect<Credentials, { readonly message: string }>) | undefined
}

const encoder = new TextEncoder()

/** Nobody in particular. @category constructors @since 0.1.0 */
export const none: Auth = { method: "none", credentials: Effect.succeed({ method: "none", data: undefined }) }

/**
 * A token: fixed, or from an effect that is run each time one is needed, so that a file or a vault can be read again.
 *
 * @category constructors
 * @since 0.1.0
 */
export const token = (
  source: Redacted.Redacted<string> | Effect.Effect<Redacted.Redacted<string>, { readonly message: string }>
): Auth => {
  const read = Redacted.isRedacted(source) ? Effect.succeed(source) : source
  return {
    method: "token",
    credentials: Effect.map(read, (value) => ({ method: "token", data: encoder.encode(Redacted.value(value).trim()) }))
  }
}

/** User and password. @category constructors @since 0.1.0 */
export const basic = (user: string, password: Redacted.Redacted<string>): Auth => ({
  method: "basic",
  credentials: Effect.sync(() => ({ method: "basic", data: encoder.encode(`${user}:${Redacted.value(password)}`) }))
})

/** The client certificate of the TLS connection speaks for itself. @category constructors @since 0.1.0 */
export const tls: Auth = {
  method: "tls",
  credentials: Effect.succeed({ method: "tls", data: new Uint8Array(0) })
}
