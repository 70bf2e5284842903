/**
 * Links over TCP: payloads behind u32 little-endian lengths, no delay, socket keepalive on.
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Net from "node:net"
import * as NodeListener from "../internal/NodeListener.ts"
import * as NodeSocketLink from "../internal/NodeSocketLink.ts"
import type { Link, LinkError } from "../Link.ts"
import * as LinkSource from "../LinkSource.ts"
import type { Listener } from "../Listener.ts"

/** Idle milliseconds before the kernel probes a peer that may be gone. */
export const keepAliveMillis = 30_000

/**
 * @category models
 * @since 0.1.0
 */
export interface ConnectOptions {
  /** Host name or address; every address a name has is tried. Localhost unless given. */
  readonly host?: string | undefined
  readonly port: number
  /** Longest payload in bytes in either direction: 16 MiB unless given. */
  readonly maxPayload?: number | undefined
}

/**
 * Connects once.
 *
 * @category constructors
 * @since 0.1.0
 */
export const connect = (options: ConnectOptions): Effect.Effect<Link, LinkError, Scope.Scope> =>
  NodeSocketLink.connect({
    description: `tcp ${options.host ?? "localhost"}:${options.port}`,
    maxPayload: options.maxPayload,
    ready: "connect",
    reused: true,
    open: (reused) =>
      Net.connect({
        host: options.host ?? "localhost",
        port: options.port,
        noDelay: true,
        keepAlive: true,
        keepAliveInitialDelay: keepAliveMillis,
        autoSelectFamily: true,
        writableHighWaterMark: NodeSocketLink.writeHighWater,
        ...(reused === undefined ? {} : {
          onread: {
            buffer: reused.buffer,
            callback: (bytes: number, buffer: Uint8Array) => reused.callback(bytes, buffer)
          }
        })
      } as Net.TcpNetConnectOpts)
  })

/**
 * Dials the same address each time.
 *
 * @category constructors
 * @since 0.1.0
 */
export const source = (options: ConnectOptions): LinkSource.LinkSource =>
  LinkSource.make(`tcp ${options.host ?? "localhost"}:${options.port}`, connect(options))

/**
 * @category models
 * @since 0.1.0
 */
export interface ListenOptions {
  /** Address to listen on: 127.0.0.1 unless given. */
  readonly host?: string | undefined
  /** 0, the default, takes a free port. */
  readonly port?: number | undefined
  /** Longest payload in bytes in either direction: 16 MiB unless given. */
  readonly maxPayload?: number | undefined
  /** Most sockets open at a time; further ones are closed at once. No limit unless given. */
  readonly maxConnections?: number | undefined
}

/**
 * A listener whose port is known.
 *
 * @category models
 * @since 0.1.0
 */
export interface TcpListener extends Listener {
  readonly host: string
  readonly port: number
}

/**
 * Listens until the scope closes.
 *
 * @category constructors
 * @since 0.1.0
 */
export const listen = (options: ListenOptions = {}): Effect.Effect<TcpListener, LinkError, Scope.Scope> =>
  NodeListener.listen({
    scheme: "tcp",
    maxPayload: options.maxPayload,
    server: Net.createServer({
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: keepAliveMillis,
      pauseOnConnect: true,
      highWaterMark: NodeSocketLink.writeHighWater
    }),
    event: "connection",
    maxConnections: options.maxConnections,
    at: { host: options.host ?? "127.0.0.1", port: options.port ?? 0 }
  })
