/**
 * What a node is told at its start, and the limits it keeps.
 */
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Layer from "effect/Layer"
import type { BridgeSpec } from "./bridge/BridgeSpec.ts"
import type { PulsarConnection } from "./pulsar/Connection.ts"

export interface NodeOptions {
  /** Address to listen on. Default `127.0.0.1`. */
  readonly host: string
  /** Port to listen on; 0 lets the system choose. */
  readonly port: number
  /** Whether to try the following ports when `port` is taken: only when nobody asked for this one. */
  readonly portMayMove: boolean
  /** Directory that holds everything the node keeps. */
  readonly stateDir: string
  /** Number of shards, 1 … 65,535. */
  readonly shards: number
  /** PEM files. */
  readonly tls: { readonly cert: string; readonly key: string } | undefined
  /** Names, beside addresses and `localhost`, under which clients may speak to this node. */
  readonly allowedHosts: ReadonlyArray<string>
  /** Channels that are forwarded to topics of the broker, and topics that are forwarded to channels. */
  readonly bridges: ReadonlyArray<BridgeSpec>
  /** The broker of the bridges. */
  readonly pulsar: PulsarConnection | undefined
}

/** Options of this node. */
export class NodeConfig extends Context.Service<NodeConfig, NodeOptions>()("perigee/NodeConfig") {}

export const defaultPort = 7700

/** Ports tried in turn when nobody asked for a particular one. */
export const portAttempts = 100

export interface LimitValues {
  /** Longest event, and longest NDJSON line. */
  readonly maxEventBytes: number
  /** Deepest nesting of an event. */
  readonly maxDepth: number
  /** Longest `application/json` body. NDJSON bodies have no limit. */
  readonly maxJsonBytes: number
  /** Bytes of an NDJSON body read ahead of the bus before the socket is paused. */
  readonly readAheadBytes: number
  /** Chunks of one NDJSON body on their way to the store at once. */
  readonly chunksInFlight: number
  /** Refused lines that an answer lists; the others are counted. */
  readonly rejectedListed: number
  /** Connections at once; one more is closed as soon as it opens. */
  readonly maxConnections: number
  /** How long a client may take over the head of a request. */
  readonly headers: Duration.Duration
  /** How long a client may pause inside a body. */
  readonly bodyIdle: Duration.Duration
  /** Most events of one page. */
  readonly maxPage: number
  /** A page ends early once it has this many bytes. */
  readonly maxPageBytes: number
  /** Readers of `/v1/tail` at once. */
  readonly maxTails: number
  /** Silence after which a tail sends a comment. */
  readonly tailHeartbeat: Duration.Duration
  /** How long a reader of a tail may leave sent bytes unread before it is disconnected. */
  readonly tailStall: Duration.Duration
  /** How long a stopping node waits for requests under way. */
  readonly drain: Duration.Duration
}

const limits = Config.all({
  maxEventBytes: Config.Int("MAX_EVENT_BYTES").pipe(Config.withDefault(1_048_576)),
  maxDepth: Config.Int("MAX_DEPTH").pipe(Config.withDefault(128)),
  maxJsonBytes: Config.Int("MAX_JSON_BYTES").pipe(Config.withDefault(16_777_216)),
  readAheadBytes: Config.Int("READ_AHEAD_BYTES").pipe(Config.withDefault(1_048_576)),
  chunksInFlight: Config.Int("CHUNKS_IN_FLIGHT").pipe(Config.withDefault(16)),
  rejectedListed: Config.Int("REJECTED_LISTED").pipe(Config.withDefault(100)),
  maxConnections: Config.Int("MAX_CONNECTIONS").pipe(Config.withDefault(4096)),
  headers: Config.Duration("HEADERS").pipe(Config.withDefault(Duration.seconds(10))),
  bodyIdle: Config.Duration("BODY_IDLE").pipe(Config.withDefault(Duration.seconds(30))),
  maxPage: Config.Int("MAX_PAGE").pipe(Config.withDefault(10_000)),
  maxPageBytes: Config.Int("MAX_PAGE_BYTES").pipe(Config.withDefault(16_777_216)),
  maxTails: Config.Int("MAX_TAILS").pipe(Config.withDefault(256)),
  tailHeartbeat: Config.Duration("TAIL_HEARTBEAT").pipe(Config.withDefault(Duration.seconds(15))),
  tailStall: Config.Duration("TAIL_STALL").pipe(Config.withDefault(Duration.seconds(60))),
  drain: Config.Duration("DRAIN").pipe(Config.withDefault(Duration.seconds(10)))
}).pipe(Config.nested("PERIGEE"))

/** Limits of this node: `PERIGEE_MAX_EVENT_BYTES`, `PERIGEE_BODY_IDLE` … in the environment, else the defaults above. */
export class Limits extends Context.Service<Limits, LimitValues>()("perigee/Limits") {
  static readonly layerWith = (overrides: Partial<LimitValues>) =>
    Layer.effect(Limits, Config.map(limits, (configured) => ({ ...configured, ...overrides })))
}
