import type { ItemBatch } from "../core/ItemBatch.ts"

/** What has arrived and was not taken, and who waits for it. */
export class Inbox {
  /** Items that wait. */
  items = 0
  /** Bytes of the items that wait. */
  bytes = 0
  /** Whether nothing may be taken for now. */
  held = false
  private batches: Array<ItemBatch | undefined> = []
  private head = 0
  /** Items of the front batch that were taken one by one. */
  private frontTaken = 0
  private readonly readers: Array<() => void> = []

  get isEmpty(): boolean {
    return this.held || this.batches.length === this.head
  }

  push(batch: ItemBatch): void {
    this.batches.push(batch)
    this.items += batch.count
    this.bytes += batch.itemBytes
  }

  /** Everything of the front batch that is left. */
  shiftBatch(): ItemBatch | undefined {
    const front = this.batches[this.head]
    if (this.held || front === undefined) return undefined
    const batch = this.frontTaken === 0 ? front : front.from(front.seq(this.frontTaken))!
    this.drop()
    this.items -= batch.count
    this.bytes -= batch.itemBytes
    return batch
  }

  /** The front item and its number. */
  shiftItem(): { readonly seq: number; readonly item: Uint8Array } | undefined {
    const front = this.batches[this.head]
    if (this.held || front === undefined) return undefined
    const index = this.frontTaken
    const item = front.at(index)
    if (index + 1 === front.count) this.drop()
    else this.frontTaken++
    this.items--
    this.bytes -= item.length
    return { seq: front.seq(index), item }
  }

  /** Calls back once when something can be taken or never will be; returns how to cancel. */
  onReadable(done: () => void): () => void {
    this.readers.push(done)
    return () => {
      const index = this.readers.indexOf(done)
      if (index >= 0) this.readers.splice(index, 1)
    }
  }

  /** Wakes everyone who waits. */
  wake(): void {
    for (const wake of this.readers.splice(0)) wake()
  }

  private drop(): void {
    this.frontTaken = 0
    this.batches[this.head++] = undefined
    if (this.head === this.batches.length) {
      this.batches = []
      this.head = 0
    }
  }
}
