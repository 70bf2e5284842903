/**
 * Shared: entries go round the consumers that have permits, those of the best priority first.
 */
import type { Consumer } from "./Consumer.ts"
import type { Entry } from "./Log.ts"
import type { Dispatcher, Subscription } from "./Subscription.ts"

export const isReady = (subscription: Subscription, consumer: Consumer): boolean =>
  consumer.permits > 0 && consumer.outlet.writable && consumer.unacked < subscription.maxUnacked

export class Shared implements Dispatcher {
  readonly #subscription: Subscription
  #turn = 0

  constructor(subscription: Subscription) {
    this.#subscription = subscription
  }

  added(consumer: Consumer): undefined {
    this.#subscription.consumers.push(consumer)
  }

  removed(consumer: Consumer): void {
    for (const index of consumer.pending.keys()) this.#subscription.giveBack(consumer, index, false)
    if (this.#subscription.consumers.length === 0) this.rewind()
  }

  rewind(): void {
    const subscription = this.#subscription
    subscription.replay.clear()
    subscription.delayed.clear()
    subscription.next = subscription.cursor.head
  }

  dispatch(now: number): void {
    while (true) {
      const consumer = this.#pick()
      if (consumer === undefined) return
      const entry = this.#take(now)
      if (entry === undefined) return
      this.#turn++
      this.#subscription.send(consumer, entry)
    }
  }

  #take(now: number): Entry | undefined {
    const { log, replay } = this.#subscription
    for (let first = replay.first; first !== undefined; first = replay.first) {
      replay.delete(first)
      const entry = log.get(first)
      if (entry !== undefined && !this.#subscription.cursor.isAcked(first)) return entry
    }
    return this.#subscription.read(now)
  }

  #pick(): Consumer | undefined {
    const ready = this.#subscription.consumers.filter((consumer) => isReady(this.#subscription, consumer))
    if (ready.length === 0) return undefined
    const best = Math.min(...ready.map(({ priority }) => priority))
    const first = ready.filter(({ priority }) => priority === best)
    return first[this.#turn % first.length]
  }

  redeliver(consumer: Consumer, indexes: ReadonlyArray<number> | undefined): void {
    for (const index of indexes ?? [...consumer.pending.keys()]) this.#subscription.giveBack(consumer, index, true)
  }

  settled(): void {}
}
