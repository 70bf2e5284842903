import type { ConduitError } from "../ConduitError.ts"
import * as Serial from "../core/Serial.ts"

interface Pending {
  readonly seq: number
  readonly done: (result: ConduitError | undefined) => void
}

/** Settled entries that are kept at the front before the list is moved up. */
const slack = 1024

/** Who waits for the peer to have which number, in the order of the numbers. */
export class Confirmations {
  private readonly pending: Array<Pending> = []
  private head = 0

  /** Waits for `seq`; returns how to cancel. */
  add(seq: number, done: Pending["done"]): () => void {
    const pending = { seq, done }
    // Numbers are assigned in order, but their waiters may arrive out of it.
    let at = this.pending.length
    while (at > this.head && Serial.after(this.pending[at - 1]!.seq, seq)) at--
    this.pending.splice(at, 0, pending)
    return () => {
      const index = this.pending.indexOf(pending, this.head)
      if (index >= 0) this.pending.splice(index, 1)
    }
  }

  /** Settles everyone who waits for a number before `firstSeq`. */
  settle(firstSeq: number): void {
    while (this.head < this.pending.length) {
      const first = this.pending[this.head]!
      if (!Serial.after(firstSeq, first.seq)) break
      this.head++
      first.done(undefined)
    }
    if (this.head > slack || this.head === this.pending.length) {
      this.pending.splice(0, this.head)
      this.head = 0
    }
  }

  /** Fails everyone. */
  fail(error: ConduitError): void {
    const waiting = this.pending.splice(0).slice(this.head)
    this.head = 0
    for (const { done } of waiting) done(error)
  }
}
