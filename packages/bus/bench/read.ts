/** Reading back from SQLite, and the latency of a live subscription. */
import { Effect, Fiber, Stream } from "effect"
import { measure, measureQuantiles, type Row, versus } from "../../../bench/harness.ts"
import { payloads } from "./publish.ts"
import { onSqlite } from "./store.ts"

const EVENTS = 1_000_000

/** Milliseconds from publish to yield for one event in `everyMillis`, with `background` more a millisecond. */
const latency = (seconds: number, background: number): Promise<ReadonlyArray<number>> =>
  onSqlite(async (bus, run) => {
    const samples: Array<number> = []
    const published = new Map<string, number>()
    const decoder = new TextDecoder()
    const reader = run(
      bus.subscribe({ from: "beginning", channel: "probe" }).pipe(
        Stream.runForEach((event) =>
          Effect.sync(() => {
            const id = decoder.decode(event.raw)
            samples.push(performance.now() - published.get(id)!)
          })
        ),
        Effect.forkDetach
      )
    )
    const started = performance.now()
    let sent = 0
    let probes = 0
    while (performance.now() - started < seconds * 1000) {
      const due = Math.floor((performance.now() - started) * background)
      while (sent < due) bus.offerUnsafe(payloads[sent++ & 255]!)
      const id = String(probes++)
      published.set(id, performance.now())
      await run(bus.publishRaw(id, { channel: "probe" }))
      await new Promise((resolve) => background > 0 ? setImmediate(resolve) : setTimeout(resolve, 5))
    }
    await run(bus.flush)
    await run(bus.shutdown)
    await run(Fiber.await(await reader))
    if (samples.length !== probes) throw new Error(`${samples.length} of ${probes} probes arrived`)
    return samples
  })

export const read = async (): Promise<ReadonlyArray<Row>> => {
  const back = await onSqlite(async (bus, run) => {
    for (let sent = 0; sent < EVENTS; sent += 10_000) {
      await run(bus.publishAllRaw(Array.from({ length: 10_000 }, (_, i) => payloads[(sent + i) & 255]!)))
    }
    await run(bus.flush)
    return measure(async () => {
      let seen = 0
      let bytes = 0
      const started = performance.now()
      await run(
        bus.subscribe({ chunkSize: 10_000 }).pipe(
          Stream.take(EVENTS),
          Stream.runForEachArray((events) =>
            Effect.sync(() => {
              seen += events.length
              for (const event of events) bytes += event.raw.length
            })
          )
        )
      )
      if (seen !== EVENTS || bytes !== EVENTS * 200) throw new Error(`read ${seen} events, ${bytes} bytes`)
      return EVENTS / ((performance.now() - started) / 1000)
    })
  })
  const [idle50, idle99] = await measureQuantiles(() => latency(2, 0), [0.5, 0.99])
  const [busy50, busy99] = await measureQuantiles(() => latency(2, 50), [0.5, 0.99])
  return [
    versus("read back 200 B from SQLite through Stream", "events/s", back, {
      goal: { text: "≥ 3 M/s", met: (ours) => ours >= 3e6 }
    }),
    versus("publish to yield of a live subscription, idle, p50", "ms", idle50!),
    versus("publish to yield of a live subscription, idle, p99", "ms", idle99!),
    versus("publish to yield of a live subscription, 50 k/s, p50", "ms", busy50!),
    versus("publish to yield of a live subscription, 50 k/s, p99", "ms", busy99!)
  ]
}
