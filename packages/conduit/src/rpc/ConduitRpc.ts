/**
 * Effect RPC over a conduit: a typed service that survives reconnects. A request that was sent once runs once, streams go
 * on where they were, and an interruption takes its place in the order like everything else.
 *
 * A conduit is presented as one socket that does not break, so Effect's own protocols run on it as they are.
 *
 * @since 0.1.0
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as NetAddress from "effect/net/NetAddress"
import * as RpcClient from "effect/rpc/RpcClient"
import type * as RpcSerialization from "effect/rpc/RpcSerialization"
import * as RpcServer from "effect/rpc/RpcServer"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Socket from "effect/socket/Socket"
import * as SocketServer from "effect/socket/SocketServer"
import type { ConduitError } from "../ConduitError.ts"
import { ConduitHub, type HubOptions } from "../ConduitHub.ts"
import type { LinkError } from "../LinkError.ts"
import type { LinkSource } from "../LinkSource.ts"
import * as StableConduit from "../StableConduit.ts"

const utf8 = new TextEncoder()

const closed = (error: ConduitError): Socket.SocketError =>
  new Socket.SocketError({
    reason: error.reason._tag === "Closed" || error.reason._tag === "PeerClosed"
      ? new Socket.SocketCloseError({ code: 1000 })
      : new Socket.SocketReadError({ cause: error })
  })

const writeFailed = (error: ConduitError): Socket.SocketError =>
  new Socket.SocketError({ reason: new Socket.SocketWriteError({ cause: error }) })

/**
 * Presents a conduit as an Effect `Socket`: every frame written is one item. It reads as long as the conduit lives, over
 * however many links; only its end is an end.
 *
 * @category combinators
 * @since 0.1.0
 */
export const toSocket = (conduit: StableConduit.StableConduit): Socket.Socket => {
  const bytes = (chunk: Uint8Array | string) => typeof chunk === "string" ? utf8.encode(chunk) : chunk
  return Socket.make({
    reader: Effect.succeed({
      pull: Effect.mapBoth(conduit.takeBatch, {
        // A batch is never empty.
        onSuccess: (batch) => batch.toArray() as [Uint8Array, ...Array<Uint8Array>],
        onFailure: closed
      }),
      upgrade: Socket.SocketUpgradeError.unsupported
    }),
    writer: Effect.succeed({
      write: (chunk) =>
        Socket.isCloseEvent(chunk)
          ? Effect.ignore(conduit.close())
          : Effect.mapError(conduit.send(bytes(chunk)), writeFailed),
      writeAll: (chunks) => Effect.mapError(conduit.sendAll(chunks.map(bytes)), writeFailed)
    })
  })
}

/**
 * The client protocol on a conduit that exists already. When the conduit is lost every pending call fails; while it is
 * only reconnecting nothing does, and keepalive is the conduit's affair.
 *
 * @category protocols
 * @since 0.1.0
 */
export const makeClient = (
  conduit: StableConduit.StableConduit
): Effect.Effect<RpcClient.Protocol["Service"], never, RpcSerialization.RpcSerialization | Scope.Scope> =>
  RpcClient.makeProtocolSocket({
    // A ping would be an item like any other: an outage would fail calls that are going to be answered.
    pingInterval: "100000 days",
    retryPolicy: Schedule.recurs(0)
  }).pipe(Effect.provideService(Socket.Socket, toSocket(conduit)))

/**
 * A client protocol that dials a conduit of its own. Closing the scope ends the conduit and tells the server.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerClient = (
  source: LinkSource,
  options?: StableConduit.DialOptions
): Layer.Layer<RpcClient.Protocol, ConduitError, RpcSerialization.RpcSerialization> =>
  Layer.effect(RpcClient.Protocol, Effect.flatMap(StableConduit.dial(source, options), makeClient))

/**
 * What a server protocol may choose: a hub's options without its handler.
 *
 * @category models
 * @since 0.1.0
 */
export type ServerOptions = Omit<HubOptions<never, never>, "onConduit">

/**
 * A server protocol on a hub of its own: every conduit is one client, over however many links.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerServer = (
  options: ServerOptions
): Layer.Layer<RpcServer.Protocol | ConduitHub, LinkError, RpcSerialization.RpcSerialization> =>
  Layer.unwrap(Effect.gen(function*() {
    // A conduit may come before the protocol runs; it waits.
    const handler = yield* Deferred.make<(socket: Socket.Socket) => Effect.Effect<unknown, unknown>>()
    const hub = ConduitHub.layer<unknown, never>({
      ...options,
      onConduit: (conduit) => Effect.flatMap(Deferred.await(handler), (handle) => handle(toSocket(conduit)))
    })
    const server = SocketServer.SocketServer.of({
      // A hub listens in many places or none; nobody asks this server for its address.
      address: NetAddress.unixPathAddress("conduit"),
      run: (handle) =>
        Effect.contextWith((context) =>
          Effect.andThen(
            Deferred.succeed(handler, (socket) => Effect.provideContext(handle(socket), context)),
            Effect.never
          )
        )
    })
    const protocol = Layer.effect(RpcServer.Protocol, RpcServer.makeProtocolSocketServer).pipe(
      Layer.provide(Layer.succeed(SocketServer.SocketServer, server))
    )
    return Layer.merge(protocol, hub)
  }))
