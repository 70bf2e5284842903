/**
 * Acknowledgements of one consumer: which messages of a batch are still open, and what is collected for the next command.
 */
import type { AckPosition } from "../wire/Commands.ts"
import * as MessageId from "../wire/MessageId.ts"

/** Batches whose open messages are remembered; beyond it the oldest is forgotten, which can only cause a redelivery. */
const TRACKED_LIMIT = 100_000
const GROUP_LIMIT = 1000

/** The messages of one batch that are not yet acknowledged. */
export class BatchAcks {
  readonly id: MessageId.MessageId
  readonly size: number
  /** 1 = open, 32 a word. */
  readonly words: Int32Array
  open: number

  constructor(id: MessageId.MessageId, size: number) {
    this.id = id
    this.size = size
    this.open = size
    this.words = new Int32Array((size + 31) >>> 5).fill(-1)
    const rest = size & 31
    if (rest !== 0) this.words[this.words.length - 1] = (1 << rest) - 1
  }

  /** Clears one bit; says whether it was set. */
  clear(index: number): boolean {
    const word = index >>> 5
    const bit = 1 << (index & 31)
    if ((this.words[word]! & bit) === 0) return false
    this.words[word]! &= ~bit
    this.open--
    return true
  }

  /** The set as the protocol has it: 64 bits a word, signed. */
  toWords(): Array<bigint> {
    const words: Array<bigint> = []
    for (let index = 0; index < this.words.length; index += 2) {
      const low = BigInt(this.words[index]! >>> 0)
      const high = BigInt((this.words[index + 1] ?? 0) >>> 0)
      words.push(BigInt.asIntN(64, (high << 32n) | low))
    }
    return words
  }
}

const keyOf = (id: MessageId.MessageId): string => `${id.ledger}:${id.entry}`

/** What goes out with one command. */
export interface AckCommand {
  readonly cumulative: boolean
  readonly positions: ReadonlyArray<AckPosition>
}

export class Acks {
  /** Acknowledgements taken. */
  count = 0
  readonly #batchIndex: boolean
  readonly #groupSize: number
  readonly #tracked = new Map<string, BatchAcks>()
  #individual: Array<MessageId.MessageId> = []
  /** What was tracked last: messages of a batch are mostly handed out one after another. */
  #last: { readonly id: MessageId.MessageId; readonly batch: BatchAcks } | undefined = undefined
  readonly #partial = new Set<BatchAcks>()
  #cumulative: AckPosition | undefined = undefined
  #since: number | undefined = undefined

  constructor(batchIndex: boolean, groupSize = GROUP_LIMIT) {
    this.#batchIndex = batchIndex
    this.#groupSize = groupSize
  }

  /** Batches with open messages. */
  get tracked(): number {
    return this.#tracked.size
  }

  get pending(): number {
    return this.#individual.length + this.#partial.size + (this.#cumulative === undefined ? 0 : 1)
  }

  get isFull(): boolean {
    return this.pending >= this.#groupSize
  }

  /** When the oldest collected acknowledgement was taken. */
  get since(): number | undefined {
    return this.#since
  }

  /** Remembers a batch that is handed out. */
  track(id: MessageId.MessageId, size: number): BatchAcks {
    const last = this.#last
    if (last !== undefined && last.id === id && last.batch.size === size) return last.batch
    const batch = this.#find(id, size)
    this.#last = { id, batch }
    return batch
  }

  #find(id: MessageId.MessageId, size: number): BatchAcks {
    const key = keyOf(id)
    let batch = this.#tracked.get(key)
    if (batch === undefined || batch.size !== size) {
      batch = new BatchAcks(MessageId.entryOf(id), size)
      this.#tracked.set(key, batch)
      if (this.#tracked.size > TRACKED_LIMIT) {
        const [oldest] = this.#tracked.keys()
        this.#forget(oldest!, this.#tracked.get(oldest!)!)
      }
    }
    return batch
  }

  /** Acknowledges one message; says whether the position makes sense. A batch that is not known counts as wholly open. */
  individual(now: number, id: MessageId.MessageId): boolean {
    if (id.batchIndex >= 0) {
      if (id.batchSize <= 0 || id.batchIndex >= id.batchSize) return false
      return this.member(now, this.track(id, id.batchSize), id.batchIndex)
    }
    this.count++
    this.#since ??= now
    this.#individual.push(id)
    return true
  }

  /** Acknowledges message `index` of a batch that is at hand. */
  member(now: number, batch: BatchAcks, index: number): boolean {
    if (!batch.clear(index)) return true
    this.count++
    if (batch.open === 0) {
      this.#forget(keyOf(batch.id), batch)
      this.#individual.push(batch.id)
      this.#since ??= now
    } else if (this.#batchIndex) {
      this.#partial.add(batch)
      this.#since ??= now
    }
    return true
  }

  /** Acknowledges everything up to a message, itself included. */
  cumulative(now: number, id: MessageId.MessageId): boolean {
    if (id.batchIndex >= 0 && (id.batchSize <= 0 || id.batchIndex >= id.batchSize)) return false
    this.count++
    const entry = MessageId.entryOf(id)
    for (const [key, batch] of this.#tracked) {
      const order = MessageId.compare(batch.id, entry)
      if (order < 0 || (order === 0 && (id.batchIndex < 0 || id.batchIndex === id.batchSize - 1))) {
        this.#forget(key, batch)
      }
    }
    this.#individual = this.#individual.filter((position) => MessageId.compare(position, entry) > 0)
    let position: AckPosition
    if (id.batchIndex < 0 || id.batchIndex === id.batchSize - 1) position = { id: entry, ackSet: undefined }
    else {
      const batch = this.track(id, id.batchSize)
      for (let index = 0; index <= id.batchIndex; index++) batch.clear(index)
      if (this.#batchIndex) position = { id: entry, ackSet: batch.toWords() }
      // Without sets only what lies before the batch can be said; entry -1 is "before the first of the ledger".
      else position = { id: MessageId.make(id.ledger, id.entry - 1n, id.partition), ackSet: undefined }
    }
    const held = this.#cumulative
    if (held === undefined || MessageId.compare(position.id, held.id) >= 0) this.#cumulative = position
    this.#since ??= now
    return true
  }

  /** Everything collected: the cumulative position first, then the others in order. */
  take(): Array<AckCommand> {
    const commands: Array<AckCommand> = []
    if (this.#cumulative !== undefined) commands.push({ cumulative: true, positions: [this.#cumulative] })
    if (this.#individual.length > 0 || this.#partial.size > 0) {
      const positions: Array<AckPosition> = this.#individual.map((id) => ({ id, ackSet: undefined }))
      for (const batch of this.#partial) positions.push({ id: batch.id, ackSet: batch.toWords() })
      if (positions.length > 1) positions.sort((a, b) => MessageId.compare(a.id, b.id))
      commands.push({ cumulative: false, positions })
    }
    this.#individual = []
    this.#partial.clear()
    this.#cumulative = undefined
    this.#since = undefined
    return commands
  }

  /** Forgets everything: the broker will deliver again what was not acknowledged. */
  clear(): void {
    this.take()
    this.#tracked.clear()
    this.#last = undefined
  }

  #forget(key: string, batch: BatchAcks): void {
    this.#tracked.delete(key)
    this.#partial.delete(batch)
    if (this.#last?.batch === batch) this.#last = undefined
  }
}
