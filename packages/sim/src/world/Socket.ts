/**
 * Effect's `Socket` and `SocketServer` over the simulated {@link Network}, with the contract of Node's: acquiring the
 * reader dials, every end is a `SocketError`, closing the scope fails a pending pull, a writer waits for a connection.
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { identity } from "effect/Function"
import * as Latch from "effect/Latch"
import * as NetAddress from "effect/net/NetAddress"
import * as Scope from "effect/Scope"
import * as Socket from "effect/socket/Socket"
import * as SocketServer from "effect/socket/SocketServer"
import type { Endpoint, Link, Network } from "./Network.ts"
import type { Owner } from "./World.ts"

type Connection = { readonly endpoint: Endpoint; readonly link: Link }

const errno = (code: string, message: string): Error => Object.assign(new Error(`${code}: ${message}`), { code })
const openError = (cause: Error, kind: "Unknown" | "Timeout" = "Unknown") =>
  new Socket.SocketError({ reason: new Socket.SocketOpenError({ kind, cause }) })
const closeError = (code: number) => new Socket.SocketError({ reason: new Socket.SocketCloseError({ code }) })
const readError = (cause: Error) => new Socket.SocketError({ reason: new Socket.SocketReadError({ cause }) })
const writeError = (cause: Error) => new Socket.SocketError({ reason: new Socket.SocketWriteError({ cause }) })

const encoder = new TextEncoder()

const fromOpen = (
  network: Network,
  owner: Owner,
  open: Effect.Effect<Connection, Socket.SocketError, Scope.Scope>
): Socket.Socket => {
  let current: Connection | undefined
  const latch = Latch.makeUnsafe(false)

  const reader: Socket.Socket["reader"] = Effect.gen(function*() {
    const scope = yield* Effect.scope
    const connection = yield* open
    const { endpoint } = connection
    let waiter: ((effect: Effect.Effect<NonEmptyReadonlyArray<Uint8Array>, Socket.SocketError>) => void) | undefined
    let closed: Socket.SocketError | undefined
    const drains = new Set<() => void>()

    const outcome = (): Effect.Effect<NonEmptyReadonlyArray<Uint8Array>, Socket.SocketError> | undefined => {
      if (closed !== undefined) return Effect.fail(closed)
      const taken = endpoint.incoming.take(endpoint.outgoingPath)
      if (taken !== undefined) return Effect.succeed(taken as NonEmptyReadonlyArray<Uint8Array>)
      if (endpoint.failure !== undefined) return Effect.fail(readError(errno(endpoint.failure, "read")))
      if (endpoint.incoming.ended) return Effect.fail(closeError(1000))
      return undefined
    }
    const wake = () => {
      if (!owner.alive) return
      // Like Node, which does not keep half-open sockets by default: the peer's FIN ends our side too.
      if (endpoint.incoming.ended && !endpoint.outgoing.finished) endpoint.outgoing.finish()
      for (const drain of drains) drain()
      if (waiter === undefined) return
      const result = outcome()
      if (result === undefined) return
      const resume = waiter
      waiter = undefined
      resume(result)
    }
    endpoint.onChange = wake
    Drains.set(endpoint, drains)
    yield* Scope.addFinalizer(
      scope,
      Effect.sync(() => {
        closed ??= closeError(1006)
        if (current === connection) {
          current = undefined
          latch.closeUnsafe()
        }
        wake()
      })
    )
    current = connection
    latch.openUnsafe()

    const pull = Effect.callback<NonEmptyReadonlyArray<Uint8Array>, Socket.SocketError>((resume) => {
      const result = outcome()
      if (result !== undefined) return resume(result)
      waiter = resume
      return Effect.sync(() => {
        if (waiter === resume) waiter = undefined
      })
    })
    return { pull, upgrade: Socket.SocketUpgradeError.unsupported }
  })

  const settleWrite = ({ endpoint }: Connection): Effect.Effect<void, Socket.SocketError> => {
    if (endpoint.failure !== undefined || endpoint.closed) {
      return Effect.fail(writeError(errno(endpoint.failure ?? "EPIPE", "write")))
    }
    if (!endpoint.outgoing.full) return Effect.void
    return Effect.callback<void, Socket.SocketError>((resume) => {
      const drains = Drains.get(endpoint)
      if (drains === undefined) return resume(Effect.void)
      const check = () => {
        if (endpoint.failure !== undefined || endpoint.closed) {
          drains.delete(check)
          resume(Effect.fail(writeError(errno(endpoint.failure ?? "EPIPE", "write"))))
        } else if (!endpoint.outgoing.full) {
          drains.delete(check)
          resume(Effect.void)
        }
      }
      drains.add(check)
      return Effect.sync(() => void drains.delete(check))
    })
  }
  const push = (connection: Connection, chunk: Uint8Array | string) =>
    connection.endpoint.outgoing.send(typeof chunk === "string" ? encoder.encode(chunk) : chunk)

  const write: Socket.Writer["write"] = (chunk) =>
    Effect.suspend(() => {
      const connection = current
      if (connection === undefined) return latch.whenOpen(write(chunk))
      if (Socket.isCloseEvent(chunk)) {
        // As in Node: destroying drops what was read but not pulled; an abnormal code is a reset to the peer.
        network.close(connection.link, connection.endpoint, chunk.code > 1000)
        connection.endpoint.failure ??= chunk.code > 1000 ? `closed with code ${chunk.code}` : undefined
        connection.endpoint.incoming.ended = true
        connection.endpoint.onChange?.()
        return Effect.void
      }
      push(connection, chunk)
      return settleWrite(connection)
    })
  const writeAll: Socket.Writer["writeAll"] = (chunks) =>
    Effect.suspend(() => {
      const connection = current
      if (connection === undefined) return latch.whenOpen(writeAll(chunks))
      for (const chunk of chunks) push(connection, chunk)
      return settleWrite(connection)
    })
  const writer: Socket.Socket["writer"] = Effect.acquireRelease(
    Effect.succeed({ write, writeAll }),
    () => Effect.sync(() => current?.endpoint.outgoing.finish())
  )
  return Socket.make({ reader, writer })
}

const Drains = new WeakMap<Endpoint, Set<() => void>>()

/** A socket that dials `name:port` from a machine each time its reader is acquired. */
export const makeClient = (
  network: Network,
  owner: Owner,
  machine: string,
  address: string,
  options: { readonly openTimeout?: Duration.Input | undefined } = {}
): Socket.Socket => {
  const open = Effect.gen(function*() {
    const scope = yield* Effect.scope
    let connection: Connection | undefined
    // Registered before dialling, so that no interruption falls between a connection and its release.
    yield* Scope.addFinalizer(
      scope,
      Effect.sync(() => {
        if (connection !== undefined) network.close(connection.link, connection.endpoint, false)
      })
    )
    return yield* Effect.callback<Connection, Socket.SocketError>((resume) => {
      const abandon = network.dial(machine, address, (outcome) => {
        if (!owner.alive) {
          if (outcome._tag === "connected") network.close(outcome.link, outcome.endpoint, true)
        } else if (outcome._tag === "connected") {
          connection = outcome
          resume(Effect.succeed(outcome))
        } else resume(Effect.fail(openError(errno(outcome.code, `connect ${address}`))))
      })
      return Effect.sync(abandon)
    })
  }).pipe(
    options.openTimeout === undefined ? identity : Effect.timeoutOrElse({
      duration: options.openTimeout,
      orElse: () => Effect.fail(openError(new Error("Connection timed out"), "Timeout"))
    })
  )
  return fromOpen(network, owner, open)
}

/** Connections that wait for a handler before further ones are reset. */
const backlog = 511

/** Listens on a port of a machine; 0 picks a free one. */
export const makeServer = (
  network: Network,
  owner: Owner,
  machine: string,
  port: number
): Effect.Effect<SocketServer.SocketServer["Service"], SocketServer.SocketServerError, Scope.Scope> =>
  Effect.gen(function*() {
    const bound = port === 0 ? network.freePort() : port
    const pending: Array<Connection> = []
    const queue = (connection: Connection) => {
      if (pending.length >= backlog) network.cut(connection.link)
      else pending.push(connection)
    }
    let accept = queue
    const stop = network.listen({
      machine,
      port: bound,
      accept: (endpoint, link) => {
        if (owner.alive) accept({ endpoint, link })
      }
    })
    if (stop === undefined) {
      return yield* new SocketServer.SocketServerError({
        reason: new SocketServer.SocketServerOpenError({
          cause: errno("EADDRINUSE", `address already in use ${machine}:${bound}`)
        })
      })
    }
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        stop()
        for (const { endpoint, link } of pending) network.close(link, endpoint, true)
      })
    )
    const run = Effect.fnUntraced(function*<R, E, A>(handler: (socket: Socket.Socket) => Effect.Effect<A, E, R>) {
      const scope = yield* Scope.make()
      const services = Context.omit(Scope.Scope)(yield* Effect.context<R>()) as Context.Context<R>
      const track = Fiber.runIn(scope)
      const previous = accept
      accept = (connection) => {
        let claimed = false
        const open = Effect.acquireRelease(
          Effect.suspend(() => {
            if (connection.endpoint.failure !== undefined) {
              return Effect.fail(openError(errno(connection.endpoint.failure, "accept")))
            }
            claimed = true
            return Effect.succeed(connection)
          }),
          ({ endpoint, link }) => Effect.sync(() => network.close(link, endpoint, false))
        )
        track(
          handler(fromOpen(network, owner, open)).pipe(
            Effect.ensuring(Effect.sync(() => {
              if (!claimed) network.close(connection.link, connection.endpoint, true)
            })),
            Effect.ignoreCause({ log: "Unhandled", message: "Unhandled error in SocketServer" }),
            Effect.runForkWith(services)
          )
        )
      }
      for (const connection of pending.splice(0)) accept(connection)
      return yield* Effect.callback<never>(() =>
        Effect.suspend(() => {
          accept = previous
          return Scope.close(scope, Exit.void)
        })
      )
    })
    return SocketServer.SocketServer.of({
      address: NetAddress.inetAddressUnsafe(NetAddress.ipv4Loopback, bound),
      run
    })
  })
