import * as ConduitErrors from "../ConduitError.ts"
import type { ConduitError } from "../ConduitError.ts"
import { ConduitState, type Divergence, type Violation } from "../core/ConduitState.ts"
import * as Control from "../core/Control.ts"
import * as Frame from "../core/Frame.ts"
import type { ClientHello, ServerHello } from "../core/Hello.ts"
import type { ItemBatch } from "../core/ItemBatch.ts"
import * as Serial from "../core/Serial.ts"
import { type Link, type LinkSink, writePayload } from "../Link.ts"
import * as LinkErrors from "../LinkError.ts"
import type { LinkError } from "../LinkError.ts"
import type { Metrics, Status } from "../Status.ts"
import { AckDuty } from "./AckDuty.ts"
import { Confirmations } from "./Confirmations.ts"
import type { EngineEvents, EngineHost, EngineOptions } from "./EngineOptions.ts"
import { Inbox } from "./Inbox.ts"
import { Liveness } from "./Liveness.ts"
import { ReceivePressure } from "./ReceivePressure.ts"
import { SendQueue } from "./SendQueue.ts"

/**
 * Wires one conduit's state to one link at a time. Synchronous: what waits, waits as a callback in one of its queues.
 * Nothing here knows how a link is obtained or how a hello is routed.
 */
export class Engine {
  readonly state: ConduitState
  readonly options: EngineOptions
  readonly sends: SendQueue
  readonly inbox = new Inbox()
  readonly pressure: ReceivePressure
  /** First number that may not be written yet; only with a journal. */
  heldFrom: number | undefined
  /** Links used so far. */
  links = 0
  status: Status = { _tag: "Connecting" }
  /** Set once and for good: why operations fail. */
  terminal: ConduitError | undefined
  private readonly host: EngineHost
  private readonly acks: AckDuty
  private readonly liveness: Liveness
  private readonly confirmations = new Confirmations()
  private readonly listeners = new Set<(status: Status) => void>()
  private events: EngineEvents | undefined
  private link: Link | undefined
  /** Set when this end is closing: nothing more may be sent. */
  private closing = false
  /** Whether the link wants no more for now. */
  private blocked = false
  private held = false
  private flushScheduled = false
  /** Whether a read is being handed on right now, whose answers go out together at its end. */
  private arriving = false
  private provenTold = false
  private byeSent = false
  private handler: ((batch: ItemBatch) => void) | undefined
  /** What `progressed` has seen of the state's cursors. */
  private trimmedTo: number
  private settledTo: number
  private seqAtTick = -1

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
    const { buffer } = this.state
    this.sends = new SendQueue({
      buffer,
      append: (item) => this.append(item),
      refusal: () => this.refusal
    }, Math.min(options.maxItemBytes, buffer.maxItemBytes))
    this.acks = new AckDuty(options.ack, host, this.state, () => this.scheduleFlush())
    this.liveness = new Liveness(options, host.now())
    this.pressure = new ReceivePressure(options.receive, this.inbox)
    this.trimmedTo = this.settledTo = buffer.firstSeq
    if (options.journal !== undefined) this.heldFrom = buffer.nextSeq
  }

  connect(events: EngineEvents): void {
    this.events = events
  }

  get now(): number {
    return this.host.now()
  }

  get linkUp(): boolean {
    return this.link !== undefined
  }

  // --- links -----------------------------------------------------------------------------------------------------

  /**
   * Takes over a link whose hellos are done. Whatever link was there before is destroyed first: the newest wins.
   *
   * @returns the sink for everything after the hellos
   */
  attach(link: Link, agreed: boolean, replayed: number): LinkSink {
    const { options, state } = this
    const previous = this.link
    this.link = undefined
    previous?.destroy()
    this.link = link
    this.links++
    state.extensions = agreed
    if (!agreed) state.confirmReceived()
    else if (state.ackDue) this.acks.now = true
    state.gapsAreFatal = options.gaps === "fail" || (options.gaps === "auto" && agreed)
    state.buffer.recycles = link.copies
    this.sends.itemLimit = Math.min(
      options.maxItemBytes,
      state.buffer.maxItemBytes,
      link.maxPayload - Frame.maxHeaderBytes
    )
    this.blocked = false
    this.provenTold = false
    this.pressure.paused = false
    this.liveness.linked(this.host.now())
    this.setStatus(
      this.links === 1
        ? { _tag: "Connected", link: link.description }
        : { _tag: "Resumed", link: link.description, replayed, generation: this.links - 1 }
    )
    const sink: LinkSink = {
      payload: (bytes, offset, length, owned) => {
        if (this.link !== link) return false
        if (!state.payload(bytes, offset, length, owned)) {
          this.deliver()
          this.violate(state.violation!)
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
    this.deliver()
    this.link = undefined
    link.destroy()
    this.acks.rest()
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

  // --- sending ---------------------------------------------------------------------------------------------------

  /** Why nothing more is taken for sending, if so. */
  private get refusal(): ConduitError | undefined {
    return this.terminal ?? (this.closing ? ConduitErrors.make({ _tag: "Closed" }) : undefined)
  }

  private append(item: Uint8Array): number {
    const seq = this.state.append(item)
    this.acks.carried()
    this.options.journal?.appended(seq, item)
    if (!this.flushScheduled) this.scheduleFlush()
    return seq
  }

  /** Refuses further sends; what was accepted goes on. */
  stopSending(): void {
    this.closing = true
    this.sends.admit()
  }

  /** Holds back everything that would be written, until the state it depends on is durable. */
  holdWrites(hold: boolean): void {
    this.held = hold
    if (!hold) this.flush()
  }

  /** Lets everything below `seq` out; only with a journal. */
  release(seq: number): void {
    this.heldFrom = seq
    this.scheduleFlush()
  }

  /** Calls back when the peer has confirmed `seq`; returns how to cancel. */
  onConfirmed(seq: number, done: (result: ConduitError | undefined) => void): () => void {
    if (!this.isConfirmed(seq) && this.terminal === undefined) return this.confirmations.add(seq, done)
    done(this.isConfirmed(seq) ? undefined : this.terminal)
    return noop
  }

  isConfirmed(seq: number): boolean {
    return Serial.after(this.state.confirmedTo, seq)
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
    const { acks, link, state } = this
    if (link === undefined || this.held) return
    while (!this.blocked) {
      const run = state.buffer.take(this.heldFrom)
      if (run === undefined) break
      if (!link.write(run.bytes, run.start, run.end)) this.blocked = true
      if (this.link !== link) return
    }
    state.markSent()
    if (this.blocked) return
    const control = state.takeControl(acks.now)
    if (control !== undefined && !writePayload(link, control)) this.blocked = true
    // When it was a pong, the acknowledgement may still be due.
    if (acks.now && state.extensions && state.ackDue) this.scheduleFlush()
    else if (acks.now) acks.carried()
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
    this.state.delivered = seq
    if (this.state.extensions && this.link !== undefined) this.acks.taken(bytes)
  }

  /** Hands on what has been collected: to the handler, or to the queue. */
  private deliver(): void {
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
    this.deliver()
    const { state } = this
    if (this.liveness.listens) this.liveness.heard(this.host.now())
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

  /** The peer may have acknowledged something: settle who waited for it, let in who waited for room. */
  private progressed(): void {
    const { buffer: { firstSeq }, confirmedTo } = this.state
    if (confirmedTo !== this.settledTo) {
      this.settledTo = confirmedTo
      this.confirmations.settle(confirmedTo)
    }
    if (firstSeq === this.trimmedTo) return
    this.trimmedTo = firstSeq
    this.liveness.confirmed()
    this.options.journal?.trimmed(Serial.previous(firstSeq))
    this.sends.admit()
  }

  private applyPressure(): void {
    const outcome = this.pressure.apply(this.link)
    if (outcome === "resumed") this.liveness.heard(this.host.now())
    else if (outcome === "overflow") {
      this.linkFailed(this.link!, LinkErrors.make(this.link!.description, { _tag: "Overflow" }))
    }
  }

  // --- time ------------------------------------------------------------------------------------------------------

  /** Keepalive and stall watch; called about once a second. */
  tick(now: number): void {
    const { link, state } = this
    if (link === undefined || this.terminal !== undefined) return
    // A conduit that has been idle for a tick gives its memory back.
    const { nextSeq } = state.buffer
    if (nextSeq === this.seqAtTick && state.buffer.frames === 0) state.buffer.compact()
    this.seqAtTick = nextSeq
    const finding = this.liveness.look(now, {
      extensions: state.extensions,
      paused: this.pressure.paused,
      sendersWait: this.sends.waiting > 0
    })
    switch (finding?._tag) {
      case "Ping":
        writePayload(link, Control.encode("ping", finding.nonce))
        return
      case "Silent":
        return this.linkFailed(link, LinkErrors.make(link.description, finding))
      case "Stalled":
        return this.kick("window full, nothing confirmed")
    }
  }

  // --- the end ---------------------------------------------------------------------------------------------------

  /** Says goodbye over the current link, so that the peer learns that this is a stop, not a disconnect; and ends. */
  farewell(): void {
    this.bye()
    this.end(ConduitErrors.make({ _tag: "Closed" }))
  }

  private bye(): void {
    const { link, state } = this
    if (link === undefined || this.byeSent) return
    this.byeSent = true
    this.flush()
    if (this.link !== link) return
    if (state.extensions) {
      const ack = state.takeControl(true)
      if (ack !== undefined) writePayload(link, ack)
      const whole = state.buffer.unsent === 0
      writePayload(link, Control.encode(whole ? "bye" : "abort", state.buffer.nextSeq))
    }
    link.end()
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

  lose(why: Divergence | "rejected" | "expired" | "peer-aborted"): void {
    this.end(ConduitErrors.make({ _tag: "SessionLost", why, unconfirmed: this.state.unconfirmed }))
  }

  private violate(violation: Violation): void {
    this.end(
      violation._tag === "SequenceGap"
        ? ConduitErrors.make({ _tag: "Discontinuity", expected: violation.expected, received: violation.received })
        : ConduitErrors.make({ _tag: "ProtocolViolation", violation })
    )
  }

  /** Ends the conduit for good. What was received before stays takeable. */
  end(error: ConduitError): void {
    if (this.terminal !== undefined) return
    this.terminal = error
    this.closing = true
    const link = this.link
    this.link = undefined
    if (link !== undefined && !this.byeSent) link.destroy()
    this.acks.rest()
    const { _tag } = error.reason
    this.setStatus(_tag === "Closed" || _tag === "PeerClosed" ? { _tag: "Closed" } : { _tag: "Lost", error })
    this.sends.admit()
    this.confirmations.fail(error)
    this.inbox.wake()
    this.pressure.tellRoom()
    this.events?.ended()
  }

  // --- telling ---------------------------------------------------------------------------------------------------

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
      waitingSenders: this.sends.waiting
    }
  }
}

const noop = () => {}
