/**
 * One direction of a simulated TCP connection: bytes in flight, bytes that arrived, and the faults between them.
 */
import type { Rng } from "../internal/Rng.ts"
import type { World } from "./World.ts"

/** How one-way delays are drawn; all times in microseconds. */
export interface LatencyShape {
  readonly kind: "uniform" | "exponential" | "bimodal"
  /** Lowest delay. */
  readonly floor: number
  /** Width of the uniform part, or mean of the exponential tail. */
  readonly spread: number
}

/** Local-network delays: 0.1 to 0.6 ms. */
export const lanLatency: LatencyShape = { kind: "uniform", floor: 100, spread: 500 }

/** Draws one delay. */
export const drawLatency = (shape: LatencyShape, rng: Rng): number => {
  if (shape.kind === "uniform") return shape.floor + rng.int(shape.spread + 1)
  if (shape.kind === "exponential") return shape.floor + Math.round(-shape.spread * Math.log(1 - rng.double()))
  return rng.chance(0.005) ? shape.floor + 10 * shape.spread : shape.floor + rng.int(shape.spread + 1)
}

/** What the path between two machines does to bytes right now. Shared by every pipe in that direction. */
export interface Path {
  readonly latency: () => number
  /** Nothing arrives while true; what was sent arrives after. */
  readonly stalled: () => boolean
  /** Largest piece that is delivered at once; Infinity unless fragmentation is on. */
  readonly fragment: () => number
  /** Bytes a second; Infinity unless capped. */
  readonly bandwidth: () => number
  /** Chance that a piece has bits flipped. */
  readonly flip: () => number
}

type Item = { readonly _tag: "data"; readonly bytes: Uint8Array } | { readonly _tag: "fin" }

/** One direction of a connection. */
export class Pipe {
  readonly #world: World
  readonly #rng: Rng
  readonly #path: Path
  readonly #window: number
  #flight: Array<Item> = []
  #lastArrival = 0
  /** Arrivals that came due while the path was stalled. */
  #owed = 0
  #acks = 0
  #inFlight = 0
  #inbox: Array<Uint8Array> = []
  #unread = 0
  #closed = false
  /** The writer has sent its FIN. */
  finished = false
  /** The FIN has arrived and everything before it has been read or waits in the inbox. */
  ended = false
  onArrival: (() => void) | undefined
  onDrain: (() => void) | undefined
  onFlip: ((bits: number) => void) | undefined
  #lost: (() => void) | undefined

  constructor(options: { readonly world: World; readonly rng: Rng; readonly path: Path; readonly window: number }) {
    this.#world = options.world
    this.#rng = options.rng
    this.#path = options.path
    this.#window = options.window
  }

  /** Bytes sent and not read yet. */
  get pending(): number {
    return this.#inFlight + this.#unread
  }

  /** True when the writer should wait for {@link Pipe.onDrain}. */
  get full(): boolean {
    return this.pending > this.#window
  }

  /** Bytes waiting in the reader's inbox. */
  get unread(): number {
    return this.#unread
  }

  send(bytes: Uint8Array): void {
    if (this.#closed || this.finished || bytes.length === 0) return
    let rest = bytes
    while (rest.length > 0) {
      const size = Math.min(rest.length, this.#path.fragment())
      // The writer may reuse its buffer as soon as the write returns.
      this.#launch({ _tag: "data", bytes: rest.slice(0, size) }, size)
      rest = rest.subarray(size)
    }
  }

  /** Sends FIN after everything that was sent. */
  finish(): void {
    if (this.#closed || this.finished) return
    this.finished = true
    this.#launch({ _tag: "fin" }, 0)
  }

  /**
   * Nothing arrives any more and nothing is acknowledged: the receiving machine is gone. `unanswered` is called once
   * there is something that will never be acknowledged, at once or on the next write.
   */
  blackhole(unanswered: () => void): void {
    this.#lost = unanswered
    if (this.#inFlight > 0) unanswered()
  }

  #launch(item: Item, size: number): void {
    this.#inFlight += size
    if (this.#lost !== undefined) {
      this.#lost()
      return
    }
    this.#flight.push(item)
    const bandwidth = this.#path.bandwidth()
    const transmit = bandwidth === Infinity ? 0 : Math.ceil((size / bandwidth) * 1_000_000)
    const arrival = Math.max(this.#lastArrival, this.#world.now + this.#path.latency()) + transmit
    this.#lastArrival = arrival
    // Each arrival releases the head of this pipe's own queue, so that ties in time never reorder a byte stream.
    this.#world.after(arrival - this.#world.now, () => this.#arrive())
  }

  #arrive(): void {
    if (this.#closed || this.#lost !== undefined) return
    if (this.#path.stalled()) this.#owed++
    else this.#release()
  }

  #release(): void {
    const item = this.#flight.shift()
    if (item === undefined) return
    if (item._tag === "fin") this.ended = true
    else {
      this.#inFlight -= item.bytes.length
      this.#unread += item.bytes.length
      this.#maybeFlip(item.bytes)
      this.#inbox.push(item.bytes)
    }
    this.onArrival?.()
  }

  #maybeFlip(bytes: Uint8Array): void {
    const chance = this.#path.flip()
    if (chance === 0 || !this.#rng.chance(chance)) return
    let bits = 1
    while (bits < 32 && this.#rng.chance(0.5)) bits *= 2
    for (let i = 0; i < bits; i++) {
      const at = this.#rng.int(bytes.length)
      bytes[at] = bytes[at]! ^ (1 << this.#rng.int(8))
    }
    this.onFlip?.(bits)
  }

  /** Delivers what a stall held back; call when the path may have healed. */
  heal(): void {
    if (this.#closed || this.#lost !== undefined || this.#path.stalled()) return
    const owed = this.#owed
    this.#owed = 0
    for (let i = 0; i < owed; i++) this.#release()
  }

  /** Everything that arrived, or undefined. `acknowledge` tells how acknowledgements travel back. */
  take(reverse: Path): ReadonlyArray<Uint8Array> | undefined {
    if (this.#inbox.length === 0) return undefined
    const taken = this.#inbox
    const bytes = this.#unread
    const wasFull = this.full
    this.#inbox = []
    this.#unread = 0
    if (wasFull && bytes > 0) this.#acknowledge(reverse)
    return taken
  }

  #acknowledge(reverse: Path): void {
    this.#world.after(reverse.latency(), () => {
      if (reverse.stalled()) this.#acks++
      else if (!this.#closed && !this.full) this.onDrain?.()
    })
  }

  /** Delivers acknowledgements that a stall of the reverse direction held back. */
  healAcknowledgements(): void {
    if (this.#acks === 0) return
    this.#acks = 0
    if (!this.#closed && !this.full) this.onDrain?.()
  }

  /** Forgets everything: the connection was reset. */
  destroy(): void {
    this.#closed = true
    this.#flight = []
    this.#inbox = []
    this.#inFlight = 0
    this.#unread = 0
  }
}
