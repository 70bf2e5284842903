/**
 * Messages that will be asked for again: those that were refused, after a delay, and those nobody acknowledged in time.
 */
import * as MessageId from "../wire/MessageId.ts"

const LIMIT = 1_000_000

/** Positions and when they are due. A new deadline replaces an old one. */
export class Redelivery {
  readonly #due = new Map<string, { readonly id: MessageId.MessageId; readonly at: number }>()
  #earliest = Infinity

  get size(): number {
    return this.#due.size
  }

  get deadline(): number {
    return this.#earliest
  }

  /** Sets when a position is due; with `keep`, an earlier setting stays. */
  set(id: MessageId.MessageId, at: number, keep: boolean): void {
    const key = MessageId.format(id)
    if (keep && this.#due.has(key)) return
    this.#due.set(key, { id, at })
    if (at < this.#earliest) this.#earliest = at
    if (this.#due.size > LIMIT) {
      const [oldest] = this.#due.keys()
      this.#due.delete(oldest!)
    }
  }

  delete(id: MessageId.MessageId): void {
    if (this.#due.size > 0) this.#due.delete(MessageId.format(id))
  }

  /** Drops everything up to a position. */
  deleteUpTo(id: MessageId.MessageId): void {
    for (const [key, due] of this.#due) if (MessageId.compare(due.id, id) <= 0) this.#due.delete(key)
  }

  /** Takes out what is due, in order. */
  take(now: number): Array<MessageId.MessageId> {
    if (now < this.#earliest) return []
    const taken: Array<MessageId.MessageId> = []
    let earliest = Infinity
    for (const [key, due] of this.#due) {
      if (due.at <= now) {
        taken.push(due.id)
        this.#due.delete(key)
      } else if (due.at < earliest) earliest = due.at
    }
    this.#earliest = earliest
    return taken.sort(MessageId.compare)
  }

  clear(): void {
    this.#due.clear()
    this.#earliest = Infinity
  }
}
