/**
 * Everything one shard has: its ring, its ledger, its batching policy, its counters.
 */
import type { Batch } from "../Batch.ts"
import type { Batcher } from "./Batcher.ts"
import type { Lease } from "./Block.ts"
import type { Producers } from "./Producers.ts"
import type { Cut, Ring } from "./Ring.ts"
import { type Loss, Settlement } from "./Settlement.ts"
import { Signal } from "./Signal.ts"

/** A batch on its way, with what is needed to settle it. */
export interface Shipment {
  readonly batch: Batch
  readonly cut: Cut
  /** Ordinals of the events taken. */
  readonly from: number
  readonly to: number
  /** Set when a call was given up without an answer: the adapter may still be reading the memory of the batch. */
  abandoned: boolean
}

/** A producer's fiber waiting for room; `attempt` tries again and says whether it is done waiting. */
export interface Suspended {
  readonly attempt: () => boolean
  readonly refuse: () => void
}

/** One shard of a bus. */
export class Lane {
  readonly id: number
  readonly ring: Ring
  readonly batcher: Batcher
  readonly settlement = new Settlement()
  readonly signal = new Signal()
  /** Ring length at which the sleeping worker wants to be woken. */
  wakeAt = Number.POSITIVE_INFINITY
  /** The batch that is with the adapter. */
  inFlight: Shipment | undefined = undefined
  /** Whether an event has found no room since the last cut: then a batch is not held back for company. */
  isCrowded = false
  /** Sequence of the next event to be put in a batch; saturates at the largest safe integer. */
  nextSequence: number
  rejected = 0
  evicted = 0
  failed = 0
  stranded = 0
  dispatched = 0
  batchesDispatched = 0
  batchesFailed = 0
  retries = 0
  #waiting: Array<Suspended> = []
  #observed = 0

  constructor(id: number, ring: Ring, batcher: Batcher, nextSequence: number) {
    this.id = id
    this.ring = ring
    this.batcher = batcher
    this.nextSequence = nextSequence
  }

  /** Whether producers wait for room: then newcomers queue behind them. */
  get isContended(): boolean {
    return this.#waiting.length > 0
  }

  /** Whether the worker sleeps: what comes now wakes it, or waits for company. */
  get isQuiet(): boolean {
    return this.wakeAt !== Number.POSITIVE_INFINITY
  }

  /** Appends an event that the ring accepts, and wakes the worker when it has enough. */
  accept(payload: Uint8Array, from: number, to: number, millis: number, nanos: number, channel: number): void {
    this.ring.push(payload, from, to, millis, nanos, channel)
    this.settlement.accepted++
    if (this.ring.length >= this.wakeAt) {
      this.wakeAt = Number.POSITIVE_INFINITY
      this.signal.raise()
    }
  }

  /** Wakes the worker whatever is in the ring: somebody waits, or the bus closes. */
  wake(): void {
    this.wakeAt = Number.POSITIVE_INFINITY
    this.signal.raise()
  }

  /** Notes that an event found no room, and wakes a worker that waits for company: it has all it can get. */
  crowd(): void {
    this.isCrowded = true
    if (this.wakeAt !== Number.POSITIVE_INFINITY) this.wake()
  }

  /** Drops the oldest queued events for a newer one, or none of them when one that is in its way belongs to a named producer. */
  makeRoom(length: number): boolean {
    const count = this.ring.inTheWayOf(length)
    if (count === -1) return false
    const from = this.settlement.accepted - this.ring.length + 1
    for (let i = 0; i < count; i++) this.ring.evict()
    this.evicted += count
    this.settlement.lose(from, from + count - 1, "evicted", undefined)
    if (this.inFlight === undefined) this.settlement.settle(from + count - 1)
    return true
  }

  /** Tells the batching policy what has arrived. */
  observeArrivals(now: number): void {
    this.batcher.observe(this.settlement.accepted - this.#observed, now)
    this.#observed = this.settlement.accepted
  }

  /** Takes up to `max` events as a batch; null when all of them were stale and settled at once. */
  ship(max: number, nonce: bigint, channels: ReadonlyArray<string>, producers: Producers): Shipment | null {
    const from = this.settlement.accepted - this.ring.length + 1
    const cut = this.ring.cut(max)
    this.isCrowded = false
    const to = from + cut.taken - 1
    for (const index of cut.stale) this.settlement.lose(from + index, from + index, "failed", undefined)
    this.failed += cut.stale.length
    if (cut.count === 0) {
      this.ring.release(cut, false)
      this.settlement.settle(to)
      return null
    }
    const sequenceStart = this.nextSequence
    this.nextSequence = Math.min(sequenceStart + cut.count, Number.MAX_SAFE_INTEGER)
    const marks = [...cut.marks].flatMap(([lease, sequence]) =>
      producers.peek(lease.producer)?.marksAt(sequence, this.id) ?? []
    )
    const batch: Batch = {
      shard: this.id,
      nonce,
      sequenceStart,
      count: cut.count,
      byteLength: cut.byteLength,
      segments: cut.segments,
      channels,
      marks
    }
    return this.inFlight = { batch, cut, from, to, abandoned: false }
  }

  /** The adapter has the shipment. */
  stored(shipment: Shipment, producers: Producers): void {
    if (this.inFlight !== shipment) return
    this.dispatched += shipment.batch.count
    this.batchesDispatched++
    for (const [lease, sequence] of shipment.cut.marks) producers.peek(lease.producer)?.stored(sequence, this.id)
    this.ring.release(shipment.cut, shipment.abandoned)
    this.#landed()
  }

  /** The adapter refused the shipment for good, or its answer is not known. */
  lost(shipment: Shipment, loss: Loss, counted: "failed" | "stranded", cause: unknown, producers: Producers): void {
    if (this.inFlight !== shipment) return
    this[counted] += shipment.batch.count
    this.batchesFailed++
    // The stale ones between them were lost when the batch was cut.
    let from = shipment.from
    for (const index of shipment.cut.stale) {
      this.settlement.lose(from, shipment.from + index - 1, loss, cause)
      from = shipment.from + index + 1
    }
    this.settlement.lose(from, shipment.to, loss, cause)
    this.#breakProducers(shipment.cut.marks, loss, cause, producers)
    this.ring.release(shipment.cut, true)
    this.#landed()
  }

  /** Gives up everything still queued, and a batch that the adapter does not let go of. */
  strand(producers: Producers): void {
    if (this.inFlight !== undefined) this.lost(this.inFlight, "unknown", "stranded", undefined, producers)
    while (!this.ring.isEmpty) {
      const from = this.settlement.accepted - this.ring.length + 1
      const cut = this.ring.cut(this.ring.length)
      this.stranded += cut.taken
      this.settlement.lose(from, from + cut.taken - 1, "stranded", undefined)
      this.#breakProducers(cut.marks, "stranded", undefined, producers)
      this.ring.release(cut, false)
    }
    this.#landed()
  }

  /** Queues a producer that found no room. Returns how to leave the queue. */
  suspend(waiting: Suspended): () => void {
    this.#waiting.push(waiting)
    // Its fiber may have been off since it found no room, and room may have come meanwhile.
    if (this.#waiting.length === 1) this.admitWaiting()
    return () => {
      const index = this.#waiting.indexOf(waiting)
      if (index === -1) return
      this.#waiting.splice(index, 1)
      // Whoever comes next may fit where this one did not.
      if (index === 0) this.admitWaiting()
    }
  }

  /** Lets waiting producers in, first come first served, for as long as there is room. */
  admitWaiting(): void {
    while (this.#waiting.length > 0) {
      const first = this.#waiting[0]!
      if (!first.attempt()) return
      if (this.#waiting[0] === first) this.#waiting.shift()
    }
  }

  /** Sends every waiting producer away. */
  refuseWaiting(): void {
    for (const waiting of this.#waiting.splice(0)) waiting.refuse()
  }

  #breakProducers(marks: ReadonlyMap<Lease, number>, loss: Loss, cause: unknown, producers: Producers): void {
    for (const lease of marks.keys()) producers.peek(lease.producer)?.lost(this.id, loss, cause)
  }

  #landed(): void {
    this.inFlight = undefined
    this.settlement.settle(this.settlement.accepted - this.ring.length)
  }
}
