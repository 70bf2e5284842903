/**
 * The network between simulated machines: names, ports, TCP connections, and what goes wrong with them.
 *
 * It simulates connections, not packets: a partition delays bytes until it heals, a cut resets both ends, a machine
 * without power leaves the other end half-open.
 */
import type { Rng } from "../internal/Rng.ts"
import type { Field } from "../Trace.ts"
import { drawLatency, lanLatency, type LatencyShape, type Path, Pipe } from "./Pipe.ts"
import type { World } from "./World.ts"

/** One end of a connection as the socket layer sees it. */
export interface Endpoint {
  readonly machine: string
  readonly outgoing: Pipe
  readonly incoming: Pipe
  /** How acknowledgements for `incoming` travel. */
  readonly outgoingPath: Path
  /** Set when the connection failed, with the error code that the kernel would give. */
  failure: string | undefined
  /** This end has been closed by its own program. */
  closed: boolean
  onChange: (() => void) | undefined
}

/** A connection: id, the two ends, and whether faults may touch it. */
export interface Link {
  readonly id: number
  readonly client: Endpoint
  readonly server: Endpoint
  readonly port: number
  open: boolean
  /** Timers that end with the connection. */
  readonly timers: Array<() => void>
}

/** A program waiting for connections. */
export interface Listener {
  readonly machine: string
  readonly port: number
  readonly accept: (endpoint: Endpoint, link: Link) => void
}

/** How a dial ends. */
export type DialOutcome =
  | { readonly _tag: "connected"; readonly endpoint: Endpoint; readonly link: Link }
  | { readonly _tag: "failed"; readonly code: string }

/** What dials do while a fault is on. */
export type DialFault = "refuse" | "hang" | "acceptClose"

/** The kernel gives up on an unanswered dial after this many microseconds. */
const dialTimeout = 127_000_000
/** An unanswered connection attempt is repeated after this many microseconds. */
const synRetry = 1_000_000
/** Writing to a machine that is gone fails after this many microseconds of retransmission, as Linux does by default. */
const silenceTimeout = 924_600_000

/** The shape of a network, fixed for a run. */
export interface NetworkConfig {
  readonly latency: LatencyShape
  /** Each ordered pair of machines keeps an extra delay of up to this many microseconds. */
  readonly pairLatency: number
  /** Bytes in flight or unread before a writer waits. */
  readonly window: number
}

/** Local network, 64 KiB windows. */
export const defaultNetwork: NetworkConfig = { latency: lanLatency, pairLatency: 0, window: 65_536 }

interface Counted {
  count: number
}

/** The state of one network and the faults on it. */
export class Network {
  readonly #world: World
  readonly #config: NetworkConfig
  readonly #rng: Rng
  readonly #listeners = new Map<string, Listener>()
  readonly #names = new Map<string, string>()
  readonly #links = new Map<number, Link>()
  readonly #down = new Set<string>()
  readonly #stalls = new Map<string, Counted>()
  readonly #pair = new Map<string, number>()
  readonly #paths = new Map<string, Path>()
  /** What new dials meet, by target machine; "*" is everyone. */
  readonly #dials = new Map<string, DialFault>()
  readonly #unresolvable = new Set<string>()
  #waitingDials: Array<() => void> = []
  #nextLink = 1
  #nextPort = 49_152
  fragmentSize = Infinity
  bytesPerSecond = Infinity
  flipRate = 0
  slowAccept = 0

  constructor(world: World, config: NetworkConfig) {
    this.#world = world
    this.#config = config
    this.#rng = world.stream("network")
  }

  /** Open connections, oldest first. */
  get links(): ReadonlyArray<Link> {
    return [...this.#links.values()].filter((link) => link.open)
  }

  /** Connections made so far. */
  get connections(): number {
    return this.#nextLink - 1
  }

  get listeners(): ReadonlyArray<Listener> {
    return [...this.#listeners.values()]
  }

  #event(name: string, fields: Readonly<Record<string, Field>>): void {
    this.#world.trace.append("net", name, fields)
  }

  /** Lets `name` resolve to a machine. */
  setName(name: string, machine: string): void {
    this.#names.set(name, machine)
  }

  /** A free port for an outgoing or ephemeral listener. */
  freePort(): number {
    return this.#nextPort++
  }

  // --- paths -------------------------------------------------------------------------------------------------------

  #path(from: string, to: string): Path {
    const key = `${from}>${to}`
    const known = this.#paths.get(key)
    if (known !== undefined) return known
    const path: Path = {
      latency: () => {
        if (from === to) return 10 + this.#rng.int(50)
        return drawLatency(this.#config.latency, this.#rng) + this.#extra(key)
      },
      stalled: () => (this.#stalls.get(key)?.count ?? 0) > 0,
      fragment: () => this.fragmentSize === Infinity ? Infinity : 1 + this.#rng.int(this.fragmentSize),
      bandwidth: () => this.bytesPerSecond,
      flip: () => this.flipRate
    }
    this.#paths.set(key, path)
    return path
  }

  #extra(key: string): number {
    if (this.#config.pairLatency === 0) return 0
    let extra = this.#pair.get(key)
    if (extra === undefined) {
      extra = this.#rng.int(this.#config.pairLatency + 1)
      this.#pair.set(key, extra)
    }
    return extra
  }

  /** Stops delivery from one machine to another until the returned function is called. */
  stall(from: string, to: string): () => void {
    const key = `${from}>${to}`
    const counted = this.#stalls.get(key) ?? { count: 0 }
    this.#stalls.set(key, counted)
    counted.count++
    let held = true
    return () => {
      if (!held) return
      held = false
      counted.count--
      if (counted.count === 0) this.#flush(from, to)
    }
  }

  #flush(from: string, to: string): void {
    for (const link of this.links) {
      for (const [end, other] of [[link.client, link.server], [link.server, link.client]] as const) {
        if (end.machine !== from || other.machine !== to) continue
        end.outgoing.heal()
        end.incoming.healAcknowledgements()
      }
    }
    this.#retryDials()
  }

  #retryDials(): void {
    const waiting = this.#waitingDials
    this.#waitingDials = []
    for (const retry of waiting) retry()
  }

  // --- faults ------------------------------------------------------------------------------------------------------

  /** Makes new dials to a machine ("*": to any) meet a fault until the returned function is called. */
  dialFault(machine: string, fault: DialFault): () => void {
    this.#dials.set(machine, fault)
    return () => {
      this.#dials.delete(machine)
      this.#retryDials()
    }
  }

  /** Makes a name fail to resolve until the returned function is called. */
  loseName(name: string): () => void {
    this.#unresolvable.add(name)
    return () => {
      this.#unresolvable.delete(name)
    }
  }

  #gone(link: Link): void {
    link.open = false
    this.#links.delete(link.id)
    for (const cancel of link.timers) cancel()
  }

  /** Resets a connection: both ends fail with ECONNRESET, undelivered bytes are gone. */
  cut(link: Link): void {
    if (!link.open) return
    this.#gone(link)
    this.#fail(link.client, "ECONNRESET")
    this.#fail(link.server, "ECONNRESET")
  }

  /**
   * One end vanishes without a word. Who only waits at the other end never learns of it; who writes gets an error once
   * the kernel has retransmitted in vain.
   */
  halfOpen(link: Link, gone: Endpoint): void {
    if (!link.open || gone.closed) return
    const left = gone === link.client ? link.server : link.client
    gone.outgoing.destroy()
    gone.closed = true
    gone.failure ??= "ETIMEDOUT"
    gone.onChange?.()
    if (left.closed) return this.#gone(link)
    let counting = false
    left.outgoing.blackhole(() => {
      if (counting) return
      counting = true
      link.timers.push(this.#world.after(silenceTimeout, () => {
        this.#gone(link)
        this.#fail(left, "ETIMEDOUT")
      }))
    })
  }

  #fail(endpoint: Endpoint, code: string): void {
    if (endpoint.failure !== undefined || endpoint.closed) return
    endpoint.failure = code
    endpoint.incoming.destroy()
    endpoint.outgoing.destroy()
    endpoint.onChange?.()
  }

  /** The program of a machine died: its kernel resets or closes what it had. */
  processDied(machine: string): void {
    for (const [key, listener] of this.#listeners) {
      if (listener.machine === machine) this.#listeners.delete(key)
    }
    for (const link of this.links) {
      for (const end of [link.client, link.server]) {
        if (end.machine === machine && !end.closed) this.close(link, end, end.incoming.unread > 0)
      }
    }
  }

  /** The machine lost power: nobody is told. */
  powerLost(machine: string): void {
    this.#down.add(machine)
    for (const [key, listener] of this.#listeners) {
      if (listener.machine === machine) this.#listeners.delete(key)
    }
    for (const link of this.links) {
      for (const end of [link.client, link.server]) {
        if (end.machine === machine) this.halfOpen(link, end)
      }
    }
  }

  powerRestored(machine: string): void {
    this.#down.delete(machine)
    // A machine that booted again answers segments of connections it does not know with a reset.
    for (const link of this.links) {
      for (const [end, other] of [[link.client, link.server], [link.server, link.client]] as const) {
        if (end.machine === machine && end.closed && end.failure !== undefined && other.outgoing.pending > 0) {
          this.cut(link)
        }
      }
    }
    this.#retryDials()
  }

  // --- connections -------------------------------------------------------------------------------------------------

  /** Waits for connections to a port; undefined when it is taken. */
  listen(listener: Listener): (() => void) | undefined {
    const key = `${listener.machine}:${listener.port}`
    if (this.#listeners.has(key)) return undefined
    this.#listeners.set(key, listener)
    return () => {
      if (this.#listeners.get(key) === listener) this.#listeners.delete(key)
    }
  }

  /** Dials `name:port` from a machine. Returns a function that gives up. */
  dial(from: string, address: string, done: (outcome: DialOutcome) => void): () => void {
    let settled = false
    const settle = (outcome: DialOutcome) => {
      if (settled) {
        if (outcome._tag === "connected") this.close(outcome.link, outcome.endpoint, false)
        return
      }
      settled = true
      stopClock()
      done(outcome)
    }
    const colon = address.lastIndexOf(":")
    const name = address.slice(0, colon)
    const port = Number(address.slice(colon + 1))
    const stopClock = this.#world.after(dialTimeout, () => settle({ _tag: "failed", code: "ETIMEDOUT" }))
    this.#world.after(100 + this.#rng.int(400), () => {
      if (settled) return
      if (this.#unresolvable.has(name)) return settle({ _tag: "failed", code: "ENOTFOUND" })
      const machine = this.#names.get(name)
      if (machine === undefined || !Number.isInteger(port)) return settle({ _tag: "failed", code: "ENOTFOUND" })
      this.#attempt(from, machine, port, () => settled, settle)
    })
    return () => {
      settled = true
      stopClock()
    }
  }

  #attempt(
    from: string,
    to: string,
    port: number,
    abandoned: () => boolean,
    settle: (outcome: DialOutcome) => void
  ): void {
    if (abandoned()) return
    const fault = this.#dials.get(to) ?? this.#dials.get("*")
    const forward = this.#path(from, to)
    const backward = this.#path(to, from)
    if (fault === "hang" || forward.stalled() || backward.stalled() || this.#down.has(to)) {
      let again = true
      const retry = () => {
        if (!again) return
        again = false
        this.#attempt(from, to, port, abandoned, settle)
      }
      this.#waitingDials.push(retry)
      this.#world.after(synRetry + this.#rng.int(synRetry), retry)
      return
    }
    const roundTrip = forward.latency() + backward.latency()
    this.#world.after(roundTrip + 1000 + this.#rng.int(10_000), () => {
      if (abandoned()) return
      const listener = this.#listeners.get(`${to}:${port}`)
      if (fault === "refuse" || listener === undefined || this.#down.has(to)) {
        return settle({ _tag: "failed", code: "ECONNREFUSED" })
      }
      const link = this.#connect(from, to, port)
      settle({ _tag: "connected", endpoint: link.client, link })
      const accept = () => {
        if (!link.open) return
        const current = this.#listeners.get(`${to}:${port}`)
        if (current === undefined || fault === "acceptClose") this.cut(link)
        else current.accept(link.server, link)
      }
      this.#world.after(this.slowAccept === 0 ? this.#rng.int(1000) : this.#rng.int(this.slowAccept), accept)
    })
  }

  #connect(from: string, to: string, port: number): Link {
    const pipe = (a: string, b: string) =>
      new Pipe({ world: this.#world, rng: this.#rng, path: this.#path(a, b), window: this.#config.window })
    const forward = pipe(from, to)
    const backward = pipe(to, from)
    const end = (machine: string, outgoing: Pipe, incoming: Pipe, outgoingPath: Path): Endpoint => ({
      machine,
      outgoing,
      incoming,
      outgoingPath,
      failure: undefined,
      closed: false,
      onChange: undefined
    })
    const link: Link = {
      id: this.#nextLink++,
      client: end(from, forward, backward, this.#path(from, to)),
      server: end(to, backward, forward, this.#path(to, from)),
      port,
      open: true,
      timers: []
    }
    for (const endpoint of [link.client, link.server]) {
      endpoint.incoming.onArrival = () => endpoint.onChange?.()
      endpoint.outgoing.onDrain = () => endpoint.onChange?.()
      endpoint.incoming.onFlip = (bits) => this.#event("bitFlip", { link: link.id, to: endpoint.machine, bits })
    }
    this.#links.set(link.id, link)
    this.#event("connect", { link: link.id, from, to, port })
    return link
  }

  /** Closes one end: FIN after what was written, or a reset that discards it. */
  close(link: Link, end: Endpoint, reset: boolean): void {
    if (end.closed) return
    end.closed = true
    const other = end === link.client ? link.server : link.client
    if (reset && link.open) {
      this.#world.after(end.outgoingPath.latency(), () => {
        this.#gone(link)
        this.#fail(other, "ECONNRESET")
      })
    } else end.outgoing.finish()
    end.onChange?.()
    if (other.closed || !link.open) {
      this.#gone(link)
    }
  }

  /** Ends every network fault. Stalls belong to whoever made them. */
  heal(): void {
    this.fragmentSize = Infinity
    this.bytesPerSecond = Infinity
    this.flipRate = 0
    this.slowAccept = 0
    this.#dials.clear()
    this.#unresolvable.clear()
    this.#retryDials()
  }
}
