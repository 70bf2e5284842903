/**
 * Measures the conduit beside its peers, in one run: `npm run bench -- conduit [--quick]`. Prints a table and writes
 * `bench/results/conduit.json` at the root of the repository; losing rows are in it.
 */
import { Effect } from "effect"
import * as Rust from "../test/rust.ts"
import { alternate, runs, scale } from "./contest.ts"
import * as Echo from "./echo.ts"
import * as OneWay from "./oneWay.ts"
import { atLeast, atMost, compare, median, percentile, report, spreadOf, version } from "./report.ts"
import { idleConduits, resumeAfterCut } from "./resume.ts"

const hasRust = Rust.unavailable === undefined
const bare = { name: "bare length-prefixed node:net", version: process.versions.node }

const program = Effect.gen(function*() {
  for (const [size, base] of [[64, 4_000_000], [1024, 800_000]] as const) {
    const count = Math.round(base * scale)
    const figures = yield* alternate({
      ours: OneWay.conduit(size, count),
      bare: OneWay.bare(size, count),
      rust: hasRust ? OneWay.rust(size, Math.round(count / 10)) : undefined
    })
    const work = `one way ${size} B over TCP`
    compare(work, "messages/s", figures.ours, { ...bare, values: figures.bare }, atLeast(0.6))
    if (figures.rust !== undefined) {
      const name = "vox-core (Rust), acknowledged every 100"
      compare(
        work,
        "messages/s",
        figures.ours,
        { name, version: "0.4.0", values: figures.rust },
        size === 64 ? atLeast(5) : undefined
      )
    }
  }

  const echoes = Math.round(400_000 * scale)
  const fewer = Math.round(echoes / 8)
  const echo = yield* alternate({
    ours: Echo.conduit(64, echoes),
    bare: Echo.bare(64, echoes),
    socketIo: Echo.socketIo(64, fewer),
    rust: hasRust ? Echo.rust(64, fewer) : undefined
  })
  const work = "echo 64 B, 64 in flight over TCP"
  report({
    work,
    unit: "messages/s",
    ours: median(echo.ours),
    spread: spreadOf(echo.ours),
    goal: ">= 400000 messages/s",
    met: median(echo.ours) >= 400_000
  })
  compare(work, "messages/s", echo.ours, { ...bare, values: echo.bare })
  compare(work, "messages/s", echo.ours, {
    name: "socket.io with connection state recovery",
    version: version("socket.io"),
    values: echo.socketIo
  }, atLeast(10))
  if (echo.rust !== undefined) {
    compare(work, "messages/s", echo.ours, { name: "vox-core (Rust)", version: "0.4.0", values: echo.rust })
  }
  const micros = (rates: ReadonlyArray<number>) => rates.map((rate) => 1e6 / rate)
  const overWs = yield* alternate({ ours: Echo.conduitWs(64, fewer), ws: Echo.ws(64, fewer) })
  compare("echo 64 B, 64 in flight over WebSocket, time a message", "µs", micros(overWs.ours), {
    name: "ws",
    version: version("ws"),
    values: micros(overWs.ws)
  }, atMost(1.3))

  const trips: Array<number> = []
  const perRun = Math.round(20_000 * scale)
  const single = yield* alternate({ ours: Echo.conduit(1, perRun, (trip) => void trips.push(trip)) })
  for (const p of [50, 99]) {
    report({
      work: `round trip 64 B over TCP, p${p}`,
      unit: "µs",
      // The first turn warms up.
      ours: percentile(trips.slice(perRun), p),
      spread: spreadOf(single.ours)
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
  for (let run = 0; run < runs; run++) idle.push(yield* idleConduits(10_000))
  const figures = [
    [
      "memory of an idle conduit in an acceptor of 10,000, its link and the test's end of it included",
      "bytes",
      idle.map(({ bytes }) => bytes)
    ],
    ["10,000 simultaneous takeovers", "ms", idle.map(({ elapsed }) => elapsed * 1000)],
    ["CPU of one takeover among 10,000", "µs", idle.map(({ cpuMicros }) => cpuMicros)]
  ] as const
  for (const [work, unit, values] of figures) {
    report({ work, unit, ours: median(values), spread: spreadOf(values) })
  }
})

if (Rust.unavailable !== undefined) console.log(`no Rust peer: ${Rust.unavailable}`)
await Effect.runPromise(program)
process.exit(0)
