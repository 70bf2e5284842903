/**
 * Remembering what was seen, for consumers of at-least-once delivery.
 *
 * @since 0.1.0
 */

/** Most ids that a {@link Dedup} remembers. */
const mostIds = 16_777_216

/**
 * A bounded set of the ids seen last, first in, first out: an id that is seen again keeps its place.
 *
 * Size it as the highest rate of events times the longest time between two copies of one. It forgets when the process ends.
 *
 * @category models
 * @since 0.1.0
 */
export class Dedup {
  /** Most ids remembered, 1 … 16,777,216. */
  readonly capacity: number
  readonly #seen = new Set<string>()

  /** Capacities out of range are moved into it. Default 4,096. */
  constructor(capacity = 4096) {
    this.capacity = Math.min(mostIds, Math.max(1, Math.floor(capacity) || 1))
  }

  /** Whether the id was seen before; it is from now on. An event without an id, of a foreign producer, is never a duplicate. */
  isDuplicate(id: string | null): boolean {
    if (id === null) return false
    if (this.#seen.has(id)) return true
    if (this.#seen.size === this.capacity) this.#seen.delete(this.#seen.values().next().value!)
    this.#seen.add(id)
    return false
  }

  /** Ids remembered now. */
  get size(): number {
    return this.#seen.size
  }

  get isEmpty(): boolean {
    return this.#seen.size === 0
  }

  /** Forgets everything. */
  clear(): void {
    this.#seen.clear()
  }
}
