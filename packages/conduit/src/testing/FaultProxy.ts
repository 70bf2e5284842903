/**
 * A real TCP proxy that fails on purpose: between a real client and a real server, it cuts at a byte, stalls, delays,
 * truncates and goes half-open.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Net from "node:net"
import { timers } from "../internal/Timers.ts"
import * as LinkErrors from "../LinkError.ts"
import type { LinkError } from "../LinkError.ts"

/**
 * When one connection is cut, in bytes of either direction. A byte count that falls inside a payload truncates it.
 *
 * @category models
 * @since 0.1.0
 */
export interface ProxyPlan {
  /** Cut when this many bytes have gone from the client to the server. */
  readonly up?: number | undefined
  /** Cut when this many bytes have gone from the server to the client. */
  readonly down?: number | undefined
  /** How: "reset" (the default) drops both sockets at once, "end" closes them in order after the bytes. */
  readonly how?: "reset" | "end" | undefined
}

/**
 * @category models
 * @since 0.1.0
 */
export interface FaultProxy {
  readonly host: string
  readonly port: number
  /** Plans each further connection; called once a connection, with its number from 0. */
  readonly plan: (plan: (connection: number) => ProxyPlan) => Effect.Effect<void>
  /** Cuts every connection now. */
  readonly cut: Effect.Effect<void>
  /** Stops forwarding without closing anything, or goes on; also for new connections. */
  readonly stall: (stalled: boolean) => Effect.Effect<void>
  /** Forgets every connection without closing it: both ends believe it alive for as long as they care to. */
  readonly halfOpen: Effect.Effect<void>
  /** Delays forwarding by this many milliseconds, in both directions. */
  readonly delay: (millis: number) => Effect.Effect<void>
  /** Refuses new connections, or takes them again. */
  readonly refuse: (refusing: boolean) => Effect.Effect<void>
  /** Connections so far. */
  readonly connections: Effect.Effect<number>
}

interface Pipe {
  readonly client: Net.Socket
  readonly server: Net.Socket
  forgotten: boolean
}

/**
 * Listens on a free loopback port and forwards to `target` until the scope closes.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  target: { readonly host?: string | undefined; readonly port: number }
): Effect.Effect<FaultProxy, LinkError, Scope.Scope> =>
  Effect.flatMap(timers, (after) => {
    const pipes = new Set<Pipe>()
    let plan: (connection: number) => ProxyPlan = () => ({})
    let connections = 0
    let stalled = false
    let delay = 0
    let refusing = false
    const drop = (pipe: Pipe, how: ProxyPlan["how"]) => {
      pipes.delete(pipe)
      for (const socket of [pipe.client, pipe.server]) {
        if (how === "end") socket.end()
        else socket.resetAndDestroy()
      }
    }
    const forward = (
      pipe: Pipe,
      from: Net.Socket,
      to: Net.Socket,
      limit: number | undefined,
      how: ProxyPlan["how"]
    ) => {
      let passed = 0
      from.on("data", (chunk: Buffer) => {
        if (pipe.forgotten) return
        let part = chunk
        const cut = limit !== undefined && passed + chunk.length >= limit
        if (cut) part = chunk.subarray(0, limit - passed)
        passed += part.length
        const go = () => {
          if (to.destroyed || pipe.forgotten) return
          if (part.length > 0 && !to.write(part)) {
            from.pause()
            to.once("drain", () => stalled || from.resume())
          }
          // A reset overtakes bytes that the kernel still holds, so the last ones get a moment to be seen.
          if (cut) to.write("", () => after(how === "end" ? 0 : 1, () => drop(pipe, how)))
        }
        if (cut) from.pause()
        if (delay > 0) after(delay, go)
        else go()
      })
      from.on("end", () => {
        if (!pipe.forgotten) to.end()
      })
      from.on("error", () => {})
      from.on("close", () => {
        if (pipe.forgotten) return
        pipes.delete(pipe)
        to.destroy()
      })
    }
    const server = Net.createServer({ noDelay: true, pauseOnConnect: true, allowHalfOpen: true }, (client) => {
      if (refusing) {
        client.resetAndDestroy()
        return
      }
      const upstream = Net.connect({
        host: target.host ?? "127.0.0.1",
        port: target.port,
        noDelay: true,
        allowHalfOpen: true
      })
      const pipe: Pipe = { client, server: upstream, forgotten: false }
      const { down, how, up } = plan(connections++)
      pipes.add(pipe)
      forward(pipe, client, upstream, up, how)
      forward(pipe, upstream, client, down, how)
      if (stalled) {
        client.pause()
        upstream.pause()
      } else client.resume()
    })
    const all = (act: (pipe: Pipe) => void) =>
      Effect.sync(() => {
        for (const pipe of pipes) act(pipe)
      })
    return Effect.acquireRelease(
      Effect.callback<FaultProxy, LinkError>((resume) => {
        server.once("error", (cause) => resume(Effect.fail(LinkErrors.make("proxy", { _tag: "Open", cause }))))
        server.listen(0, "127.0.0.1", () => {
          resume(Effect.succeed({
            host: "127.0.0.1",
            port: (server.address() as Net.AddressInfo).port,
            plan: (next) =>
              Effect.sync(() => {
                plan = next
              }),
            cut: all((pipe) => drop(pipe, "reset")),
            stall: (on) =>
              Effect.sync(() => {
                stalled = on
                for (const { client, server } of pipes) {
                  if (on) {
                    client.pause()
                    server.pause()
                  } else {
                    client.resume()
                    server.resume()
                  }
                }
              }),
            halfOpen: all((pipe) => {
              pipe.forgotten = true
            }),
            delay: (millis) =>
              Effect.sync(() => {
                delay = millis
              }),
            refuse: (on) =>
              Effect.sync(() => {
                refusing = on
              }),
            connections: Effect.sync(() => connections)
          }))
        })
      }),
      () =>
        Effect.sync(() => {
          for (const { client, server } of pipes) {
            client.destroy()
            server.destroy()
          }
          server.close()
        })
    )
  })
