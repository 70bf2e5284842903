/**
 * What producers and consumers count, as metrics of Effect, by topic.
 *
 * The totals are kept by the protocol anyway; metrics get the difference now and then, an entry or a take at a time, never a message at a time.
 */
import type * as Context from "effect/Context"
import * as Metric from "effect/Metric"
import { LatencyHistogram } from "./LatencyHistogram.ts"
import type { RateMeter } from "./RateMeter.ts"

/** A quarter of a millisecond to half a minute. */
const boundaries = Metric.exponentialBoundaries({ start: 0.25, factor: 2, count: 18 })

type Totals = Readonly<Record<string, number>>

/** Hands growing totals on as increments. */
class Counters {
  readonly #metrics: ReadonlyArray<readonly [name: string, metric: Metric.Counter<number>]>
  readonly #context: Context.Context<never>
  readonly #told = new Map<string, number>()

  constructor(prefix: string, names: Totals, topic: string, context: Context.Context<never>) {
    this.#context = context
    this.#metrics = Object.keys(names).map((name) => [
      name,
      Metric.counter(`${prefix}_${name}`, { incremental: true, attributes: { topic } })
    ])
  }

  tell(totals: Totals): void {
    for (const [name, metric] of this.#metrics) {
      const total = totals[name]!
      const told = this.#told.get(name) ?? 0
      if (total === told) continue
      metric.updateUnsafe(total - told, this.#context)
      this.#told.set(name, total)
    }
  }
}

/** Messages that may go by untold. */
const TELL_EVERY = 256

/** Counters, rates and one latency of a producer or a consumer. */
export class TopicMetrics {
  readonly histogram = new LatencyHistogram()
  readonly rate: RateMeter
  readonly #counters: Counters
  readonly #latency: Metric.Histogram<number>
  readonly #context: Context.Context<never>
  #untold = 0

  constructor(
    kind: "producer" | "consumer",
    topic: string,
    totals: Totals,
    context: Context.Context<never>,
    rate: RateMeter
  ) {
    this.#context = context
    this.rate = rate
    this.#counters = new Counters(`pulsar_${kind}`, totals, topic, context)
    this.#latency = Metric.histogram(kind === "producer" ? "pulsar_producer_latency" : "pulsar_consumer_wait", {
      description: kind === "producer"
        ? "Milliseconds from the submission of an entry's first message to its receipt"
        : "Milliseconds an entry waited in the receiver queue",
      attributes: { topic },
      boundaries
    })
  }

  /**
   * Whether to tell now, when so many more messages were counted: telling costs more than a message, so seldom while there is more to do, and at
   * once when there is not.
   */
  isDue(messages: number, isQuiet: boolean): boolean {
    this.#untold += messages
    if (this.#untold < TELL_EVERY && !isQuiet) return false
    this.#untold = 0
    return true
  }

  took(millis: number): void {
    this.histogram.record(millis)
    this.#latency.updateUnsafe(millis, this.#context)
  }

  tell(totals: Totals): void {
    this.#counters.tell(totals)
  }
}
