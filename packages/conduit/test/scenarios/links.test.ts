/** The laws of links, on every transport; listeners, and what bad connections do to them. */
import { NodeSocket, NodeSocketServer } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Duration, Effect, Option, Queue, type Scope, Stream } from "effect"
import { NetAddress } from "effect/net"
import { execFileSync } from "node:child_process"
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import * as Http from "node:http"
import * as Https from "node:https"
import * as Net from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { MessageChannel, Worker } from "node:worker_threads"
import { type ClientOptions, WebSocket } from "ws"
import {
  ConduitHub,
  Link,
  LinkSource,
  type Listener,
  MemoryLink,
  MessagePortLink,
  SocketLink,
  StableConduit,
  WebSocketLink
} from "../../src/index.ts"
import * as WebSocketServerLink from "../../src/links/WebSocketServerLink.ts"
import { TcpLink, TlsLink, UnixLink } from "../../src/node.ts"
import { LinkLaws } from "../../src/testing/index.ts"
import { text, utf8 } from "../support.ts"

const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "conduit-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

/** A certificate for localhost, from the system's openssl. */
const certificate = Effect.map(folder, (path) => {
  const [key, cert] = [join(path, "key.pem"), join(path, "cert.pem")]
  execFileSync("openssl", [
    ..."req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=localhost".split(" "),
    ..."-addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout".split(" "),
    key,
    "-out",
    cert
  ], { stdio: "ignore" })
  return { key: readFileSync(key), cert: readFileSync(cert) }
})

/** Both ends of one connection. */
const paired = <E, R>(listener: Listener, connect: Effect.Effect<Link.Link, E, R>) =>
  Effect.gen(function*() {
    const inbound = yield* Queue.unbounded<Link.Link>()
    listener.onLink((link) => Queue.offerUnsafe(inbound, link))
    const near = yield* connect
    const far = yield* Queue.take(inbound)
    yield* Effect.addFinalizer(() => Effect.sync(() => far.destroy()))
    return [near, far] as const
  })

const transports: Record<string, Effect.Effect<readonly [Link.Link, Link.Link], unknown, Scope.Scope>> = {
  memory: MemoryLink.pair(),
  tcp: Effect.flatMap(
    TcpLink.listen(),
    (listener) => paired(listener, TcpLink.connect({ host: listener.host, port: listener.port }))
  ),
  "tcp, seen from the acceptor": Effect.flatMap(
    TcpLink.listen(),
    (listener) =>
      Effect.map(
        paired(listener, TcpLink.connect({ host: listener.host, port: listener.port })),
        ([near, far]) => [far, near] as const
      )
  ),
  unix: Effect.gen(function*() {
    const path = join(yield* folder, "s")
    const listener = yield* UnixLink.listen({ path })
    return yield* paired(listener, UnixLink.connect({ path }))
  }),
  tls: Effect.gen(function*() {
    const { cert, key } = yield* certificate
    const listener = yield* TlsLink.listen({ tls: { cert, key } })
    return yield* paired(listener, TlsLink.connect({ host: "localhost", port: listener.port, tls: { ca: cert } }))
  }),
  "websocket, Node's own client": Effect.flatMap(
    WebSocketServerLink.listen(),
    (listener) => paired(listener, WebSocketLink.connect({ url: `ws://127.0.0.1:${listener.port}/any` }))
  ),
  "websocket, ws client": Effect.flatMap(
    WebSocketServerLink.listen(),
    (listener) =>
      paired(
        listener,
        WebSocketLink.connect({
          url: `ws://127.0.0.1:${listener.port}`,
          construct: WebSocketServerLink.construct()
        })
      )
  ),
  "an Effect socket": Effect.gen(function*() {
    const server = yield* NodeSocketServer.make({ port: 0, host: "127.0.0.1" })
    const listener = yield* SocketLink.listen(server)
    const port = NetAddress.isInetAddress(server.address) ? server.address.port : 0
    const socket = yield* NodeSocket.makeNet({ port, host: "127.0.0.1" })
    return yield* paired(listener, SocketLink.fromSocket(socket))
  }),
  "message port": Effect.gen(function*() {
    const { port1, port2 } = new MessageChannel()
    return [
      yield* MessagePortLink.make(port1 as unknown as MessagePortLink.PortLike),
      yield* MessagePortLink.make(port2 as unknown as MessagePortLink.PortLike)
    ] as const
  }),
  "two effectful halves": Effect.gen(function*() {
    const [a, b] = [yield* Queue.bounded<Uint8Array | null>(8), yield* Queue.bounded<Uint8Array | null>(8)]
    const half = (name: string, out: typeof a, into: typeof b) =>
      Link.fromHalves({
        description: name,
        send: (payload) => Queue.offer(out, payload),
        receive: Effect.flatMap(
          Queue.take(into),
          (payload) => payload === null ? Cause.done() : Effect.succeed(payload)
        ),
        close: Effect.asVoid(Queue.offer(out, null))
      })
    const [left, right] = [yield* half("left", a, b), yield* half("right", b, a)]
    // These halves cannot tell a drop from an end, so a dropped one ends.
    const ending = (link: Link.Link): Link.Link => ({ ...link, destroy: () => link.end() })
    return [ending(left), ending(right)] as const
  })
}

const hasOpenssl = (() => {
  try {
    execFileSync("openssl", ["version"], { stdio: "ignore" })
    return true
  } catch {
    return false
  }
})()
if (!hasOpenssl) process.stderr.write("conduit: no openssl, the TLS link is not tested\n")

for (const [name, make] of Object.entries(transports)) {
  describe.skipIf(name === "tls" && !hasOpenssl)(`laws of a link: ${name}`, () => {
    for (const law of LinkLaws.laws) {
      it.live(law.name, () => Effect.scoped(law.check(make as Effect.Effect<readonly [Link.Link, Link.Link], string>)))
    }
  })
}

const echo = (peer: StableConduit.StableConduit) => peer.receive.pipe(Stream.runForEach((item) => peer.send(item)))
const roundTrips = (source: LinkSource.LinkSource, kicks = 5) =>
  Effect.gen(function*() {
    const conduit = yield* StableConduit.dial(source)
    const sizes = [
      0,
      1,
      31,
      32,
      63,
      64,
      127,
      128,
      247,
      248,
      249,
      255,
      256,
      257,
      511,
      512,
      1024,
      4091,
      4092,
      4093,
      4095,
      4096,
      4097,
      16_384,
      65_536,
      262_144,
      900_000,
      1_000_000
    ]
    for (const [index, size] of sizes.entries()) {
      if (index % Math.ceil(sizes.length / kicks) === 0) yield* conduit.kick
      const item = Uint8Array.from({ length: size }, (_, i) => (i * 7 + size) & 0xff)
      yield* conduit.send(item)
      assert.deepStrictEqual(new Uint8Array(yield* conduit.take), item)
    }
    yield* conduit.close({ drain: "5 seconds" })
  })

describe("[payload-sizes] a conduit over every transport", () => {
  it.live("tcp", () =>
    Effect.gen(function*() {
      const listener = yield* TcpLink.listen()
      yield* ConduitHub.make({ onConduit: echo, listen: Effect.succeed(listener) })
      yield* roundTrips(TcpLink.source({ host: listener.host, port: listener.port }))
    }))
  it.live("websocket", () =>
    Effect.gen(function*() {
      const listener = yield* WebSocketServerLink.listen()
      yield* ConduitHub.make({ onConduit: echo, listen: Effect.succeed(listener) })
      yield* roundTrips(WebSocketLink.source({ url: `ws://127.0.0.1:${listener.port}` }))
    }))
  it.live("unix", () =>
    Effect.gen(function*() {
      const path = join(yield* folder, "s")
      yield* ConduitHub.make({ onConduit: echo, listen: UnixLink.listen({ path }) })
      yield* roundTrips(UnixLink.source({ path }))
    }))
  it.live("a worker thread", () =>
    Effect.gen(function*() {
      const worker = yield* Effect.acquireRelease(
        Effect.sync(() =>
          new Worker(new URL("../echo-worker.ts", import.meta.url), { execArgv: ["--conditions=@perigee/source"] })
        ),
        (worker) => Effect.promise(() => worker.terminate())
      )
      const source = LinkSource.make(
        "worker",
        Effect.suspend(() => {
          const { port1, port2 } = new MessageChannel()
          worker.postMessage(port2, [port2])
          return MessagePortLink.make(port1 as unknown as MessagePortLink.PortLike)
        })
      )
      yield* roundTrips(source, 3)
    }))
})

describe("listeners", () => {
  const raw = (port: number) =>
    Effect.acquireRelease(
      Effect.callback<Net.Socket>((resume) => {
        const socket = Net.connect({ host: "127.0.0.1", port }, () => resume(Effect.succeed(socket)))
        socket.on("error", () => {})
      }),
      (socket) => Effect.sync(() => socket.destroy())
    )
  const ended = (socket: Net.Socket) =>
    Effect.callback<void>((resume) => {
      socket.resume()
      socket.on("close", () => resume(Effect.void))
    })

  it.live("[oversize-prefix] [partial-prefix] and garbage end one connection, not the listener, not the others", () =>
    Effect.gen(function*() {
      const listener = yield* TcpLink.listen({ maxPayload: 1024 * 1024 * 2 })
      const hub = yield* ConduitHub.make({ onConduit: echo, listen: Effect.succeed(listener) })
      const good = yield* StableConduit.dial(TcpLink.source({ host: listener.host, port: listener.port }))
      for (const bytes of ["ffffffff", "ffffff7f00", "05", "19000000564f", "0100000001", "16030100"]) {
        const socket = yield* raw(listener.port)
        const closing = ended(socket)
        if (bytes.length < 10 && bytes !== "ffffffff" && bytes !== "16030100") socket.end(Buffer.from(bytes, "hex"))
        else if (bytes === "19000000564f") socket.end(Buffer.from(bytes, "hex"))
        else socket.write(Buffer.from(bytes, "hex"))
        yield* closing
      }
      yield* good.send(utf8("unharmed"))
      assert.strictEqual(text(yield* good.take), "unharmed")
      assert.strictEqual((yield* hub.metrics).malformed, 6)
    }))

  it.live("a slow hello is cut at the timeout, while others come and go", () =>
    Effect.gen(function*() {
      const listener = yield* TcpLink.listen()
      yield* ConduitHub.make({ onConduit: echo, listen: Effect.succeed(listener), helloTimeout: "300 millis" })
      const slow = yield* raw(listener.port)
      slow.write(Buffer.from("1900", "hex"))
      const quick = yield* StableConduit.dial(TcpLink.source({ host: listener.host, port: listener.port }))
      yield* quick.send(utf8("x"))
      yield* quick.take
      yield* ended(slow)
    }))

  it.live("a port that nobody listens on is a typed failure of the dial", () =>
    Effect.gen(function*() {
      const port = yield* Effect.scoped(Effect.map(TcpLink.listen(), ({ port }) => port))
      const { reason } = yield* Effect.flip(
        StableConduit.dial(TcpLink.source({ host: "127.0.0.1", port }), { retryFirst: false })
      )
      assert.strictEqual(reason._tag === "Exhausted" && reason.cause.reason._tag, "Open")
      assert.strictEqual((yield* Effect.flip(TcpLink.listen({ host: "203.0.113.1" }))).reason._tag, "Open")
    }))

  it.live("unix: a stale socket file is replaced, one in use is an error", () =>
    Effect.gen(function*() {
      const path = join(yield* folder, "s")
      // A killed process leaves its socket file behind.
      execFileSync(process.execPath, [
        "-e",
        `require("net").createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, "SIGKILL"))`
      ], { stdio: "ignore", timeout: 5000 })
    }).pipe(
      Effect.catchDefect(() => Effect.void),
      Effect.andThen(Effect.gen(function*() {
        const path = join(yield* folder, "s")
        yield* UnixLink.listen({ path })
        assert.isTrue(existsSync(path))
        assert.strictEqual((yield* Effect.flip(Effect.scoped(UnixLink.listen({ path })))).reason._tag, "Open")
      }))
    ))

  it.live("tls: an untrusted certificate fails the dial; plain bytes do not hurt the listener", () =>
    Effect.gen(function*() {
      if (!hasOpenssl) return
      const { cert, key } = yield* certificate
      const listener = yield* TlsLink.listen({ tls: { cert, key } })
      yield* ConduitHub.make({ onConduit: echo, listen: Effect.succeed(listener) })
      const plain = yield* raw(listener.port)
      plain.write("GET / HTTP/1.1\r\n\r\n")
      yield* ended(plain)
      const distrusting = TlsLink.connect({ host: "localhost", port: listener.port })
      assert.strictEqual((yield* Effect.flip(Effect.scoped(distrusting))).reason._tag, "Open")
      yield* roundTrips(TlsLink.source({ host: "localhost", port: listener.port, tls: { ca: cert } }), 2)
    }))

  it.live("websocket over TLS, on a server that is shared", () =>
    Effect.gen(function*() {
      if (!hasOpenssl) return
      const { cert, key } = yield* certificate
      const server = yield* Effect.acquireRelease(
        Effect.callback<Https.Server>((resume) => {
          const server = Https.createServer({ cert, key }, (_, response) => response.end("page")).listen(
            0,
            "127.0.0.1",
            () => resume(Effect.succeed(server))
          )
        }),
        (server) => Effect.sync(() => server.closeAllConnections())
      )
      const listener = yield* WebSocketServerLink.listen({ server, path: "/conduit" })
      yield* ConduitHub.make({ onConduit: echo, listen: Effect.succeed(listener) })
      const url = `wss://localhost:${listener.port}/conduit`
      const distrusting = WebSocketLink.connect({ url, construct: WebSocketServerLink.construct() })
      assert.strictEqual((yield* Effect.flip(Effect.scoped(distrusting))).reason._tag, "Open")
      yield* roundTrips(WebSocketLink.source({ url, construct: WebSocketServerLink.construct({ ca: cert }) }), 3)
    }))

  it.live("websocket: wrong path, refused origin, text and plain HTTP end one connection only", () =>
    Effect.gen(function*() {
      const listener = yield* WebSocketServerLink.listen({
        path: "/conduit",
        admit: (request) => request.headers.origin !== "http://evil.example"
      })
      const hub = yield* ConduitHub.make({ onConduit: echo, listen: Effect.succeed(listener) })
      const url = `ws://127.0.0.1:${listener.port}`
      const status = (target: string, options: ClientOptions = {}) =>
        Effect.callback<number | undefined>((resume) => {
          const socket = new WebSocket(target, options)
          socket.on("unexpected-response", (_, response) => resume(Effect.succeed(response.statusCode)))
          socket.on("error", () => {})
        })
      assert.strictEqual(yield* status(`${url}/other`), 404)
      assert.strictEqual(yield* status(`${url}/conduit`, { origin: "http://evil.example" }), 403)
      const http = yield* Effect.callback<number | undefined>((resume) => {
        Http.get(`http://127.0.0.1:${listener.port}/`, (response) => {
          response.resume()
          resume(Effect.succeed(response.statusCode))
        })
      })
      assert.strictEqual(http, 426)
      const texting = new WebSocket(`${url}/conduit`)
      yield* Effect.callback<void>((resume) => {
        texting.on("open", () => texting.send("hello"))
        texting.on("close", () => resume(Effect.void))
        texting.on("error", () => {})
      })
      assert.strictEqual((yield* hub.metrics).malformed, 1)
      yield* roundTrips(WebSocketLink.source({ url: `${url}/conduit` }), 2)
    }))

  it.live("[tcp-keepalive] a dialled socket asks the kernel to probe", () =>
    Effect.gen(function*() {
      if (process.platform !== "linux") return
      const listener = yield* TcpLink.listen()
      yield* paired(listener, TcpLink.connect({ host: listener.host, port: listener.port }))
      const timers = readFileSync("/proc/net/tcp", "utf8").split("\n").filter((line) =>
        line.includes(listener.port.toString(16).toUpperCase().padStart(4, "0")) && / 01 /.test(line)
      ).map((line) => line.trim().split(/\s+/)[5]!.split(":")[0])
      // Timer 2 is the keepalive timer; both ends have it.
      assert.deepStrictEqual(timers, ["02", "02"])
    }))
})

describe("one-shot sources", () => {
  it.live("an interrupted dial leaves no socket behind", () =>
    Effect.gen(function*() {
      const listener = yield* TcpLink.listen()
      const seen = yield* Queue.unbounded<Link.Link>()
      listener.onLink((link) => Queue.offerUnsafe(seen, link))
      // Nobody answers the hello, so the dial is interrupted in the middle of it.
      const outcome = yield* StableConduit.dial(TcpLink.source({ host: listener.host, port: listener.port })).pipe(
        Effect.scoped,
        Effect.timeoutOption(Duration.millis(200))
      )
      assert.isTrue(Option.isNone(outcome))
      const link = yield* Queue.take(seen)
      yield* Effect.callback<void>((resume) => {
        link.open({ payload: () => {}, flush: () => {}, writable: () => {}, closed: () => resume(Effect.void) })
      })
    }))
})
