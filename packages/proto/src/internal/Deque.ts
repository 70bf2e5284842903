/**
 * A queue over one array: constant time at both ends in use here, memory given back as it drains.
 */
export class Deque<A> {
  #items: Array<A | undefined> = []
  #head = 0

  get length(): number {
    return this.#items.length - this.#head
  }

  push(item: A): void {
    this.#items.push(item)
  }

  /** The item at `index` from the front. */
  at(index: number): A | undefined {
    return this.#items[this.#head + index]
  }

  peek(): A | undefined {
    return this.#items[this.#head]
  }

  shift(): A | undefined {
    if (this.#head === this.#items.length) return undefined
    const item = this.#items[this.#head]
    this.#items[this.#head++] = undefined
    if (this.#head === this.#items.length) {
      this.#items = []
      this.#head = 0
    } else if (this.#head >= 1024 && this.#head * 2 >= this.#items.length) {
      this.#items = this.#items.slice(this.#head)
      this.#head = 0
    }
    return item
  }

  /** Takes out the item at `index` from the front. */
  removeAt(index: number): A | undefined {
    return index === 0 ? this.shift() : this.#items.splice(this.#head + index, 1)[0]
  }

  clear(): void {
    this.#items = []
    this.#head = 0
  }

  /** Everything, front first; the queue is empty afterwards. */
  drain(): Array<A> {
    const items = this.#items.slice(this.#head) as Array<A>
    this.clear()
    return items
  }

  *[Symbol.iterator](): IterableIterator<A> {
    for (let index = this.#head; index < this.#items.length; index++) yield this.#items[index]!
  }
}
