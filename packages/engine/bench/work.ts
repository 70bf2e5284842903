/** What our client and the bare socket have in common: how they are warmed, and the figures of a piece of work. */
import { quantile } from "../../../bench/harness.ts"

/** Messages that go ahead of those sent one by one, and how many of them at once: a compiler sees few sends in a second when each waits for the one before. */
export const WARMUP = 20_000
export const WARMUP_WINDOW = 50

/** Starts a watch; what it returns gives messages a second, and seconds of processor time a million messages. */
export const watch = (count: number) => {
  const cpu = process.cpuUsage()
  const start = performance.now()
  return () => {
    const seconds = (performance.now() - start) / 1000
    const used = process.cpuUsage(cpu)
    return { rate: count / seconds, cpu: (used.user + used.system) / count }
  }
}

export const latencies = (samples: Float64Array) => ({ p50: quantile(samples, 0.5), p99: quantile(samples, 0.99) })
