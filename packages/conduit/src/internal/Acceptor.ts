import * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberSet from "effect/FiberSet"
import type * as Scope from "effect/Scope"
import * as ConduitErrors from "../ConduitError.ts"
import type { HubMetrics, PeerInfo } from "../ConduitHub.ts"
import * as Hello from "../core/Hello.ts"
import { HubState, type Retention } from "../core/HubState.ts"
import * as ResumeKey from "../core/ResumeKey.ts"
import { type Link, writePayload } from "../Link.ts"
import { AcceptorOpening, type AcceptorOptions, type Opened } from "../session/Opening.ts"
import type { SessionSettings } from "../session/Handshake.ts"
import { fromEngine, type StableConduit } from "../StableConduit.ts"
import { Engine } from "./Engine.ts"
import type { EngineHost, EngineOptions } from "./EngineOptions.ts"
import { Relay } from "./Relay.ts"

/** How often late hellos, expiry and keepalive are looked at. */
const tickMillis = 250

/** Writes an acceptor's durable facts; each effect is done before the wire may know. */
export interface AcceptorJournal {
  readonly keys: (id: number, keys: ReadonlyArray<Uint8Array>) => Effect.Effect<void>
  readonly engine: (id: number, engine: () => Engine) => EngineOptions["journal"]
  readonly durable: (id: number, seq: number) => Effect.Effect<void>
  readonly removed: (id: number) => void
}

export interface AcceptorConfig {
  readonly host: EngineHost
  readonly newKey: () => Uint8Array
  readonly engine: EngineOptions
  readonly extensions: boolean
  readonly retention: Retention
  readonly helloTimeoutMillis: number
  readonly maxOpening: number
  readonly drain: Duration.Input
  readonly opening: AcceptorOptions
  readonly onConduit: (conduit: StableConduit, peer: PeerInfo) => Effect.Effect<unknown, unknown>
  readonly journal?: AcceptorJournal | undefined
  /** Whether the end of the hub ends its conduits for the peers too; a durable hub comes back instead. */
  readonly farewell?: boolean | undefined
}

interface Seat {
  readonly id: number
  readonly engine: Engine
  readonly conduit: StableConduit
  session: SessionSettings | undefined
  /** The key that the current link's ServerHello carried. */
  linkKey: Uint8Array | undefined
  /** The link whose answer waits for the journal. */
  greeting: Link | undefined
}

interface OpeningLink {
  readonly link: Link
  readonly deadline: number
}

/**
 * Wires an acceptor's state to links: every inbound link runs through an opening of its own, and ends at a conduit or
 * closed. Synchronous from the first byte of a hello to the first frame, unless a journal must write in between.
 */
export class Acceptor {
  private readonly config: AcceptorConfig
  private readonly state: HubState<number>
  private readonly seats = new Map<number, Seat>()
  private readonly openings = new Set<OpeningLink>()
  private fork: ((effect: Effect.Effect<unknown>) => void) | undefined
  private nextId = 1
  private closed = false
  private counts = { created: 0, resumed: 0, rejected: 0, malformed: 0, expired: 0 }

  constructor(config: AcceptorConfig) {
    this.config = config
    this.state = new HubState(config.retention)
  }

  /** Starts the clockwork in the current scope. */
  readonly run: Effect.Effect<void, never, Scope.Scope> = Effect.gen({ self: this }, function*() {
    this.fork = yield* FiberSet.makeRuntime()
    yield* Effect.forkScoped(Effect.forever(Effect.andThen(Effect.sleep(tickMillis), Effect.sync(() => this.tick()))), {
      startImmediately: true
    })
    yield* Effect.addFinalizer(() => Effect.sync(() => this.close()))
  })

  get conduits(): ReadonlyArray<StableConduit> {
    return Array.from(this.seats.values(), ({ conduit }) => conduit)
  }

  get metrics(): HubMetrics {
    return {
      ...this.counts,
      conduits: this.state.size,
      detached: this.state.detached,
      detachedBytes: this.state.bytes,
      opening: this.openings.size
    }
  }

  accept(link: Link): void {
    if (this.closed) return link.destroy()
    if (this.openings.size >= this.config.maxOpening) {
      const [oldest] = this.openings
      if (oldest !== undefined) {
        this.openings.delete(oldest)
        this.counts.malformed++
        oldest.link.destroy()
      }
    }
    const pending: OpeningLink = { link, deadline: this.config.host.now() + this.config.helloTimeoutMillis }
    this.openings.add(pending)
    const opening = new AcceptorOpening(this.config.opening)
    const drop = () => {
      if (!this.openings.delete(pending)) return
      this.counts.malformed++
    }
    const relay: Relay = new Relay({
      payload: (bytes, offset, length) => {
        if (!this.openings.has(pending)) return false
        const step = opening.payload(bytes.slice(offset, offset + length))
        for (const payload of step.send) writePayload(link, payload)
        if (step._tag === "More") return true
        if (step._tag === "Failed") {
          drop()
          // A refusal must arrive; anything else is not worth an answer.
          if (step.rejected) link.end()
          else link.destroy()
          return false
        }
        this.openings.delete(pending)
        return this.route(link, relay, step.value)
      },
      flush: noop,
      writable: noop,
      closed: drop
    })
    link.open(relay)
  }

  private route(link: Link, relay: Relay, opened: Opened): boolean {
    const route = this.state.route(opened.hello)
    if (route._tag === "Reject") return this.reject(link)
    if (route._tag === "Create") {
      const gone = this.state.longestDetached
      if (gone !== undefined) this.expire(gone)
      const seat = this.seat(this.nextId++, link.description, opened.session, false)
      this.counts.created++
      return this.greet(seat, link, relay, opened, true)
    }
    const seat = this.seats.get(route.id)
    if (seat === undefined) return this.turnAway(undefined, link)
    const keys = this.state.keys(route.id)
    const newest = keys[keys.length - 1]
    // A dial that was abandoned can say hello after its successor. What it asks for may be gone, but only this link is
    // wrong, not the conduit.
    const stale = newest !== undefined && !ResumeKey.equals(newest, opened.hello.key!) &&
      seat.engine.state.isBehind(opened.hello.lastReceived)
    if (stale) return this.reject(link)
    this.counts.resumed++
    return this.greet(seat, link, relay, opened, false)
  }

  /** Answers a hello that belongs to `seat`, and gives it the link. */
  private greet(seat: Seat, link: Link, relay: Relay, opened: Opened, fresh: boolean): boolean {
    const { config } = this
    const { engine, id } = seat
    // The peer is the authority on its own link: an old one is dropped however healthy it looks.
    engine.kick("replaced by a newer link")
    seat.greeting?.destroy()
    seat.greeting = undefined
    this.state.attached(id)
    const replayed = engine.peerHello(opened.hello, fresh)
    if (typeof replayed === "string") return this.reject(link)
    const key = config.newKey()
    this.state.issue(id, key)
    const agreed = opened.hello.extensions && config.extensions
    const answer = (): boolean => {
      if (engine.terminal !== undefined) return this.turnAway(seat, link)
      seat.linkKey = key
      writePayload(
        link,
        Hello.encodeServer({
          rejected: false,
          key,
          lastReceived: fresh ? undefined : engine.state.helloReceived,
          extensions: agreed
        })
      )
      relay.become(engine.attach(link, agreed, replayed), link)
      return true
    }
    if (config.journal === undefined) return answer()
    seat.greeting = link
    const fail = () => {
      if (seat.greeting === link) seat.greeting = undefined
    }
    // Nothing may follow a ClientHello before its answer, so anything that does is a fault of the peer.
    relay.target = {
      payload: () => {
        fail()
        link.destroy()
        return false
      },
      flush: noop,
      writable: noop,
      closed: fail
    }
    this.fork!(Effect.andThen(
      config.journal.keys(id, this.state.keys(id)),
      Effect.sync(() => {
        // Meanwhile the link may have died, or a newer one may have come, whose hello the state has been set to since.
        if (seat.greeting === link) {
          seat.greeting = undefined
          answer()
        } else if (seat.greeting === undefined && !engine.linkUp) this.lost(seat)
      })
    ))
    return true
  }

  /** Answers for a conduit that has ended: with a rejection, unless the next process will know it. */
  private turnAway(seat: Seat | undefined, link: Link): false {
    if (seat !== undefined && !storeFailed(seat.engine)) return this.reject(link)
    link.destroy()
    return false
  }

  private reject(link: Link): false {
    this.counts.rejected++
    writePayload(link, Hello.rejection())
    link.end()
    return false
  }

  /** Makes a conduit and starts its handler. */
  private seat(id: number, link: string, session: SessionSettings | undefined, restored: boolean): Seat {
    const { config } = this
    const journal = config.journal?.engine(id, () => engine)
    const engine: Engine = new Engine(config.host, { ...config.engine, journal })
    return this.install(id, engine, link, session, restored)
  }

  /** Puts a conduit that a store remembers back in its place, detached. */
  restore(id: number, engine: Engine, keys: ReadonlyArray<Uint8Array>): void {
    this.nextId = Math.max(this.nextId, id + 1)
    this.state.add(id, keys)
    this.install(id, engine, "restored", undefined, true)
    this.state.lost(id, this.config.host.now(), engine.heldBytes)
  }

  private install(
    id: number,
    engine: Engine,
    link: string,
    session: SessionSettings | undefined,
    restored: boolean
  ): Seat {
    if (!restored) this.state.add(id)
    const finish = Effect.sync(() => engine.farewell())
    const conduit = fromEngine(engine, {
      close: finish,
      peerSession: () => this.seats.get(id)?.session,
      durable: this.config.journal === undefined ? undefined : (seq) => this.config.journal!.durable(id, seq)
    })
    const seat: Seat = { id, engine, conduit, session, linkKey: undefined, greeting: undefined }
    this.seats.set(id, seat)
    engine.connect({
      down: () => this.lost(seat),
      proven: () => {
        if (seat.linkKey !== undefined) this.state.prove(id, seat.linkKey)
      },
      ended: () => {
        this.seats.delete(id)
        if (storeFailed(engine)) return this.suspend(id)
        this.state.remove(id)
        this.config.journal?.removed(id)
      }
    })
    this.fork!(
      Effect.exit(this.config.onConduit(conduit, { id, link, session, restored })).pipe(
        Effect.flatMap((exit) => {
          if (Exit.isSuccess(exit)) return Effect.ignore(conduit.close({ drain: this.config.drain }))
          // Interruption is the hub's own end, which closes every conduit itself.
          if (Cause.hasInterruptsOnly(exit.cause)) return Effect.void
          const { terminal } = engine
          if (terminal !== undefined && Cause.squash(exit.cause) === terminal) return Effect.void
          return Effect.andThen(
            Effect.logError("conduit handler failed", exit.cause),
            Effect.sync(() => {
              engine.abort()
              engine.end(ConduitErrors.make({ _tag: "HandlerFailed", cause: Cause.squash(exit.cause) }))
            })
          )
        })
      )
    )
    return seat
  }

  private lost(seat: Seat): void {
    if (this.closed) return
    for (const id of this.state.lost(seat.id, this.config.host.now(), seat.engine.heldBytes)) this.expire(id)
  }

  /** Keeps the place of a conduit that the store has and this process cannot go on with, so that its peer is not refused. */
  private suspend(id: number): void {
    if (this.closed) return
    for (const gone of this.state.lost(id, this.config.host.now(), 0)) this.expire(gone)
  }

  private expire(id: number): void {
    this.counts.expired++
    const seat = this.seats.get(id)
    if (seat === undefined) this.state.remove(id)
    else seat.engine.lose("expired")
  }

  private tick(): void {
    const now = this.config.host.now()
    for (const opening of this.openings) {
      if (opening.deadline > now) break
      this.openings.delete(opening)
      this.counts.malformed++
      opening.link.destroy()
    }
    for (const seat of this.seats.values()) {
      if (seat.engine.linkUp) seat.engine.tick(now)
      else for (const id of this.state.grew(seat.id, now, seat.engine.heldBytes)) this.expire(id)
    }
    for (const id of this.state.evict(now)) this.expire(id)
  }

  private close(): void {
    this.closed = true
    for (const { link } of this.openings) link.destroy()
    this.openings.clear()
    for (const { engine } of this.seats.values()) {
      if (this.config.farewell === false) {
        engine.abandon()
        continue
      }
      engine.farewell()
    }
  }
}

const noop = () => {}
const storeFailed = (engine: Engine) => engine.terminal?.reason._tag === "StoreFailed"
