/**
 * The acceptor: takes inbound links, makes a conduit for every peer that comes fresh, and gives a returning peer back
 * its own, by resume key.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { Retention } from "./core/HubState.ts"
import { Acceptor } from "./internal/Acceptor.ts"
import * as Host from "./internal/Host.ts"
import type { Link } from "./Link.ts"
import type { LinkError } from "./LinkError.ts"
import type { Listener } from "./Listener.ts"
import * as Options from "./Options.ts"
import type { SessionSettings } from "./session/Handshake.ts"
import type { Style } from "./session/Opening.ts"
import type { StableConduit } from "./StableConduit.ts"

/**
 * What a hub keeps for peers whose link is gone; all of it is bounded.
 *
 * @category models
 * @since 0.1.0
 */
export interface KeepOptions {
  /** How long a detached conduit waits for its peer: 10 minutes unless given. */
  readonly time?: Duration.Input | undefined
  /** Most bytes that detached conduits hold together: 64 MiB unless given; the longest detached goes first. */
  readonly bytes?: number | undefined
  /** Most detached conduits: 65,536 unless given; the longest detached goes first. */
  readonly detached?: number | undefined
  /** Most conduits in all: 131,072 unless given; a fresh peer beyond it is refused. */
  readonly conduits?: number | undefined
}

/**
 * What a handler may know about its peer.
 *
 * @category models
 * @since 0.1.0
 */
export interface PeerInfo {
  /** Numbers the conduits of this hub, from 1; stable across restarts when the hub is durable. */
  readonly id: number
  /** The link it came on first. */
  readonly link: string
  /** The peer's session settings, when it opened with a session handshake. */
  readonly session: SessionSettings | undefined
  /** Whether the conduit was restored from a store rather than made for a fresh peer. */
  readonly restored: boolean
}

/**
 * @category models
 * @since 0.1.0
 */
export interface HubOptions<E, R> extends Options.ConduitOptions {
  /**
   * Runs once per conduit, not per link. When it succeeds the conduit is drained and closed; when it fails the peer is
   * told that its conduit is gone, and the failure is logged.
   */
  readonly onConduit: (conduit: StableConduit, peer: PeerInfo) => Effect.Effect<unknown, E, R>
  /** Where links come from; more can be added with `serve` and `accept`. */
  readonly listen?:
    | Effect.Effect<Listener, LinkError, Scope.Scope>
    | ReadonlyArray<Effect.Effect<Listener, LinkError, Scope.Scope>>
    | undefined
  readonly keep?: KeepOptions | undefined
  /** Longest time from a new link to its hello, prologue and handshake included: 5 s unless given. */
  readonly helloTimeout?: Duration.Input | undefined
  /** Most links that have not said hello yet: 1024 unless given; the oldest of them is dropped for a new one. */
  readonly maxOpening?: number | undefined
  /** How long a finished handler's items may take to be confirmed: 5 s unless given. */
  readonly drain?: Duration.Input | undefined
  /** Which openings are welcome: both unless given. The first payload tells them apart. */
  readonly styles?: ReadonlyArray<Style> | undefined
  /** What to answer a session hello with; the parity is always the opposite of the peer's. */
  readonly session?: Partial<SessionSettings> | undefined
  /** Judges a session hello; a text refuses it. */
  readonly admit?: ((settings: SessionSettings) => string | undefined) | undefined
}

/**
 * Counts of a hub.
 *
 * @category models
 * @since 0.1.0
 */
export interface HubMetrics {
  readonly conduits: number
  readonly detached: number
  readonly detachedBytes: number
  /** Links that have not said hello yet. */
  readonly opening: number
  readonly created: number
  readonly resumed: number
  /** Hellos answered with a rejection. */
  readonly rejected: number
  /** Links closed for a malformed or late opening. */
  readonly malformed: number
  readonly expired: number
}

/** Fills in the retention defaults. */
export const retention = (keep: KeepOptions = {}): Retention => ({
  timeMillis: Duration.toMillis(keep.time ?? "10 minutes"),
  bytes: keep.bytes ?? 67_108_864,
  detached: keep.detached ?? 65_536,
  conduits: keep.conduits ?? 131_072
})

/**
 * A running acceptor. Closing its scope closes every conduit and tells the peers.
 *
 * @category services
 * @since 0.1.0
 */
export class ConduitHub extends Context.Service<ConduitHub, {
  /** Takes the links of another listener. */
  readonly serve: (listener: Listener) => Effect.Effect<void>
  /** Takes one link, for example one that a test made. */
  readonly accept: (link: Link) => Effect.Effect<void>
  /** The conduits that exist now. */
  readonly conduits: Effect.Effect<ReadonlyArray<StableConduit>>
  readonly metrics: Effect.Effect<HubMetrics>
}>()("@perigee/conduit/ConduitHub") {
  /**
   * Starts a hub in the current scope. Fails when a listener cannot be opened.
   */
  static readonly make: <E, R>(
    options: HubOptions<E, R>
  ) => Effect.Effect<ConduitHub["Service"], LinkError, R | Scope.Scope> = Effect.fnUntraced(function*<E, R>(
    options: HubOptions<E, R>
  ) {
    const host = yield* Host.make
    const keys = yield* Host.KeySource
    const context = yield* Effect.context<R>()
    const acceptor = new Acceptor({
      host,
      newKey: keys,
      engine: Options.resolve(options),
      extensions: options.extensions ?? true,
      retention: retention(options.keep),
      helloTimeoutMillis: Duration.toMillis(options.helloTimeout ?? "5 seconds"),
      maxOpening: options.maxOpening ?? 1024,
      drain: options.drain ?? "5 seconds",
      opening: { styles: options.styles, session: options.session, admit: options.admit },
      onConduit: (conduit, peer) => Effect.provideContext(options.onConduit(conduit, peer), context)
    })
    yield* acceptor.run
    const serve = (listener: Listener) => Effect.sync(() => listener.onLink((link) => acceptor.accept(link)))
    const listeners = options.listen === undefined
      ? []
      : Array.isArray(options.listen)
      ? options.listen
      : [options.listen]
    for (const open of listeners as ReadonlyArray<Effect.Effect<Listener, LinkError, Scope.Scope>>) {
      yield* serve(yield* open)
    }
    return {
      serve,
      accept: (link) => Effect.sync(() => acceptor.accept(link)),
      conduits: Effect.sync(() => acceptor.conduits),
      metrics: Effect.sync(() => acceptor.metrics)
    }
  })

  /**
   * The hub as a layer.
   */
  static readonly layer = <E, R>(
    options: HubOptions<E, R>
  ): Layer.Layer<ConduitHub, LinkError, Exclude<R, Scope.Scope>> => Layer.effect(ConduitHub, ConduitHub.make(options))
}
