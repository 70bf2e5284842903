/**
 * Delays between attempts: doubling, shortened by 0 to 20 % by a seeded generator, with a mandatory stop.
 *
 * @since 0.1.0
 */

/** All times in milliseconds. @category models @since 0.1.0 */
export interface BackoffOptions {
  /** First delay. Default 100. */
  readonly initial: number
  /** Longest delay. Default 60,000. */
  readonly max: number
  /** Once the delays add up to more than this, the delay is `max` without jitter and the sum starts over. Default 3,600,000. */
  readonly mandatoryStop: number
  /** Seed of the jitter; the same seed gives the same delays. 0 stands for a constant of the generator. */
  readonly seed: bigint
}

/** @category constants @since 0.1.0 */
export const defaults: BackoffOptions = { initial: 100, max: 60_000, mandatoryStop: 3_600_000, seed: 0n }

const GAMMA = 0x9e3779b97f4a7c15n
const wrap = (value: bigint): bigint => BigInt.asUintN(64, value)

/** A schedule of delays. @category models @since 0.1.0 */
export class Backoff {
  readonly options: BackoffOptions
  #next: number
  #elapsed = 0
  #state: bigint

  constructor(options: Partial<BackoffOptions> = {}) {
    this.options = { ...defaults, ...options }
    this.#next = this.options.initial * 1e6
    this.#state = this.options.seed === 0n ? GAMMA : wrap(this.options.seed)
  }

  /** The next delay, milliseconds. */
  next(): number {
    // SplitMix64.
    this.#state = wrap(this.#state + GAMMA)
    let mixed = this.#state
    mixed = wrap((mixed ^ (mixed >> 30n)) * 0xbf58476d1ce4e5b9n)
    mixed = wrap((mixed ^ (mixed >> 27n)) * 0x94d049bb133111ebn)
    mixed ^= mixed >> 31n
    const cut = Number(mixed % 201n)
    // Nanoseconds, so that the schedule is exact on every machine.
    const delay = this.#next - Math.floor((this.#next * cut) / 1000)
    const max = this.options.max * 1e6
    this.#elapsed += delay
    this.#next = Math.min(this.#next * 2, max)
    if (this.#elapsed > this.options.mandatoryStop * 1e6) {
      this.#elapsed = 0
      this.#next = max
      return this.options.max
    }
    return delay / 1e6
  }

  /** Starts over with the first delay; the jitter goes on. */
  reset(): void {
    this.#next = this.options.initial * 1e6
    this.#elapsed = 0
  }
}

/** The delay after the `attempt`-th failure (from 1) of a fresh schedule. @category combinators @since 0.1.0 */
export const delayAfter = (options: Partial<BackoffOptions>, attempt: number): number => {
  const backoff = new Backoff(options)
  let delay = 0
  for (let index = 0; index < Math.min(Math.max(attempt, 1), 64); index++) delay = backoff.next()
  return delay
}
