/**
 * The synchronous half of publishing: route, stamp, push, apply the backpressure mode.
 */
import type { Lane } from "./Lane.ts"
import type { Timestamps } from "./Timestamps.ts"

/**
 * What happens when the ring of an event's shard is full.
 *
 * - `suspend`: the producer's fiber waits its turn, first come first served; it can be interrupted.
 * - `dropOldest`: the oldest queued event is dropped and counted. Events of named producers are never dropped: then the newcomer is refused.
 * - `dropNewest`: the event is refused; the rest of its call goes on.
 * - `failProducer`: the call is refused as a whole, nothing of it is published.
 */
export type Backpressure = "suspend" | "dropOldest" | "dropNewest" | "failProducer"

/** The way into the rings of one bus. */
export class Intake {
  readonly lanes: ReadonlyArray<Lane>
  readonly mode: Backpressure
  readonly maxEventBytes: number
  readonly #timestamps: Timestamps
  /** Events refused because a shard could not be chosen. */
  unrouted = 0
  /** Events larger than `maxEventBytes`. */
  tooLarge = 0
  /** Events of named producers that had been accepted before. */
  duplicates = 0

  constructor(lanes: ReadonlyArray<Lane>, mode: Backpressure, maxEventBytes: number, timestamps: Timestamps) {
    this.lanes = lanes
    this.mode = mode
    this.maxEventBytes = maxEventBytes
    this.#timestamps = timestamps
  }

  /** Timestamp of the event admitted last. */
  get lastMillis(): number {
    return this.#timestamps.millis
  }

  get lastNanos(): number {
    return this.#timestamps.nanos
  }

  /**
   * Puts `payload[from, to)` into the ring of `lane`; false when there is no room under the mode. `queued` is set by producers that have
   * waited their turn.
   */
  admit(
    lane: Lane,
    payload: Uint8Array,
    from: number,
    to: number,
    channel: number,
    now: number,
    queued: boolean
  ): boolean {
    const length = to - from
    if (lane.isContended && !queued) return false
    if (!lane.ring.accepts(length)) {
      lane.crowd()
      if (this.mode !== "dropOldest" || !lane.makeRoom(length)) return false
    }
    this.#timestamps.next(now)
    lane.accept(payload, from, to, this.#timestamps.millis, this.#timestamps.nanos, channel)
    return true
  }
}
