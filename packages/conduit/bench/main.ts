/**
 * Measures the conduit beside its peers, in one run: `npm run bench -- conduit [--quick]`. Prints a table and writes
 * `bench/results/conduit.json` at the root of the repository; losing rows are in it.
 */
import { Effect, Exit, Scope } from "effect"
import { execFileSync, fork } from "node:child_process"
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import * as Net from "node:net"
import * as Os from "node:os"
import { io } from "socket.io-client"
import { WebSocket } from "ws"
import { ConduitHub, MemoryLink, StableConduit, WebSocketLink } from "../src/index.ts"
import * as WebSocketServerLink from "../src/links/WebSocketServerLink.ts"
import { TcpLink } from "../src/node.ts"
import { StreamDecoder } from "../src/core/StreamDecoder.ts"
import { FaultLink } from "../src/testing/index.ts"
import * as Rust from "../test/rust.ts"

const quick = process.argv.includes("--quick")
const runs = quick ? 2 : 5
const nodeVersion = process.versions.node
const scale = quick ? 0.2 : 1

interface Row {
  readonly work: string
  readonly unit: string
  readonly ours: number
  readonly spread: number
  readonly peer?: string
  readonly peerVersion?: string
  readonly peerValue?: number
  readonly ratio?: number
  readonly goal?: string
  readonly met?: boolean
}
const rows: Array<Row> = []
const median = (values: ReadonlyArray<number>) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!
const percentile = (values: ReadonlyArray<number>, p: number) =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor((values.length * p) / 100))]!
/** Half of the range, as a share of the median. */
const spreadOf = (values: ReadonlyArray<number>) => (Math.max(...values) - Math.min(...values)) / 2 / median(values)
const round = (n: number) => n >= 1000 ? Math.round(n) : Number(n.toPrecision(4))
const version = (name: string): string =>
  JSON.parse(readFileSync(new URL(`../../../node_modules/${name}/package.json`, import.meta.url), "utf8")).version

const root = new URL("../../../", import.meta.url)
const commit = (() => {
  try {
    return execFileSync("git", ["rev-parse", "--short", "HEAD"], { cwd: root }).toString().trim()
  } catch {
    return "unknown"
  }
})()
/** Written after every row, so that an interrupted run leaves what it measured. */
const save = () => {
  mkdirSync(new URL("bench/results/", root), { recursive: true })
  writeFileSync(
    new URL("bench/results/conduit.json", root),
    `${
      JSON.stringify(
        {
          machine: `${Os.cpus().length} x ${Os.cpus()[0]?.model.trim()}, ${Math.round(Os.totalmem() / 2 ** 30)} GiB, ` +
            `${Os.type()} ${Os.release()}, Node ${nodeVersion}, ${runs} runs`,
          commit,
          rows: rows.map((row) => ({ ...row, ours: round(row.ours), spread: round(row.spread) }))
        },
        null,
        2
      )
    }\n`
  )
}

const report = (row: Row) => {
  rows.push(row)
  save()
  const peer = row.peer === undefined ? "" : `  ${row.peer} ${round(row.peerValue!)} (x ${row.ratio!.toFixed(2)})`
  const goal = row.goal === undefined ? "" : `  goal ${row.goal}: ${row.met === true ? "met" : "missed"}`
  console.log(`${row.work}: ${round(row.ours)} ${row.unit} ±${(row.spread * 100).toFixed(0)} %${peer}${goal}`)
}
/** One row against one peer. `higher` says which way is better; the ratio is ours over the peer's. */
const compare = (
  work: string,
  unit: string,
  ours: ReadonlyArray<number>,
  peer: { readonly name: string; readonly version: string; readonly values: ReadonlyArray<number> },
  goal?: { readonly text: string; readonly met: (ratio: number) => boolean }
) => {
  const ratio = median(ours) / median(peer.values)
  report({
    work,
    unit,
    ours: median(ours),
    spread: spreadOf(ours),
    peer: peer.name,
    peerVersion: peer.version,
    peerValue: median(peer.values),
    ratio,
    ...goal === undefined ? {} : { goal: goal.text, met: goal.met(ratio) }
  })
}

const server = (role: string, count = 0) =>
  Effect.acquireRelease(
    Effect.callback<{ readonly port: number; readonly stop: () => void }>((resume) => {
      const child = fork(new URL("server.ts", import.meta.url).pathname, [role, String(count)], {
        execArgv: ["--conditions=@perigee/source"]
      })
      child.once("message", (message) => {
        resume(Effect.succeed({ port: (message as { port: number }).port, stop: () => child.kill() }))
      })
    }),
    ({ stop }) => Effect.sync(stop)
  )
const seconds = (started: bigint) => Number(process.hrtime.bigint() - started) / 1e9

// --- one way -----------------------------------------------------------------------------------------------------------

const oneWayConduit = (size: number, count: number) =>
  Effect.scoped(Effect.gen(function*() {
    const { port } = yield* server("conduit-sink", count)
    const conduit = yield* StableConduit.dial(TcpLink.source({ host: "127.0.0.1", port }))
    const item = new Uint8Array(size).fill(7)
    const results: Array<number> = []
    for (let run = 0; run <= runs; run++) {
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
      results.push(count / seconds(started))
    }
    return results.slice(1)
  }))

/** A bare length-prefixed socket, a turn's messages in one write, at most a megabyte under way. */
const oneWayBare = (size: number, count: number) =>
  Effect.scoped(Effect.gen(function*() {
    const { port } = yield* server("bare-sink", count)
    const results: Array<number> = []
    const socket = yield* Effect.callback<Net.Socket>((resume) => {
      const socket = Net.connect({ host: "127.0.0.1", port, noDelay: true }, () => resume(Effect.succeed(socket)))
    })
    const perWrite = Math.floor(65_536 / (size + 4))
    for (let run = 0; run <= runs; run++) {
      results.push(
        yield* Effect.callback<number>((resume) => {
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
      )
    }
    socket.destroy()
    return results.slice(1)
  }))

const rustSeconds = (...args: Array<string>) =>
  Effect.promise(async () => {
    const peer = Rust.run(...args)
    const line = await peer.line("seconds")
    peer.child.kill()
    return Number(line.split(" ")[1])
  })
const oneWayRust = (size: number, count: number) =>
  Effect.gen(function*() {
    const results: Array<number> = []
    for (let run = 0; run < Math.min(runs, 3); run++) {
      const sink = Rust.run("sink", "100")
      const port = (yield* Effect.promise(() => sink.line("port"))).split(" ")[1]!
      results.push(count / (yield* rustSeconds("blast", `127.0.0.1:${port}`, String(count), String(size - 1))))
      sink.child.kill()
    }
    return results
  })

// --- echo --------------------------------------------------------------------------------------------------------------

/** Keeps `flight` items under way; measures items a second, and each round trip when one is. */
const echoConduit = (
  source: (port: number) => Parameters<typeof StableConduit.dial>[0],
  role: string,
  flight: number,
  count: number
) =>
  Effect.scoped(Effect.gen(function*() {
    const { port } = yield* server(role)
    const conduit = yield* StableConduit.dial(source(port))
    const item = new Uint8Array(64)
    const results: Array<number> = []
    const trips: Array<number> = []
    let onItem = () => {}
    conduit.subscribeUnsafe((batch) => {
      for (let i = 0; i < batch.count; i++) onItem()
    })
    for (let run = 0; run <= runs; run++) {
      results.push(
        yield* Effect.callback<number>((resume) => {
          const started = process.hrtime.bigint()
          let sent = 0
          let back = 0
          let last = started
          const send = () => {
            if (flight === 1) last = process.hrtime.bigint()
            sent++
            conduit.sendUnsafe(item)
          }
          onItem = () => {
            back++
            if (flight === 1 && run > 0) trips.push(Number(process.hrtime.bigint() - last) / 1000)
            if (sent < count) send()
            if (back === count) resume(Effect.succeed(count / seconds(started)))
          }
          for (let i = 0; i < flight; i++) send()
        })
      )
    }
    return { rates: results.slice(1), trips }
  }))
const tcp = (port: number) => TcpLink.source({ host: "127.0.0.1", port })

const echoPeer = (
  role: string,
  flight: number,
  count: number,
  open: (port: number, onMessage: () => void) => Promise<{ send: (item: Uint8Array) => void; close: () => void }>
) =>
  Effect.scoped(Effect.gen(function*() {
    const { port } = yield* server(role)
    let onMessage = () => {}
    const client = yield* Effect.promise(() => open(port, () => onMessage()))
    const item = Buffer.alloc(64)
    const results: Array<number> = []
    for (let run = 0; run <= runs; run++) {
      results.push(
        yield* Effect.callback<number>((resume) => {
          const started = process.hrtime.bigint()
          let sent = 0
          let back = 0
          onMessage = () => {
            back++
            if (sent < count) {
              sent++
              client.send(item)
            }
            if (back === count) resume(Effect.succeed(count / seconds(started)))
          }
          for (let i = 0; i < flight; i++) {
            sent++
            client.send(item)
          }
        })
      )
    }
    client.close()
    return results.slice(1)
  }))
const echoWs = (flight: number, count: number) =>
  echoPeer("ws-echo", flight, count, (port, onMessage) =>
    new Promise((resolve) => {
      const socket = new WebSocket(`ws://127.0.0.1:${port}`, { perMessageDeflate: false })
      socket.on("message", onMessage)
      socket.on("open", () => resolve({ send: (item) => socket.send(item), close: () => socket.terminate() }))
    }))
const echoSocketIo = (flight: number, count: number) =>
  echoPeer("socket.io-echo", flight, count, (port, onMessage) =>
    new Promise((resolve) => {
      const socket = io(`ws://127.0.0.1:${port}`, { transports: ["websocket"] })
      socket.on("m", onMessage)
      socket.on("connect", () => resolve({ send: (item) => socket.emit("m", item), close: () => socket.disconnect() }))
    }))
const echoBare = (flight: number, count: number) =>
  echoPeer("bare-echo", flight, count, (port, onMessage) =>
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

// --- resume, memory ----------------------------------------------------------------------------------------------------

/** From the cut of a TCP link until everything unconfirmed has been confirmed over the next one. */
const resumeAfterCut = (unacknowledged: number) =>
  Effect.scoped(Effect.gen(function*() {
    const listener = yield* TcpLink.listen()
    const window = { window: { frames: 200_000, bytes: 64 * 1024 * 1024 } }
    yield* ConduitHub.make({
      ...window,
      // Told at once, so that what is measured is the resume and not the patience of an acknowledgement.
      ack: { items: 1 },
      listen: Effect.succeed(listener),
      onConduit: (conduit) => {
        conduit.subscribeUnsafe(() => {})
        return conduit.ended
      }
    })
    const fault = yield* FaultLink.make(tcp(listener.port))
    const conduit = yield* StableConduit.dial(fault.source, window)
    const times: Array<number> = []
    const item = new Uint8Array(64)
    const rounds = unacknowledged >= 100_000 ? (quick ? 5 : 30) : quick ? 20 : 200
    for (let i = 0; i < rounds; i++) {
      yield* fault.stall(true)
      for (let j = 0; j < unacknowledged; j++) conduit.sendUnsafe(item)
      yield* Effect.yieldNow
      const started = process.hrtime.bigint()
      yield* fault.cut
      yield* fault.stall(false)
      if (unacknowledged === 0) yield* conduit.sendConfirmed(item)
      else yield* conduit.drained
      times.push(seconds(started) * 1000)
    }
    return times
  }))

const idleConduits = (count: number) =>
  Effect.scoped(Effect.gen(function*() {
    const collect = () => {
      for (let i = 0; i < 4; i++) globalThis.gc?.()
      const { arrayBuffers, heapUsed } = process.memoryUsage()
      return heapUsed + arrayBuffers
    }
    const { listener, source } = yield* MemoryLink.make()
    const hubScope = yield* Scope.make()
    const hub = yield* ConduitHub.make({ onConduit: (conduit) => conduit.ended }).pipe(Scope.provide(hubScope))
    yield* hub.serve(listener)
    // Plain links and hand-made hellos on the client's side, so that what grows is the acceptor.
    const links: Array<{ destroy: () => void }> = []
    const hellos: Array<Uint8Array> = []
    const framed = new Uint8Array(29)
    framed.set([25, 0, 0, 0, 0x56, 0x4f, 0x43, 0x48])
    const keys: Array<Uint8Array> = []
    const scope = yield* Scope.make()
    const open = (hello: Uint8Array<ArrayBuffer>, index: number) =>
      Effect.map(source.next.pipe(Scope.provide(scope)), ({ link }) => {
        link.open({
          payload: (bytes, offset) => {
            keys[index] = bytes.slice(offset + 5, offset + 21)
          },
          flush: () => {},
          writable: () => {},
          closed: () => {}
        })
        link.write(hello, 0, hello.length)
        links[index] = link
      })
    const before = collect()
    for (let i = 0; i < count; i++) yield* open(framed, i)
    while ((yield* hub.metrics).created < count) yield* Effect.yieldNow
    yield* Effect.sleep("50 millis")
    const bytes = (collect() - before) / count
    // Every client comes back at once, over links that the hub still believes alive.
    for (let i = 0; i < count; i++) {
      const hello = framed.slice()
      hello[8] = 1
      hello.set(keys[i]!, 9)
      hellos.push(hello)
    }
    const started = process.hrtime.bigint()
    const cpu = process.cpuUsage()
    for (let i = 0; i < count; i++) yield* open(hellos[i] as Uint8Array<ArrayBuffer>, i)
    while ((yield* hub.metrics).resumed < count) yield* Effect.yieldNow
    const elapsed = seconds(started)
    const used = process.cpuUsage(cpu)
    yield* Scope.close(scope, Exit.void)
    yield* Scope.close(hubScope, Exit.void)
    return { bytes, elapsed, cpuMicros: (used.user + used.system) / count }
  }))

// --- the run -----------------------------------------------------------------------------------------------------------

const atLeast = (x: number) => ({ text: `>= ${x} x`, met: (ratio: number) => ratio >= x })

const program = Effect.gen(function*() {
  for (const [size, base] of [[64, 4_000_000], [1024, 800_000]] as const) {
    const count = Math.round(base * scale)
    const ours = yield* oneWayConduit(size, count)
    compare(`one way ${size} B over TCP`, "messages/s", ours, {
      name: "bare length-prefixed node:net",
      version: nodeVersion,
      values: yield* oneWayBare(size, count)
    }, atLeast(0.6))
    if (Rust.unavailable === undefined) {
      compare(`one way ${size} B over TCP`, "messages/s", ours, {
        name: "vox-core (Rust), acknowledged every 100",
        version: "0.4.0",
        values: yield* oneWayRust(size, Math.round(count / 10))
      }, size === 64 ? atLeast(5) : undefined)
    }
  }
  const echoes = Math.round(400_000 * scale)
  const echo64 = yield* echoConduit(tcp, "conduit-echo", 64, echoes)
  report({
    work: "echo 64 B, 64 in flight over TCP",
    unit: "messages/s",
    ours: median(echo64.rates),
    spread: spreadOf(echo64.rates),
    goal: ">= 400000 messages/s",
    met: median(echo64.rates) >= 400_000
  })
  compare("echo 64 B, 64 in flight over TCP", "messages/s", echo64.rates, {
    name: "bare length-prefixed node:net",
    version: nodeVersion,
    values: yield* echoBare(64, echoes)
  })
  compare("echo 64 B, 64 in flight over TCP", "messages/s", echo64.rates, {
    name: "socket.io with connection state recovery",
    version: version("socket.io"),
    values: yield* echoSocketIo(64, Math.round(echoes / 8))
  }, atLeast(10))
  if (Rust.unavailable === undefined) {
    const accepting = Rust.run("accept")
    const port = (yield* Effect.promise(() => accepting.line("port"))).split(" ")[1]!
    const count = Math.round(echoes / 8)
    const rate = count / (yield* rustSeconds("pump", `127.0.0.1:${port}`, String(count), "63", "64"))
    accepting.child.kill()
    compare("echo 64 B, 64 in flight over TCP", "messages/s", echo64.rates, {
      name: "vox-core (Rust)",
      version: "0.4.0",
      values: [rate]
    })
  }
  const wsLink = (port: number) =>
    WebSocketLink.source({
      url: `ws://127.0.0.1:${port}`,
      construct: WebSocketServerLink.construct()
    })
  const overWs = yield* echoConduit(wsLink, "conduit-ws-echo", 64, Math.round(echoes / 8))
  const ws = yield* echoWs(64, Math.round(echoes / 8))
  compare("echo 64 B, 64 in flight over WebSocket, time a message", "µs", overWs.rates.map((rate) => 1e6 / rate), {
    name: "ws",
    version: version("ws"),
    values: ws.map((rate) => 1e6 / rate)
  }, { text: "<= 1.3 x", met: (ratio) => ratio <= 1.3 })
  const one = yield* echoConduit(tcp, "conduit-echo", 1, Math.round(20_000 * scale))
  for (const p of [50, 99]) {
    report({
      work: `round trip 64 B over TCP, p${p}`,
      unit: "µs",
      ours: percentile(one.trips, p),
      spread: spreadOf(one.rates)
    })
  }
  for (const unacknowledged of [0, 1000, 100_000]) {
    const times = yield* resumeAfterCut(unacknowledged)
    for (const p of [50, 99]) {
      report({
        work: `resume after a cut with ${unacknowledged} unconfirmed, p${p}`,
        unit: "ms",
        ours: percentile(times, p),
        spread: spreadOf(times.toSorted((a, b) => a - b).slice(0, Math.ceil(times.length * 0.9)))
      })
    }
  }
  const idle = []
  for (let run = 0; run < Math.min(runs, 5); run++) idle.push(yield* idleConduits(10_000))
  report({
    work: "memory of an idle conduit in an acceptor of 10,000, its link and the test's end of it included",
    unit: "bytes",
    ours: median(idle.map(({ bytes }) => bytes)),
    spread: spreadOf(idle.map(({ bytes }) => bytes))
  })
  report({
    work: "10,000 simultaneous takeovers",
    unit: "ms",
    ours: median(idle.map(({ elapsed }) => elapsed * 1000)),
    spread: spreadOf(idle.map(({ elapsed }) => elapsed))
  })
  report({
    work: "CPU of one takeover among 10,000",
    unit: "µs",
    ours: median(idle.map(({ cpuMicros }) => cpuMicros)),
    spread: spreadOf(idle.map(({ cpuMicros }) => cpuMicros))
  })
})

if (Rust.unavailable !== undefined) console.log(`no Rust peer: ${Rust.unavailable}`)
await Effect.runPromise(program)
process.exit(0)
