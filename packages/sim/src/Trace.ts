/**
 * What happened in a run, in order: every event with its virtual time, and a rolling 64-bit hash over events and
 * scheduling decisions. Equal hashes mean equal runs.
 */
import { avalanche } from "./internal/Rng.ts"

/** A flat field of an event. */
export type Field = string | number | boolean | null

/** One event. `at` is virtual time in milliseconds since the start of the run. */
export interface TraceEvent {
  readonly index: number
  readonly at: number
  readonly host: string
  readonly name: string
  readonly fields: Readonly<Record<string, Field>>
}

/** Called for each event, after it was recorded. */
export type Observer = (event: TraceEvent) => void

const texts = new Map<string, number>()

const hashOf = (text: string): number => {
  const known = texts.get(text)
  if (known !== undefined) return known
  let h = 0x811c9dc5 | 0
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193)
  h = avalanche(h)
  // Names repeat, values may not: the cache is dropped rather than allowed to grow with a campaign.
  if (texts.size >= 4096) texts.clear()
  if (text.length <= 64) texts.set(text, h)
  return h
}

/** The append-only record of one run. */
export class Trace {
  #a = 0x6a09e667
  #b = 0xbb67ae85
  #count = 0
  #events: Array<TraceEvent> = []
  readonly #observers: Array<Observer> = []
  readonly #full: boolean
  readonly #tail: number
  readonly #now: () => number

  /** `full` keeps every event; otherwise at least the last `tail` are kept. `now` is virtual microseconds. */
  constructor(options: { readonly now: () => number; readonly full: boolean; readonly tail: number }) {
    this.#now = options.now
    this.#full = options.full
    this.#tail = options.tail
  }

  /** Number of events so far. */
  get count(): number {
    return this.#count
  }

  /** Sixteen hexadecimal digits over everything mixed in so far. */
  get hash(): string {
    const hex = (word: number) => (word >>> 0).toString(16).padStart(8, "0")
    return hex(avalanche(this.#a ^ (this.#b << 1))) + hex(avalanche(this.#b))
  }

  /** Mixes a whole number into the hash without recording an event. */
  mix(value: number): void {
    this.#a = Math.imul(this.#a ^ value, 0x9e3779b1)
    this.#a ^= this.#a >>> 15
    this.#b = (Math.imul(this.#b, 5) + 0x52dce729 + (this.#a ^ value)) | 0
    this.#b = (this.#b << 13) | (this.#b >>> 19)
  }

  /** Appends an event and shows it to every observer. */
  append(host: string, name: string, fields: Readonly<Record<string, Field>> = {}): TraceEvent {
    const now = this.#now()
    const event: TraceEvent = { index: this.#count++, at: now / 1000, host, name, fields }
    this.mix(now | 0)
    this.mix(hashOf(host))
    this.mix(hashOf(name))
    for (const key in fields) {
      const value = fields[key]!
      this.mix(hashOf(key))
      this.mix(
        typeof value === "number" && (value | 0) === value
          ? value
          : typeof value === "string"
          ? hashOf(value)
          : hashOf(String(value))
      )
    }
    this.#events.push(event)
    if (!this.#full && this.#events.length >= 2 * this.#tail) this.#events = this.#events.slice(-this.#tail)
    for (const observer of this.#observers) observer(event)
    return event
  }

  /** Shows every later event to `observer`. */
  observe(observer: Observer): void {
    this.#observers.push(observer)
  }

  /** The kept events, oldest first: all of them when full, otherwise the last ones. */
  events(): ReadonlyArray<TraceEvent> {
    return this.#full ? this.#events : this.#events.slice(-this.#tail)
  }
}

/** One event as a line: time, host, name, `key=value` pairs. */
export const formatEvent = (event: TraceEvent): string => {
  const fields = Object.entries(event.fields).map(([key, value]) => `${key}=${formatField(value)}`)
  return [event.at.toFixed(3).padStart(12), event.host.padEnd(8), event.name, ...fields].join(" ")
}

const formatField = (value: Field): string => {
  const text = typeof value === "string" && !/^[\w./:@-]*$/.test(value) ? JSON.stringify(value) : String(value)
  return text.length > 120 ? `${text.slice(0, 117)}...` : text
}

/** The events as JSON Lines. */
export const toJsonLines = (events: ReadonlyArray<TraceEvent>): string =>
  events.map((event) => `${JSON.stringify(event)}\n`).join("")

/** Index of the first event in which two full traces differ; undefined when they are equal. */
export const firstDifference = (
  a: ReadonlyArray<TraceEvent>,
  b: ReadonlyArray<TraceEvent>
): number | undefined => {
  const length = Math.max(a.length, b.length)
  for (let i = 0; i < length; i++) {
    if (JSON.stringify(a[i]) !== JSON.stringify(b[i])) return i
  }
  return undefined
}
