/**
 * `perigee start`: runs a node.
 */
import type { ShutdownReport } from "@perigee/bus"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Config from "effect/Config"
import * as HttpServer from "effect/http/HttpServer"
import * as BridgeSpec from "../bridge/BridgeSpec.ts"
import { defaultPort, NodeConfig, type NodeOptions } from "../Config.ts"
import { exitCodes, type Failure, failure } from "../Failure.ts"
import * as Http from "../Http.ts"
import { Lifecycle } from "../Lifecycle.ts"
import * as Node from "../Node.ts"
import { State } from "../State.ts"
import { version } from "../Version.ts"
import * as Flags from "./flags.ts"
import { interruption } from "./Interruption.ts"
import { count, printLine, tell } from "./Output.ts"
import * as Pulsar from "./pulsar/flags.ts"
import { ingestSample, sampled } from "./Sample.ts"
import { banner, ready } from "./startText.ts"

const flags = {
  stateDir: Flags.stateDir,
  port: Flag.Int("port").pipe(
    Flag.withDescription(
      "Port to listen on; 0 lets the system choose (PERIGEE_PORT, default 7700 or the next free one)"
    ),
    Flag.withMetavar("N"),
    Flag.withFallbackConfig(Config.Port("PERIGEE_PORT")),
    Flag.filter((port) => port >= 0 && port <= 65_535, (port) => `${port} is no port: 0 to 65535`),
    Flag.optional
  ),
  host: Flag.String("host").pipe(
    Flag.withDescription("Address to listen on (PERIGEE_HOST, default 127.0.0.1: this machine only)"),
    Flag.withMetavar("ADDRESS"),
    Flag.withFallbackConfig(Config.String("PERIGEE_HOST")),
    Flag.withDefault("127.0.0.1")
  ),
  shards: Flag.Int("shards").pipe(
    Flag.withDescription("Number of shards, 1 to 65535 (PERIGEE_SHARDS, default 4)"),
    Flag.withMetavar("N"),
    Flag.withFallbackConfig(Config.Int("PERIGEE_SHARDS")),
    Flag.filter((shards) => shards >= 1 && shards <= 65_535, (shards) => `${shards} shards: 1 to 65535`),
    Flag.withDefault(4)
  ),
  allowHost: Flag.String("allow-host").pipe(
    Flag.withDescription(
      "A host name, beside addresses and localhost, that clients may call the node by; may be repeated"
    ),
    Flag.withMetavar("NAME"),
    Flag.atLeast(0)
  ),
  tlsCert: Flag.String("tls-cert").pipe(
    Flag.withDescription("PEM file of the certificate chain"),
    Flag.withMetavar("FILE"),
    Flag.optional
  ),
  tlsKey: Flag.String("tls-key").pipe(
    Flag.withDescription("PEM file of its private key"),
    Flag.withMetavar("FILE"),
    Flag.optional
  ),
  insecure: Flag.Boolean("insecure").pipe(
    Flag.withDescription("Listen beyond this machine without TLS: the token then travels in the clear"),
    Flag.withDefault(false)
  ),
  sample: Flag.Boolean("sample").pipe(
    Flag.withDescription("Ingest 38,094 real earthquakes first, unless they are there"),
    Flag.withDefault(false)
  ),
  bridge: Flag.String("bridge").pipe(
    Flag.withDescription(
      "Forward a channel to a Pulsar topic (out:CHANNEL=TOPIC) or a topic to a channel (in:CHANNEL=TOPIC), ?name=NAME and ?from=end behind it; may be repeated"
    ),
    Flag.withMetavar("BRIDGE"),
    Flag.atLeast(0)
  ),
  ...Pulsar.bridgeConnection,
  json: Flags.json
}

const options = Effect.fnUntraced(function*(
  parsed: {
    readonly stateDir: string
    readonly port: Option.Option<number>
    readonly host: string
    readonly shards: number
    readonly allowHost: ReadonlyArray<string>
    readonly tlsCert: Option.Option<string>
    readonly tlsKey: Option.Option<string>
    readonly insecure: boolean
    readonly bridge: ReadonlyArray<string>
  } & Pulsar.ParsedBridgeConnection
): Effect.fn.Return<NodeOptions, Config.ConfigError | Failure> {
  const cert = Option.getOrUndefined(parsed.tlsCert)
  const key = Option.getOrUndefined(parsed.tlsKey)
  if ((cert === undefined) !== (key === undefined)) {
    return yield* failure("E_TLS", "usage", "--tls-cert and --tls-key go together.")
  }
  const made: NodeOptions = {
    host: parsed.host,
    port: Option.getOrElse(parsed.port, () => defaultPort),
    portMayMove: Option.isNone(parsed.port),
    stateDir: parsed.stateDir,
    shards: parsed.shards,
    tls: cert === undefined || key === undefined ? undefined : { cert, key },
    allowedHosts: parsed.allowHost,
    bridges: yield* BridgeSpec.parseAll(parsed.bridge),
    pulsar: parsed.bridge.length === 0 ? undefined : yield* Pulsar.bridgeConnectionOf(parsed)
  }
  yield* Http.checkExposure(made, parsed.insecure)
  return made
})

/** Serves until it is interrupted. */
const serve = Effect.fnUntraced(function*(flags: { readonly sample: boolean; readonly json: boolean }) {
  const config = yield* NodeConfig
  const { dir } = yield* State
  const url = Http.urlOf(yield* HttpServer.HttpServer, config)
  if (!flags.json) yield* tell(banner(url, dir, config.bridges))
  const result = flags.sample ? yield* ingestSample(url, dir) : undefined
  if (flags.json) {
    yield* printLine(
      JSON.stringify({ ready: true, url, state: dir, pid: process.pid, version, sample: result ?? null })
    )
  } else {
    if (result !== undefined) yield* tell(`  ${sampled(result)}`)
    yield* tell(ready(url, dir))
  }
  return yield* Effect.never
})

/** Says how the node ended, once it has. */
const farewell = (report: ShutdownReport | undefined, quiet: boolean): Effect.Effect<void> => {
  if (report === undefined) return Effect.void
  interruption.endsWith(report.lossy ? exitCodes.store : exitCodes.ok)
  if (report.lossy) {
    return tell(
      `perigee: stopped, and ${
        count(report.stranded)
      } accepted event(s) are not stored. Whoever sent them was not told that they were. [E_STRANDED]`
    )
  }
  return quiet ? Effect.void : tell("Stopped: everything answered for is stored.")
}

export const command = Command.make("start", flags, (parsed) =>
  Effect.gen(function*() {
    const node = Node.layer(yield* options(parsed))
    const lifecycle = yield* Lifecycle
    return yield* serve(parsed).pipe(
      Effect.provide(node),
      Effect.onExit(() => farewell(lifecycle.report(), parsed.json))
    )
  }).pipe(Effect.provide(Lifecycle.layer))).pipe(
    Command.withDescription("Run a node in the foreground until SIGINT or SIGTERM"),
    Command.withExamples([
      { command: "perigee start --sample", description: "A node with something in it" },
      {
        command:
          "perigee start --bridge out:orders=persistent://public/default/orders --pulsar-url pulsar://broker:6650",
        description: "A node whose channel `orders` is forwarded to a Pulsar topic, each event once"
      },
      { command: "perigee start --port 9000 --state /var/lib/perigee", description: "Where a service would keep it" }
    ])
  )
