/**
 * Tells a silent connection from a dead one: pings after an interval without a frame, gives up after a second one.
 */
export class Keepalive {
  readonly interval: number
  #lastActivity: number | undefined = undefined
  #pinged = false

  constructor(interval: number) {
    this.interval = interval
  }

  /** A session begins. */
  start(now: number): void {
    this.#lastActivity = now
    this.#pinged = false
  }

  stop(): void {
    this.#lastActivity = undefined
  }

  /** A whole frame came; bytes that never become one do not count. */
  frame(now: number): void {
    this.#lastActivity = now
    this.#pinged = false
  }

  get deadline(): number {
    return this.#lastActivity === undefined || this.interval <= 0 ? Infinity : this.#lastActivity + this.interval
  }

  /** What is due at `now`. */
  tick(now: number): "nothing" | "ping" | "dead" {
    if (now < this.deadline) return "nothing"
    if (this.#pinged) return "dead"
    this.#pinged = true
    this.#lastActivity = now
    return "ping"
  }
}
