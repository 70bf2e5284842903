import * as ConduitErrors from "../ConduitError.ts"
import type { ConduitError } from "../ConduitError.ts"
import { ConduitState, type Divergence, type Violation } from "../core/ConduitState.ts"
import * as Control from "../core/Control.ts"
import * as Frame from "../core/Frame.ts"
import type { ClientHello, ServerHello } from "../core/Hello.ts"
import type { ItemBatch } from "../core/ItemBatch.ts"
import type { ReplayLimits } from "../core/ReplayBuffer.ts"
import * as Serial from "../core/Serial.ts"
import { type Link, type LinkSink, writePayload } from "../Link.ts"
import * as LinkErrors from "../LinkError.ts"
import type { LinkError } from "../LinkError.ts"
import type { Metrics, Status } from "../Status.ts"
import { Confirmations } from "./Confirmations.ts"
import { Inbox } from "./Inbox.ts"

/** What an engine needs from the runtime it lives in; the shell takes it from Effect's services. */
export interface EngineHost {
  /** Runs a task soon, in this turn of the scheduler. */
  readonly schedule: (task: () => void) => void
  /** Runs a task after a delay; returns how to cancel it. */
  readonly after: (millis: number, task: () => void) => () => void
  readonly now: () => number
}

export interface EngineOptions {
  readonly window: ReplayLimits
  readonly whenFull: "wait" | "fail"
  readonly receive: { readonly bytes: number; readonly items: number }
  readonly maxItemBytes: number
  /** "auto": a gap is fatal once the peer agreed to extensions, because then it is one of ours. */
  readonly gaps: "auto" | "fail" | "count"
  readonly ack: { readonly items: number; readonly bytes: number; readonly delayMillis: number }
  readonly keepalive: { readonly intervalMillis: number; readonly timeoutMillis: number } | undefined
  /** A window that stays full this long against a peer without extensions costs the link: its hello acknowledges. */
  readonly stallMillis: number
  readonly nextSeq?: number | undefined
  readonly received?: number | undefined
  readonly journal?: EngineJournal | undefined
}

/** Where a durable conduit writes before the wire may know. */
export interface EngineJournal {
  readonly appended: (seq: number, item: Uint8Array) => void
  readonly delivered: (seq: number) => void
  readonly trimmed: (seq: number) => void
}

/** What the shell is told. */
export interface EngineEvents {
  /** The current link is gone; the conduit is not. */
  readonly down: (error: LinkError) => void
  /** The first frame arrived on the current link, so the peer holds the key of its hello. */
  readonly proven: () => void
  /** The conduit ended; called once. */
  readonly ended: () => void
}

interface PendingSend {
  readonly items: ReadonlyArray<Uint8Array>
  next: number
  readonly done: (result: number | ConduitError) => void
}

/** A queue over this multiple of its limit, on a transport that cannot pause, costs the link. */
const hardLimitFactor = 4

/**
 * Wires one conduit's state to one link at a time. Synchronous: what waits, waits as a callback in one of its queues.
 * Nothing here knows how a link is obtained or how a hello is routed.
 */
export class Engine {
  readonly state: ConduitState
  readonly options: EngineOptions
  private readonly host: EngineHost
  private events: EngineEvents | undefined
  private link: Link | undefined
  private blocked = false
  private held = false
  private paused = false
  private flushScheduled = false
  private arriving = false
  private ackNow = false
  private ackBytes = 0
  private cancelAck: (() => void) | undefined
  private provenTold = false
  private lastHeard = 0
  private pingAt: number | undefined
  private nonce = 0
  private lastTrim = 0
  private byeSent = false
  private readonly senders: Array<PendingSend> = []
  private readonly confirmations = new Confirmations()
  readonly inbox = new Inbox()
  private handler: ((batch: ItemBatch) => void) | undefined
  private readonly listeners = new Set<(status: Status) => void>()
  /** First number that may not be written yet; only with a journal. */
  heldFrom: number | undefined
  /** Links used so far. */
  links = 0
  status: Status = { _tag: "Connecting" }
  /** Set once and for good: why operations fail. */
  terminal: ConduitError | undefined
  /** Set when this end is closing: nothing more may be sent. */
  closing = false

  constructor(host: EngineHost, options: EngineOptions) {
    this.host = host
    this.options = options
    this.state = new ConduitState({
      window: options.window,
      gaps: options.gaps === "count" ? "count" : "fail",
      durable: options.journal !== undefined,
      nextSeq: options.nextSeq,
      received: options.received
    })
    this.trimmedTo = this.state.buffer.firstSeq
    this.itemLimit = Math.min(options.maxItemBytes, this.state.buffer.maxItemBytes)
    this.lastTrim = host.now()
    if (options.journal !== undefined) this.heldFrom = this.state.buffer.nextSeq
  }

  connect(events: EngineEvents): void {
    this.events = events
  }

  get now(): number {
    return this.host.now()
  }

  /** Refuses further sends; what was accepted goes on. */
  stopSending(): void {
    this.closing = true
    this.admit()
  }

  /** Holds back everything that would be written, until the state it depends on is durable. */
  holdWrites(hold: boolean): void {
    this.held = hold
    if (!hold) this.flush()
  }

  get linkUp(): boolean {
    return this.link !== undefined
  }

  get currentLink(): Link | undefined {
    return this.link
  }

  // --- links -----------------------------------------------------------------------------------------------------

  /**
   * Takes over a link whose hellos are done. Whatever link was there before is destroyed first: the newest wins.
   *
   * @returns the sink for everything after the hellos
   */
  attach(link: Link, agreed: boolean, replayed: number): LinkSink {
    const previous = this.link
    this.link = undefined
    previous?.destroy()
    this.link = link
    this.links++
    this.state.extensions = agreed
    this.state.gapsAreFatal = this.options.gaps === "fail" || (this.options.gaps === "auto" && agreed)
    this.state.buffer.recycles = link.copies
    this.itemLimit = Math.min(
      this.options.maxItemBytes,
      this.state.buffer.maxItemBytes,
      link.maxPayload - Frame.maxHeaderBytes
    )
    this.blocked = false
    this.paused = false
    this.provenTold = false
    this.pingAt = undefined
    this.lastHeard = this.lastTrim = this.host.now()
    this.setStatus(
      this.links === 1
        ? { _tag: "Connected", link: link.description }
        : { _tag: "Resumed", link: link.description, replayed, generation: this.links - 1 }
    )
    const sink: LinkSink = {
      payload: (bytes, offset, length, owned) => {
        if (this.link !== link) return false
        if (!this.state.payload(bytes, offset, length, owned)) {
          this.cut()
          this.violate(this.state.violation!)
          return false
        }
        return true
      },
      flush: () => {
        if (this.link === link) this.arrived()
      },
      writable: () => {
        if (this.link !== link) return
        this.blocked = false
        this.flush()
      },
      closed: (error) => this.linkFailed(link, error)
    }
    this.progressed()
    this.scheduleFlush()
    this.applyPressure()
    return sink
  }

  /** Reports that a link failed; a report about any link but the current one changes nothing. */
  linkFailed(link: Link, error: LinkError): void {
    if (this.link !== link) return
    this.cut()
    this.link = undefined
    link.destroy()
    this.cancelAck?.()
    this.cancelAck = undefined
    if (this.state.peerDone) return this.end(ConduitErrors.make({ _tag: "PeerClosed" }))
    if (this.terminal !== undefined) return
    this.setStatus({ _tag: "Reconnecting", attempt: 1, cause: error })
    this.events?.down(error)
  }

  /** Drops the current link, as if it had failed. */
  kick(why: string): void {
    const link = this.link
    if (link !== undefined) this.linkFailed(link, LinkErrors.make(link.description, { _tag: "Kicked", why }))
  }

  /** Trims, rewinds and judges by the peer's hello; ends the conduit when the two ends have diverged. */
  peerHello(hello: ClientHello | ServerHello, fresh: boolean): number | Divergence {
    const outcome = this.state.peerHello(hello, fresh)
    if (typeof outcome === "string") this.lose(outcome)
    return outcome
  }

  lose(why: Divergence | "rejected" | "expired" | "peer-aborted"): void {
    this.end(ConduitErrors.make({ _tag: "SessionLost", why, unconfirmed: this.state.unconfirmed }))
  }

  // --- sending ---------------------------------------------------------------------------------------------------

  /** Why an item of this size cannot be sent at all, if so. */
  refuse(bytes: number): ConduitError | undefined {
    if (this.terminal !== undefined) return this.terminal
    if (this.closing) return ConduitErrors.make({ _tag: "Closed" })
    const limit = this.itemLimit
    return bytes > limit ? ConduitErrors.make({ _tag: "ItemTooLarge", bytes, limit }) : undefined
  }

  /** Numbers and stores an item if it fits and nobody waits before it; returns its number, or -1. */
  trySend(item: Uint8Array): number {
    const { buffer } = this.state
    if (this.senders.length > 0 || !buffer.fits(item.length)) return -1
    return this.append(item)
  }

  /** Numbers and stores an item now, or not at all; returns whether it did. */
  offer(item: Uint8Array): boolean {
    if (this.closing || this.senders.length > 0 || item.length > this.itemLimit) return false
    if (!this.state.buffer.fits(item.length)) return false
    this.append(item)
    return true
  }

  /** Queues items behind every earlier sender; `done` gets the last number, or why it failed. Returns how to cancel. */
  queueSend(items: ReadonlyArray<Uint8Array>, done: (result: number | ConduitError) => void): () => void {
    const pending: PendingSend = { items, next: 0, done }
    this.senders.push(pending)
    this.admit()
    return () => {
      const index = this.senders.indexOf(pending)
      if (index >= 0) this.senders.splice(index, 1)
      this.admit()
    }
  }

  /** Calls back when the peer has confirmed `seq`; returns how to cancel. */
  onConfirmed(seq: number, done: (result: ConduitError | undefined) => void): () => void {
    if (this.isConfirmed(seq)) {
      done(undefined)
      return noop
    }
    if (this.terminal !== undefined) {
      done(this.terminal)
      return noop
    }
    return this.confirmations.add(seq, done)
  }

  isConfirmed(seq: number): boolean {
    return Serial.after(this.state.buffer.firstSeq, seq)
  }

  get waitingSenders(): number {
    return this.senders.length
  }

  /** Lets everything below `seq` out; only with a journal. */
  release(seq: number): void {
    this.heldFrom = seq
    this.scheduleFlush()
  }

  private append(item: Uint8Array): number {
    const seq = this.state.append(item)
    this.ackBytes = 0
    this.options.journal?.appended(seq, item)
    if (!this.flushScheduled) this.scheduleFlush()
    return seq
  }

  private admit(): void {
    while (this.senders.length > 0) {
      const first = this.senders[0]!
      const refused = this.terminal ?? (this.closing ? ConduitErrors.make({ _tag: "Closed" }) : undefined)
      if (refused !== undefined) {
        this.senders.shift()
        first.done(refused)
        continue
      }
      let seq = -1
      while (first.next < first.items.length && this.state.buffer.fits(first.items[first.next]!.length)) {
        seq = this.append(first.items[first.next++]!)
      }
      if (first.next < first.items.length) return
      this.senders.shift()
      first.done(seq)
    }
  }

  private scheduleFlush(): void {
    if (this.flushScheduled) return
    this.flushScheduled = true
    // What a handler sends goes out when it has seen the whole read, in one write and without waiting for a turn.
    if (this.arriving) return
    this.host.schedule(() => {
      this.flushScheduled = false
      this.flush()
    })
  }

  /** Gives the link everything it will take. */
  flush(): void {
    const link = this.link
    if (link === undefined || this.held) return
    const { buffer } = this.state
    while (!this.blocked) {
      const run = buffer.take(this.heldFrom)
      if (run === undefined) break
      if (!link.write(run.bytes, run.start, run.end)) this.blocked = true
      if (this.link !== link) return
    }
    this.state.markSent()
    if (this.blocked) return
    const control = this.state.takeControl(this.ackNow)
    if (control !== undefined) {
      this.ackBytes = 0
      if (!writePayload(link, control)) this.blocked = true
      // A pong went out; the acknowledgement may still be due.
      if (this.ackNow && this.state.ackDue) this.scheduleFlush()
      else this.ackNow = false
    }
  }

  // --- receiving -------------------------------------------------------------------------------------------------

  /** Hands batches to a synchronous handler instead of the queue; what is queued goes first. */
  subscribe(handler: (batch: ItemBatch) => void): void {
    for (let batch = this.takeBatch(); batch !== undefined; batch = this.takeBatch()) handler(batch)
    this.handler = handler
  }

  /** The next batch, if any, which the consumer thereby has. */
  takeBatch(acknowledge = true): ItemBatch | undefined {
    const batch = this.inbox.shiftBatch()
    if (batch === undefined) return undefined
    if (acknowledge) this.consumed(batch.lastSeq, batch.itemBytes)
    this.applyPressure()
    return batch
  }

  /** The next item, if any, and its number. */
  takeItem(): { readonly seq: number; readonly item: Uint8Array } | undefined {
    const taken = this.inbox.shiftItem()
    if (taken === undefined) return undefined
    this.consumed(taken.seq, taken.item.length)
    this.applyPressure()
    return taken
  }

  /** The consumer has everything up to `seq`: acknowledge it when that is due. */
  consumed(seq: number, bytes: number): void {
    if (this.options.journal !== undefined) return this.options.journal.delivered(seq)
    this.acknowledgeable(seq, bytes)
  }

  /** Moves the cursor that acknowledgements carry. */
  acknowledgeable(seq: number, bytes: number): void {
    const { state } = this
    state.delivered = seq
    if (!state.extensions || this.link === undefined) return
    this.ackBytes += bytes
    if (this.ackBytes >= this.options.ack.bytes || state.ackBehind >= this.options.ack.items) {
      this.ackNow = true
      this.scheduleFlush()
    } else if (this.cancelAck === undefined) {
      this.cancelAck = this.host.after(this.options.ack.delayMillis, () => {
        this.cancelAck = undefined
        if (!state.ackDue) return
        this.ackNow = true
        this.flush()
      })
    }
  }

  private cut(): void {
    const { collector } = this.state
    if (collector.isEmpty) return
    const { handler } = this
    for (const batch of collector.cut(handler !== undefined)) {
      if (handler === undefined) {
        this.inbox.push(batch)
        continue
      }
      const { itemBytes, lastSeq } = batch
      try {
        handler(batch)
      } catch (cause) {
        return this.end(ConduitErrors.make({ _tag: "HandlerFailed", cause }))
      }
      this.consumed(lastSeq, itemBytes)
    }
  }

  private arrived(): void {
    this.arriving = !this.flushScheduled
    this.digest()
    if (!this.arriving) return
    this.arriving = false
    if (!this.flushScheduled) return
    this.flushScheduled = false
    this.flush()
  }

  private digest(): void {
    this.cut()
    const { options, state } = this
    if (options.keepalive !== undefined) {
      this.lastHeard = this.host.now()
      this.pingAt = undefined
    }
    if (state.heardFrame && !this.provenTold) {
      this.provenTold = true
      this.events?.proven()
    }
    this.progressed()
    if (!this.inbox.isEmpty) this.inbox.wake()
    if (state.peerAborted) return this.lose("peer-aborted")
    if (state.peerDone) {
      const link = this.link
      this.end(ConduitErrors.make({ _tag: "PeerClosed" }))
      link?.destroy()
      return
    }
    this.applyPressure()
    const pong = state.takeControl(false)
    if (pong !== undefined && this.link !== undefined && !this.held) writePayload(this.link, pong)
  }

  /** The peer may have confirmed something: settle who waited for it. */
  private progressed(): void {
    const { buffer } = this.state
    if (buffer.firstSeq !== this.trimmedTo) {
      this.trimmedTo = buffer.firstSeq
      if (this.options.keepalive !== undefined || this.senders.length > 0) this.lastTrim = this.host.now()
      this.options.journal?.trimmed(Serial.previous(buffer.firstSeq))
      this.confirmations.settle(buffer.firstSeq)
      if (this.senders.length > 0) this.admit()
    }
  }
  private trimmedTo: number
  /** Longest item that the options, the window and the current link allow. */
  private itemLimit: number
  private seqAtTick = -1

  private applyPressure(): void {
    if (this.roomWaiter !== undefined && this.hasRoom) this.tellRoom()
    const link = this.link
    if (link === undefined) return
    const { bytes, items } = this.options.receive
    if (this.paused) {
      if (this.inbox.bytes <= bytes / 2 && this.inbox.items <= items / 2) {
        this.paused = false
        this.lastHeard = this.host.now()
        link.resume()
      }
    } else if (this.inbox.bytes > bytes || this.inbox.items > items) {
      if (link.canPause) {
        this.paused = true
        link.pause()
      } else if (this.inbox.bytes > bytes * hardLimitFactor || this.inbox.items > items * hardLimitFactor) {
        this.linkFailed(link, LinkErrors.make(link.description, { _tag: "Overflow" }))
      }
    }
  }

  /** Calls back once when the queue has room again; returns nothing to cancel, the callback is idempotent. */
  whenRoom(done: () => void): void {
    this.roomWaiter = done
    if (this.hasRoom || this.terminal !== undefined) this.tellRoom()
  }

  private roomWaiter: (() => void) | undefined

  private tellRoom(): void {
    const done = this.roomWaiter
    this.roomWaiter = undefined
    done?.()
  }

  /** Whether the queue has room for what a new link would bring. */
  get hasRoom(): boolean {
    return this.inbox.bytes <= this.options.receive.bytes && this.inbox.items <= this.options.receive.items
  }

  // --- time ------------------------------------------------------------------------------------------------------

  /** Keepalive and stall watch; called about once a second. */
  tick(now: number): void {
    const link = this.link
    if (link === undefined || this.terminal !== undefined) return
    // A conduit that has been idle for a tick gives its memory back.
    const { nextSeq } = this.state.buffer
    if (nextSeq === this.seqAtTick && this.state.buffer.frames === 0) this.state.buffer.compact()
    this.seqAtTick = nextSeq
    const { keepalive, stallMillis } = this.options
    if (!this.state.extensions) {
      if (this.senders.length > 0 && now - this.lastTrim >= stallMillis) this.kick("window full, nothing confirmed")
      return
    }
    if (keepalive === undefined || this.paused) return
    if (this.pingAt !== undefined && now - this.pingAt >= keepalive.timeoutMillis) {
      const millis = now - this.lastHeard
      return this.linkFailed(link, LinkErrors.make(link.description, { _tag: "Silent", millis }))
    }
    if (this.pingAt === undefined && now - this.lastHeard >= keepalive.intervalMillis) {
      this.pingAt = now
      writePayload(link, Control.encode("ping", this.nonce = Serial.next(this.nonce)))
    }
  }

  // --- the end ---------------------------------------------------------------------------------------------------

  /**
   * Says goodbye over the current link and ends it gracefully: the peer learns that this is a stop, not a disconnect.
   */
  bye(): void {
    const link = this.link
    if (link === undefined || this.byeSent) return
    this.byeSent = true
    this.flush()
    if (this.link !== link) return
    const { state } = this
    if (state.extensions) {
      if (state.ackDue) {
        this.ackNow = true
        const ack = state.takeControl(true)
        if (ack !== undefined) writePayload(link, ack)
      }
      const whole = state.buffer.unsent === 0
      writePayload(link, Control.encode(whole ? "bye" : "abort", state.buffer.nextSeq))
    }
    link.end()
  }

  /** Says goodbye and ends. */
  farewell(): void {
    this.bye()
    this.end(ConduitErrors.make({ _tag: "Closed" }))
  }

  /** Tells the peer that this end failed. */
  abort(): void {
    const link = this.link
    if (link === undefined || this.byeSent) return
    this.byeSent = true
    if (this.state.extensions) writePayload(link, Control.encode("abort", 0))
    link.end()
  }

  /** Drops the link and falls silent, for a conduit that will be restored elsewhere. */
  abandon(): void {
    const link = this.link
    this.link = undefined
    link?.destroy()
    this.byeSent = true
    this.events = undefined
    this.end(ConduitErrors.make({ _tag: "Closed" }))
  }

  /** Ends the conduit for good. What was received before stays takeable. */
  end(error: ConduitError): void {
    if (this.terminal !== undefined) return
    this.terminal = error
    this.closing = true
    const link = this.link
    this.link = undefined
    if (link !== undefined && !this.byeSent) link.destroy()
    this.cancelAck?.()
    this.cancelAck = undefined
    const { _tag } = error.reason
    this.setStatus(_tag === "Closed" || _tag === "PeerClosed" ? { _tag: "Closed" } : { _tag: "Lost", error })
    this.admit()
    this.confirmations.fail(error)
    this.inbox.wake()
    this.tellRoom()
    this.events?.ended()
  }

  private violate(violation: Violation): void {
    this.end(
      violation._tag === "SequenceGap"
        ? ConduitErrors.make({ _tag: "Discontinuity", expected: violation.expected, received: violation.received })
        : ConduitErrors.make({ _tag: "ProtocolViolation", violation })
    )
  }

  // --- watching --------------------------------------------------------------------------------------------------

  setStatus(status: Status): void {
    this.status = status
    for (const listener of this.listeners) listener(status)
  }

  listen(listener: (status: Status) => void): () => void {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  /** Bytes that this conduit keeps in memory for its peer and its consumer. */
  get heldBytes(): number {
    return this.state.buffer.bytes + this.inbox.bytes
  }

  get metrics(): Metrics {
    const { buffer, counters } = this.state
    return {
      ...counters,
      nextSeq: buffer.nextSeq,
      links: this.links,
      windowFrames: buffer.frames,
      windowBytes: buffer.bytes,
      windowHighWater: buffer.highWater,
      queuedItems: this.inbox.items,
      queuedBytes: this.inbox.bytes,
      waitingSenders: this.senders.length
    }
  }
}

const noop = () => {}
