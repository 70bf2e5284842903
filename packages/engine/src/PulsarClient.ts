/**
 * The client: connections to the brokers of one service, shared by its producers and consumers.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import { type AntiThrash, ServiceUrl, TopicName, truncate } from "@perigee/proto"
import * as Auth from "./Auth.ts"
import type { ClientCore } from "./driver/ClientCore.ts"
import * as Lookup from "./driver/Lookup.ts"
import * as NodeTransport from "./driver/NodeTransport.ts"
import { Pool } from "./driver/Pool.ts"
import * as SchemaCache from "./driver/SchemaCache.ts"
import { Transport } from "./driver/Transport.ts"
import { MemoryBudget } from "./internal/MemoryBudget.ts"
import { invalid, type PulsarError } from "./PulsarError.ts"

/** @category models @since 0.1.0 */
export interface PulsarClientOptions {
  /** `pulsar://host[:6650][,host…]`, or `pulsar+ssl://` with port 6651. The hosts are tried in turn. */
  readonly serviceUrl: string
  /** Who the client is. Default `Auth.none`. */
  readonly auth?: Auth.Auth | undefined
  /** How TLS is done, for `pulsar+ssl`. Default: the system's authorities, host names checked. */
  readonly tls?: NodeTransport.TlsOptions | undefined
  /** Time for an operation from beginning to end, lookups, dials and retries included. Default 30 seconds. */
  readonly operationTimeout?: Duration.Input | undefined
  /** Time for one dial. Default 10 seconds. */
  readonly connectTimeout?: Duration.Input | undefined
  /** Silence after which the broker is pinged; after twice as much the connection is given up. Default 30 seconds. */
  readonly keepAlive?: Duration.Input | undefined
  /** Pauses between attempts: doubling from `initial` (100 milliseconds) to `max` (60 seconds), each shortened by up to a fifth. */
  readonly backoff?:
    | { readonly initial?: Duration.Input | undefined; readonly max?: Duration.Input | undefined }
    | undefined
  /** Attempts in a row, dial and handshake together, after which a connection is given up. Default: never. */
  readonly maxAttempts?: number | undefined
  /** How long a session must have held for the pauses to start over. Default 500 milliseconds. */
  readonly dropGrace?: Duration.Input | undefined
  /** Keeps away from a broker that attaches and drops. Default off. */
  readonly antiThrash?: AntiThrash.AntiThrashOptions | undefined
  /** Connections to each broker, shared in turn. 1 to 64. Default 1. */
  readonly connectionsPerBroker?: number | undefined
  /** Payload bytes of all messages without a receipt, 0 for no limit. Default 64 MiB. */
  readonly memoryLimit?: number | undefined
  /** What a send does at the memory limit. Default `wait`. */
  readonly whenMemoryFull?: "wait" | "fail" | undefined
  /** Which of the brokers' advertised listeners to use. */
  readonly listenerName?: string | undefined
  /** Hosts that a migrated topic may send the client to. Default any. */
  readonly migrationHosts?: ReadonlyArray<string> | undefined
  /** Over how long the rates of `stats` are taken. Default 60 seconds. */
  readonly statsInterval?: Duration.Input | undefined
  /** What the client calls itself to the broker. Default `perigee-0.1.0`. */
  readonly clientVersion?: string | undefined
}

/** The state of one connection. @category models @since 0.1.0 */
export interface ConnectionStatus {
  readonly address: string
  readonly connected: boolean
  readonly serverVersion: string
  readonly sessions: number
  /** Milliseconds since the epoch. */
  readonly lastDisconnectedAt: number | undefined
  readonly residents: number
}

/** For the modules of the package. */
export interface Internals {
  readonly core: ClientCore
  readonly pool: Pool
  readonly memory: MemoryBudget
  readonly nextId: () => number
  readonly schemas: SchemaCache.SchemaCache
  /** Milliseconds. */
  readonly statsInterval: number
  /** Where metrics are registered. */
  readonly context: Context.Context<never>
}

/** @category services @since 0.1.0 */
export class PulsarClient extends Context.Service<PulsarClient, {
  /** Number of partitions, 0 for a topic without. Creates the topic if the broker is set to. */
  readonly partitionsOf: (topic: string) => Effect.Effect<number, PulsarError>
  /** Topics of a namespace, `tenant/namespace`; the pattern is the broker's kind of regular expression over full names. */
  readonly topicsOf: (
    namespace: string,
    options?: {
      readonly mode?: "persistent" | "non-persistent" | "all" | undefined
      readonly pattern?: string | undefined
    }
  ) => Effect.Effect<ReadonlyArray<string>, PulsarError>
  /** The schema of a topic, the newest unless a version is given; `undefined` for a topic without. */
  readonly schemaOf: (
    topic: string,
    version?: Uint8Array
  ) => Effect.Effect<SchemaCache.Versioned | undefined, PulsarError>
  readonly connections: Effect.Effect<ReadonlyArray<ConnectionStatus>>
  /** Bytes of messages without a receipt. */
  readonly pendingBytes: Effect.Effect<number>
  /** @internal */
  readonly internals: Internals
}>()("@perigee/engine/PulsarClient") {
  /** A client over TCP or TLS. Connects when it is first needed. */
  static readonly layer = (options: PulsarClientOptions): Layer.Layer<PulsarClient, PulsarError> =>
    Layer.effect(PulsarClient, make(options)).pipe(Layer.provide(NodeTransport.layer(options.tls)))

  /** {@link PulsarClient.layer} with options from the configuration. */
  static readonly layerConfig = (
    options: Config.Wrap<PulsarClientOptions>
  ): Layer.Layer<PulsarClient, PulsarError | Config.ConfigError> =>
    Layer.unwrap(Effect.map(Config.unwrap(options), (settled) => PulsarClient.layer(settled)))

  /** A client over a transport of one's own: a tunnel, a simulated network, the testing broker. */
  static readonly layerTransport = (
    options: Omit<PulsarClientOptions, "tls">
  ): Layer.Layer<PulsarClient, PulsarError, Transport> => Layer.effect(PulsarClient, make(options))

  /** {@link PulsarClient.layerTransport} as a scoped effect. */
  static readonly make = (
    options: Omit<PulsarClientOptions, "tls">
  ): Effect.Effect<PulsarClient["Service"], PulsarError, Transport | Scope.Scope> => make(options)
}

const millis = (input: Duration.Input | undefined, fallback: number): number =>
  input === undefined ? fallback : Duration.toMillis(Duration.fromInputUnsafe(input))

const make = Effect.fn("PulsarClient.make")(function*(options: PulsarClientOptions) {
  const parsed = ServiceUrl.parse(options.serviceUrl)
  if (parsed._tag === "Invalid") {
    return yield* invalid(`service URL ${JSON.stringify(truncate(options.serviceUrl, 120))}: ${parsed.why}`)
  }
  const connectionsPerBroker = options.connectionsPerBroker ?? 1
  if (!Number.isInteger(connectionsPerBroker) || connectionsPerBroker < 1 || connectionsPerBroker > 64) {
    return yield* invalid(`connectionsPerBroker is a whole number from 1 to 64, not ${connectionsPerBroker}`)
  }
  const memoryLimit = options.memoryLimit ?? 64 * 1024 * 1024
  if (!(memoryLimit >= 0)) return yield* invalid(`memoryLimit is a number of bytes, not ${memoryLimit}`)
  const transport = yield* Transport
  const clock = yield* Clock.clockWith(Effect.succeed)
  let seed = BigInt(yield* Random.nextIntBetween(1, 0x7fffffff))
  // Closed after everything that runs in it has been told to end.
  const run = yield* FiberSet.makeRuntime<never>()
  const core: ClientCore = {
    settings: {
      url: parsed.url,
      auth: options.auth ?? Auth.none,
      operationTimeout: millis(options.operationTimeout, 30_000),
      connectTimeout: millis(options.connectTimeout, 10_000),
      keepalive: millis(options.keepAlive, 30_000),
      backoff: { initial: millis(options.backoff?.initial, 100), max: millis(options.backoff?.max, 60_000) },
      maxAttempts: options.maxAttempts ?? Infinity,
      dropGrace: millis(options.dropGrace, 500),
      antiThrash: options.antiThrash,
      connectionsPerBroker,
      maxLookups: 50_000,
      listenerName: options.listenerName,
      redirects: options.migrationHosts === undefined
        ? { _tag: "Any" }
        : { _tag: "Hosts", hosts: options.migrationHosts },
      clientVersion: options.clientVersion ?? "perigee-0.1.0"
    },
    transport,
    now: () => Number(clock.currentTimeNanosUnsafe()) / 1e6,
    wall: () => Math.floor(clock.currentTimeMillisUnsafe()),
    fork: (effect) => void run(effect),
    seed: () => seed++
  }
  const pool = new Pool(core)
  pool.rotate(yield* Random.nextIntBetween(0, parsed.url.addresses.length))
  yield* Effect.addFinalizer(() => pool.close)
  let id = 0
  const internals: Internals = {
    core,
    pool,
    memory: new MemoryBudget(memoryLimit, options.whenMemoryFull ?? "wait"),
    nextId: () => id++,
    schemas: new SchemaCache.SchemaCache(pool),
    statsInterval: millis(options.statsInterval, 60_000),
    context: yield* Effect.context<never>()
  }
  const named = (topic: string): Effect.Effect<string, PulsarError> => {
    const name = TopicName.normalize(topic)
    return name === undefined
      ? invalid(`${JSON.stringify(truncate(topic, 120))} is no topic name`)
      : Effect.succeed(name)
  }
  return PulsarClient.of({
    partitionsOf: (topic) => Effect.flatMap(named(topic), (name) => Lookup.partitions(pool, name)),
    topicsOf: (namespace, { mode = "persistent", pattern } = {}) =>
      Effect.map(
        Lookup.ask(pool, (connection, now, onDone) =>
          connection.lookups.topicsOfNamespace(now, namespace, mode, pattern, onDone)),
        (reply) =>
          reply.getTopicsOfNamespaceResponse?.topics ?? []
      ),
    schemaOf: (topic, version) => Effect.flatMap(named(topic), (name) => SchemaCache.ask(pool, name, version)),
    connections: Effect.sync(() =>
      [...pool.all].map((supervisor) => ({
        address: ServiceUrl.formatAddress(supervisor.address),
        connected: supervisor.isConnected,
        serverVersion: supervisor.connection.serverVersion,
        sessions: supervisor.sessions,
        lastDisconnectedAt: supervisor.lastDisconnectedAt,
        residents: supervisor.residents
      }))
    ),
    pendingBytes: Effect.sync(() => internals.memory.used),
    internals
  })
})
