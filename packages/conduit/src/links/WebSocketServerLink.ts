/**
 * A WebSocket acceptor for Node, on the `ws` package (an optional peer dependency).
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Http from "node:http"
import type * as Https from "node:https"
import type { Duplex } from "node:stream"
import { type ClientOptions, WebSocket, WebSocketServer } from "ws"
import { services, WebSocketCore, type WebSocketLike } from "../internal/WebSocketCore.ts"
import type { LinkError } from "../Link.ts"
import * as LinkErrors from "../LinkError.ts"
import type { Listener } from "../Listener.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface ListenOptions {
  /** Address to listen on: 127.0.0.1 unless given. */
  readonly host?: string | undefined
  /** 0, the default, takes a free port. */
  readonly port?: number | undefined
  /** A server to share, for example one with TLS or with pages; it is neither started nor stopped here. */
  readonly server?: Http.Server | Https.Server | undefined
  /** Only upgrades of this path are taken; every path unless given. */
  readonly path?: string | undefined
  /** Judges an upgrade, for example by its origin or a token; false answers 403. */
  readonly admit?: ((request: Http.IncomingMessage) => boolean) | undefined
  /** Longest payload in bytes in either direction: 16 MiB unless given. */
  readonly maxPayload?: number | undefined
}

/**
 * A listener whose port is known, unless the server is shared.
 *
 * @category models
 * @since 0.1.0
 */
export interface WebSocketListener extends Listener {
  readonly port: number
}

/**
 * Makes client sockets with the `ws` package instead of the platform's own: they can pause, take request headers, and send
 * what belongs together in one write. Give it to `WebSocketLink` as `construct`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const construct = (options: ClientOptions = {}) => (url: string): WebSocketLike => {
  const websocket = new WebSocket(url, { perMessageDeflate: false, ...options })
  let socket: Duplex | undefined
  websocket.on("upgrade", (response) => {
    socket = response.socket
  })
  return like(websocket, () => socket)
}

/** Adds what only `ws` can do. */
const like = (websocket: WebSocket, socket: () => Duplex | undefined): WebSocketLike =>
  Object.assign(websocket as unknown as WebSocketLike, {
    receive: (listener: (payload: Uint8Array | undefined) => void) => {
      websocket.on("message", (data, isBinary) => listener(isBinary ? data as Buffer : undefined))
    },
    cork: () => socket()?.cork(),
    uncork: () => socket()?.uncork()
  })

/** Links that arrive before anyone takes them; further ones are closed. */
const backlog = 128

const refuse = (socket: Duplex, line: string): void => {
  socket.end(`HTTP/1.1 ${line}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`)
}

/**
 * Takes WebSocket upgrades until the scope closes. A failed upgrade ends that connection and nothing else.
 *
 * @category constructors
 * @since 0.1.0
 */
export const listen = (options: ListenOptions = {}): Effect.Effect<WebSocketListener, LinkError, Scope.Scope> =>
  Effect.flatMap(services, (services) => {
    const maxPayload = options.maxPayload ?? 16_777_216
    const upgrades = new WebSocketServer({ noServer: true, maxPayload, perMessageDeflate: false })
    const server = options.server ?? Http.createServer((_, response) => response.writeHead(426).end())
    const waiting: Array<WebSocketCore> = []
    const all = new Set<WebSocket>()
    let take: Parameters<Listener["onLink"]>[0] | undefined
    const onUpgrade = (request: Http.IncomingMessage, socket: Duplex, head: Buffer) => {
      socket.on("error", () => socket.destroy())
      const path = request.url?.split("?", 1)[0]
      // On a shared server another path may be somebody else's.
      if (options.path !== undefined && path !== options.path) {
        if (options.server === undefined) refuse(socket, "404 Not Found")
        return
      }
      if (options.admit?.(request) === false) return refuse(socket, "403 Forbidden")
      upgrades.handleUpgrade(request, socket, head, (websocket) => {
        all.add(websocket)
        websocket.on("close", () => all.delete(websocket))
        const peer = `${request.socket.remoteAddress}:${request.socket.remotePort}`
        const link = new WebSocketCore(like(websocket, () => socket), `websocket ${peer}`, maxPayload, services)
        if (take !== undefined) take(link)
        else if (waiting.length < backlog) waiting.push(link)
        else link.destroy()
      })
    }
    const where = `websocket ${options.host ?? "127.0.0.1"}:${options.port ?? 0}`
    return Effect.acquireRelease(
      Effect.callback<WebSocketListener, LinkError>((resume) => {
        const ready = () => {
          server.on("upgrade", onUpgrade)
          const address = server.address()
          const port = typeof address === "object" && address !== null ? address.port : 0
          resume(Effect.succeed({
            description: `websocket port ${port}`,
            port,
            onLink: (taker) => {
              take = taker
              for (const link of waiting.splice(0)) taker(link)
            }
          }))
        }
        if (options.server !== undefined) return ready()
        server.once("error", (cause) => resume(Effect.fail(LinkErrors.make(where, { _tag: "Open", cause }))))
        server.listen(options.port ?? 0, options.host ?? "127.0.0.1", ready)
      }),
      () =>
        Effect.sync(() => {
          take = undefined
          server.off("upgrade", onUpgrade)
          for (const link of waiting.splice(0)) link.destroy()
          if (options.server !== undefined) return
          // Graceful ends are under way on the links that a hub had; only the stubborn are cut, when the server is.
          server.close()
          services.after(2000, () => {
            for (const websocket of all) websocket.terminate()
          })
        })
    )
  })
