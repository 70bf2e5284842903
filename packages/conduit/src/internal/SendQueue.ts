import * as ConduitErrors from "../ConduitError.ts"
import type { ConduitError } from "../ConduitError.ts"
import type { ReplayBuffer } from "../core/ReplayBuffer.ts"

interface Waiting {
  readonly items: ReadonlyArray<Uint8Array>
  next: number
  readonly done: (result: number | ConduitError) => void
}

/** What a queue needs to know and do. */
export interface SendTarget {
  readonly buffer: ReplayBuffer
  /** Numbers and stores an item that fits. */
  readonly append: (item: Uint8Array) => number
  /** Why the conduit takes no items any more, if so. */
  readonly refusal: () => ConduitError | undefined
}

/** The way into the replay buffer: senders that find no room wait here, first come, first served. */
export class SendQueue {
  /** Longest item that the options, the window and the current link allow. */
  itemLimit: number
  private readonly target: SendTarget
  private readonly senders: Array<Waiting> = []

  constructor(target: SendTarget, itemLimit: number) {
    this.target = target
    this.itemLimit = itemLimit
  }

  /** Senders that wait for room. */
  get waiting(): number {
    return this.senders.length
  }

  /** Why an item of this size cannot be sent at all, if so. */
  refuse(bytes: number): ConduitError | undefined {
    const limit = this.itemLimit
    return this.target.refusal() ??
      (bytes > limit ? ConduitErrors.make({ _tag: "ItemTooLarge", bytes, limit }) : undefined)
  }

  /** Numbers and stores an item that was not refused, if it fits and nobody waits before it; its number, or -1. */
  trySend(item: Uint8Array): number {
    return this.senders.length > 0 || !this.target.buffer.fits(item.length) ? -1 : this.target.append(item)
  }

  /** Numbers and stores an item now, or not at all; returns whether it did. */
  offer(item: Uint8Array): boolean {
    return item.length <= this.itemLimit && this.target.refusal() === undefined && this.trySend(item) >= 0
  }

  /** Queues items behind every earlier sender; `done` gets the last number, or why it failed. Returns how to cancel. */
  push(items: ReadonlyArray<Uint8Array>, done: Waiting["done"]): () => void {
    const waiting: Waiting = { items, next: 0, done }
    this.senders.push(waiting)
    this.admit()
    return () => {
      const index = this.senders.indexOf(waiting)
      if (index >= 0) this.senders.splice(index, 1)
      this.admit()
    }
  }

  /** Lets in whom there is room for, or turns everyone away: after a trim, and when the conduit ends. */
  admit(): void {
    const { append, buffer, refusal } = this.target
    while (this.senders.length > 0) {
      const first = this.senders[0]!
      const refused = refusal()
      if (refused !== undefined) {
        this.senders.shift()
        first.done(refused)
        continue
      }
      let seq = -1
      while (first.next < first.items.length && buffer.fits(first.items[first.next]!.length)) {
        seq = append(first.items[first.next++]!)
      }
      if (first.next < first.items.length) return
      this.senders.shift()
      first.done(seq)
    }
  }
}
