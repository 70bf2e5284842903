/** A set of entry indexes in ascending order. */
export class IndexSet {
  #sorted: Array<number> = []

  get size(): number {
    return this.#sorted.length
  }

  get first(): number | undefined {
    return this.#sorted[0]
  }

  #at(index: number): number {
    let low = 0
    let high = this.#sorted.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#sorted[middle]! < index) low = middle + 1
      else high = middle
    }
    return low
  }

  has(index: number): boolean {
    return this.#sorted[this.#at(index)] === index
  }

  add(index: number): void {
    const at = this.#at(index)
    if (this.#sorted[at] !== index) this.#sorted.splice(at, 0, index)
  }

  delete(index: number): boolean {
    const at = this.#at(index)
    if (this.#sorted[at] !== index) return false
    this.#sorted.splice(at, 1)
    return true
  }

  deleteBelow(index: number): void {
    this.#sorted.splice(0, this.#at(index))
  }

  clear(): void {
    this.#sorted = []
  }

  /** A copy, so that the set may change while a caller walks it. */
  values(): ReadonlyArray<number> {
    return this.#sorted.slice()
  }
}
