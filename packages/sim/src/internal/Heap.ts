/** A pending timer: fires at `at` microseconds; `tie` orders equal instants, `sequence` equal ties. */
export interface Timer {
  readonly at: number
  readonly tie: number
  readonly sequence: number
  fire: (() => void) | undefined
}

const before = (a: Timer, b: Timer): boolean =>
  a.at !== b.at ? a.at < b.at : a.tie !== b.tie ? a.tie < b.tie : a.sequence < b.sequence

/** A binary heap of timers. Cancelled ones stay until they surface or until they are half of the heap. */
export class TimerHeap {
  #items: Array<Timer> = []
  #cancelled = 0

  /** Timers that will still fire. */
  get size(): number {
    return this.#items.length - this.#cancelled
  }

  push(timer: Timer): void {
    const items = this.#items
    let i = items.length
    items.push(timer)
    while (i > 0) {
      const parent = (i - 1) >> 1
      if (!before(timer, items[parent]!)) break
      items[i] = items[parent]!
      i = parent
    }
    items[i] = timer
  }

  cancel(timer: Timer): void {
    if (timer.fire === undefined) return
    timer.fire = undefined
    this.#cancelled++
    if (this.#cancelled > 64 && this.#cancelled * 2 > this.#items.length) this.#compact()
  }

  /** The earliest live timer, removed; undefined when none is left. */
  pop(): Timer | undefined {
    for (;;) {
      const top = this.#remove()
      if (top === undefined || top.fire !== undefined) return top
      this.#cancelled--
    }
  }

  /** The earliest live timer without removing it. */
  peek(): Timer | undefined {
    while (this.#items.length > 0 && this.#items[0]!.fire === undefined) {
      this.#remove()
      this.#cancelled--
    }
    return this.#items[0]
  }

  #remove(): Timer | undefined {
    const items = this.#items
    const top = items[0]
    const last = items.pop()
    if (top === undefined || last === undefined || items.length === 0) return top
    let i = 0
    const half = items.length >> 1
    while (i < half) {
      let child = 2 * i + 1
      if (child + 1 < items.length && before(items[child + 1]!, items[child]!)) child++
      if (!before(items[child]!, last)) break
      items[i] = items[child]!
      i = child
    }
    items[i] = last
    return top
  }

  #compact(): void {
    const live = this.#items.filter((timer) => timer.fire !== undefined)
    this.#items = []
    this.#cancelled = 0
    for (const timer of live) this.push(timer)
  }
}
