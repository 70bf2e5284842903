/**
 * Key_Shared: each key has one consumer at a time, and its entries go out in order.
 */
import type { Consumer } from "./Consumer.ts"
import { fail, type Failure } from "./Failure.ts"
import type { Entry } from "./Log.ts"
import { murmur } from "./Murmur.ts"
import { isReady } from "./Shared.ts"
import type { Dispatcher, Subscription } from "./Subscription.ts"

/** Hash slots of keys, 0 … 65535. */
export const KEY_RANGE = 65_536

const RING_POINTS = 100
/** Entries of blocked keys that are put aside before reading stops. */
const LOOK_AHEAD = 2000

export const slotOf = (entry: Entry): number =>
  murmur(entry.key ?? `${entry.metadata.producerName}-${entry.metadata.sequenceId}`) % KEY_RANGE

export class KeyShared implements Dispatcher {
  readonly #subscription: Subscription
  #ring: ReadonlyArray<{ readonly slot: number; readonly consumer: Consumer }> = []
  /** Who holds entries of a slot, and how many. */
  readonly #holders = new Map<number, { readonly consumer: Consumer; count: number }>()

  constructor(subscription: Subscription) {
    this.#subscription = subscription
  }

  added(consumer: Consumer): Failure | undefined {
    const { consumers } = this.#subscription
    const first = consumers[0]
    if (first !== undefined && (first.ranges === undefined) !== (consumer.ranges === undefined)) {
      return fail("ConsumerAssignError", "Subscription is of a different key-shared mode")
    }
    const taken = consumers.flatMap(({ ranges }) => ranges ?? [])
    const conflict = consumer.ranges?.find((range) =>
      taken.some((other) => range.start <= other.end && other.start <= range.end)
    )
    if (conflict !== undefined) {
      return fail("ConsumerAssignError", `Range conflict with another consumer: [${conflict.start}, ${conflict.end}]`)
    }
    consumers.push(consumer)
    this.#place()
    return undefined
  }

  removed(consumer: Consumer): void {
    for (const index of consumer.pending.keys()) this.#release(consumer, index, false)
    this.#place()
    if (this.#subscription.consumers.length === 0) this.rewind()
  }

  rewind(): void {
    const subscription = this.#subscription
    this.#holders.clear()
    subscription.replay.clear()
    subscription.delayed.clear()
    subscription.next = subscription.cursor.head
  }

  redeliver(consumer: Consumer, indexes: ReadonlyArray<number> | undefined): void {
    for (const index of indexes ?? [...consumer.pending.keys()]) this.#release(consumer, index, true)
  }

  settled(entry: Entry): void {
    this.#let(slotOf(entry))
  }

  dispatch(now: number): void {
    const subscription = this.#subscription
    // Oldest first, and readiness only ever falls in one pass: what has to stay is never overtaken by its own slot.
    for (const index of subscription.replay.values()) {
      const entry = subscription.log.get(index)
      if (entry === undefined || subscription.cursor.isAcked(index)) subscription.replay.delete(index)
      else if (this.#offer(entry)) subscription.replay.delete(index)
    }
    while (
      subscription.replay.size < LOOK_AHEAD &&
      subscription.consumers.some((consumer) => isReady(subscription, consumer))
    ) {
      const entry = subscription.read(now)
      if (entry === undefined) return
      if (!this.#offer(entry)) subscription.replay.add(entry.index)
    }
  }

  #offer(entry: Entry): boolean {
    const slot = slotOf(entry)
    const consumer = this.#select(slot)
    const holder = this.#holders.get(slot)
    if (consumer === undefined || !isReady(this.#subscription, consumer)) return false
    // Order within a key holds over a change of consumers: the next one waits until the last has settled.
    if (holder !== undefined && holder.consumer !== consumer && !consumer.allowOutOfOrder) return false
    if (holder?.consumer === consumer) holder.count++
    else this.#holders.set(slot, { consumer, count: 1 })
    this.#subscription.send(consumer, entry)
    return true
  }

  #release(consumer: Consumer, index: number, counted: boolean): void {
    const entry = this.#subscription.log.get(index)
    if (this.#subscription.giveBack(consumer, index, counted) && entry !== undefined) this.#let(slotOf(entry))
  }

  #let(slot: number): void {
    const holder = this.#holders.get(slot)
    if (holder !== undefined && --holder.count <= 0) this.#holders.delete(slot)
  }

  #place(): void {
    this.#ring = this.#subscription.consumers.flatMap((consumer) =>
      Array.from(
        { length: RING_POINTS },
        (_, point) => ({ slot: murmur(`${consumer.name}${point}`) % KEY_RANGE, consumer })
      )
    ).sort((a, b) => a.slot - b.slot)
  }

  #select(slot: number): Consumer | undefined {
    const { consumers } = this.#subscription
    if (consumers[0]?.ranges !== undefined) {
      return consumers.find(({ ranges }) => ranges?.some(({ end, start }) => start <= slot && slot <= end))
    }
    return (this.#ring.find((point) => point.slot >= slot) ?? this.#ring[0])?.consumer
  }
}
