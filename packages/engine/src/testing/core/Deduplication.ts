/**
 * Broker-side deduplication of one topic: a message whose sequence id is not above the last one of its producer's name was stored before.
 */
export class Deduplication {
  #last = new Map<string, bigint>()
  readonly #maxProducers: number

  constructor(maxProducers: number) {
    this.#maxProducers = maxProducers
  }

  /** The highest stored sequence id of a producer name, -1 when there is none. */
  last(producer: string): bigint {
    return this.#last.get(producer) ?? -1n
  }

  isDuplicate(producer: string, sequenceId: bigint): boolean {
    return sequenceId <= this.last(producer)
  }

  stored(producer: string, highest: bigint): void {
    // Order of use, so that the name unused for longest is the one forgotten.
    this.#last.delete(producer)
    this.#last.set(producer, highest)
    if (this.#last.size > this.#maxProducers) {
      for (const oldest of this.#last.keys()) {
        this.#last.delete(oldest)
        break
      }
    }
  }
}
