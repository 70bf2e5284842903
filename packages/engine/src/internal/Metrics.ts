/**
 * What producers and consumers count, as metrics of Effect, by topic.
 *
 * The totals are kept by the protocol anyway; metrics get the difference now and then, an entry or a take at a time, never a message at a time.
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import type { Internals } from "../PulsarClient.ts"
import { LatencyHistogram } from "./LatencyHistogram.ts"
import { type Rate, RateMeter } from "./RateMeter.ts"

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

/** Milliseconds that messages may go by untold: telling costs more than a send. */
const TELL_WITHIN = 100

/** What a producer or a consumer has counted. */
interface Counted {
  readonly totals: () => Totals
  /** Messages and bytes whose rate is of interest. */
  readonly rated: () => readonly [messages: number, bytes: number]
}

/** Counters, rate and one latency of a producer or a consumer. */
export class TopicMetrics {
  readonly histogram = new LatencyHistogram()
  readonly #core: Internals["core"]
  readonly #context: Context.Context<never>
  readonly #counted: Counted
  readonly #rate: RateMeter
  readonly #counters: Counters
  readonly #latency: Metric.Histogram<number>
  /** How long something took, since the last telling. */
  readonly #took = new Float64Array(TELL_EVERY)
  #takings = 0
  #untold = 0
  #toldAt = -Infinity
  #isWaiting = false

  constructor(kind: "producer" | "consumer", topic: string, client: Internals, counted: Counted) {
    this.#core = client.core
    this.#context = client.context
    this.#counted = counted
    this.#rate = new RateMeter(client.core.now(), client.statsInterval)
    this.#counters = new Counters(`pulsar_${kind}`, counted.totals(), topic, client.context)
    this.#latency = Metric.histogram(kind === "producer" ? "pulsar_producer_latency" : "pulsar_consumer_wait", {
      description: kind === "producer"
        ? "Milliseconds from the submission of an entry's first message to its receipt"
        : "Milliseconds an entry waited in the receiver queue",
      attributes: { topic },
      boundaries
    })
  }

  /** Messages and bytes a second. */
  get rate(): Rate {
    return this.#sample()
  }

  #sample(): Rate {
    return this.#rate.sample(this.#core.now(), ...this.#counted.rated())
  }

  /**
   * So many more messages were counted. Tells every {@link TELL_EVERY} of them while there is more to do, at once when there is not, but then within
   * {@link TELL_WITHIN} rather than each time.
   */
  count(now: number, messages: number, isQuiet: boolean): void {
    this.#untold += messages
    if (this.#untold >= TELL_EVERY || (isQuiet && now - this.#toldAt >= TELL_WITHIN)) {
      this.#toldAt = now
      this.tell()
    } else if (isQuiet && !this.#isWaiting) {
      this.#isWaiting = true
      this.#core.fork(Effect.delay(
        Effect.sync(() => {
          this.#isWaiting = false
          if (this.#untold > 0) this.tell()
        }),
        TELL_WITHIN
      ))
    }
  }

  took(millis: number): void {
    this.histogram.record(millis)
    if (this.#takings === TELL_EVERY) this.#tellLatencies()
    this.#took[this.#takings++] = millis
  }

  #tellLatencies(): void {
    for (let index = 0; index < this.#takings; index++) this.#latency.updateUnsafe(this.#took[index]!, this.#context)
    this.#takings = 0
  }

  tell(): void {
    this.#untold = 0
    this.#tellLatencies()
    this.#counters.tell(this.#counted.totals())
    this.#sample()
  }
}
