/** One way: so many items of a size to another process, which answers when it has them all. */
import { Effect } from "effect"
import * as Net from "node:net"
import { StableConduit } from "../src/index.ts"
import { TcpLink } from "../src/node.ts"
import { type Contestant, rustSeconds, rustServer, seconds, server } from "./contest.ts"

export const conduit = (size: number, count: number): Contestant =>
  Effect.gen(function*() {
    const { port } = yield* server("conduit-sink", count)
    const conduit = yield* Effect.orDie(StableConduit.dial(TcpLink.source({ host: "127.0.0.1", port })))
    const item = new Uint8Array(size).fill(7)
    return Effect.gen(function*() {
      const started = process.hrtime.bigint()
      let sent = 0
      while (sent < count) {
        let turn = 0
        while (sent < count && turn < 4000 && conduit.sendUnsafe(item)) {
          sent++
          turn++
        }
        if (sent < count && turn < 4000) {
          yield* conduit.send(item)
          sent++
        } else yield* Effect.yieldNow
      }
      yield* conduit.take
      return count / seconds(started)
    }).pipe(Effect.orDie)
  })

/** A bare length-prefixed socket, a turn's messages in one write, at most a megabyte under way. */
export const bare = (size: number, count: number): Contestant =>
  Effect.gen(function*() {
    const { port } = yield* server("bare-sink", count)
    const socket = yield* Effect.acquireRelease(
      Effect.callback<Net.Socket>((resume) => {
        const socket = Net.connect({ host: "127.0.0.1", port, noDelay: true }, () => resume(Effect.succeed(socket)))
      }),
      (socket) => Effect.sync(() => socket.destroy())
    )
    const perWrite = Math.floor(65_536 / (size + 4))
    return Effect.callback<number>((resume) => {
      const started = process.hrtime.bigint()
      const item = new Uint8Array(size).fill(7)
      let sent = 0
      let answered = 0
      const onData = (chunk: Buffer) => {
        answered += chunk.length
        if (answered < 12) return
        socket.off("data", onData)
        resume(Effect.succeed(count / seconds(started)))
      }
      socket.on("data", onData)
      const pump = () => {
        while (sent < count) {
          const n = Math.min(perWrite, count - sent)
          const out = Buffer.allocUnsafe(n * (size + 4))
          for (let i = 0, at = 0; i < n; i++) {
            out[at] = size
            out[at + 1] = size >>> 8
            out[at + 2] = size >>> 16
            out[at + 3] = size >>> 24
            out.set(item, at + 4)
            at += size + 4
          }
          sent += n
          if (!socket.write(out)) return socket.once("drain", pump)
        }
        return undefined
      }
      pump()
    })
  })

/** The Rust conduit, whose peer acknowledges every hundredth item; a process of its own each time. */
export const rust = (size: number, count: number): Contestant =>
  Effect.succeed(Effect.scoped(Effect.gen(function*() {
    const address = yield* rustServer("sink", "100")
    return count / (yield* rustSeconds("blast", address, String(count), String(size - 1)))
  })))
