/** Durations in buckets that grow by a twentieth: percentiles are at most so much too large, whatever the range. */
const GROWTH = Math.log(1.05)
/** Below it everything is one bucket; milliseconds. */
const LEAST = 0.001
const BUCKETS = 480

/** What a histogram says: milliseconds. */
export interface Latency {
  readonly count: number
  readonly p50: number
  readonly p99: number
  readonly max: number
}

export class LatencyHistogram {
  readonly #counts = new Float64Array(BUCKETS)
  #count = 0
  #max = 0

  record(millis: number): void {
    const bucket = millis <= LEAST ? 0 : Math.ceil(Math.log(millis / LEAST) / GROWTH)
    this.#counts[Math.min(bucket, BUCKETS - 1)]!++
    this.#count++
    if (millis > this.#max) this.#max = millis
  }

  /** Adds what another one saw: percentiles of several come from their sum, never from their percentiles. */
  merge(other: LatencyHistogram): void {
    for (let bucket = 0; bucket < BUCKETS; bucket++) this.#counts[bucket]! += other.#counts[bucket]!
    this.#count += other.#count
    this.#max = Math.max(this.#max, other.#max)
  }

  #percentile(share: number): number {
    const wanted = Math.ceil(this.#count * share)
    let seen = 0
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      seen += this.#counts[bucket]!
      if (seen >= wanted) return Math.min(this.#max, LEAST * Math.exp(bucket * GROWTH))
    }
    return this.#max
  }

  get latency(): Latency {
    return this.#count === 0
      ? { count: 0, p50: 0, p99: 0, max: 0 }
      : { count: this.#count, p50: this.#percentile(0.5), p99: this.#percentile(0.99), max: this.#max }
  }
}
