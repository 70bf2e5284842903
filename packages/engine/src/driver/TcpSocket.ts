/**
 * A TCP connection that reads into long pieces of memory, one read right behind the other.
 *
 * An entry of a topic is longer than a read. Here its bytes lie in one piece when they have arrived, and its messages are views of it; a buffer a read
 * means to allocate and to copy every byte twice more, which costs more than all work on the messages.
 */
import { isReadonlyArrayNonEmpty, type NonEmptyReadonlyArray } from "effect/Array"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Scope from "effect/Scope"
import * as Socket from "effect/socket/Socket"
import * as Net from "node:net"
import { ReadMemory } from "@perigee/proto"

/** Memory of a new connection; each piece is twice the one before, up to those that are used again. */
const FIRST_PIECE = 64 * 1024
/** Least room for a read: what is left of a piece below it stays unused. */
const LEAST_ROOM = 16 * 1024
/** Bytes that may lie here unread before the broker has to wait. */
const READ_AHEAD = 2 * ReadMemory.PIECE

const socketError = (reason: Socket.SocketErrorReason): Socket.SocketError => new Socket.SocketError({ reason })
const closed = (code: number) => socketError(new Socket.SocketCloseError({ code }))

type Resume<A> = (effect: Effect.Effect<A, Socket.SocketError>) => void

/** What has arrived and was not read yet. */
class Arrivals {
  /** Makes the broker go on sending. */
  onRoom: () => void = () => undefined
  #piece = ReadMemory.acquire(FIRST_PIECE)
  #at = 0
  #chunks: Array<Uint8Array> = []
  #bytes = 0
  #isPaused = false
  #end: Socket.SocketError | undefined = undefined
  #waiting: Resume<NonEmptyReadonlyArray<Uint8Array>> | undefined = undefined

  /** Memory for the next read. */
  room(): Uint8Array {
    if (this.#piece.length - this.#at < LEAST_ROOM) {
      const size = Math.min(2 * this.#piece.length, ReadMemory.PIECE)
      ReadMemory.release(this.#piece)
      this.#piece = ReadMemory.acquire(size)
      this.#at = 0
    }
    return this.#piece.subarray(this.#at)
  }

  /** `count` bytes were read into the memory given last. Says whether there may be more. */
  read(count: number): boolean {
    const chunk = this.#piece.subarray(this.#at, this.#at + count)
    ReadMemory.send(chunk)
    this.#chunks.push(chunk)
    this.#at += count
    this.#bytes += count
    this.#deliver()
    this.#isPaused = this.#bytes > READ_AHEAD
    return !this.#isPaused
  }

  /** Nothing more will come; what is here is still delivered. */
  end(error: Socket.SocketError): void {
    this.#end ??= error
    this.#deliver()
  }

  readonly pull: Socket.Reader<Uint8Array>["pull"] = Effect.callback((resume) => {
    this.#waiting = resume
    this.#deliver()
    return Effect.sync(() => {
      if (this.#waiting === resume) this.#waiting = undefined
    })
  })

  #deliver(): void {
    const resume = this.#waiting
    if (resume === undefined) return
    const chunks = this.#chunks
    if (isReadonlyArrayNonEmpty(chunks)) {
      this.#waiting = undefined
      this.#chunks = []
      this.#bytes = 0
      resume(Effect.succeed(chunks))
      if (this.#isPaused) {
        this.#isPaused = false
        this.onRoom()
      }
    } else if (this.#end !== undefined) {
      this.#waiting = undefined
      resume(Effect.fail(this.#end))
    }
  }
}

const connect = (options: { readonly host: string; readonly port: number }) =>
  Effect.gen(function*() {
    const arrivals = new Arrivals()
    const scope = yield* Effect.scope
    let isOpen = false
    let connection: Net.Socket | undefined
    yield* Scope.addFinalizer(
      scope,
      Effect.sync(() => {
        arrivals.end(closed(1006))
        if (isOpen) connection?.destroySoon()
        else connection?.destroy()
      })
    )
    return yield* Effect.callback<{ readonly arrivals: Arrivals; readonly connection: Net.Socket }, Socket.SocketError>(
      (resume) => {
        const opening = connection = Net.connect({
          ...options,
          noDelay: true,
          onread: { buffer: () => arrivals.room(), callback: (count) => arrivals.read(count) }
        })
        arrivals.onRoom = () => opening.resume()
        opening.on("connect", () => {
          isOpen = true
          resume(Effect.succeed({ arrivals, connection: opening }))
        })
        opening.on("error", (cause) => {
          if (isOpen) arrivals.end(socketError(new Socket.SocketReadError({ cause })))
          else resume(Effect.fail(socketError(new Socket.SocketOpenError({ kind: "Unknown", cause }))))
        })
        opening.on("end", () => arrivals.end(closed(1000)))
        opening.on("close", (hadError) => arrivals.end(closed(hadError ? 1006 : 1000)))
      }
    )
  })

/** Waits until the connection takes more. */
const drained = (connection: Net.Socket): Effect.Effect<void, Socket.SocketError> =>
  Effect.callback((resume) => {
    const onDrain = () => settle(Effect.void)
    const onClose = () => settle(Effect.fail(closed(1006)))
    const forget = () => {
      connection.off("drain", onDrain)
      connection.off("close", onClose)
    }
    const settle = (result: Effect.Effect<void, Socket.SocketError>) => {
      forget()
      resume(result)
    }
    connection.on("drain", onDrain)
    connection.on("close", onClose)
    return Effect.sync(forget)
  })

/** Milliseconds to connect in. */
export const make = (
  options: { readonly host: string; readonly port: number; readonly timeout: number }
): Socket.Socket => {
  let current: Net.Socket | undefined
  const isLinked = Latch.makeUnsafe(false)

  const reader = Effect.gen(function*() {
    const { arrivals, connection } = yield* connect(options).pipe(
      Effect.timeoutOrElse({
        duration: options.timeout,
        orElse: () => {
          const cause = new Error("Connection timed out")
          return Effect.fail(socketError(new Socket.SocketOpenError({ kind: "Timeout", cause })))
        }
      })
    )
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        isLinked.closeUnsafe()
        current = undefined
      })
    )
    current = connection
    isLinked.openUnsafe()
    return { pull: arrivals.pull, upgrade: Socket.SocketUpgradeError.unsupported }
  })

  const use = (
    f: (connection: Net.Socket) => Effect.Effect<void, Socket.SocketError>
  ): Effect.Effect<void, Socket.SocketError> =>
    Effect.suspend(() => {
      const connection = current
      if (connection === undefined) return Effect.flatMap(isLinked.await, () => use(f))
      return connection.destroyed || connection.writableEnded ? Effect.fail(closed(1006)) : f(connection)
    })

  return Socket.make({
    reader,
    writer: Effect.acquireRelease(
      Effect.succeed<Socket.Writer>({
        write: (chunk) =>
          use((connection) => {
            if (Socket.isCloseEvent(chunk)) {
              connection.destroySoon()
              return Effect.void
            }
            return connection.write(chunk) ? Effect.void : drained(connection)
          }),
        writeAll: (chunks) =>
          use((connection) => {
            if (chunks.length === 1) return connection.write(chunks[0]) ? Effect.void : drained(connection)
            connection.cork()
            let hasRoom = true
            for (const chunk of chunks) hasRoom = connection.write(chunk)
            connection.uncork()
            return hasRoom ? Effect.void : drained(connection)
          })
      }),
      () => Effect.sync(() => void current?.end())
    )
  })
}
