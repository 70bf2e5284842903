/** What queued events cost, and what an idle bus costs. */
import { Effect, Layer, ManagedRuntime } from "effect"
import { measure, type Row, versus } from "../../../bench/harness.ts"
import { Adapter } from "../src/Adapter.ts"
import { EventBus } from "../src/EventBus.ts"
import { payloads } from "./publish.ts"

const EVENTS = 1_000_000

/** Never answers: what is queued stays queued. */
const Hanging = Layer.succeed(
  Adapter,
  Adapter.of({
    name: "hanging",
    durability: "memory",
    storeId: null,
    lastInsertionTs: BigInt(0),
    append: () => Effect.never,
    flush: Effect.void,
    poll: () => Effect.succeed({ events: [], nextId: null, hasMore: false }),
    tails: Effect.succeed(new Map()),
    producerMarks: () => Effect.succeed([]),
    saveMarks: () => Effect.void,
    isHealthy: Effect.succeed(true)
  })
)

/** Array buffers are freed some turns after the collection that finds them unused. */
const settled = async (): Promise<void> => {
  for (let i = 0; i < 5; i++) {
    globalThis.gc?.()
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

const used = (): number => {
  const { arrayBuffers, heapUsed } = process.memoryUsage()
  return heapUsed + arrayBuffers
}

export const memory = async (): Promise<ReadonlyArray<Row>> => {
  const perEvent = await measure(async () => {
    const runtime = ManagedRuntime.make(
      EventBus.layer({ shards: 4, capacityBytes: 2 ** 30, shutdownTimeout: "1 millis" }).pipe(Layer.provide(Hanging))
    )
    const bus = await runtime.runPromise(EventBus)
    await settled()
    const before = used()
    for (let i = 0; i < EVENTS; i++) bus.offerUnsafe(payloads[i & 255]!)
    await settled()
    const after = used()
    await runtime.dispose().catch(() => {})
    return (after - before) / EVENTS
  })
  const idle = await measure(async () => {
    const runtime = ManagedRuntime.make(EventBus.layer({ shards: 16 }).pipe(Layer.provide(Hanging)))
    await runtime.runPromise(EventBus)
    const before = process.cpuUsage()
    await new Promise((resolve) => setTimeout(resolve, 1000))
    const { system, user } = process.cpuUsage(before)
    await runtime.dispose()
    return (user + system) / 10_000
  })
  return [
    versus("memory of a queued event of 200 B, 1 M queued", "B", perEvent, {
      goal: { text: "≤ 300 B", met: (ours) => ours <= 300 }
    }),
    versus("CPU of an idle bus of 16 shards", "% of a core", idle, {
      goal: { text: "none", met: (ours) => ours < 0.5 }
    })
  ]
}
