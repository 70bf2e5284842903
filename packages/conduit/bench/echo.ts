/** Echo: so many items of 64 bytes there and back, a number of them under way at a time. */
import { Effect } from "effect"
import * as Net from "node:net"
import { io } from "socket.io-client"
import { WebSocket } from "ws"
import { StreamDecoder } from "../src/core/StreamDecoder.ts"
import { type LinkSource, StableConduit, WebSocketLink } from "../src/index.ts"
import * as WebSocketServerLink from "../src/links/WebSocketServerLink.ts"
import { TcpLink } from "../src/node.ts"
import { type Contestant, rustSeconds, rustServer, seconds, server } from "./contest.ts"

/** Keeps `flight` items under way; `trip`, when given, gets the microseconds of each when one is. */
const over = (
  source: (port: number) => LinkSource.LinkSource,
  role: string,
  flight: number,
  count: number,
  trip?: (micros: number) => void
): Contestant =>
  Effect.gen(function*() {
    const { port } = yield* server(role)
    const conduit = yield* Effect.orDie(StableConduit.dial(source(port)))
    const item = new Uint8Array(64)
    let onItem = () => {}
    conduit.subscribeUnsafe((batch) => {
      for (let i = 0; i < batch.count; i++) onItem()
    })
    return Effect.callback<number>((resume) => {
      const started = process.hrtime.bigint()
      let sent = 0
      let back = 0
      let last = started
      const send = () => {
        if (trip !== undefined) last = process.hrtime.bigint()
        sent++
        conduit.sendUnsafe(item)
      }
      onItem = () => {
        back++
        trip?.(Number(process.hrtime.bigint() - last) / 1000)
        if (sent < count) send()
        if (back === count) resume(Effect.succeed(count / seconds(started)))
      }
      for (let i = 0; i < flight; i++) send()
    })
  })

/** A conduit over TCP. */
export const conduit = (flight: number, count: number, trip?: (micros: number) => void): Contestant =>
  over((port) => TcpLink.source({ host: "127.0.0.1", port }), "conduit-echo", flight, count, trip)

/** A conduit over WebSockets. */
export const conduitWs = (flight: number, count: number): Contestant =>
  over(
    (port) => WebSocketLink.source({ url: `ws://127.0.0.1:${port}`, construct: WebSocketServerLink.construct() }),
    "conduit-ws-echo",
    flight,
    count
  )

/** The Rust conduit at both ends, a pair of processes of its own each time. */
export const rust = (flight: number, count: number): Contestant =>
  Effect.succeed(Effect.scoped(Effect.gen(function*() {
    const address = yield* rustServer("accept")
    return count / (yield* rustSeconds("pump", address, String(count), "63", String(flight)))
  })))

const peer = (
  role: string,
  flight: number,
  count: number,
  open: (port: number, onMessage: () => void) => Promise<{ send: (item: Uint8Array) => void; close: () => void }>
): Contestant =>
  Effect.gen(function*() {
    const { port } = yield* server(role)
    let onMessage = () => {}
    const client = yield* Effect.acquireRelease(
      Effect.promise(() => open(port, () => onMessage())),
      (client) => Effect.sync(() => client.close())
    )
    const item = Buffer.alloc(64)
    return Effect.callback<number>((resume) => {
      const started = process.hrtime.bigint()
      let sent = 0
      let back = 0
      const send = () => {
        sent++
        client.send(item)
      }
      onMessage = () => {
        back++
        if (sent < count) send()
        if (back === count) resume(Effect.succeed(count / seconds(started)))
      }
      for (let i = 0; i < flight; i++) send()
    })
  })

/** The `ws` package at both ends. */
export const ws = (flight: number, count: number): Contestant =>
  peer("ws-echo", flight, count, (port, onMessage) =>
    new Promise((resolve) => {
      const socket = new WebSocket(`ws://127.0.0.1:${port}`, { perMessageDeflate: false })
      socket.on("message", onMessage)
      socket.on("open", () => resolve({ send: (item) => socket.send(item), close: () => socket.terminate() }))
    }))
/** socket.io with connection state recovery, over WebSocket. */
export const socketIo = (flight: number, count: number): Contestant =>
  peer("socket.io-echo", flight, count, (port, onMessage) =>
    new Promise((resolve) => {
      const socket = io(`ws://127.0.0.1:${port}`, { transports: ["websocket"] })
      socket.on("m", onMessage)
      socket.on("connect", () => resolve({ send: (item) => socket.emit("m", item), close: () => socket.disconnect() }))
    }))
/** A bare length-prefixed socket that writes once a turn. */
export const bare = (flight: number, count: number): Contestant =>
  peer("bare-echo", flight, count, (port, onMessage) =>
    new Promise((resolve) => {
      const socket = Net.connect({ host: "127.0.0.1", port, noDelay: true }, () => {
        let out: Array<Uint8Array> = []
        const prefix = Buffer.from([64, 0, 0, 0])
        resolve({
          send: (item) => {
            if (out.length === 0) {
              setImmediate(() => {
                socket.write(Buffer.concat(out))
                out = []
              })
            }
            out.push(prefix, item)
          },
          close: () => socket.destroy()
        })
      })
      const decoder = new StreamDecoder(1 << 24)
      socket.on("data", (chunk) => {
        decoder.push(chunk, 0, chunk.length, true, { payload: onMessage })
      })
    }))
