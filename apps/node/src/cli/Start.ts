/**
 * `perigee start`: runs a node.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Config from "effect/Config"
import * as HttpServer from "effect/http/HttpServer"
import { relative } from "node:path"
import { Client } from "../Client.ts"
import { defaultPort, NodeConfig, type NodeOptions } from "../Config.ts"
import { exitCodes, type Failure, failure } from "../Failure.ts"
import * as Http from "../Http.ts"
import { ingest, type IngestProgress } from "../Ingest.ts"
import { Lifecycle } from "../Lifecycle.ts"
import * as Node from "../Node.ts"
import { sample } from "../Sample.ts"
import * as Source from "../Source.ts"
import { State } from "../State.ts"
import { version } from "../Version.ts"
import * as Flags from "./flags.ts"
import { count, printLine, rate, tell } from "./Output.ts"
import * as Progress from "./Progress.ts"

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
  json: Flags.json
}

const options = Effect.fnUntraced(function*(parsed: {
  readonly stateDir: string
  readonly port: Option.Option<number>
  readonly host: string
  readonly shards: number
  readonly allowHost: ReadonlyArray<string>
  readonly tlsCert: Option.Option<string>
  readonly tlsKey: Option.Option<string>
  readonly insecure: boolean
}): Effect.fn.Return<NodeOptions, Failure> {
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
    allowedHosts: parsed.allowHost
  }
  yield* Http.checkExposure(made, parsed.insecure)
  return made
})

const short = (dir: string): string => {
  const path = relative(process.cwd(), dir)
  return path === "" || path.startsWith("..") ? dir : `./${path}`
}

const banner = (url: string, dir: string): string =>
  [
    `perigee ${version} · node ${process.versions.node} · store sqlite (fsync) · state ${short(dir)}`,
    `  api      ${url}/v1         token in ${short(dir)}/token`,
    `  openapi  ${url}/openapi.json`,
    `  metrics  ${url}/metrics`
  ].join("\n")

const ready = (url: string, dir: string): string => {
  const state = short(dir) === "./.perigee" ? "" : ` --state ${short(dir)}`
  return [
    "",
    "Query it:",
    `  npx perigee query --filter 'magnitude>=6' --limit 3${state}`,
    `  curl -G -H "Authorization: Bearer $(cat ${
      short(dir)
    }/token)" --data-urlencode 'filter=magnitude>=6' '${url}/v1/events?limit=3'`,
    "Follow it:",
    `  npx perigee tail --from beginning${state}`,
    `  curl -N -H "Authorization: Bearer $(cat ${short(dir)}/token)" ${url}/v1/tail`,
    "",
    "Serving. Ctrl-C stops it; everything answered for is on the disk."
  ].join("\n")
}

const sampled = (result: IngestProgress): string =>
  result.accepted === 0
    ? `sample   ${count(result.read)} earthquakes of 2016 found again, all of them durable`
    : `sample   ${count(result.accepted)} earthquakes of 2016 accepted, ${count(result.read)} durable, ${
      rate(result.accepted, result.millis)
    }` + (result.resumedAt > 0 ? `, resumed behind ${count(result.resumedAt)}` : "")

/** The way in that any client takes. */
const ingestSample = Effect.fnUntraced(function*(url: string, dir: string) {
  const { token } = yield* State
  return yield* Effect.scoped(Effect.gen(function*() {
    const client = yield* Client
    if ((yield* client.lastSequence(sample.producer)) >= sample.events) {
      return {
        read: sample.events,
        resumedAt: sample.events,
        accepted: 0,
        duplicates: 0,
        rejected: 0,
        bytes: 0,
        millis: 0
      }
    }
    const source = yield* Source.open(sample.path)
    const meter = Progress.make(() => undefined, sample.events)
    const result = yield* ingest(client, source.chunks, {
      producer: sample.producer,
      channel: undefined,
      key: undefined,
      maxEventBytes: 1_048_576,
      patience: Duration.seconds(10),
      onProgress: meter.update,
      onRejected: () => Effect.void,
      onWaiting: (cause) => meter.interrupt(`perigee: waiting: ${cause.message}`)
    })
    if (result.accepted > 0) yield* meter.end(result)
    return result
  })).pipe(Effect.provide(Client.layer({ stateDir: dir, url, token })))
})

/** Serves until it is interrupted. */
const serve = Effect.fnUntraced(function*(flags: { readonly sample: boolean; readonly json: boolean }) {
  const config = yield* NodeConfig
  const { dir } = yield* State
  const url = Http.urlOf(yield* HttpServer.HttpServer, config)
  if (!flags.json) yield* tell(banner(url, dir))
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

export const command = Command.make("start", flags, (parsed) =>
  Effect.gen(function*() {
    const made = yield* options(parsed)
    let lifecycle: Lifecycle["Service"] | undefined
    const node = Layer.tap(Node.layer(made), (context) =>
      Effect.sync(() => {
        lifecycle = context.mapUnsafe.get(Lifecycle.key) as Lifecycle["Service"]
      }))
    yield* serve(parsed).pipe(
      Effect.provide(node),
      Effect.onExit(() => {
        const report = lifecycle?.report()
        if (report === undefined) return Effect.void
        if (report.lossy) {
          process.exitCode = exitCodes.store
          return tell(
            `perigee: stopped, and ${
              count(report.stranded)
            } accepted event(s) were not stored. Whoever sent them was not told that they were. [E_STRANDED]`
          )
        }
        return parsed.json ? Effect.void : tell("Stopped: everything accepted is stored.")
      })
    )
  })).pipe(
    Command.withDescription("Run a node in the foreground until SIGINT or SIGTERM"),
    Command.withExamples([
      { command: "perigee start --sample", description: "A node with something in it" },
      { command: "perigee start --port 9000 --state /var/lib/perigee", description: "Where a service would keep it" }
    ])
  )
