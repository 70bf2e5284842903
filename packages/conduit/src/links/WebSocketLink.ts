/**
 * Links over a WebSocket, from a browser or from Node: one binary message is one payload.
 *
 * A browser's WebSocket cannot pause what arrives, and tells no reason when it fails.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { services, WebSocketCore, type WebSocketLike } from "../internal/WebSocketCore.ts"
import type { Link, LinkError } from "../Link.ts"
import * as LinkErrors from "../LinkError.ts"
import * as LinkSource from "../LinkSource.ts"

export type { WebSocketLike }

/**
 * @category models
 * @since 0.1.0
 */
export interface WebSocketOptions {
  /** `ws:` or `wss:`; used as given. */
  readonly url: string
  /** Longest payload in bytes in either direction: 16 MiB unless given. */
  readonly maxPayload?: number | undefined
  /** Makes the socket; the platform's own `WebSocket` unless given. */
  readonly construct?: ((url: string) => WebSocketLike) | undefined
}

/**
 * Connects once.
 *
 * @category constructors
 * @since 0.1.0
 */
export const connect = (options: WebSocketOptions): Effect.Effect<Link, LinkError, Scope.Scope> => {
  const construct = options.construct ??
    ((url: string) => new (globalThis as unknown as { WebSocket: new(url: string) => WebSocketLike }).WebSocket(url))
  // The query may hold a token: it stays out of logs.
  const description = `websocket ${options.url.split("?", 1)[0]}`
  return Effect.acquireRelease(
    Effect.flatMap(services, (services) =>
      Effect.callback<WebSocketCore, LinkError>((resume) => {
        let socket: WebSocketLike
        let settled = false
        const failed = (cause: unknown) => {
          if (settled) return
          settled = true
          resume(Effect.fail(LinkErrors.make(description, { _tag: "Open", cause })))
        }
        try {
          socket = construct(options.url)
        } catch (cause) {
          return failed(cause)
        }
        const link = new WebSocketCore(socket, description, options.maxPayload ?? 16_777_216, services)
        socket.addEventListener("error", (event) => failed((event as { message?: string }).message ?? "failed"))
        socket.addEventListener("close", () => failed("closed before it was open"))
        socket.addEventListener("open", () => {
          if (settled) return
          settled = true
          resume(Effect.succeed(link))
        })
        return Effect.sync(() => {
          settled = true
          link.destroy()
        })
      })),
    (link) => link.release,
    { interruptible: true }
  )
}

/**
 * Dials the same URL each time.
 *
 * @category constructors
 * @since 0.1.0
 */
export const source = (options: WebSocketOptions): LinkSource.LinkSource =>
  LinkSource.make(`websocket ${options.url.split("?", 1)[0]}`, connect(options))
