/** Publishing until durable: SQLite with fsync, BullMQ on a local redis-server beside it. */
import { execFileSync, spawn } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { performance } from "node:perf_hooks"
import { Effect, Layer, ManagedRuntime } from "effect"
import { measure, type Measured, measureQuantiles, type Row, versus } from "../../../bench/harness.ts"
import { EventBus, type EventBusOptions } from "../src/index.ts"
import * as SqliteStore from "../src/adapters/sqlite/index.ts"
import { payloads } from "./publish.ts"

const EVENTS = 1_000_000
const CALL = 5000

/** A bus on a fresh SQLite file, for the duration of `use`. */
export const onSqlite = async <A>(
  use: (bus: EventBus["Service"], run: <B, E>(effect: Effect.Effect<B, E>) => Promise<B>) => Promise<A>,
  options: EventBusOptions = {}
): Promise<A> => {
  const folder = mkdtempSync(join(tmpdir(), "perigee-bench-"))
  const runtime = ManagedRuntime.make(
    EventBus.layer({ atLeast: "fsync", ...options }).pipe(
      Layer.provide(SqliteStore.layer({ path: join(folder, "events.db") }))
    )
  )
  try {
    return await use(await runtime.runPromise(EventBus), (effect) => runtime.runPromise(effect))
  } finally {
    await runtime.dispose()
    rmSync(folder, { recursive: true, force: true })
  }
}

const calls = Array.from(
  { length: 16 },
  (_, c) => Array.from({ length: CALL }, (_, i) => payloads[(c * 31 + i) & 255]!)
)

const bullMq = async (): Promise<{ readonly version: string; readonly value: Measured } | undefined> => {
  try {
    execFileSync("redis-server", ["--version"])
  } catch {
    console.log("redis-server is not installed: BullMQ is left out")
    return undefined
  }
  const port = await new Promise<number>((resolve) => {
    const probe = createServer().listen(0, "127.0.0.1", () => {
      const { port } = probe.address() as { port: number }
      probe.close(() => resolve(port))
    })
  })
  const folder = mkdtempSync(join(tmpdir(), "perigee-bench-redis-"))
  const server = spawn("redis-server", [
    "--port",
    String(port),
    "--bind",
    "127.0.0.1",
    "--dir",
    folder,
    "--appendonly",
    "yes",
    "--appendfsync",
    "everysec",
    "--save",
    ""
  ], { stdio: ["ignore", "pipe", "ignore"] })
  await new Promise<void>((resolve) =>
    server.stdout.on("data", (chunk) => String(chunk).includes("Ready to accept") && resolve())
  )
  const { Queue } = await import("bullmq")
  const { default: manifest } = await import("bullmq/package.json", { with: { type: "json" } })
  const queue = new Queue("bench", { connection: { host: "127.0.0.1", port } })
  const data = new TextDecoder().decode(payloads[0])
  const jobs = Array.from({ length: 500 }, () => ({ name: "event", data: { data } }))
  const value = await measure(async () => {
    const started = performance.now()
    for (let i = 0; i < 40; i++) await queue.addBulk(jobs)
    return 20_000 / ((performance.now() - started) / 1000)
  })
  await queue.close()
  server.kill("SIGTERM")
  await new Promise((resolve) => server.on("exit", resolve))
  rmSync(folder, { recursive: true, force: true })
  return { version: manifest.version, value }
}

export const store = async (): Promise<ReadonlyArray<Row>> => {
  const mainThread: Array<number> = []
  const durable = await measure(() =>
    onSqlite(async (bus, run) => {
      const before = performance.eventLoopUtilization()
      const started = performance.now()
      await run(Effect.gen(function*() {
        for (let sent = 0; sent < EVENTS; sent += CALL) yield* bus.publishAllRaw(calls[(sent / CALL) % 16]!)
        yield* bus.flush
      }))
      const seconds = (performance.now() - started) / 1000
      mainThread.push(performance.eventLoopUtilization(before).active * 1000 / EVENTS)
      const { dispatched } = await run(bus.stats)
      if (dispatched !== EVENTS) throw new Error(`${dispatched} of ${EVENTS} durable`)
      return EVENTS / seconds
    })
  )
  const peer = await bullMq()
  const offered = () =>
    onSqlite(async (bus, run) => {
      const samples: Array<number> = []
      const waiting: Array<Promise<void>> = []
      const text = payloads[0]!
      const started = performance.now()
      let sent = 0
      // 50 events a millisecond; one of them is watched until it is durable.
      while (performance.now() - started < 2000) {
        const due = Math.floor((performance.now() - started) * 50)
        if (due > sent) {
          const from = performance.now()
          while (sent < due - 1) {
            bus.offerUnsafe(payloads[sent & 255]!)
            sent++
          }
          sent++
          waiting.push(
            run(bus.publishRaw(text, { until: "durable" })).then(() => void samples.push(performance.now() - from))
          )
        }
        await new Promise((resolve) => setImmediate(resolve))
      }
      await Promise.all(waiting)
      return samples
    })
  const [p50, p99] = await measureQuantiles(offered, [0.5, 0.99])
  let at = 0
  const busy = await measure(() => mainThread[mainThread.length - 5 + at++]!, 5, 0)
  return [
    versus("publish to SQLite, 200 B, fsync a group, until durable", "events/s", durable, {
      peer: peer === undefined ? undefined : { name: "BullMQ addBulk(500), redis everysec", ...peer },
      goal: { text: "≥ 500 k/s, ≥ 15 ×", met: (ours, ratio) => ours >= 500_000 && !(ratio < 15) }
    }),
    versus("… busy time of the main thread", "µs/event", busy, {
      goal: { text: "≤ 0.5 µs", met: (ours) => ours <= 0.5 }
    }),
    versus("time to durable at 50 k/s offered, p50", "ms", p50!, {
      goal: { text: "≤ 1 ms", met: (ours) => ours <= 1 }
    }),
    versus("time to durable at 50 k/s offered, p99", "ms", p99!, {
      goal: { text: "≤ 8 ms", met: (ours) => ours <= 8 }
    })
  ]
}
