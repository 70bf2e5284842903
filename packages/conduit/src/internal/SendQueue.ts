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
  /** Why the conduit takes no items any more. */
  readonly refusal: () => ConduitError
}

/** The way into the replay buffer: senders that find no room wait here, first come, first served. */
export class SendQueue {
  /** Longest item that the options, the window and the current link allow. */
  itemLimit: number
  /** Whether items are taken at all; what `refusal` says is then why not. */
  open = true
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
    if (!this.open) return this.target.refusal()
    const limit = this.itemLimit
    return bytes > limit ? ConduitErrors.make({ _tag: "ItemTooLarge", bytes, limit }) : undefined
  }

  /** Numbers and stores an item that was not refused, if it fits and nobody waits before it; its number, or -1. */
  trySend(item: Uint8Array): number {
    return this.senders.length > 0 || !this.target.buffer.fits(item.length) ? -1 : this.target.append(item)
  }

  /** Numbers and stores an item now, or not at all; returns whether it did. */
  offer(item: Uint8Array): boolean {
    return this.open && item.length <= this.itemLimit && this.trySend(item) >= 0
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

  /** Takes nothing more, and turns away who waits. */
  close(): void {
    this.open = false
    for (const { done } of this.senders.splice(0)) done(this.target.refusal())
  }

  /** Lets in whom there is room for. */
  admit(): void {
    const { append, buffer } = this.target
    while (this.open && this.senders.length > 0) {
      const first = this.senders[0]!
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
