/**
 * Links over Effect's own `Socket` and `SocketServer`, framed like TCP: for any transport that Effect has, and for
 * simulated ones.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import * as Scope from "effect/Scope"
import * as Socket from "effect/socket/Socket"
import type * as SocketServer from "effect/socket/SocketServer"
import { StreamDecoder } from "../core/StreamDecoder.ts"
import type { Link, LinkSink } from "../Link.ts"
import * as LinkErrors from "../LinkError.ts"
import type { LinkError } from "../LinkError.ts"
import * as LinkSource from "../LinkSource.ts"
import type { Listener } from "../Listener.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface SocketLinkOptions {
  readonly description?: string | undefined
  /** Longest payload in bytes in either direction: 16 MiB unless given. */
  readonly maxPayload?: number | undefined
}

/** Bytes that wait for the socket before `write` says no. */
const highWater = 262_144
const utf8 = new TextEncoder()

/**
 * Opens the socket as a link of the current scope: dials, when it is a client's.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromSocket = Effect.fnUntraced(function*(
  socket: Socket.Socket,
  options: SocketLinkOptions = {}
): Effect.fn.Return<Link & { readonly gone: Effect.Effect<void> }, LinkError, Scope.Scope> {
  const description = options.description ?? "socket"
  const maxPayload = options.maxPayload ?? 16_777_216
  const own = yield* Scope.fork(yield* Effect.scope)
  const run = Effect.runForkWith(yield* Effect.context<never>())
  const { pull } = yield* socket.reader.pipe(
    Scope.provide(own),
    Effect.mapError((cause) => LinkErrors.make(description, { _tag: "Open", cause }))
  )
  const writer = yield* Scope.provide(socket.writer, own)
  const decoder = new StreamDecoder(maxPayload)
  const queue: Array<Uint8Array<ArrayBuffer>> = []
  const readable = Latch.makeUnsafe(false)
  const writable = Latch.makeUnsafe(false)
  const gone = Latch.makeUnsafe(false)
  let sink: LinkSink | undefined
  let queued = 0
  let full = false
  let ending = false
  let dead = false

  const destroy = () => {
    if (dead) return
    dead = true
    queue.length = 0
    gone.openUnsafe()
    run(Scope.close(own, Exit.void))
  }
  const fail = (reason: LinkErrors.LinkErrorReason) => {
    if (dead) return
    const told = sink
    destroy()
    if (!ending) told?.closed(LinkErrors.make(description, reason))
  }
  const deliver = (frames: ReadonlyArray<Uint8Array | string>) => {
    for (const frame of frames) {
      if (dead || ending) return
      const bytes = typeof frame === "string" ? utf8.encode(frame) : frame
      const fault = decoder.push(bytes, 0, bytes.length, true, {
        payload: (chunk, offset, length, owned) => dead ? false : sink!.payload(chunk, offset, length, owned)
      })
      if (fault !== undefined) return fail({ _tag: "PayloadTooLarge", limit: maxPayload })
    }
    if (!dead) sink!.flush()
  }
  const reading = Effect.gen(function*() {
    while (true) {
      yield* readable.await
      deliver(yield* pull)
    }
  }).pipe(
    Effect.catch((error: Socket.SocketError) =>
      Effect.sync(() => {
        if (decoder.finish() !== undefined) fail({ _tag: "PartialPayload" })
        else if (error.reason._tag === "SocketCloseError") fail({ _tag: "Ended" })
        else fail({ _tag: "Io", cause: error })
      })
    )
  )
  const writing = Effect.gen(function*() {
    while (true) {
      yield* writable.await
      const chunks = queue.splice(0)
      if (chunks.length > 0) {
        yield* writer.writeAll(chunks as [Uint8Array, ...Array<Uint8Array>])
        queued -= chunks.reduce((sum, chunk) => sum + chunk.length, 0)
        if (full && queued < highWater / 2 && !dead) {
          full = false
          sink?.writable()
        }
      } else if (ending) {
        yield* writer.write(new Socket.CloseEvent(1000))
        return destroy()
      } else {
        writable.closeUnsafe()
      }
    }
  }).pipe(Effect.catch((cause) => Effect.sync(() => fail({ _tag: "Io", cause }))))
  yield* Effect.forkIn(reading, own)
  yield* Effect.forkIn(writing, own)
  yield* Effect.addFinalizer(() => Effect.sync(destroy))
  return {
    description,
    maxPayload,
    copies: false,
    canPause: true,
    gone: gone.await,
    open: (next) => {
      sink = next
      readable.openUnsafe()
    },
    write: (bytes, start, end) => {
      if (dead || ending) return true
      queue.push(bytes.subarray(start, end))
      queued += end - start
      writable.openUnsafe()
      full = queued >= highWater
      return !full
    },
    pause: () => readable.closeUnsafe(),
    resume: () => {
      if (sink !== undefined) readable.openUnsafe()
    },
    end: () => {
      if (dead || ending) return
      ending = true
      writable.openUnsafe()
    },
    destroy
  }
})

/**
 * Dials with the same socket each time.
 *
 * @category constructors
 * @since 0.1.0
 */
export const source = (socket: Socket.Socket, options: SocketLinkOptions = {}): LinkSource.LinkSource =>
  LinkSource.make(options.description ?? "socket", fromSocket(socket, options))

/**
 * Takes the sockets of a server until the scope closes.
 *
 * @category constructors
 * @since 0.1.0
 */
export const listen = (
  server: SocketServer.SocketServer["Service"],
  options: SocketLinkOptions = {}
): Effect.Effect<Listener, never, Scope.Scope> =>
  Effect.gen(function*() {
    let take: ((link: Link) => void) | undefined
    const handle = (socket: Socket.Socket) =>
      Effect.scoped(Effect.flatMap(fromSocket(socket, options), (link) => {
        if (take === undefined) return Effect.void
        take(link)
        return link.gone
      }))
    yield* Effect.forkScoped(Effect.ignore(server.run((socket) => Effect.ignore(handle(socket)))))
    return {
      description: options.description ?? "socket server",
      onLink: (taker) => {
        take = taker
      }
    }
  })
