// The `Socket` contract, observed over TCP on loopback and over the simulated network.
import { NodeSocket, NodeSocketServer } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { CurrentHost } from "@perigee/sim"
import { Deferred, Effect, Exit, Fiber, type Scope } from "effect"
import { NetAddress } from "effect/net"
import { Socket, type SocketServer } from "effect/socket"
import { run } from "../fixtures/run.ts"

type Handler = (socket: Socket.Socket) => Effect.Effect<unknown, unknown, never>

interface World {
  /** Serves connections with a handler and answers sockets that dial it. */
  readonly serve: (handler: Handler) => Effect.Effect<() => Socket.Socket, unknown, Scope.Scope>
  /** A socket to where nobody listens. */
  readonly nowhere: Socket.Socket
}

type Contract = (world: World) => Effect.Effect<unknown, unknown, Scope.Scope>

const text = (chunks: ReadonlyArray<string | Uint8Array>) =>
  chunks.map((chunk) => typeof chunk === "string" ? chunk : new TextDecoder().decode(chunk)).join("")

/** Reads until an error and answers the text with the error. */
const drain = (pull: Socket.Reader["pull"]) =>
  Effect.gen(function*() {
    let got = ""
    while (true) {
      const exit = yield* Effect.result(pull)
      if (exit._tag === "Success") got += text(exit.success)
      else {
        const { reason } = exit.failure
        return `${got}|${reason._tag}${reason._tag === "SocketCloseError" ? ` ${reason.code}` : ""}`
      }
    }
  })

const contracts: Readonly<Record<string, Contract>> = {
  "echo, then an orderly end with everything delivered": ({ serve }) =>
    Effect.gen(function*() {
      const dial = yield* serve((socket) =>
        Effect.scoped(Effect.gen(function*() {
          const { pull } = yield* socket.reader
          const writer = yield* socket.writer
          yield* writer.writeAll(yield* pull)
          yield* writer.write("bye")
        }))
      )
      const socket = dial()
      return yield* Effect.scoped(Effect.gen(function*() {
        const { pull } = yield* socket.reader
        const writer = yield* socket.writer
        yield* writer.write("hello ")
        return yield* drain(pull)
      }))
    }),
  "the writer half-closes with its scope, the reader goes on": ({ serve }) =>
    Effect.gen(function*() {
      const seen = yield* Deferred.make<string>()
      const dial = yield* serve((socket) =>
        Effect.scoped(Effect.gen(function*() {
          const { pull } = yield* socket.reader
          yield* Deferred.succeed(seen, yield* drain(pull))
        }))
      )
      const socket = dial()
      return yield* Effect.scoped(Effect.gen(function*() {
        const { pull } = yield* socket.reader
        yield* Effect.scoped(Effect.flatMap(socket.writer, (writer) => writer.writeAll(["a", "b", "c"])))
        const end = yield* drain(pull)
        return [yield* Deferred.await(seen), end]
      }))
    }),
  "closing the scope fails a parked pull": ({ serve }) =>
    Effect.gen(function*() {
      const dial = yield* serve((socket) => Effect.scoped(Effect.andThen(socket.reader, Effect.never)))
      const socket = dial()
      const parked = yield* Effect.scoped(Effect.gen(function*() {
        const { pull } = yield* socket.reader
        const fiber = yield* Effect.forkDetach(Effect.flip(pull), { startImmediately: true })
        yield* Effect.sleep(20)
        return fiber
      }))
      const error = yield* Fiber.join(parked)
      return error.reason._tag === "SocketCloseError" ? error.reason.code : error.reason._tag
    }),
  "an interrupted pull loses nothing": ({ serve }) =>
    Effect.gen(function*() {
      const dial = yield* serve((socket) =>
        Effect.scoped(Effect.gen(function*() {
          yield* socket.reader
          const writer = yield* socket.writer
          yield* Effect.sleep(50)
          yield* writer.write("late")
          yield* Effect.never
        }))
      )
      return yield* Effect.scoped(Effect.gen(function*() {
        const { pull } = yield* dial().reader
        const first = yield* Effect.timeoutOption(pull, "10 millis")
        return [first._tag, text(yield* pull)]
      }))
    }),
  "a writer waits until the reader has dialled": ({ serve }) =>
    Effect.gen(function*() {
      const seen = yield* Deferred.make<string>()
      const dial = yield* serve((socket) =>
        Effect.scoped(Effect.gen(function*() {
          const { pull } = yield* socket.reader
          yield* Deferred.succeed(seen, text(yield* pull))
        }))
      )
      const socket = dial()
      return yield* Effect.scoped(Effect.gen(function*() {
        const writer = yield* socket.writer
        const early = yield* Effect.forkChild(writer.write("early"), { startImmediately: true })
        yield* Effect.sleep(20)
        const waited = early.pollUnsafe() === undefined
        yield* socket.reader
        yield* Fiber.join(early)
        return [waited, yield* Deferred.await(seen)]
      }))
    }),
  "each acquisition of the reader dials again": ({ serve }) =>
    Effect.gen(function*() {
      let connections = 0
      const dial = yield* serve((socket) =>
        Effect.scoped(Effect.gen(function*() {
          const number = ++connections
          yield* socket.reader
          const writer = yield* socket.writer
          yield* writer.write(`${number}`)
        }))
      )
      const socket = dial()
      const once = Effect.scoped(Effect.flatMap(socket.reader, ({ pull }) => drain(pull)))
      return [yield* once, yield* once]
    }),
  "nobody listens": ({ nowhere }) =>
    Effect.map(Effect.flip(Effect.scoped(nowhere.reader)), (error) => {
      const { reason } = error
      return [reason._tag, reason._tag === "SocketOpenError" && [reason.kind, (reason.cause as { code: string }).code]]
    }),
  "a normal close event ends the connection for both": ({ serve }) =>
    Effect.gen(function*() {
      const seen = yield* Deferred.make<string>()
      const dial = yield* serve((socket) =>
        Effect.scoped(
          Effect.flatMap(socket.reader, ({ pull }) => Effect.flatMap(drain(pull), (end) => Deferred.succeed(seen, end)))
        )
      )
      const socket = dial()
      return yield* Effect.scoped(Effect.gen(function*() {
        const { pull } = yield* socket.reader
        const writer = yield* socket.writer
        yield* Effect.sleep(20)
        yield* writer.write(new Socket.CloseEvent(1000))
        return [yield* drain(pull), yield* Deferred.await(seen)]
      }))
    }),
  "a handler that fails ends its own connection only": ({ serve }) =>
    Effect.gen(function*() {
      const dial = yield* serve((socket) =>
        Effect.scoped(Effect.gen(function*() {
          const { pull } = yield* socket.reader
          const writer = yield* socket.writer
          if (text(yield* pull) === "bad") return yield* Effect.fail("bad")
          yield* writer.write("good")
        }))
      )
      const talk = (word: string) =>
        Effect.scoped(Effect.gen(function*() {
          const socket = dial()
          const { pull } = yield* socket.reader
          const writer = yield* socket.writer
          yield* writer.write(word)
          return yield* drain(pull)
        }))
      return [yield* talk("bad"), yield* talk("ok")]
    }),
  "a stopped server ends its connections": ({ serve }) =>
    Effect.gen(function*() {
      const accepted = yield* Deferred.make<void>()
      const ended = yield* Deferred.make<void>()
      let dial: (() => Socket.Socket) | undefined
      const server = yield* Effect.forkChild(Effect.scoped(Effect.gen(function*() {
        dial = yield* serve((socket) =>
          Effect.scoped(
            Effect.andThen(socket.reader, Effect.andThen(Deferred.succeed(accepted, undefined), Effect.never))
          )
        )
        yield* Deferred.await(ended)
      })))
      yield* Effect.sleep(20)
      const socket = dial!()
      return yield* Effect.scoped(Effect.gen(function*() {
        const { pull } = yield* socket.reader
        yield* Deferred.await(accepted)
        yield* Deferred.succeed(ended, undefined)
        const end = yield* drain(pull)
        yield* Fiber.join(server)
        const again = yield* Effect.exit(Effect.scoped(socket.reader))
        return [end, Exit.isFailure(again)]
      }))
    }),
  "large writes arrive whole, with backpressure": ({ serve }) =>
    Effect.gen(function*() {
      const dial = yield* serve((socket) =>
        Effect.scoped(Effect.gen(function*() {
          const { pull } = yield* socket.reader
          const writer = yield* socket.writer
          let size = 0
          while (size < 3_000_000) size += (yield* pull).reduce((sum, chunk) => sum + chunk.length, 0)
          yield* writer.write(String(size))
        }))
      )
      const socket = dial()
      return yield* Effect.scoped(Effect.gen(function*() {
        const { pull } = yield* socket.reader
        const writer = yield* socket.writer
        for (let i = 0; i < 30; i++) yield* writer.write(new Uint8Array(100_000))
        return yield* drain(pull)
      }))
    })
}

const onNode = (contract: Contract) =>
  Effect.runPromise(Effect.scoped(Effect.gen(function*() {
    const unused = yield* Effect.scoped(
      Effect.map(NodeSocketServer.make({ port: 0, host: "127.0.0.1" }), ({ address }) => address)
    )
    const connect = (address: NetAddress.SocketAddress) =>
      Effect.runSync(
        NodeSocket.makeNet({ host: "127.0.0.1", port: NetAddress.isInetAddress(address) ? address.port : 0 })
      )
    return yield* contract({
      nowhere: connect(unused),
      serve: (handler) =>
        Effect.gen(function*() {
          const server = yield* NodeSocketServer.make({ port: 0, host: "127.0.0.1" })
          yield* Effect.forkScoped(server.run(handler))
          return () => connect(server.address)
        })
    })
  })) as Effect.Effect<unknown>)

const simulated = (contract: Contract) => {
  let observed: unknown
  const result = run((sim) => {
    const host = sim.host("srv")
    return Effect.gen(function*() {
      const here = yield* CurrentHost
      observed = yield* contract({
        nowhere: here.socket("srv:1"),
        serve: (handler) =>
          Effect.gen(function*() {
            let server: SocketServer.SocketServer["Service"] | undefined
            yield* Effect.forkScoped(host.run(Effect.scoped(Effect.gen(function*() {
              const current = yield* CurrentHost
              server = yield* current.listen(0)
              yield* server.run(handler)
            }))))
            yield* Effect.sleep(1)
            const { address } = server!
            return () => here.socket(`srv:${NetAddress.isInetAddress(address) ? address.port : 0}`)
          })
      })
    })
  })
  assert.strictEqual(result.verdict.kind, "pass", result.verdict.message)
  return observed
}

describe("Socket, Node's and the simulated one", () => {
  it.each(Object.keys(contracts))("%s", async (name) => {
    const contract = contracts[name]!
    const real = await onNode(contract)
    assert.isDefined(real)
    assert.deepStrictEqual(simulated(contract), real)
  })
})
