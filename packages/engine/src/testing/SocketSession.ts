/**
 * One accepted connection of the testing broker over any socket: TCP, TLS, a simulated network.
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Socket from "effect/socket/Socket"
import type { Cluster, Node } from "./core/Cluster.ts"
import { Commands } from "@perigee/proto/wire"
import { now } from "./now.ts"

/** Serves one client until either side ends the connection, or the client is silent for twice `keepAlive` milliseconds, a ping in between. */
export const serve = Effect.fn("TestBroker.session")(
  function*(cluster: Cluster, node: Node, socket: Socket.Socket, keepAlive: number) {
    const pull = yield* Socket.readerBytes(socket)
    const writer = yield* socket.writer
    const work = Latch.makeUnsafe(false)
    const room = Latch.makeUnsafe(true)
    const session = cluster.connect(node, yield* now)
    if (session === undefined) return
    yield* Effect.addFinalizer(() => Effect.sync(() => session.abort()))
    session.onWork = () => work.openUnsafe()

    let heard = true
    const read = Effect.gen(function*() {
      while (!session.isClosed) {
        const chunks = yield* pull
        const at = yield* now
        heard = true
        for (const chunk of chunks) session.receive(chunk, at)
        // A client that does not read its answers is not asked for more.
        if (!session.writable) {
          room.closeUnsafe()
          yield* room.await
        }
      }
    })
    const write = Effect.gen(function*() {
      while (true) {
        const frames = session.take()
        if (frames.length > 0) {
          yield* writer.writeAll(frames as NonEmptyReadonlyArray<Uint8Array>)
          session.drained(yield* now)
          room.openUnsafe()
          continue
        }
        if (session.isClosed) return
        work.closeUnsafe()
        yield* work.await
      }
    })
    const watch = Effect.gen(function*() {
      let pinged = false
      while (true) {
        yield* Effect.sleep(keepAlive)
        if (!heard && pinged) return session.abort()
        pinged = !heard
        if (pinged) session.reply({ type: Commands.Type.PING, ping: {} })
        heard = false
      }
    })
    yield* Effect.forkScoped(watch)
    // The last answer, why a client is refused for example, is written before the connection ends.
    yield* Effect.raceFirst(Effect.andThen(read, Effect.never), write)
  },
  Effect.scoped,
  (effect) => Effect.ignore(effect)
)
