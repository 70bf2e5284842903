/**
 * A subscription: its cursor, its consumers, and what of the log goes to which of them. How entries are handed out is the dispatcher's part.
 */
import { Consumer, type ConsumerOptions } from "./Consumer.ts"
import { type AckSet, Cursor, type CursorState } from "./Cursor.ts"
import { fail, type Failure } from "./Failure.ts"
import { IndexSet } from "./IndexSet.ts"
import { KeyShared } from "./KeyShared.ts"
import type { Entry, Log } from "./Log.ts"
import type { Redirect } from "./Outlet.ts"
import { Shared } from "./Shared.ts"
import { SingleActive } from "./SingleActive.ts"

export type SubscriptionType = "Exclusive" | "Shared" | "Failover" | "Key_Shared"

/** Hands entries to consumers while there are permits. */
export interface Dispatcher {
  readonly added: (consumer: Consumer) => Failure | undefined
  readonly removed: (consumer: Consumer) => void
  readonly dispatch: (now: number) => void
  readonly redeliver: (consumer: Consumer, indexes: ReadonlyArray<number> | undefined) => void
  readonly settled: (entry: Entry) => void
  /** Everything read and not settled is to be read again. */
  readonly rewind: () => void
}

export interface SubscriptionOptions {
  readonly name: string
  readonly log: Log
  readonly topic: string
  readonly partition: number
  readonly durable: boolean
  /** Index of the first entry it sees. */
  readonly from: number
  readonly maxUnacked: number
  readonly properties: ReadonlyArray<readonly [string, string]>
  /** Called when an entry was put aside until it is due. */
  readonly onDelayed: () => void
}

export class Subscription {
  readonly name: string
  readonly topic: string
  readonly log: Log
  readonly partition: number
  readonly durable: boolean
  readonly maxUnacked: number
  readonly properties: ReadonlyArray<readonly [string, string]>
  readonly cursor: Cursor
  readonly consumers: Array<Consumer> = []
  /** Read before, to be sent again. */
  readonly replay = new IndexSet()
  /** Not due yet, with the time when they are. */
  readonly delayed = new Map<number, number>()
  readonly redeliveries = new Map<number, number>()
  /** Index of the next entry that was never read. */
  next: number
  type: SubscriptionType | undefined
  /** What is shown of an entry, if anything, to consumers that read the compacted topic. */
  view: ((entry: Entry) => Entry | undefined) | undefined
  readonly #onDelayed: () => void
  #dispatcher: Dispatcher | undefined
  #dispatching = false
  #wanted = false

  constructor(options: SubscriptionOptions) {
    this.name = options.name
    this.topic = options.topic
    this.log = options.log
    this.partition = options.partition
    this.durable = options.durable
    this.maxUnacked = options.maxUnacked
    this.properties = options.properties
    this.#onDelayed = options.onDelayed
    this.cursor = new Cursor(options.from)
    this.next = options.from
  }

  get delays(): boolean {
    return this.type === "Shared" || this.type === "Key_Shared"
  }

  get countsRedeliveries(): boolean {
    return this.type === "Shared" || this.type === "Key_Shared"
  }

  attach(type: SubscriptionType, options: ConsumerOptions): Consumer | Failure {
    if (this.consumers.length > 0 && this.type !== type) {
      return fail("ConsumerBusy", "Subscription is of different type")
    }
    if (this.consumers.length === 0 && (this.type !== type || this.#dispatcher === undefined)) {
      this.type = type
      this.#dispatcher = type === "Shared"
        ? new Shared(this)
        : type === "Key_Shared"
        ? new KeyShared(this)
        : new SingleActive(this, type === "Exclusive")
      this.#dispatcher.rewind()
    }
    const consumer = new Consumer(options)
    const refused = this.#dispatcher!.added(consumer)
    return refused ?? consumer
  }

  detach(consumer: Consumer): void {
    const at = this.consumers.indexOf(consumer)
    if (at < 0) return
    this.consumers.splice(at, 1)
    this.#dispatcher?.removed(consumer)
    consumer.pending.clear()
    consumer.unacked = 0
  }

  /** Tells every consumer to go, and forgets them. */
  closeConsumers(redirect: Redirect | undefined): void {
    for (const consumer of this.consumers.slice()) {
      this.detach(consumer)
      consumer.outlet.closeConsumer(consumer.id, redirect)
    }
  }

  flow(consumer: Consumer, permits: number): void {
    consumer.permits += permits
  }

  dispatch(now: number): void {
    this.#wanted = true
    // What is sent may make room or end a connection at once, and ask for more from inside.
    if (this.#dispatching) return
    this.#dispatching = true
    try {
      while (this.#wanted) {
        this.#wanted = false
        for (const [index, due] of this.delayed) {
          if (due > now) continue
          this.delayed.delete(index)
          this.replay.add(index)
        }
        this.#dispatcher?.dispatch(now)
      }
    } finally {
      this.#dispatching = false
    }
  }

  /** The next entry nobody has read, in log order; entries that are not due are put aside. */
  read(now: number): Entry | undefined {
    while (this.next < this.log.end) {
      const stored = this.log.get(this.next++)
      if (stored === undefined || this.cursor.isAcked(stored.index)) continue
      const entry = this.view === undefined ? stored : this.view(stored)
      if (entry === undefined) continue
      const due = entry.metadata.deliverAtTime
      if (this.delays && due !== undefined && due > now) {
        this.delayed.set(entry.index, due)
        this.#onDelayed()
        continue
      }
      return entry
    }
    return undefined
  }

  send(consumer: Consumer, entry: Entry): void {
    const open = this.cursor.openCount(entry.index, entry.messages)
    consumer.pending.set(entry.index, open)
    consumer.unacked += open
    consumer.permits -= open
    consumer.outlet.deliver({
      consumerId: consumer.id,
      entry,
      partition: this.partition,
      redeliveryCount: this.countsRedeliveries ? this.redeliveries.get(entry.index) ?? 0 : 0,
      ackSet: this.cursor.openOf(entry.index),
      consumerEpoch: consumer.epoch
    })
  }

  acknowledge(index: number, remaining: AckSet | undefined): void {
    const entry = this.log.get(index)
    if (entry === undefined) return
    const changed = remaining === undefined || remaining.length === 0
      ? this.cursor.ack(index)
      : this.cursor.ackPart(index, entry.messages, remaining)
    if (!changed) return
    if (this.cursor.isAcked(index)) {
      this.#settle(entry)
      return
    }
    const open = this.cursor.openCount(index, entry.messages)
    for (const consumer of this.consumers) {
      const before = consumer.pending.get(index)
      if (before === undefined) continue
      consumer.pending.set(index, open)
      consumer.unacked -= before - open
    }
  }

  acknowledgeUpTo(index: number, remaining: AckSet | undefined): void {
    const partial = remaining !== undefined && remaining.length > 0
    this.cursor.ackBelow(partial ? index : index + 1)
    if (partial) this.acknowledge(index, remaining)
    for (const consumer of this.consumers) {
      for (const pending of consumer.pending.keys()) {
        if (this.cursor.isAcked(pending)) consumer.settle(pending)
      }
    }
    this.replay.deleteBelow(this.cursor.head)
    for (const at of this.delayed.keys()) if (this.cursor.isAcked(at)) this.delayed.delete(at)
    for (const at of this.redeliveries.keys()) if (this.cursor.isAcked(at)) this.redeliveries.delete(at)
    this.next = Math.max(this.next, this.cursor.head)
  }

  #settle(entry: Entry): void {
    for (const consumer of this.consumers) consumer.settle(entry.index)
    this.replay.delete(entry.index)
    this.delayed.delete(entry.index)
    this.redeliveries.delete(entry.index)
    this.#dispatcher?.settled(entry)
  }

  /** `indexes` absent: everything the consumer holds. */
  redeliver(consumer: Consumer, indexes: ReadonlyArray<number> | undefined): void {
    this.#dispatcher?.redeliver(consumer, indexes)
  }

  /** Puts an entry back that a consumer held; counts as a redelivery when the consumer asked, not when it left. */
  giveBack(consumer: Consumer, index: number, counted: boolean): boolean {
    if (consumer.settle(index) === undefined) return false
    if (this.cursor.isAcked(index)) return true
    if (counted) this.redeliveries.set(index, (this.redeliveries.get(index) ?? 0) + 1)
    this.replay.add(index)
    return true
  }

  /** Moves the cursor; whoever is attached must have been detached. */
  seek(index: number): void {
    this.cursor.reset(index)
    this.#forget()
    this.next = index
    this.#dispatcher?.rewind()
  }

  #forget(): void {
    this.replay.clear()
    this.delayed.clear()
    this.redeliveries.clear()
  }

  /** Messages that are not acknowledged. */
  get backlog(): number {
    let open = 0
    for (const entry of this.log.from(this.cursor.head)) open += this.cursor.openCount(entry.index, entry.messages)
    return open
  }

  get hasReachedEnd(): boolean {
    return this.cursor.head >= this.log.end
  }

  /** When something that waits is due, milliseconds since the epoch. */
  get nextDue(): number | undefined {
    let due: number | undefined
    for (const at of this.delayed.values()) if (due === undefined || at < due) due = at
    return due
  }

  /** Starts over from what is durable, as after a crash of the broker. */
  recover(state: CursorState): void {
    this.consumers.length = 0
    this.#dispatcher = undefined
    this.type = undefined
    this.cursor.restore(state)
    this.#forget()
    this.next = this.cursor.head
  }
}
