/** Bytes of messages that wait for a receipt, over all producers of a client. */
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"

export class MemoryBudget {
  readonly limit: number
  readonly mode: "wait" | "fail"
  used = 0
  readonly #released = Latch.makeUnsafe(false)

  /** `limit` in bytes, 0 for none. */
  constructor(limit: number, mode: "wait" | "fail") {
    this.limit = limit
    this.mode = mode
  }

  /** Takes bytes if there are as many; a message larger than the whole budget gets it alone. */
  reserve(bytes: number): boolean {
    if (!this.hasRoom(bytes)) return false
    this.used += bytes
    return true
  }

  hasRoom(bytes: number): boolean {
    return this.limit === 0 || this.used === 0 || this.used + bytes <= this.limit
  }

  release(bytes: number): void {
    this.used -= bytes
    if (this.limit > 0) this.#released.openUnsafe()
  }

  /** Until something is released; everyone who waits tries again. */
  readonly wait: Effect.Effect<void> = Effect.suspend(() => {
    this.#released.closeUnsafe()
    return this.#released.await
  })
}
