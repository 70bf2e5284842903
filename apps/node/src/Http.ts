/**
 * The listener of a node.
 */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as HttpServer from "effect/http/HttpServer"
import type { ServeError } from "effect/http/HttpServerError"
import * as NetAddress from "effect/net/NetAddress"
import { readFileSync } from "node:fs"
import * as Http from "node:http"
import * as Https from "node:https"
import { isIP } from "node:net"
import { Limits, type LimitValues, NodeConfig, type NodeOptions, portAttempts } from "./Config.ts"
import { Connections } from "./internal/Connections.ts"
import { Lifecycle } from "./Lifecycle.ts"
import { describe, type Failure, failure } from "./Failure.ts"

/**
 * Bodies and streams have no end in time: what bounds them is silence, see `Limits`. A cursor over many shards makes headers
 * long.
 */
const serverOptions = {
  requestTimeout: 0,
  keepAliveTimeout: 65_000,
  connectionsCheckingInterval: 1000,
  maxHeaderSize: 65_536,
  noDelay: true,
  highWaterMark: 262_144
} as const

const loopback = (host: string): boolean => host === "localhost" || host === "::1" || host.startsWith("127.")

/** Refuses to let the token travel in the clear beyond this machine unless somebody has said that it may. */
export const checkExposure = (options: NodeOptions, insecure: boolean): Effect.Effect<void, Failure> =>
  loopback(options.host) || options.tls !== undefined || insecure ? Effect.void : Effect.fail(failure(
    "E_INSECURE",
    "usage",
    `--host ${options.host} can be reached from other machines, and without TLS they would send the token in the clear. ` +
      "Give --tls-cert and --tls-key, or say --insecure if something else protects the way."
  ))

const readPem = (path: string): Effect.Effect<Buffer, Failure> =>
  Effect.try({
    try: () => readFileSync(path),
    catch: (cause) => failure("E_TLS", "start", `The PEM file ${path} cannot be read: ${describe(cause)}.`)
  })

const makeServer = Effect.fnUntraced(function*(options: NodeOptions, limits: LimitValues) {
  const bounded = { ...serverOptions, headersTimeout: Duration.toMillis(limits.headers) }
  if (options.tls === undefined) return () => Http.createServer(bounded)
  const cert = yield* readPem(options.tls.cert)
  const key = yield* readPem(options.tls.key)
  yield* Effect.try({
    try: () => Https.createServer({ cert, key }).close(),
    catch: (cause) => failure("E_TLS", "start", `Certificate and key do not fit: ${describe(cause)}.`)
  })
  return () => Https.createServer({ ...bounded, cert, key, minVersion: "TLSv1.2", handshakeTimeout: 10_000 })
})

const errno = (error: ServeError): string => String((error.cause as { readonly code?: unknown }).code)

const cannotListen = (options: NodeOptions, error: ServeError): Failure => {
  switch (errno(error)) {
    case "EADDRINUSE":
      return failure(
        "E_PORT_IN_USE",
        "start",
        `Port ${options.port} of ${options.host} is taken. Stop what uses it, choose another with --port N, or leave --port out: then the next free one is taken.`
      )
    case "EACCES":
      return failure(
        "E_PORT_FORBIDDEN",
        "start",
        `Port ${options.port} of ${options.host} needs privileges. Choose one above 1023 with --port N.`
      )
    case "EADDRNOTAVAIL":
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return failure(
        "E_HOST_UNKNOWN",
        "start",
        `${options.host} is no address of this machine. Choose another with --host.`
      )
    default:
      return failure(
        "E_LISTEN",
        "start",
        `The node cannot listen on ${options.host}:${options.port}: ${describe(error.cause)}.`
      )
  }
}

const listen = (
  make: () => Http.Server,
  options: NodeOptions,
  limits: LimitValues,
  port: number,
  onServer: (connections: Connections) => void
): Effect.Effect<HttpServer.HttpServer["Service"], Failure, Scope.Scope> =>
  NodeHttpServer.make(() => {
    const server = make()
    server.maxConnections = limits.maxConnections
    onServer(new Connections(server, options.tls === undefined ? "connection" : "secureConnection"))
    return server
  }, { host: options.host, port, gracefulShutdownTimeout: limits.drain }).pipe(
    Effect.catch((error) => {
      const next = options.portMayMove && errno(error) === "EADDRINUSE" && port < options.port + portAttempts - 1
      return next ? listen(make, options, limits, port + 1, onServer) : Effect.fail(cannotListen(options, error))
    })
  )

/** Listens where the options say; without a port asked for, on the next free one. */
export const layer = Layer.effect(
  HttpServer.HttpServer,
  Effect.gen(function*() {
    const options = yield* NodeConfig
    const lifecycle = yield* Lifecycle
    let connections: Connections | undefined
    yield* Effect.forkScoped(Effect.andThen(lifecycle.stopping, Effect.sync(() => connections?.close())))
    const limits = yield* Limits
    return yield* listen(yield* makeServer(options, limits), options, limits, options.port, (made) => {
      connections = made
    })
  })
).pipe(Layer.merge(NodeHttpServer.layerHttpServices))

/** Address to call the node by. */
export const urlOf = (server: HttpServer.HttpServer["Service"], options: NodeOptions): string => {
  const port = NetAddress.isInetAddress(server.address) ? server.address.port : options.port
  const everywhere = options.host === "0.0.0.0" || options.host === "::"
  const host = everywhere ? "127.0.0.1" : isIP(options.host) === 6 ? `[${options.host}]` : options.host
  return `${options.tls === undefined ? "http" : "https"}://${host}:${port}`
}
