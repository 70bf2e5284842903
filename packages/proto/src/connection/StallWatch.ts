/**
 * Tells a consumer that hears nothing from one that has nothing to hear: counts what was dispatched, and reports a silence once.
 */
export class StallWatch {
  /** Milliseconds, 0 for never. */
  readonly timeout: number
  #dispatches = 0
  #mark = -1
  #since = 0
  #reported = false

  constructor(timeout: number) {
    this.timeout = timeout
  }

  /** Something came: the next silence is another one. */
  dispatched(): void {
    this.#dispatches++
    this.#reported = false
  }

  /** From here on silence counts. */
  begin(now: number): void {
    this.#mark = this.#dispatches
    this.#since = now
    this.#reported = false
  }

  get deadline(): number {
    return this.timeout <= 0 || this.#reported ? Infinity : this.#since + this.timeout
  }

  /** How long it has been silent, once it is too long; `silent` says whether there is anything to wait for. */
  check(now: number, silent: boolean): number | undefined {
    if (this.timeout <= 0) return undefined
    if (!silent || this.#dispatches !== this.#mark) {
      this.begin(now)
      return undefined
    }
    if (now < this.deadline) return undefined
    this.#reported = true
    return now - this.#since
  }
}
