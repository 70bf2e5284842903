/** How fast totals grow: over the last whole interval, and 0 before the first has passed. */

/** Per second. */
export interface Rate {
  readonly messages: number
  readonly bytes: number
}

const none: Rate = { messages: 0, bytes: 0 }

export class RateMeter {
  /** Milliseconds. */
  readonly interval: number
  #since: number
  #messages = 0
  #bytes = 0
  #rate = none

  constructor(now: number, interval: number) {
    this.#since = now
    this.interval = interval
  }

  /** Takes a sample when the interval has passed; a silence counts as long as it lasted. */
  sample(now: number, messages: number, bytes: number): Rate {
    const elapsed = now - this.#since
    if (elapsed < this.interval || elapsed <= 0) return this.#rate
    const seconds = elapsed / 1000
    this.#rate = { messages: (messages - this.#messages) / seconds, bytes: (bytes - this.#bytes) / seconds }
    this.#since = now
    this.#messages = messages
    this.#bytes = bytes
    return this.#rate
  }
}

/** The rate of several together. */
export const sum = (rates: Iterable<Rate>): Rate => {
  let messages = 0
  let bytes = 0
  for (const rate of rates) {
    messages += rate.messages
    bytes += rate.bytes
  }
  return { messages, bytes }
}
