/**
 * When a shard cuts a batch, and of how many events.
 */

/** @since 0.1.0 */
export interface BatchConfig {
  /** Smallest batch aimed at while the flow is slow. At least 1; default 1,000. */
  readonly minSize: number
  /** Largest batch, a hard limit. `minSize` … 1,000,000; default 10,000. */
  readonly maxSize: number
  /** Milliseconds that an event may wait for company while nobody waits for it. At least 1; default 10. */
  readonly maxDelay: number
  /** Whether the target follows the rate of arrival; otherwise it is `maxSize`. Default true. */
  readonly adaptive: boolean
  /** Milliseconds over which the rate is measured. At least 1 when adaptive; default 100. */
  readonly velocityWindow: number
}

/** Between these two for most loads. */
export const standard: BatchConfig = {
  minSize: 1000,
  maxSize: 10_000,
  maxDelay: 10,
  adaptive: true,
  velocityWindow: 100
}
/** Few, large batches. */
export const highThroughput: BatchConfig = {
  minSize: 5000,
  maxSize: 50_000,
  maxDelay: 5,
  adaptive: true,
  velocityWindow: 50
}
/** Many, small batches. */
export const lowLatency: BatchConfig = { minSize: 100, maxSize: 1000, maxDelay: 1, adaptive: true, velocityWindow: 20 }

/** Milliseconds between two recalculations of the target. */
const RECALCULATE_EVERY = 10
/** Rate samples kept at most. */
const MAX_SAMPLES = 1024

/**
 * The policy of one shard. Times are Unix or any other milliseconds, passed in.
 *
 * The target follows the rate: five milliseconds' worth of events (a 200th of a second), approached by a quarter at a time.
 */
export class Batcher {
  readonly config: BatchConfig
  /** Batch size aimed at. */
  target: number
  #total = 0
  #sampleTimes: Array<number> = []
  #sampleTotals: Array<number> = []
  #recalculatedAt = Number.NEGATIVE_INFINITY

  constructor(config: BatchConfig) {
    this.config = config
    this.target = config.adaptive ? config.minSize : config.maxSize
  }

  /** Notes that `count` events have arrived. */
  observe(count: number, now: number): void {
    if (!this.config.adaptive || count === 0) return
    this.#total = Math.min(this.#total + count, Number.MAX_SAFE_INTEGER)
    this.#sampleTimes.push(now)
    this.#sampleTotals.push(this.#total)
    let old = Math.max(0, this.#sampleTimes.length - MAX_SAMPLES)
    while (this.#sampleTimes[old]! < now - this.config.velocityWindow) old++
    if (old > 0) {
      this.#sampleTimes.splice(0, old)
      this.#sampleTotals.splice(0, old)
    }
    if (now - this.#recalculatedAt > RECALCULATE_EVERY) {
      this.#recalculatedAt = now
      this.#recalculate()
    }
  }

  /**
   * How many of `pending` events to cut now, 0 for none yet: all of them, up to `maxSize`, once the target is reached, the oldest has waited
   * `maxDelay` or somebody is waiting (`urgent`).
   */
  due(pending: number, oldestAge: number, urgent: boolean): number {
    if (pending === 0) return 0
    return urgent || pending >= this.target || oldestAge >= this.config.maxDelay
      ? Math.min(pending, this.config.maxSize)
      : 0
  }

  /** Milliseconds until pending events are due for their age. A clock that went back never makes it longer than `maxDelay`. */
  timeUntilDue(oldestAge: number): number {
    return Math.min(this.config.maxDelay, Math.max(0, this.config.maxDelay - oldestAge))
  }

  #recalculate(): void {
    const { maxSize, minSize } = this.config
    const newest = this.#sampleTimes.length - 1
    const seconds = (this.#sampleTimes[newest]! - this.#sampleTimes[0]!) / 1000
    const velocity = seconds > 0 ? (this.#sampleTotals[newest]! - this.#sampleTotals[0]!) / seconds : 0
    const ideal = velocity === 0 ? minSize : clamp(Math.floor(velocity / 200), minSize, maxSize)
    this.target = clamp(Math.floor((3 * this.target + ideal) / 4), minSize, maxSize)
  }
}

const clamp = (value: number, low: number, high: number): number => Math.min(high, Math.max(low, value))
