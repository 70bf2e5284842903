/**
 * One attached consumer as its subscription sees it.
 */
import type { Outlet } from "./Outlet.ts"

export interface HashRange {
  readonly start: number
  /** Inclusive. */
  readonly end: number
}

export interface ConsumerOptions {
  readonly id: number
  readonly name: string
  readonly outlet: Outlet
  /** Lower is served first. */
  readonly priority: number
  /** Key_Shared with fixed ranges; `undefined` for automatic split. */
  readonly ranges: ReadonlyArray<HashRange> | undefined
  readonly allowOutOfOrder: boolean
  readonly epoch: bigint | undefined
  readonly properties: ReadonlyArray<readonly [string, string]>
}

export class Consumer {
  readonly id: number
  readonly name: string
  readonly outlet: Outlet
  readonly priority: number
  readonly ranges: ReadonlyArray<HashRange> | undefined
  readonly allowOutOfOrder: boolean
  readonly properties: ReadonlyArray<readonly [string, string]>
  epoch: bigint | undefined
  /** Messages that may still be sent; a batch may take it below zero. */
  permits = 0
  /** Entries sent and not settled, with the number of messages that are open in each. */
  readonly pending = new Map<number, number>()
  /** Messages sent and not acknowledged. */
  unacked = 0
  endSent = false

  constructor(options: ConsumerOptions) {
    this.id = options.id
    this.name = options.name
    this.outlet = options.outlet
    this.priority = options.priority
    this.ranges = options.ranges
    this.allowOutOfOrder = options.allowOutOfOrder
    this.epoch = options.epoch
    this.properties = options.properties
  }

  /** Takes an entry out of what is pending; the number of messages it still had open, `undefined` when it was not there. */
  settle(index: number): number | undefined {
    const open = this.pending.get(index)
    if (open === undefined) return undefined
    this.pending.delete(index)
    this.unacked -= open
    return open
  }
}
