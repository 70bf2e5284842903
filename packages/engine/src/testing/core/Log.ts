/**
 * The stored entries of one topic: positions are (ledger, entry) outside, a running index inside.
 */
import type { Metadata } from "@perigee/proto/wire"

/** Where an entry is. Before the first: (-1, -1); a ledger without entries ends at entry -1. */
export interface Position {
  readonly ledger: number
  readonly entry: number
}

/** What one SEND stored. */
export interface Entry extends Position {
  /** Place in the log, from 0; never reused. */
  readonly index: number
  /** `0x0e01`, checksum, metadata and payload, as the producer sent them. */
  readonly section: Uint8Array
  readonly metadata: Metadata.MessageMetadata
  /** Messages inside: the size of the batch, 1 without one. */
  readonly messages: number
  /** What Key_Shared routes by: ordering key, else key; absent for neither. */
  readonly key: Uint8Array | undefined
  /** When the broker stored it, milliseconds since the epoch. */
  readonly storedAt: number
  /** Running number of its last message in the topic, from 0 (PIP-70). */
  readonly lastMessage: number
}

export interface LogLimits {
  /** Entries kept a topic; the oldest that every subscription has acknowledged make room, else publishing is refused. */
  readonly maxEntries: number
  /** Bytes kept a topic, in the same way. */
  readonly maxBytes: number
}

export class Log {
  readonly #limits: LogLimits
  readonly #ledgers: Array<{ readonly id: number; readonly first: number }> = []
  #entries: Array<Entry> = []
  /** Index of `#entries[0]`. */
  #start = 0
  #bytes = 0
  #messages = 0

  constructor(limits: LogLimits, ledger: number) {
    this.#limits = limits
    this.#ledgers.push({ id: ledger, first: 0 })
  }

  /** Index of the oldest kept entry. */
  get start(): number {
    return this.#start
  }

  /** Index that the next entry gets. */
  get end(): number {
    return this.#start + this.#entries.length
  }

  get(index: number): Entry | undefined {
    return this.#entries[index - this.#start]
  }

  /** Continues in a new ledger, as a broker does that opens a topic again. */
  roll(ledger: number): void {
    const last = this.#ledgers.at(-1)!
    // A ledger that stayed empty leaves no trace.
    if (last.first === this.end && this.#ledgers.length > 1) this.#ledgers.pop()
    this.#ledgers.push({ id: ledger, first: this.end })
  }

  /** Makes room for `size` more bytes by forgetting entries below `settled`; `false` when that is not enough. */
  reserve(size: number, settled: number): boolean {
    const full = () => this.#entries.length >= this.#limits.maxEntries || this.#bytes + size > this.#limits.maxBytes
    if (!full()) return true
    let drop = 0
    while (drop < this.#entries.length && this.#start + drop < settled) {
      this.#bytes -= this.#entries[drop++]!.section.length
    }
    this.#entries = this.#entries.slice(drop)
    this.#start += drop
    return !full()
  }

  append(entry: Pick<Entry, "section" | "metadata" | "messages" | "key" | "storedAt">): Entry {
    const ledger = this.#ledgers.at(-1)!
    this.#messages += entry.messages
    const stored: Entry = {
      ...entry,
      index: this.end,
      ledger: ledger.id,
      entry: this.end - ledger.first,
      lastMessage: this.#messages - 1
    }
    this.#entries.push(stored)
    this.#bytes += stored.section.length
    return stored
  }

  /** Index of the first kept entry at or after a position; {@link end} when there is none. */
  find(position: Position): number {
    const at = this.#ledgers.findLastIndex(({ id }) => id <= position.ledger)
    if (at < 0) return this.#start
    const { first, id } = this.#ledgers[at]!
    const limit = this.#ledgers[at + 1]?.first ?? this.end
    const index = id === position.ledger ? Math.min(first + Math.max(position.entry, 0), limit) : limit
    return Math.max(index, this.#start)
  }

  /** Index of exactly this position, `undefined` when nothing is stored there. */
  exact(position: Position): number | undefined {
    const ledger = this.#ledgers.find(({ id }) => id === position.ledger)
    if (ledger === undefined || position.entry < 0) return undefined
    const entry = this.get(ledger.first + position.entry)
    return entry !== undefined && entry.ledger === position.ledger && entry.entry === position.entry
      ? entry.index
      : undefined
  }

  /** Index of the first entry stored at or after a time; {@link end} when there is none. */
  findTime(time: number): number {
    const at = this.#entries.findIndex(({ storedAt }) => storedAt >= time)
    return at < 0 ? this.end : this.#start + at
  }

  /** Position of the newest entry; of a log without one, entry -1 of its ledger. */
  get last(): Position {
    const entry = this.#entries.at(-1)
    return entry === undefined
      ? { ledger: this.#ledgers.at(-1)!.id, entry: -1 }
      : { ledger: entry.ledger, entry: entry.entry }
  }

  /** Position just before an index, as mark-delete positions are written. */
  before(index: number): Position {
    const ledger = this.#ledgers.findLast(({ first }) => first < index) ?? this.#ledgers[0]!
    return { ledger: ledger.id, entry: index - ledger.first - 1 }
  }

  *from(index: number): Generator<Entry> {
    for (let at = Math.max(index, this.#start); at < this.end; at++) yield this.get(at)!
  }
}
