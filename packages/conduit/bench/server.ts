/** The other process of a measurement: listens, says its port, and does what its role says. */
import { Effect } from "effect"
import * as Net from "node:net"
import { Server as SocketIoServer } from "socket.io"
import { WebSocketServer } from "ws"
import { ConduitHub, type StableConduit } from "../src/index.ts"
import * as WebSocketServerLink from "../src/links/WebSocketServerLink.ts"
import { TcpLink } from "../src/node.ts"
import { StreamDecoder } from "../src/core/StreamDecoder.ts"

const [role, count] = [process.argv[2]!, Number(process.argv[3] ?? 0)]
const ready = (port: number) => process.send!({ port })

/** Counts what comes, and answers with one item at every `count`. */
const sink = (conduit: StableConduit.StableConduit) =>
  Effect.suspend(() => {
    let received = 0
    conduit.subscribeUnsafe((batch) => {
      received += batch.count
      if (received >= count) {
        received -= count
        conduit.sendUnsafe(new Uint8Array(8))
      }
    })
    return conduit.ended
  })

const echo = (conduit: StableConduit.StableConduit) =>
  Effect.suspend(() => {
    conduit.subscribeUnsafe((batch) => {
      for (let i = 0; i < batch.count; i++) conduit.sendUnsafe(batch.at(i))
    })
    return conduit.ended
  })

const serve = (onConduit: typeof sink, listen: "tcp" | "ws") =>
  Effect.runFork(Effect.scoped(Effect.gen(function*() {
    const listener = yield* listen === "tcp" ? TcpLink.listen() : WebSocketServerLink.listen()
    yield* ConduitHub.make({ onConduit, listen: Effect.succeed(listener) })
    ready(listener.port)
    return yield* Effect.never
  })))

/** Writes a whole turn's answers at once. */
const coalescing = (socket: Net.Socket) => {
  let out: Array<Uint8Array> = []
  return (bytes: Uint8Array) => {
    if (out.length === 0) {
      setImmediate(() => {
        socket.write(Buffer.concat(out))
        out = []
      })
    }
    out.push(bytes)
  }
}

const bare = (
  answer: (write: (bytes: Uint8Array) => void) => (bytes: Uint8Array, at: number, length: number) => void
) => {
  const server = Net.createServer({ noDelay: true }, (socket) => {
    const decoder = new StreamDecoder(1 << 24)
    const onPayload = answer(coalescing(socket))
    const input = { payload: onPayload }
    socket.on("data", (chunk) => {
      decoder.push(chunk, 0, chunk.length, true, input)
    })
    socket.on("error", () => {})
  }).listen(0, "127.0.0.1", () => ready((server.address() as Net.AddressInfo).port))
}

switch (role) {
  case "conduit-sink":
    serve(sink, "tcp")
    break
  case "conduit-echo":
    serve(echo, "tcp")
    break
  case "conduit-ws-echo":
    serve(echo, "ws")
    break
  case "bare-sink":
    bare((write) => {
      let received = 0
      return () => {
        if (++received < count) return
        received = 0
        write(Buffer.from([8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]))
      }
    })
    break
  case "bare-echo":
    bare((write) => (bytes, at, length) => write(bytes.subarray(at - 4, at + length)))
    break
  case "ws-echo": {
    const server: WebSocketServer = new WebSocketServer(
      { port: 0, host: "127.0.0.1", perMessageDeflate: false },
      () => ready((server.address() as Net.AddressInfo).port)
    )
    server.on("connection", (socket) => socket.on("message", (data) => socket.send(data)))
    break
  }
  case "socket.io-echo": {
    const server = new SocketIoServer({ connectionStateRecovery: {}, transports: ["websocket"] })
    server.on("connection", (socket) => {
      socket.on("m", (data) => {
        socket.emit("m", data)
      })
    })
    server.listen(0)
    const http = (server as unknown as { readonly httpServer: Net.Server }).httpServer
    const tell = () => ready((http.address() as Net.AddressInfo).port)
    if (http.listening) tell()
    else http.once("listening", tell)
    break
  }
}
process.on("disconnect", () => process.exit())
