/**
 * Exclusive and Failover: one active consumer reads the log in order, others stand by.
 */
import type { Consumer } from "./Consumer.ts"
import { fail, type Failure } from "./Failure.ts"
import { murmur } from "./Murmur.ts"
import type { Dispatcher, Subscription } from "./Subscription.ts"

const RING_POINTS = 100

export class SingleActive implements Dispatcher {
  readonly #subscription: Subscription
  readonly #exclusive: boolean
  #active: Consumer | undefined

  constructor(subscription: Subscription, exclusive: boolean) {
    this.#subscription = subscription
    this.#exclusive = exclusive
  }

  added(consumer: Consumer): Failure | undefined {
    const { consumers } = this.#subscription
    if (this.#exclusive && consumers.length > 0) return fail("ConsumerBusy", "Exclusive consumer is already connected")
    consumers.push(consumer)
    this.#elect(consumer)
    return undefined
  }

  removed(consumer: Consumer): void {
    if (this.#active !== consumer) return
    this.#active = undefined
    this.rewind()
    this.#elect(undefined)
  }

  rewind(): void {
    const subscription = this.#subscription
    for (const consumer of subscription.consumers) {
      consumer.pending.clear()
      consumer.unacked = 0
    }
    subscription.next = subscription.cursor.head
  }

  dispatch(now: number): void {
    const consumer = this.#active
    if (consumer === undefined) return
    while (this.#active === consumer && consumer.permits > 0 && consumer.outlet.writable) {
      const entry = this.#subscription.read(now)
      if (entry === undefined) return
      this.#subscription.send(consumer, entry)
    }
  }

  redeliver(consumer: Consumer): void {
    // Order matters here, so single entries cannot be sent again: the whole window is.
    if (consumer === this.#active) this.rewind()
  }

  settled(): void {}

  /** The broker's choice: highest priority, then by partition number, or by a hash ring for a topic without partitions. */
  #choose(): Consumer | undefined {
    const { consumers, partition, topic } = this.#subscription
    if (consumers.length === 0) return undefined
    const best = Math.min(...consumers.map(({ priority }) => priority))
    const eligible = consumers.filter(({ priority }) => priority === best)
    const byName = eligible.slice().sort((a, b) => a.name < b.name ? -1 : a.name > b.name ? 1 : 0)
    if (partition >= 0) return byName[partition % byName.length]
    const ring = byName.flatMap((consumer) =>
      Array.from({ length: RING_POINTS }, (_, point) => ({ consumer, hash: murmur(`${consumer.name}${point}`) }))
    ).sort((a, b) => a.hash - b.hash)
    const hash = murmur(topic)
    return (ring.find((point) => point.hash >= hash) ?? ring[0])?.consumer
  }

  #elect(joined: Consumer | undefined): void {
    const previous = this.#active
    const chosen = this.#choose()
    this.#active = chosen
    if (chosen === undefined || this.#exclusive) return
    if (chosen !== previous) {
      if (previous !== undefined) this.rewind()
      for (const consumer of this.#subscription.consumers) {
        consumer.outlet.activeChange(consumer.id, consumer === chosen)
      }
    } else if (joined !== undefined) {
      joined.outlet.activeChange(joined.id, false)
    }
  }
}
