/** The events of one page as a subscriber gets them: each knows the cursor to come back to just after it. */
import * as Result from "effect/Result"
import type * as Cursor from "../Cursor.ts"
import type { StoredEvent } from "../Event.ts"
import type { BusEvent } from "../Subscription.ts"

/** What cursors inside a page are made of. They are asked for rarely, or one after another: the walk goes on where it was. */
class Trail {
  private readonly start: Cursor.Cursor
  private readonly end: Cursor.Cursor
  private readonly events: ReadonlyArray<StoredEvent>
  private readonly rotation: ReadonlyArray<number>
  private readonly encode: (cursor: Cursor.Cursor) => Result.Result<string, unknown>
  private walked = 0
  /** Positions behind the events walked, but for those in `fresh`. */
  private positions: Map<number, string>
  /** The last event walked of each shard whose position was not asked for since. */
  private readonly fresh = new Map<number, StoredEvent>()

  constructor(
    start: Cursor.Cursor,
    page: {
      readonly events: ReadonlyArray<StoredEvent>
      readonly cursor: Cursor.Cursor
      readonly rotation: ReadonlyArray<number>
    },
    encode: (cursor: Cursor.Cursor) => Result.Result<string, unknown>
  ) {
    this.start = start
    this.end = page.cursor
    this.events = page.events
    this.rotation = page.rotation
    this.encode = encode
    this.positions = new Map(start.positions)
  }

  /** The cursor just behind the event at `index`. */
  behind(index: number): string {
    // Behind the last one, what the page passed over besides is passed too.
    if (index === this.events.length - 1) return Result.getOrThrow(this.encode(this.end))
    if (index < this.walked - 1) {
      this.walked = 0
      this.positions = new Map(this.start.positions)
      this.fresh.clear()
    }
    for (; this.walked <= index; this.walked++) {
      const event = this.events[this.walked]!
      this.fresh.set(event.shard, event)
    }
    for (const [shard, event] of this.fresh) this.positions.set(shard, event.id)
    this.fresh.clear()
    return Result.getOrThrow(
      this.encode({ ...this.start, positions: this.positions, turn: this.turnAfter(this.events[index]!.shard) })
    )
  }

  /** The shard to be served after this one; null for the lowest, with which rotations begin. */
  private turnAfter(shard: number): number | null {
    const next = this.rotation[(this.rotation.indexOf(shard) + 1) % this.rotation.length]!
    return this.rotation.some((other) => other < next) ? next : null
  }
}

class TrailedEvent implements BusEvent {
  readonly #stored: StoredEvent
  readonly #trail: Trail
  readonly #index: number

  constructor(stored: StoredEvent, trail: Trail, index: number) {
    this.#stored = stored
    this.#trail = trail
    this.#index = index
  }

  get id(): string {
    return this.#stored.id
  }
  get shard(): number {
    return this.#stored.shard
  }
  get raw(): Uint8Array<ArrayBuffer> {
    return this.#stored.raw
  }
  get insertionTs(): bigint {
    return this.#stored.insertionTs
  }
  get dedupId(): string | null {
    return this.#stored.dedupId
  }
  get channel(): string | null {
    return this.#stored.channel
  }
  get cursor(): string {
    return this.#trail.behind(this.#index)
  }
}

export const events = (...page: ConstructorParameters<typeof Trail>): Array<BusEvent> => {
  const trail = new Trail(...page)
  const stored = page[1].events
  const events: Array<BusEvent> = []
  for (let i = 0; i < stored.length; i++) events.push(new TrailedEvent(stored[i]!, trail, i))
  return events
}
