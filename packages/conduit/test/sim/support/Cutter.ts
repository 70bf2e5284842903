/** Cuts a socket after an exact number of bytes in either direction, in the middle of whatever is there. */
import { Deferred, Effect } from "effect"
import { Socket } from "effect/socket"

export interface Limits {
  readonly up: number
  readonly down: number
}

/** Each dial gets limits of its own; the bytes before a limit pass, and nothing after it. */
export const cutting = (socket: Socket.Socket, limits: () => Limits, onCut: () => void): Socket.Socket => {
  let current: { up: number; down: number; readonly cut: Deferred.Deferred<void> } | undefined
  const gone = new Socket.SocketError({ reason: new Socket.SocketCloseError({ code: 1006 }) })
  return Socket.make({
    reader: Effect.gen(function*() {
      const { pull, upgrade } = yield* socket.reader
      const link = { ...limits(), cut: yield* Deferred.make<void>() }
      current = link
      const limited = Effect.gen(function*() {
        if (link.down <= 0) return yield* gone
        const frames = yield* pull
        const out: Array<Uint8Array> = []
        for (const frame of frames) {
          const bytes = typeof frame === "string" ? new TextEncoder().encode(frame) : frame
          out.push(bytes.subarray(0, Math.max(0, link.down)))
          link.down -= bytes.length
        }
        if (link.down <= 0) onCut()
        return out as [Uint8Array, ...Array<Uint8Array>]
      })
      const pullOrCut = Effect.raceFirst(limited, Effect.andThen(Deferred.await(link.cut), Effect.fail(gone)))
      return { pull: pullOrCut, upgrade }
    }),
    writer: Effect.map(socket.writer, (writer) => {
      const writeAll = (chunks: ReadonlyArray<Uint8Array | string>) =>
        Effect.gen(function*() {
          const link = current
          for (const chunk of chunks) {
            const bytes = typeof chunk === "string" ? new TextEncoder().encode(chunk) : chunk
            if (link === undefined || link.up <= 0) return
            const passing = bytes.subarray(0, link.up)
            link.up -= bytes.length
            yield* writer.write(passing)
            if (link.up <= 0) {
              onCut()
              // What passed is on its way; then the link is gone for this end, and its scope closes the real one.
              yield* Effect.sleep(1)
              yield* Deferred.succeed(link.cut, undefined)
            }
          }
        })
      return { write: (chunk) => Socket.isCloseEvent(chunk) ? writer.write(chunk) : writeAll([chunk]), writeAll }
    })
  })
}
