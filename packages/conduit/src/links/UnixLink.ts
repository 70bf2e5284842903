/**
 * Links over Unix sockets (named pipes on Windows), framed like TCP.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Fs from "node:fs"
import * as Net from "node:net"
import * as NodeListener from "../internal/NodeListener.ts"
import * as NodeSocketLink from "../internal/NodeSocketLink.ts"
import type { Link, LinkError } from "../Link.ts"
import * as LinkSource from "../LinkSource.ts"
import type { Listener } from "../Listener.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface UnixOptions {
  /** Path of the socket, or `\\.\pipe\name` on Windows. */
  readonly path: string
  /** Longest payload in bytes in either direction: 16 MiB unless given. */
  readonly maxPayload?: number | undefined
}

/**
 * Connects once.
 *
 * @category constructors
 * @since 0.1.0
 */
export const connect = (options: UnixOptions): Effect.Effect<Link, LinkError, Scope.Scope> =>
  NodeSocketLink.connect({
    description: `unix ${options.path}`,
    maxPayload: options.maxPayload,
    ready: "connect",
    reused: true,
    open: (reused) =>
      Net.connect({
        path: options.path,
        writableHighWaterMark: NodeSocketLink.writeHighWater,
        ...(reused === undefined ? {} : {
          onread: {
            buffer: reused.buffer,
            callback: (bytes: number, buffer: Uint8Array) => reused.callback(bytes, buffer)
          }
        })
      } as Net.IpcNetConnectOpts)
  })

/**
 * Dials the same path each time.
 *
 * @category constructors
 * @since 0.1.0
 */
export const source = (options: UnixOptions): LinkSource.LinkSource =>
  LinkSource.make(`unix ${options.path}`, connect(options))

/** Whether somebody answers at the path; a socket file outlives a process that was killed. */
const alive = (path: string): Effect.Effect<boolean> =>
  Effect.callback<boolean>((resume) => {
    const socket = Net.connect({ path })
    socket.once("connect", () => {
      socket.destroy()
      resume(Effect.succeed(true))
    })
    socket.once("error", () => resume(Effect.succeed(false)))
    return Effect.sync(() => {
      socket.destroy()
    })
  })

/**
 * Listens until the scope closes. A socket file that nobody answers at is removed first; one in use is an error.
 *
 * @category constructors
 * @since 0.1.0
 */
export const listen = (options: UnixOptions): Effect.Effect<Listener, LinkError, Scope.Scope> => {
  const open = NodeListener.listen({
    scheme: "unix",
    maxPayload: options.maxPayload,
    server: Net.createServer({ pauseOnConnect: true, highWaterMark: NodeSocketLink.writeHighWater }),
    event: "connection",
    at: { path: options.path }
  })
  return Effect.gen(function*() {
    const isSocket = Fs.statSync(options.path, { throwIfNoEntry: false })?.isSocket() ?? false
    if (isSocket && !(yield* alive(options.path))) Fs.rmSync(options.path, { force: true })
    return yield* open
  })
}
