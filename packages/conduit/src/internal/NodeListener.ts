import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Net from "node:net"
import type { Link } from "../Link.ts"
import * as LinkErrors from "../LinkError.ts"
import type { LinkError } from "../LinkError.ts"
import type { TcpListener } from "../links/TcpLink.ts"
import { NodeSocketLink } from "./NodeSocketLink.ts"
import { timers } from "./Timers.ts"

/** Links that arrive before anyone takes them; further sockets are closed. */
const backlog = 128

/** Turns a server's sockets into links until the scope closes. */
export const listen = (options: {
  readonly scheme: string
  readonly maxPayload: number | undefined
  readonly server: Net.Server
  readonly event: "connection" | "secureConnection"
  readonly maxConnections?: number | undefined
  readonly at: Net.ListenOptions
}): Effect.Effect<TcpListener, LinkError, Scope.Scope> => {
  const { at, event, scheme, server } = options
  const where = at.path ?? `${at.host}:${at.port}`
  return Effect.flatMap(timers, (after) => {
    const waiting: Array<Link> = []
    const sockets = new Set<Net.Socket>()
    let take: ((link: Link) => void) | undefined
    if (options.maxConnections !== undefined) server.maxConnections = options.maxConnections
    server.on(event, (socket: Net.Socket) => {
      sockets.add(socket)
      socket.on("close", () => sockets.delete(socket))
      const peer = at.path === undefined ? `${socket.remoteAddress}:${socket.remotePort}` : at.path
      const link = new NodeSocketLink(socket, {
        description: `${scheme} ${peer}`,
        maxPayload: options.maxPayload,
        after
      })
      if (take !== undefined) take(link)
      else if (waiting.length < backlog) waiting.push(link)
      else link.destroy()
    })
    return Effect.acquireRelease(
      Effect.callback<TcpListener, LinkError>((resume) => {
        const failed = (cause: unknown) =>
          resume(Effect.fail(LinkErrors.make(`${scheme} ${where}`, { _tag: "Open", cause })))
        server.once("error", failed)
        server.listen(at, () => {
          server.off("error", failed)
          // A failed accept (out of descriptors, say) must not take the process with it.
          server.on("error", () => {})
          const address = server.address()
          const host = typeof address === "object" && address !== null ? address.address : where
          const port = typeof address === "object" && address !== null ? address.port : 0
          resume(Effect.succeed({
            description: at.path === undefined ? `${scheme} ${host}:${port}` : `${scheme} ${at.path}`,
            host,
            port,
            onLink: (taker) => {
              take = taker
              for (const link of waiting.splice(0)) taker(link)
            }
          }))
        })
      }),
      () =>
        Effect.callback<void>((resume) => {
          take = undefined
          for (const link of waiting.splice(0)) link.destroy()
          server.close(() => resume(Effect.void))
          // Links that were taken belong to their takers, which end them; a server must not wait for the slow ones.
          for (const socket of sockets) socket.unref()
          resume(Effect.void)
        })
    )
  })
}
