/**
 * Tokens from an OAuth2 server by client credentials.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Semaphore from "effect/Semaphore"
import type { Credentials } from "@perigee/proto"
import type { Auth } from "./Auth.ts"

/** @category models @since 0.1.0 */
export interface OAuth2Options {
  /** The server's address; its token endpoint is looked up under `.well-known/openid-configuration`, as the Java client does. */
  readonly issuer: string
  /** The token endpoint, when it is known; then nothing is looked up. */
  readonly tokenEndpoint?: string | undefined
  readonly clientId: string
  readonly clientSecret: Redacted.Redacted<string>
  readonly audience?: string | undefined
  readonly scope?: string | undefined
  /** How long before its end a token is replaced. Default 30 seconds. */
  readonly refreshBefore?: Duration.Input | undefined
  /** Time for one request. Default 10 seconds. */
  readonly timeout?: Duration.Input | undefined
  /** Let the secret go over plain HTTP. For tests. Default `false`. */
  readonly allowHttp?: boolean | undefined
}

const Discovery = Schema.Struct({ token_endpoint: Schema.String })
const Grant = Schema.Struct({
  access_token: Schema.NonEmptyString,
  /** Seconds. */
  expires_in: Schema.optionalKey(Schema.Finite)
})

/** Bytes of an answer that are read: a token has a few thousand. */
const LIMIT = 256 * 1024

interface Token {
  readonly value: Redacted.Redacted<string>
  /** Milliseconds since the epoch. */
  readonly until: number
}

// What a server answers to a request with a secret may repeat the secret: nothing of it is told, only where and what kind of trouble.
const failure = (what: string, why: string) => ({ message: `OAuth2: ${what}: ${why}` })

/**
 * Credentials from an OAuth2 server: one token for all connections, asked for once however many need it, replaced before it ends, and again
 * whenever the broker asks.
 *
 * Secrets and tokens appear in no error. A server that cannot be reached ends the attempt to connect as `Authentication`; a token that is still
 * good goes on being used while a newer one cannot be had.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: OAuth2Options): Effect.Effect<Auth, never, HttpClient.HttpClient> =>
  Effect.gen(function*() {
    const client = yield* HttpClient.HttpClient
    const turn = yield* Semaphore.make(1)
    const margin = Duration.toMillis(Duration.fromInputUnsafe(options.refreshBefore ?? "30 seconds"))
    const timeout = options.timeout ?? "10 seconds"
    let endpoint = options.tokenEndpoint
    let token: Token | undefined

    const fetch = <S extends Schema.Codec<any, any>>(
      what: string,
      request: HttpClientRequest.HttpClientRequest,
      schema: S
    ): Effect.Effect<S["Type"], { readonly message: string }> =>
      client.execute(request).pipe(
        Effect.mapError(() => failure(what, "the server cannot be reached")),
        Effect.flatMap((response) =>
          response.status >= 200 && response.status < 300
            ? Effect.mapError(response.text, () => failure(what, "the answer broke off"))
            : Effect.fail(failure(what, `the server answered ${response.status}`))
        ),
        Effect.filterOrFail((text) => text.length <= LIMIT, () => failure(what, "the answer is too long")),
        Effect.flatMap((text) =>
          Effect.mapError(
            Schema.decodeUnknownEffect(Schema.fromJsonString(schema as Schema.Codec<S["Type"], S["Encoded"]>))(text),
            () => failure(what, "the answer is not what the protocol says")
          )
        ),
        Effect.timeoutOrElse({ duration: timeout, orElse: () => Effect.fail(failure(what, "no answer in time")) })
      )

    const secure = (url: string): Effect.Effect<string, { readonly message: string }> => {
      const scheme = URL.canParse(url) ? new URL(url).protocol : undefined
      return scheme === "https:" || (scheme === "http:" && options.allowHttp === true)
        ? Effect.succeed(url)
        : Effect.fail(failure("the address", "a secret goes over https only"))
    }
    const endpointOf = Effect.suspend(() => {
      if (endpoint !== undefined) return secure(endpoint)
      const base = options.issuer.endsWith("/") ? options.issuer : `${options.issuer}/`
      return secure(`${base}.well-known/openid-configuration`).pipe(
        Effect.flatMap((url) => fetch("looking for the token endpoint", HttpClientRequest.get(url), Discovery)),
        Effect.flatMap((found) => secure(found.token_endpoint)),
        Effect.tap((url) => Effect.sync(() => void (endpoint = url)))
      )
    })
    const renewed = Effect.gen(function*() {
      const url = yield* endpointOf
      const asked = yield* Clock.currentTimeMillis
      const grant = yield* fetch(
        "asking for a token",
        HttpClientRequest.bodyUrlParams(HttpClientRequest.post(url), {
          grant_type: "client_credentials",
          client_id: options.clientId,
          client_secret: Redacted.value(options.clientSecret),
          ...(options.audience === undefined ? {} : { audience: options.audience }),
          ...(options.scope === undefined ? {} : { scope: options.scope })
        }),
        Grant
      )
      return token = {
        value: Redacted.make(grant.access_token, { label: "OAuth2 token" }),
        until: grant.expires_in === undefined ? Infinity : asked + grant.expires_in * 1000
      }
    })
    const credentials = (fresh: boolean) =>
      turn.withPermits(1)(Effect.gen(function*() {
        const now = yield* Clock.currentTimeMillis
        const held = token
        if (!fresh && held !== undefined && now < held.until - margin) return held
        return held !== undefined && now < held.until && !fresh
          ? yield* renewed.pipe(Effect.catch(() => Effect.succeed(held)))
          : yield* renewed
      })).pipe(
        Effect.map(({ value }): Credentials => ({
          method: "token",
          data: new TextEncoder().encode(Redacted.value(value))
        }))
      )
    return { method: "token", credentials: credentials(false), respond: () => credentials(true) }
  })
