import * as Effect from "effect/Effect"

/**
 * Wakes the fiber that waits, one turn after it was rung: by then whoever rang it is through with what they had, a batch of messages and not the first of
 * them. Costs a fiber one resumption; a latch and a yield cost two.
 */
export class Bell {
  #isRung = false
  #wake: (() => void) | undefined = undefined

  ring(): void {
    if (this.#isRung) return
    this.#isRung = true
    this.#wake?.()
  }

  /** Forgets what rang so far. */
  reset(): void {
    this.#isRung = false
  }

  /** Until it rings, if it has not since the last {@link Bell.reset}. */
  readonly wait: Effect.Effect<void> = Effect.withFiber(({ currentDispatcher }) =>
    Effect.callback((resume) => {
      const wake = () => {
        this.#wake = undefined
        currentDispatcher.scheduleTask(() => resume(Effect.void), 0)
      }
      if (this.#isRung) return wake()
      this.#wake = wake
      return Effect.sync(() => void (this.#wake = undefined))
    })
  )
}
