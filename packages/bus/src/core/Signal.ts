/**
 * Wake-ups without polling: one sleeper each, raised from synchronous code.
 */

/** Remembers one raise, so that a wake-up between deciding to sleep and sleeping is not lost. */
export class Signal {
  #raised = false
  #sleeper: (() => void) | undefined = undefined

  /** Wakes the sleeper, or the next one to come. */
  raise(): void {
    const sleeper = this.#sleeper
    if (sleeper === undefined) {
      this.#raised = true
    } else {
      this.#sleeper = undefined
      sleeper()
    }
  }

  /** Calls `wake` at the next raise, at once when one is pending. Returns how to stop sleeping. */
  sleep(wake: () => void): () => void {
    if (this.#raised) {
      this.#raised = false
      wake()
      return () => {}
    }
    this.#sleeper = wake
    return () => {
      if (this.#sleeper === wake) this.#sleeper = undefined
    }
  }
}

/** A version number that many can wait on: the pulse that tells readers that there is more to read. */
export class Pulse {
  version = 0
  #sleepers = new Set<() => void>()

  /** Next version: wakes every sleeper. */
  beat(): void {
    this.version++
    if (this.#sleepers.size === 0) return
    const sleepers = this.#sleepers
    this.#sleepers = new Set()
    for (const wake of sleepers) wake()
  }

  /** Whether anybody sleeps on it. */
  get isAwaited(): boolean {
    return this.#sleepers.size > 0
  }

  /** Calls `wake` once the version differs from `seen`. Returns how to stop waiting. */
  sleep(seen: number, wake: () => void): () => void {
    if (this.version !== seen) {
      wake()
      return () => {}
    }
    this.#sleepers.add(wake)
    return () => {
      this.#sleepers.delete(wake)
    }
  }
}
