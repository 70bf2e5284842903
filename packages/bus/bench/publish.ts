/** Publishing into the rings, without a store. */
import { Effect, Layer, ManagedRuntime, Queue } from "effect"
import { measure, quantile, type Row, versus } from "../../../bench/harness.ts"
import { EventBus } from "../src/EventBus.ts"
import { Adapter } from "../src/Adapter.ts"
import * as Noop from "../src/adapters/noop.ts"
import effectManifest from "effect/package.json" with { type: "json" }

const ROUND = 8192
const ROUNDS = 120

/** 256 distinct payloads of 200 bytes: one alone would hash to one shard. */
export const payloads = Array.from(
  { length: 256 },
  (_, i) => Uint8Array.from({ length: 200 }, (_, j) => 32 + (i * 7 + j * 13) % 90)
)

/** An object of texts and whole numbers whose JSON has about 200 bytes. (Each fraction in it would cost JSON.stringify 200 ns more.) */
export const values = Array.from({ length: 256 }, (_, i) => ({
  type: "earthquake",
  id: `20160101${2000 + i}`,
  source: "us",
  time: "2016-01-01T00:30:04.91Z",
  place: "17 km south-west of Ridgecrest, California",
  depth: 1991,
  magnitude: 280,
  magnitudeType: "Md",
  reviewed: true,
  stations: i
}))

/** Times rounds of events; `settle` empties what they filled, outside of the time. Each caller brings a loop of its own for the compiler to see. */
const rate = async (
  round: () => void | Promise<void>,
  settle: () => Promise<unknown>,
  rounds = ROUNDS
): Promise<number> => {
  let total = 0
  for (let i = 0; i < rounds; i++) {
    const started = performance.now()
    await round()
    total += performance.now() - started
    await settle()
  }
  return (ROUND * rounds) / (total / 1000)
}

export const publish = async (): Promise<ReadonlyArray<Row>> => {
  const runtime = ManagedRuntime.make(EventBus.layer({ shards: 4 }).pipe(Layer.provideMerge(Noop.layer)))
  const bus = await runtime.runPromise(EventBus)
  const flush = () => runtime.runPromise(bus.flush)
  const queue = await runtime.runPromise(Queue.unbounded<Uint8Array>())
  const takeAll = () => runtime.runPromise(Queue.takeAll(queue))

  const raw = () => {
    for (let i = 0; i < ROUND; i++) bus.offerUnsafe(payloads[i & 255]!)
  }
  const json = () => {
    for (let i = 0; i < ROUND; i++) bus.offerUnsafe(JSON.stringify(values[i & 255]!))
  }
  const all = Array.from({ length: ROUND }, (_, i) => payloads[i & 255]!)
  const call = async () => {
    await runtime.runPromise(bus.publishAllRaw(all))
  }
  const effects = () =>
    runtime.runPromise(Effect.gen(function*() {
      for (let i = 0; i < ROUND; i++) yield* bus.publishRaw(payloads[i & 255]!)
    }))
  const offers = () =>
    runtime.runPromise(Effect.gen(function*() {
      for (let i = 0; i < ROUND; i++) yield* Queue.offer(queue, payloads[i & 255]!)
    }))

  const ours = await measure(() => rate(raw, flush), 7, 2)
  const oursJson = await measure(() => rate(json, flush), 7, 2)
  const peer = {
    name: "effect Queue.offer, no hash",
    version: effectManifest.version,
    value: await measure(() => rate(offers, takeAll))
  }
  const rows: Array<Row> = [
    versus("publish 200 B bytes to the ring", "events/s", ours, {
      peer,
      goal: { text: "≥ 8 M/s", met: (ours) => ours >= 8e6 }
    }),
    versus("publish a JSON value of 200 B to the ring", "events/s", oursJson, {
      peer,
      goal: { text: "≥ 1.5 M/s", met: (ours) => ours >= 1.5e6 }
    }),
    versus("publishAllRaw, 8,192 of 200 B a call", "events/s", await measure(() => rate(call, flush))),
    versus("publishRaw, an Effect an event", "events/s", await measure(() => rate(effects, flush, ROUNDS / 4)))
  ]
  // The reading of the clock is part of each figure: about 50 ns here.
  const single = async (yieldEvery: number): Promise<number> => {
    const samples = new Float64Array(200_000)
    for (let i = 0; i < samples.length; i++) {
      const started = process.hrtime.bigint()
      bus.offerUnsafe(payloads[i & 255]!)
      samples[i] = Number(process.hrtime.bigint() - started)
      if (i % yieldEvery === 0) await new Promise((resolve) => setImmediate(resolve))
    }
    await flush()
    return quantile(samples, 0.99)
  }
  rows.push(versus("one publish call, p99, ring filling", "ns", await measure(() => single(ROUND))))
  rows.push(versus("one publish call, p99, while draining", "ns", await measure(() => single(64))))
  const { adapter } = await runtime.runPromise(Effect.map(Adapter, (adapter) => ({ adapter: adapter.name })))
  if (adapter !== "noop") throw new Error("measured with the wrong adapter")
  await runtime.dispose()
  return rows
}
