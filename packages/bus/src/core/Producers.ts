/**
 * Idempotent publishing: what is known of the callers that name themselves and number their events.
 *
 * The events of one producer are spread over the shards by content or key, and a shard keeps them in order. So one number a shard, the
 * highest sequence stored there, decides for any event whether it is stored already: the event's shard is a function of the event.
 * When the number of shards changes, that function changes with it; the old numbers keep answering for the events stored under them.
 */
import type { ProducerMark } from "../Batch.ts"
import type { Lease } from "./Block.ts"
import type { Loss } from "./Settlement.ts"

/** Shard count under which the mark of a producer's gap-free prefix is kept beside its per-shard marks. */
const PREFIX_MARK = 0

interface Mark {
  /** Highest sequence accepted into the shard. */
  accepted: number
  /** Highest sequence stored there. */
  stored: number
  lease: Lease | undefined
}

/** One named producer, as one bus sees it. */
export class Producer {
  readonly name: string
  readonly #shards: number
  readonly #marks: Array<Mark | undefined> = []
  /** Marks under other shard counts than the present one: never move again. */
  readonly #former: ReadonlyMap<number, ReadonlyMap<number, number>>
  /** Highest sequence ever stored or accepted. */
  #highest = 0
  /** Everything up to here was stored when this life of the producer began. */
  #prefix: number
  /** Highest sequence that may be submitted next. */
  next: number
  #begun = false
  /** Set once accepted events were lost or their fate is unknown: what is stored has to be read again before more is accepted. */
  broken = false
  /** The loss that broke it. */
  loss: { readonly loss: Loss; readonly cause: unknown } | undefined = undefined
  /** Calls that are publishing under it: it is not forgotten meanwhile. */
  holds = 0
  /** Set once the bus has dropped it: somebody else may be publishing under another object of this name. */
  forgotten = false

  /** `stored` are the marks in the store. `broken` is the state to take over from when events of this producer were lost. */
  constructor(name: string, shards: number, stored: ReadonlyArray<ProducerMark>, broken?: Producer) {
    this.name = name
    this.#shards = shards
    const former = new Map<number, Map<number, number>>()
    let prefix = 0
    for (const mark of stored) {
      if (mark.shards === PREFIX_MARK) {
        prefix = Math.max(prefix, mark.sequence)
        continue
      }
      this.#highest = Math.max(this.#highest, mark.sequence)
      if (mark.shards === shards) {
        this.#marks[mark.shard] = { accepted: mark.sequence, stored: mark.sequence, lease: undefined }
      } else {
        const marks = former.get(mark.shards) ?? new Map<number, number>()
        marks.set(mark.shard, mark.sequence)
        former.set(mark.shards, marks)
      }
    }
    this.#former = former
    this.#prefix = prefix
    this.next = Math.max(this.#highest, prefix) + 1
    if (broken !== undefined) {
      // The caller has to close the gap first: it may not go on as if nothing had happened.
      this.#begun = true
      this.#prefix = Math.max(prefix, broken.prefix)
      this.next = this.#prefix + 1
    }
  }

  /**
   * Begins to accept events from `sequence`. A producer starts a life where its acknowledgements ended, so what lies before is stored.
   * False when it leaves a gap: the first number it may send is `next`.
   */
  begin(sequence: number): boolean {
    if (sequence > this.next) return false
    if (!this.#begun) {
      this.#begun = true
      this.#prefix = Math.max(this.#prefix, sequence - 1)
      this.next = sequence
    }
    return true
  }

  /** Whether this event was accepted before. `route` gives its shard under a shard count. */
  isDuplicate(sequence: number, shard: number, route: (shards: number) => number): boolean {
    if (sequence > this.#highest) return false
    return sequence <= (this.#marks[shard]?.accepted ?? 0) || this.#isStoredElsewhere(sequence, route)
  }

  /** Whether an event that {@link isDuplicate} is still on its way: then {@link isStored} says later whether it arrived. */
  isPending(sequence: number, shard: number, route: (shards: number) => number): boolean {
    return !this.isStored(sequence, shard) && !this.#isStoredElsewhere(sequence, route)
  }

  /** Whether `shard` holds an event that was accepted into it. */
  isStored(sequence: number, shard: number): boolean {
    return sequence <= (this.#marks[shard]?.stored ?? 0)
  }

  /** Whether the event was stored under another number of shards. */
  #isStoredElsewhere(sequence: number, route: (shards: number) => number): boolean {
    for (const [shards, marks] of this.#former) {
      if (sequence <= (marks.get(route(shards)) ?? 0)) return true
    }
    return false
  }

  /** Notes that `sequence` was submitted and is a duplicate. */
  skip(sequence: number): void {
    if (sequence >= this.next) this.next = sequence + 1
  }

  /** Notes that `sequence` was accepted into `shard`, and returns the lease to tag it with. */
  accept(sequence: number, shard: number): Lease {
    const mark = this.#marks[shard] ??= { accepted: 0, stored: 0, lease: undefined }
    mark.accepted = sequence
    if (sequence > this.#highest) this.#highest = sequence
    if (sequence >= this.next) this.next = sequence + 1
    return mark.lease ??= { producer: this.name, stale: false }
  }

  /** Notes that everything up to `sequence` in `shard` is stored. */
  stored(sequence: number, shard: number): void {
    const mark = this.#marks[shard]
    if (mark !== undefined && sequence > mark.stored) mark.stored = sequence
  }

  /** Notes that events accepted into `shard` were lost, or that nobody knows: what follows them there must not overtake them. */
  lost(shard: number, loss: Loss = "failed", cause?: unknown): void {
    const mark = this.#marks[shard]
    if (mark === undefined || mark.accepted === mark.stored) return
    this.#prefix = this.prefix
    this.broken = true
    // Not known is worse than any other loss: an answer about the events behind it must not say more than is known.
    if (this.loss === undefined || loss === "unknown") this.loss = { loss, cause }
    if (mark.lease !== undefined) mark.lease.stale = true
    mark.lease = undefined
    mark.accepted = mark.stored
  }

  /** Highest sequence below which, it included, everything is known to be stored. May lag behind the truth, never ahead. */
  get prefix(): number {
    return this.#prefixOnce(-1, 0)
  }

  /** The prefix as it will be once everything up to `sequence` in `shard` is stored too. */
  #prefixOnce(shard: number, sequence: number): number {
    if (!this.#begun || this.broken) return this.#prefix
    let prefix = this.next - 1
    for (let at = 0; at < this.#marks.length; at++) {
      const mark = this.#marks[at]
      if (mark === undefined) continue
      const stored = at === shard ? Math.max(mark.stored, sequence) : mark.stored
      if (mark.accepted > stored && stored < prefix) prefix = stored
    }
    return Math.max(prefix, this.#prefix)
  }

  get prefixMark(): ProducerMark {
    return { producer: this.name, shards: PREFIX_MARK, shard: 0, sequence: this.prefix }
  }

  /** Whether events of it are on their way, or calls under way. */
  get isBusy(): boolean {
    return this.holds > 0 || this.#marks.some((mark) => mark !== undefined && mark.accepted > mark.stored)
  }

  /** What to store with a batch of `shard` that ends at `sequence`, in one transaction with it. */
  marksAt(sequence: number, shard: number): ReadonlyArray<ProducerMark> {
    return [
      { producer: this.name, shards: this.#shards, shard, sequence },
      { producer: this.name, shards: PREFIX_MARK, shard: 0, sequence: this.#prefixOnce(shard, sequence) }
    ]
  }
}

/** The end of the gap-free prefix that stored marks prove. */
export const storedPrefix = (marks: ReadonlyArray<ProducerMark>): number =>
  marks.reduce((prefix, mark) => mark.shards === PREFIX_MARK ? Math.max(prefix, mark.sequence) : prefix, 0)

/**
 * The producers a bus remembers: as many as `limit`, and those that are busy. What is forgotten is read again from the store; those that
 * have a gap to close are forgotten last, because the store does not know of it.
 */
export class Producers {
  readonly #known = new Map<string, Producer>()
  readonly #limit: number

  constructor(limit: number) {
    this.#limit = limit
  }

  get(name: string): Producer | undefined {
    const producer = this.#known.get(name)
    if (producer !== undefined) {
      this.#known.delete(name)
      this.#known.set(name, producer)
    }
    return producer
  }

  /** Marks of the gap-free prefixes of all of them, as they are now. */
  get prefixes(): ReadonlyArray<ProducerMark> {
    return Array.from(this.#known.values(), (producer) => producer.prefixMark).filter((mark) => mark.sequence > 0)
  }

  /** Looks one up without making it the most recent. */
  peek(name: string): Producer | undefined {
    return this.#known.get(name)
  }

  add(producer: Producer): void {
    const former = this.#known.get(producer.name)
    if (former !== undefined) this.#forget(former)
    this.#shrink((candidate) => !candidate.isBusy && !candidate.broken)
    this.#shrink((candidate) => !candidate.isBusy)
    this.#known.set(producer.name, producer)
  }

  /** Makes room for one more, the oldest go first. */
  #shrink(isSpare: (candidate: Producer) => boolean): void {
    if (this.#known.size < this.#limit) return
    for (const candidate of this.#known.values()) {
      if (!isSpare(candidate)) continue
      this.#forget(candidate)
      if (this.#known.size < this.#limit) return
    }
  }

  #forget(producer: Producer): void {
    producer.forgotten = true
    this.#known.delete(producer.name)
  }
}
