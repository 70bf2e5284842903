/**
 * How a Pulsar broker is reached: address, credentials, TLS.
 */
import { Auth, PulsarClient, type PulsarError } from "@perigee/engine"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { readFileSync } from "node:fs"
import { describe, type Failure, failure } from "../Failure.ts"

export interface PulsarConnection {
  /** `pulsar://host:6650` or `pulsar+ssl://host:6651`; several hosts with commas. */
  readonly url: string
  /** Read again whenever credentials are asked for, so that a renewed token is found. Takes precedence over `token`. */
  readonly tokenFile: string | undefined
  readonly token: Redacted.Redacted | undefined
  /** PEM files. */
  readonly tls: {
    /** Authorities to trust in place of the system's. */
    readonly trust: string | undefined
    /** Certificate and key of this client; without a token they are who it is. */
    readonly cert: string | undefined
    readonly key: string | undefined
    /** Take a certificate that names another host. */
    readonly anyHost: boolean
    /** Take any certificate. */
    readonly insecure: boolean
  }
  /** Time for an operation from its beginning to its end: dialing, looking up, opening. */
  readonly patience: Duration.Duration
}

const pem = (path: string | undefined): Effect.Effect<string | undefined, Failure> =>
  path === undefined ? Effect.succeed(undefined) : Effect.try({
    try: () => readFileSync(path, "utf8"),
    catch: (cause) => failure("E_PULSAR_TLS", "usage", `The PEM file ${path} cannot be read: ${describe(cause)}.`)
  })

const readToken = (path: string): Effect.Effect<Redacted.Redacted, Failure> =>
  Effect.try({
    try: () => Redacted.make(readFileSync(path, "utf8").trim()),
    catch: (cause) =>
      failure("E_PULSAR_TOKEN_FILE", "usage", `The token file ${path} cannot be read: ${describe(cause)}.`)
  })

const authOf = ({ tls, token, tokenFile }: PulsarConnection): Effect.Effect<Auth.Auth, Failure> => {
  // A file that is not there at the start is a mistake; one that is gone later is an attempt that fails.
  if (tokenFile !== undefined) return Effect.as(readToken(tokenFile), Auth.token(readToken(tokenFile)))
  if (token !== undefined) return Effect.succeed(Auth.token(token))
  return Effect.succeed(tls.cert === undefined ? Auth.none : Auth.tls)
}

/** A client; it connects when it is first needed. Fails when the address or a file makes no sense. */
export const layer = (connection: PulsarConnection): Layer.Layer<PulsarClient, Failure> =>
  Layer.unwrap(Effect.gen(function*() {
    const { tls, url } = connection
    if ((tls.cert === undefined) !== (tls.key === undefined)) {
      return yield* failure("E_PULSAR_TLS", "usage", "A client certificate and its key go together.")
    }
    const auth = yield* authOf(connection)
    const trust = yield* pem(tls.trust)
    const certificate = yield* pem(tls.cert)
    const key = yield* pem(tls.key)
    const client = PulsarClient.layer({
      serviceUrl: url,
      auth,
      tls: {
        trust,
        certificate,
        key: key === undefined ? undefined : Redacted.make(key),
        verifyHost: !tls.anyHost,
        allowInsecure: tls.insecure
      },
      operationTimeout: connection.patience,
      connectTimeout: connection.patience,
      backoff: { initial: "100 millis", max: "5 seconds" },
      // What may wait for a receipt is bounded by whoever sends.
      memoryLimit: 0
    })
    return Layer.effectContext(
      Effect.mapError(Layer.build(client), (error: PulsarError) =>
        failure(
          "E_PULSAR_URL",
          "usage",
          `The service URL does not fit: ${error.message}. It looks like pulsar://127.0.0.1:6650.`
        ))
    )
  }))
