/**
 * Figures of the node: `GET /v1/stats` for programs and people, `GET /metrics` for Prometheus.
 */
import { Adapter, EventBus } from "@perigee/bus"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { monitorEventLoopDelay } from "node:perf_hooks"
import { Bridges } from "../bridge/Bridges.ts"
import { Lifecycle } from "../Lifecycle.ts"
import { version } from "../Version.ts"
import type * as Api from "./Api.ts"
import { Tails } from "./Tail.ts"

const snake = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)

const snakeKeys = <A extends { readonly [K in keyof A]: number }>(figures: A): Record<string, number> =>
  Object.fromEntries(Object.entries<number>(figures).map(([name, value]) => [snake(name), value]))

/** The figures of this node. */
export class Figures extends Context.Service<Figures, {
  readonly read: Effect.Effect<typeof Api.Stats.Type>
}>()("perigee/api/Figures") {
  static readonly layer = Layer.effect(
    Figures,
    Effect.gen(function*() {
      const bus = yield* EventBus
      const adapter = yield* Adapter.Adapter
      const lifecycle = yield* Lifecycle
      const tails = yield* Tails
      const bridges = yield* Bridges
      const delay = yield* Effect.acquireRelease(
        Effect.sync(() => {
          const histogram = monitorEventLoopDelay({ resolution: 10 })
          histogram.enable()
          return histogram
        }),
        (histogram) => Effect.sync(() => histogram.disable())
      )
      return Figures.of({
        read: Effect.gen(function*() {
          const now = yield* Clock.currentTimeMillis
          const memory = process.memoryUsage()
          const cpu = process.cpuUsage()
          // The histogram measures whole timer periods; the period itself is no delay.
          const p99 = Math.max(0, delay.percentile(99) / 1e6 - 10)
          delay.reset()
          return {
            version,
            started_at: DateTime.formatIso(DateTime.makeUnsafe(lifecycle.startedAt)),
            uptime_seconds: Math.max(0, (now - lifecycle.startedAt) / 1000),
            stopping: lifecycle.isStopping(),
            store: {
              adapter: adapter.name,
              durability: adapter.durability,
              store_id: adapter.storeId,
              healthy: yield* adapter.isHealthy
            },
            bus: snakeKeys(yield* bus.stats),
            shards: (yield* bus.shardStats).map(snakeKeys),
            tails: tails.count(),
            bridges: bridges.status(),
            process: {
              pid: process.pid,
              cpu_seconds: (cpu.user + cpu.system) / 1e6,
              resident_bytes: memory.rss,
              heap_bytes: memory.heapUsed,
              event_loop_delay_p99_ms: Math.round(p99 * 1000) / 1000
            }
          }
        })
      })
    })
  )
}
