/** The socket of the client against a server of Node's, on the loopback. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, type Scope } from "effect"
import * as Socket from "effect/socket/Socket"
import * as Net from "node:net"
import * as TcpSocket from "../../src/driver/TcpSocket.ts"

const serve = (onConnection: (connection: Net.Socket) => void): Effect.Effect<number, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.callback<{ readonly server: Net.Server; readonly open: Set<Net.Socket> }>((resume) => {
        const open = new Set<Net.Socket>()
        const server = Net.createServer((connection) => {
          open.add(connection)
          connection.on("error", () => {})
          connection.on("close", () => open.delete(connection))
          onConnection(connection)
        }).listen(0, "127.0.0.1", () => resume(Effect.succeed({ server, open })))
      }),
      ({ open, server }) =>
        Effect.callback<void>((resume) => {
          for (const connection of open) connection.destroy()
          server.close(() => resume(Effect.void))
        })
    ),
    ({ server }) => (server.address() as Net.AddressInfo).port
  )

const socketTo = (port: number) => TcpSocket.make({ host: "127.0.0.1", port, timeout: 10_000 })

const pattern = (length: number) => Uint8Array.from({ length }, (_, at) => (at * 31 + (at >>> 8)) & 0xff)

/** Reads until so many bytes are there; each chunk as it came. */
const readAll = Effect.fnUntraced(function*(pull: Socket.Reader<Uint8Array>["pull"], length: number) {
  const chunks: Array<Uint8Array> = []
  for (let bytes = 0; bytes < length;) {
    for (const chunk of yield* pull) {
      chunks.push(chunk)
      bytes += chunk.length
    }
  }
  return chunks
})

describe("a TCP socket", () => {
  it.live("gives every byte once and in order, and writes over nothing it has handed out", () =>
    Effect.gen(function*() {
      const sent = pattern(5 * 1024 * 1024 + 17)
      const port = yield* serve((connection) => connection.end(sent))
      const pull = yield* Socket.readerBytes(socketTo(port))
      const chunks = yield* readAll(pull, sent.length)
      assert.isTrue(Buffer.concat(chunks).equals(sent))
      const { reason } = yield* Effect.flip(pull)
      assert.strictEqual(reason._tag === "SocketCloseError" && reason.code, 1000)
    }))

  it.live("lets a sender wait for a reader that is slow, and loses nothing", () =>
    Effect.gen(function*() {
      const sent = pattern(24 * 1024 * 1024)
      let accepted = 0
      const port = yield* serve((connection) => {
        for (let at = 0; at < sent.length; at += 65_536) {
          connection.write(sent.subarray(at, at + 65_536), () => void (accepted += 65_536))
        }
      })
      const pull = yield* Socket.readerBytes(socketTo(port))
      const first = yield* pull
      yield* Effect.sleep(300)
      // What the two kernels hold is beside the two pieces that may lie here.
      assert.isBelow(accepted, sent.length)
      const got = first.reduce((bytes, chunk) => bytes + chunk.length, 0)
      const rest = yield* readAll(pull, sent.length - got)
      assert.isTrue(Buffer.concat([...first, ...rest]).equals(sent))
    }))

  it.live("writes what it is given, as much as the other end takes", () =>
    Effect.gen(function*() {
      const sent = pattern(8 * 1024 * 1024)
      const received = yield* Deferred.make<Buffer>()
      const port = yield* serve((connection) => {
        const parts: Array<Buffer> = []
        connection.on("data", (part: Buffer) => parts.push(part))
        connection.on("end", () => Deferred.doneUnsafe(received, Effect.succeed(Buffer.concat(parts))))
      })
      yield* Effect.scoped(Effect.gen(function*() {
        const socket = socketTo(port)
        yield* socket.reader
        const writer = yield* socket.writer
        yield* writer.writeAll([sent.subarray(0, 10), sent.subarray(10, 4_000_000)])
        yield* writer.write(sent.subarray(4_000_000))
      }))
      assert.isTrue((yield* Deferred.await(received)).equals(sent))
    }))

  it.live("says that a port is closed, that it took too long, that the other end is gone", () =>
    Effect.gen(function*() {
      const port = yield* Effect.scoped(serve(() => {}))
      const refused = yield* Effect.flip(Effect.scoped(socketTo(port).reader))
      assert.strictEqual(refused.reason._tag === "SocketOpenError" && refused.reason.kind, "Unknown")
      // Addresses for documentation: nobody answers.
      const late = yield* Effect.exit(
        Effect.scoped(TcpSocket.make({ host: "192.0.2.1", port: 6650, timeout: 50 }).reader)
      )
      assert.isTrue(Exit.isFailure(late))
      const open = yield* serve((connection) => connection.once("data", () => connection.resetAndDestroy()))
      const socket = socketTo(open)
      const pull = yield* Socket.readerBytes(socket)
      const writer = yield* socket.writer
      yield* writer.write(new Uint8Array(1))
      yield* Effect.flip(pull)
      assert.strictEqual((yield* Effect.flip(writer.write(new Uint8Array(1)))).reason._tag, "SocketCloseError")
    }))

  it.live("leaves nothing open when its scope ends while it connects", () =>
    Effect.gen(function*() {
      const opening = yield* Effect.forkChild(
        Effect.scoped(TcpSocket.make({ host: "192.0.2.1", port: 6650, timeout: 60_000 }).reader),
        { startImmediately: true }
      )
      yield* Effect.sleep(20)
      yield* Fiber.interrupt(opening)
      yield* Effect.sleep(20)
      assert.notInclude(process.getActiveResourcesInfo(), "TCPConnectWrap")
    }))
})
