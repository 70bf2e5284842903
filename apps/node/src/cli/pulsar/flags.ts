/**
 * Flags that the commands for Pulsar share.
 */
import * as Config from "effect/Config"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Argument from "effect/cli/Argument"
import * as Flag from "effect/cli/Flag"
import type { PulsarConnection } from "../../pulsar/Connection.ts"

/** What `--from` takes. */
export const places =
  "earliest, latest, a message id (LEDGER:ENTRY), a time (2026-01-31T12:00:00Z), or how long ago (15m)"

const defaultUrl = "pulsar://127.0.0.1:6650"

const file = (name: string, description: string) =>
  Flag.String(name).pipe(Flag.withDescription(description), Flag.withMetavar("FILE"), Flag.optional)

/** The flags of a connection; `prefix` tells them from those of the node. */
const connectionFlags = (prefix: "" | "pulsar-") => ({
  url: Flag.String(`${prefix}url`).pipe(
    Flag.withDescription(`Service URL of the Pulsar broker (PULSAR_URL, default ${defaultUrl})`),
    Flag.withMetavar("URL"),
    Flag.withFallbackConfig(Config.String("PULSAR_URL")),
    Flag.withDefault(defaultUrl)
  ),
  tokenFile: Flag.String(`${prefix}token-file`).pipe(
    Flag.withDescription(
      "File with a token for the broker, read again when it asks (PULSAR_TOKEN_FILE; or the token itself in PULSAR_TOKEN)"
    ),
    Flag.withMetavar("FILE"),
    Flag.withFallbackConfig(Config.String("PULSAR_TOKEN_FILE")),
    Flag.optional
  ),
  tlsTrust: file(`${prefix}tls-trust`, "PEM file of the authorities to trust, in place of the system's"),
  tlsCert: file(`${prefix}tls-cert`, "PEM file of this client's certificate"),
  tlsKey: file(`${prefix}tls-key`, "PEM file of its private key"),
  tlsAnyHost: Flag.Boolean(`${prefix}tls-any-host`).pipe(
    Flag.withDescription("Accept a certificate that names another host"),
    Flag.withDefault(false)
  ),
  tlsInsecure: Flag.Boolean(`${prefix}tls-insecure`).pipe(
    Flag.withDescription("Accept any certificate: for development"),
    Flag.withDefault(false)
  )
})

const common = connectionFlags("")
const prefixed = connectionFlags("pulsar-")

/** Where the broker is and who asks. */
export const connection = {
  ...common,
  wait: Flag.Int("wait").pipe(
    Flag.withDescription("Seconds to wait for the broker (default 10)"),
    Flag.withMetavar("SECONDS"),
    Flag.filter((seconds) => seconds >= 1, (seconds) => `${seconds} seconds: at least 1`),
    Flag.withDefault(10)
  )
}

/** The same for a node that is connected to a broker. */
export const bridgeConnection = {
  pulsarUrl: prefixed.url,
  pulsarTokenFile: prefixed.tokenFile,
  pulsarTlsTrust: prefixed.tlsTrust,
  pulsarTlsCert: prefixed.tlsCert,
  pulsarTlsKey: prefixed.tlsKey,
  pulsarTlsAnyHost: prefixed.tlsAnyHost,
  pulsarTlsInsecure: prefixed.tlsInsecure
}

export const topic = Argument.String("topic").pipe(
  Argument.withDescription("A topic: orders, tenant/namespace/orders, or persistent://tenant/namespace/orders")
)

export const create = Flag.Boolean("create").pipe(
  Flag.withDescription("Let the broker make the topic when there is none"),
  Flag.withDefault(false)
)

export const limit = (what: string) =>
  Flag.Int("count").pipe(
    Flag.withDescription(what),
    Flag.withMetavar("N"),
    Flag.filter((count) => count >= 1, (count) => `${count} messages: at least 1`),
    Flag.optional
  )

export const raw = Flag.Boolean("raw").pipe(
  Flag.withDescription("Print payloads alone, byte for byte, each with an end of line"),
  Flag.withDefault(false)
)

export const json = Flag.Boolean("json").pipe(
  Flag.withDescription("Print each message as one JSON document: id, key, properties, times, payload"),
  Flag.withDefault(false)
)

// Not a flag: every process of the machine could read it from the command line.
const token = Config.option(Config.Redacted("PULSAR_TOKEN"))

/** What {@link connection} parses to. */
export interface ParsedConnection {
  readonly url: string
  readonly tokenFile: Option.Option<string>
  readonly tlsTrust: Option.Option<string>
  readonly tlsCert: Option.Option<string>
  readonly tlsKey: Option.Option<string>
  readonly tlsAnyHost: boolean
  readonly tlsInsecure: boolean
  readonly wait: number
}

/** What the flags and the environment say about the broker. */
export const connectionOf = (
  parsed: ParsedConnection
): Effect.Effect<PulsarConnection, Config.ConfigError> =>
  Effect.map(token, (token) => ({
    url: parsed.url,
    tokenFile: Option.getOrUndefined(parsed.tokenFile),
    token: Option.getOrUndefined(token),
    tls: {
      trust: Option.getOrUndefined(parsed.tlsTrust),
      cert: Option.getOrUndefined(parsed.tlsCert),
      key: Option.getOrUndefined(parsed.tlsKey),
      anyHost: parsed.tlsAnyHost,
      insecure: parsed.tlsInsecure
    },
    patience: Duration.seconds(parsed.wait)
  }))

/** What {@link bridgeConnection} parses to. */
export interface ParsedBridgeConnection {
  readonly pulsarUrl: string
  readonly pulsarTokenFile: Option.Option<string>
  readonly pulsarTlsTrust: Option.Option<string>
  readonly pulsarTlsCert: Option.Option<string>
  readonly pulsarTlsKey: Option.Option<string>
  readonly pulsarTlsAnyHost: boolean
  readonly pulsarTlsInsecure: boolean
}

/** The broker of a node's bridges. */
export const bridgeConnectionOf = (
  parsed: ParsedBridgeConnection
): Effect.Effect<PulsarConnection, Config.ConfigError> =>
  connectionOf({
    url: parsed.pulsarUrl,
    tokenFile: parsed.pulsarTokenFile,
    tlsTrust: parsed.pulsarTlsTrust,
    tlsCert: parsed.pulsarTlsCert,
    tlsKey: parsed.pulsarTlsKey,
    tlsAnyHost: parsed.pulsarTlsAnyHost,
    tlsInsecure: parsed.pulsarTlsInsecure,
    wait: 10
  })
