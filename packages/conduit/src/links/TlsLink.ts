/**
 * Links over TLS, framed like TCP. A resume key is a bearer credential: outside one machine, use this.
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Net from "node:net"
import * as Tls from "node:tls"
import * as NodeListener from "../internal/NodeListener.ts"
import * as NodeSocketLink from "../internal/NodeSocketLink.ts"
import type { Link, LinkError } from "../Link.ts"
import * as LinkSource from "../LinkSource.ts"
import type * as TcpLink from "./TcpLink.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface ConnectOptions extends TcpLink.ConnectOptions {
  /** What Node's `tls.connect` takes: authorities, client certificate and key, server name. */
  readonly tls?: Tls.ConnectionOptions | undefined
}

/**
 * Connects once; fails when the peer's certificate is not trusted.
 *
 * @category constructors
 * @since 0.1.0
 */
export const connect = (options: ConnectOptions): Effect.Effect<Link, LinkError, Scope.Scope> =>
  NodeSocketLink.connect({
    description: `tls ${options.host ?? "localhost"}:${options.port}`,
    maxPayload: options.maxPayload,
    ready: "secureConnect",
    reused: false,
    open: (): Net.Socket => {
      const socket = Tls.connect({ host: options.host ?? "localhost", port: options.port, ...options.tls })
      socket.setNoDelay(true)
      return socket
    }
  })

/**
 * Dials the same address each time.
 *
 * @category constructors
 * @since 0.1.0
 */
export const source = (options: ConnectOptions): LinkSource.LinkSource =>
  LinkSource.make(`tls ${options.host ?? "localhost"}:${options.port}`, connect(options))

/**
 * @category models
 * @since 0.1.0
 */
export interface ListenOptions extends TcpLink.ListenOptions {
  /** What Node's `tls.createServer` takes: certificate, key, whether clients need one. */
  readonly tls: Tls.TlsOptions
  /** Longest TLS handshake in milliseconds: 10,000 unless given. */
  readonly handshakeTimeoutMillis?: number | undefined
}

/**
 * Listens until the scope closes. A failed TLS handshake ends that connection and nothing else.
 *
 * @category constructors
 * @since 0.1.0
 */
export const listen = (
  options: ListenOptions
): Effect.Effect<TcpLink.TcpListener, LinkError, Scope.Scope> =>
  NodeListener.listen({
    scheme: "tls",
    maxPayload: options.maxPayload,
    server: Tls.createServer({
      ...options.tls,
      handshakeTimeout: options.handshakeTimeoutMillis ?? 10_000,
      noDelay: true
    }),
    event: "secureConnection",
    maxConnections: options.maxConnections,
    at: { host: options.host ?? "127.0.0.1", port: options.port ?? 0 }
  })
