/**
 * What one subscription has acknowledged: everything below `head`, single entries above it, single messages of batches.
 */

/** Bits of a batch, 1 = not yet acknowledged; word p/64, bit p mod 64, as signed 64-bit numbers on the wire. */
export type AckSet = ReadonlyArray<bigint>

const countOnes = (words: AckSet): number => {
  let ones = 0
  for (const word of words) for (let rest = BigInt.asUintN(64, word); rest !== 0n; rest &= rest - 1n) ones++
  return ones
}

const allOpen = (messages: number): Array<bigint> => {
  const words: Array<bigint> = []
  for (let left = messages; left > 0; left -= 64) {
    words.push(left >= 64 ? 0xffff_ffff_ffff_ffffn : (1n << BigInt(left)) - 1n)
  }
  return words
}

export interface CursorState {
  readonly head: number
  readonly acked: ReadonlyArray<number>
  readonly open: ReadonlyArray<readonly [number, AckSet]>
}

export class Cursor {
  #head: number
  #acked = new Set<number>()
  #open = new Map<number, AckSet>()

  constructor(head: number) {
    this.#head = head
  }

  /** Index of the first entry that is not wholly acknowledged. */
  get head(): number {
    return this.#head
  }

  isAcked(index: number): boolean {
    return index < this.#head || this.#acked.has(index)
  }

  /** The open messages of a batch that is acknowledged in part, `undefined` when all are open. */
  openOf(index: number): AckSet | undefined {
    return this.#open.get(index)
  }

  /** How many of the entry's messages are open. */
  openCount(index: number, messages: number): number {
    if (this.isAcked(index)) return 0
    const open = this.#open.get(index)
    return open === undefined ? messages : countOnes(open)
  }

  /** Acknowledges an entry; `false` when it was already. */
  ack(index: number): boolean {
    if (this.isAcked(index)) return false
    this.#acked.add(index)
    this.#open.delete(index)
    while (this.#acked.delete(this.#head)) this.#head++
    return true
  }

  /** Keeps open only what both this and earlier acknowledgements left open; a batch with nothing left is acknowledged. */
  ackPart(index: number, messages: number, remaining: AckSet): boolean {
    if (this.isAcked(index)) return false
    const before = this.#open.get(index) ?? allOpen(messages)
    const after = before.map((word, at) => word & BigInt.asUintN(64, remaining[at] ?? 0n))
    if (after.every((word) => word === 0n)) return this.ack(index)
    this.#open.set(index, after)
    return true
  }

  /** Acknowledges everything below an index. */
  ackBelow(index: number): void {
    if (index <= this.#head) return
    this.#head = index
    for (const acked of this.#acked) if (acked < index) this.#acked.delete(acked)
    for (const open of this.#open.keys()) if (open < index) this.#open.delete(open)
    while (this.#acked.delete(this.#head)) this.#head++
  }

  /** Forgets all acknowledgements at and above an index, and acknowledges everything below. */
  reset(index: number): void {
    this.#head = index
    this.#acked.clear()
    this.#open.clear()
  }

  get state(): CursorState {
    return { head: this.#head, acked: [...this.#acked], open: [...this.#open] }
  }

  restore(state: CursorState): void {
    this.#head = state.head
    this.#acked = new Set(state.acked)
    this.#open = new Map(state.open)
  }
}
