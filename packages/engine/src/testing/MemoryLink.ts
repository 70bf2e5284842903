/**
 * A connection to the testing broker without a network: what the client writes is handled before its write returns, what the broker answers waits for
 * the client to read. No fiber of its own, no buffer but the session's.
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Socket from "effect/socket/Socket"
import type { Cluster, Node } from "./core/Cluster.ts"
import type { Session } from "./core/Session.ts"
import { now } from "./now.ts"

const encoder = new TextEncoder()

const closed = new Socket.SocketError({ reason: new Socket.SocketCloseError({ code: 1000 }) })

const refused = (url: string) =>
  new Socket.SocketError({
    reason: new Socket.SocketOpenError({ kind: "Unknown", cause: new Error(`connection refused: ${url}`) })
  })

interface Link {
  readonly session: Session
  readonly work: Latch.Latch
}

/**
 * A socket whose every acquired reader is one connection to the broker at `node`; an unknown or dead broker refuses it.
 */
export const make = (cluster: Cluster, node: Node | undefined, url: string): Socket.Socket => {
  let link: Link | undefined
  const linked = Latch.makeUnsafe(false)

  const connect = Effect.map(now, (at) => {
    const session = node === undefined ? undefined : cluster.connect(node, at)
    if (session === undefined) return undefined
    const work = Latch.makeUnsafe(false)
    session.onWork = () => work.openUnsafe()
    link = { session, work }
    linked.openUnsafe()
    return link
  })

  const reader = Effect.acquireRelease(
    Effect.flatMap(connect, (opened) => opened === undefined ? Effect.fail(refused(url)) : Effect.succeed(opened)),
    (opened) =>
      Effect.sync(() => {
        opened.session.abort()
        if (link === opened) {
          link = undefined
          linked.closeUnsafe()
        }
      })
  ).pipe(
    Effect.map(({ session, work }): Socket.Reader => {
      const pull: Socket.Reader["pull"] = Effect.flatMap(now, (at) => {
        const frames = session.take()
        if (frames.length > 0) {
          session.drained(at)
          return Effect.succeed(frames as NonEmptyReadonlyArray<Uint8Array>)
        }
        if (session.isClosed) return Effect.fail(closed)
        work.closeUnsafe()
        return Effect.andThen(work.await, pull)
      })
      return { pull, upgrade: Socket.SocketUpgradeError.unsupported }
    })
  )

  const accept = (chunk: Uint8Array | string | Socket.CloseEvent): Effect.Effect<void, Socket.SocketError> =>
    Effect.flatMap(Effect.andThen(linked.await, now), (at) => {
      const session = link?.session
      if (session === undefined || session.isClosed) return Effect.fail(closed)
      if (Socket.isCloseEvent(chunk)) session.abort()
      // The writer may use its memory again, the session keeps what it was given.
      else session.receive(typeof chunk === "string" ? encoder.encode(chunk) : chunk.slice(), at)
      return Effect.void
    })

  return Socket.make({
    reader,
    writer: Effect.succeed({
      write: accept,
      writeAll: (chunks) => Effect.forEach(chunks, accept, { discard: true })
    })
  })
}
