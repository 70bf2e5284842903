/**
 * Insertion timestamps: a hybrid clock, strictly increasing whatever the wall clock does.
 */

const NANOS_PER_MILLI = 1_000_000

/**
 * Unix time in milliseconds and nanoseconds, two safe integers. It follows the readings it is given; readings that stand still or go back
 * are continued by single nanoseconds, so that one generator never issues a value twice and its order is the order of the calls.
 */
export class Timestamps {
  /** Last issued value: milliseconds, 0 before the first call. */
  millis = 0
  /** Last issued value: nanoseconds within `millis`. */
  nanos = 0

  /** Continues after `last`, nanoseconds since the Unix epoch, of an earlier life. */
  constructor(last: bigint = BigInt(0)) {
    this.millis = Number(last / BigInt(NANOS_PER_MILLI))
    this.nanos = Number(last % BigInt(NANOS_PER_MILLI))
  }

  /** Moves to the next timestamp, given a reading of the clock in Unix milliseconds; read `millis` and `nanos` afterwards. */
  next(nowMillis: number): void {
    if (nowMillis > this.millis) {
      this.millis = nowMillis
      this.nanos = 0
      return
    }
    this.nanos++
    if (this.nanos === NANOS_PER_MILLI) {
      if (this.millis >= Number.MAX_SAFE_INTEGER) throw new RangeError("insertion timestamps are exhausted")
      this.millis++
      this.nanos = 0
    }
  }

  /** Last issued value in nanoseconds since the Unix epoch; 0 before the first call. */
  get last(): bigint {
    return BigInt(this.millis) * BigInt(NANOS_PER_MILLI) + BigInt(this.nanos)
  }
}
