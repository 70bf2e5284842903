import * as Control from "./Control.ts"
import { FrameReader } from "./Frame.ts"
import type { ClientHello, ServerHello } from "./Hello.ts"
import { BatchCollector } from "./ItemBatch.ts"
import { ReplayBuffer, type ReplayLimits } from "./ReplayBuffer.ts"
import * as Serial from "./Serial.ts"

/**
 * What is wrong with the peer's bytes or claims: a violation ends the conduit, except that a fault in one link's framing
 * only ends the link.
 *
 * @since 0.1.0
 */
export type Violation =
  | { readonly _tag: "MalformedFrame"; readonly fault: string }
  | { readonly _tag: "AckFromFuture"; readonly ack: number; readonly highestSent: number | undefined }
  | { readonly _tag: "SequenceGap"; readonly expected: number; readonly received: number }
  | { readonly _tag: "FrameAfterBye"; readonly seq: number }
  | { readonly _tag: "UnexpectedControl" }

/**
 * Why two ends that once agreed no longer can.
 *
 * @since 0.1.0
 */
export type Divergence = "peer-ahead" | "peer-behind"

/**
 * Counters of one conduit since it was made.
 *
 * @since 0.1.0
 */
export interface Counters {
  framesSent: number
  framesReceived: number
  bytesReceived: number
  duplicates: number
  gaps: number
  acksSent: number
  replayed: number
}

/**
 * @since 0.1.0
 */
export interface StateOptions {
  readonly window: ReplayLimits
  /** What a jump in the peer's numbers does: end the conduit, or be counted and delivered. */
  readonly gaps: "fail" | "count"
  /** Whether the delivered cursor is what survives a crash, so that hellos must not claim more. */
  readonly durable?: boolean | undefined
  /** First number to send; other than 0 only when restored, or in tests of the wrap. */
  readonly nextSeq?: number | undefined
  /** Highest number received and delivered before; other than absent only when restored, or in tests of the wrap. */
  readonly received?: number | undefined
}

/**
 * One conduit without its links: numbers, the replay buffer, the two receive cursors, and the rules that tie them to the
 * peer's hellos, acknowledgements and controls. Both roles use it alike; a hub or a client wires it to links.
 *
 * Input: `peerHello` once a link, then `payload` for every payload. Output: `buffer.take` for frames, `takeControl` for
 * controls, `collector` for items. It keeps no time and asks for none.
 *
 * @since 0.1.0
 */
export class ConduitState {
  readonly buffer: ReplayBuffer
  readonly collector = new BatchCollector()
  readonly counters: Counters = {
    framesSent: 0,
    framesReceived: 0,
    bytesReceived: 0,
    duplicates: 0,
    gaps: 0,
    acksSent: 0,
    replayed: 0
  }
  /** Highest number accepted from the peer; drops duplicates, and goes into hellos. */
  received: number | undefined
  /** Highest number handed to the consumer; goes into acknowledgements. */
  delivered: number | undefined
  /** Highest number the peer acknowledged, by a frame, a control or a hello. */
  acknowledged: number | undefined
  /**
   * First number that the peer's consumer is not known to have. It trails the buffer's first one after a hello, which
   * says what the peer has received, and so what it need not be sent again.
   */
  confirmedTo: number
  /** Whether both ends agreed to control payloads on the current link. */
  extensions = false
  /** Whether the peer said that it will send nothing more, and everything before that has arrived. */
  peerDone = false
  /** Whether the peer said that its conduit is gone. */
  peerAborted = false
  /** The acknowledgement that the peer was last told, by whatever means. */
  ackTold: number | undefined
  /** Whether a frame has arrived on the current link; it proves that the peer holds the link's key. */
  heardFrame = false
  /** Whether anything but a hello has arrived on the current link. */
  heard = false
  violation: Violation | undefined
  private readonly reader = new FrameReader()
  /** Whether a jump in the peer's numbers ends the conduit; otherwise it is counted and delivery goes on. */
  gapsAreFatal: boolean
  private readonly durable: boolean
  private sentOnce: number
  private byeAt: number | undefined
  private pongOwed: number | undefined
  pongReceived: number | undefined

  constructor(options: StateOptions) {
    this.buffer = new ReplayBuffer(options.window, options.nextSeq ?? 0)
    this.gapsAreFatal = options.gaps === "fail"
    this.durable = options.durable ?? false
    this.received = options.received
    this.delivered = options.received
    this.sentOnce = this.buffer.nextSeq
    this.confirmedTo = this.buffer.firstSeq
  }

  /** What a hello says was received: with a durable cursor, only what would survive a crash. */
  get helloReceived(): number | undefined {
    return this.durable ? this.delivered : this.received
  }

  /** Numbers assigned and not acknowledged. */
  get unconfirmed(): number {
    return this.buffer.frames
  }

  /** Numbers and stores an item; the caller has asked `buffer.fits`. */
  append(item: Uint8Array): number {
    // A restored or busy peer may acknowledge late, but never more than 2^31 numbers late: the window sees to it.
    if (this.delivered !== undefined) this.ackTold = this.delivered
    return this.buffer.append(item, this.delivered)
  }

  /** Notes that everything up to the cursor has been given to a link. */
  markSent(): void {
    const sent = Serial.distance(this.sentOnce, this.buffer.cursorSeq)
    if (sent !== 0 && sent < Serial.halfSpace) {
      this.counters.framesSent += sent
      this.sentOnce = this.buffer.cursorSeq
    }
  }

  /**
   * The peer's claim at the start of a resumed link. On success the buffer is trimmed and rewound, ready to replay.
   *
   * @returns how many frames will be replayed, or why the two ends cannot go on together
   */
  peerHello(hello: ClientHello | ServerHello, fresh: boolean): number | Divergence {
    this.heardFrame = false
    this.heard = false
    this.pongOwed = undefined
    this.pongReceived = undefined
    if (!fresh) {
      // "Nothing received" is the same as "before 0", and is only true while 0 is still ours to replay.
      if (this.isBehind(hello.lastReceived)) return "peer-behind"
      if (hello.lastReceived !== undefined) {
        const beyond = Serial.distance(Serial.previous(this.buffer.firstSeq), hello.lastReceived)
        if (beyond > this.buffer.frames || (beyond > 0 && !this.everSent(hello.lastReceived))) return "peer-ahead"
        if (beyond > 0) {
          this.buffer.trim(hello.lastReceived)
          this.acknowledged = hello.lastReceived
        }
      }
    }
    this.buffer.rewind()
    // An acknowledgement on the lost link may never have arrived, and a hello says less: what was received.
    this.ackTold = undefined
    const replay = Math.min(this.buffer.frames, Serial.distance(this.buffer.firstSeq, this.sentOnce))
    this.counters.replayed += replay
    return replay
  }

  /** Whether a claim lies before what is still kept, so that the missing items cannot be replayed. */
  isBehind(lastReceived: number | undefined): boolean {
    if (lastReceived === undefined) return this.acknowledged !== undefined || this.buffer.firstSeq !== 0
    const held = Serial.previous(this.buffer.firstSeq)
    return lastReceived !== held && Serial.after(held, lastReceived)
  }

  /**
   * One payload after the hellos.
   *
   * @returns false on a violation, which is then in `violation`
   */
  payload(bytes: Uint8Array, offset: number, length: number, owned: boolean): boolean {
    this.heard = true
    if (length === Control.controlBytes && this.extensions) return this.control(Control.decode(bytes, offset))
    const reader = this.reader
    const fault = reader.read(bytes, offset, length)
    if (fault !== undefined) return this.fail({ _tag: "MalformedFrame", fault })
    this.heardFrame = true
    // A duplicate's acknowledgement counts, so it comes before the duplicate is dropped.
    if (reader.hasAck && !this.acknowledge(reader.ack)) return false
    const seq = reader.seq
    const expected = this.received === undefined ? 0 : Serial.next(this.received)
    if (seq !== expected) {
      if (this.received !== undefined && Serial.atOrBefore(seq, this.received)) {
        this.counters.duplicates++
        return true
      }
      this.counters.gaps++
      if (this.gapsAreFatal) return this.fail({ _tag: "SequenceGap", expected, received: seq })
    }
    if (this.peerDone) return this.fail({ _tag: "FrameAfterBye", seq })
    this.received = seq
    this.counters.framesReceived++
    this.counters.bytesReceived += reader.itemLength
    this.collector.add(bytes, reader.itemStart, reader.itemLength, seq, owned)
    if (this.byeAt !== undefined) this.settleBye()
    return true
  }

  /** Whether the consumer has taken something the peer has not been told about. */
  get ackDue(): boolean {
    return this.delivered !== undefined && (this.ackTold === undefined || Serial.after(this.delivered, this.ackTold))
  }

  /** How many delivered items the peer has not been told about. */
  get ackBehind(): number {
    return this.ackDue ? Serial.distance(this.ackTold ?? 0xffff_ffff, this.delivered!) : 0
  }

  /** The answer that is owed to a ping, or an acknowledgement when `ack` asks for one and nothing else carried it. */
  takeControl(ack: boolean): Uint8Array<ArrayBuffer> | undefined {
    if (!this.extensions) return undefined
    if (this.pongOwed !== undefined) {
      const nonce = this.pongOwed
      this.pongOwed = undefined
      return Control.encode("pong", nonce)
    }
    if (ack && this.ackDue) {
      this.ackTold = this.delivered
      this.counters.acksSent++
      return Control.encode("ack", this.delivered!)
    }
    return undefined
  }

  /** A peer without control payloads says no more than its hello and its frames do: what it has received counts. */
  confirmReceived(): void {
    this.confirmedTo = this.buffer.firstSeq
  }

  private acknowledge(ack: number): boolean {
    const next = Serial.next(ack)
    // Numbers between these two are trimmed already, by a hello.
    if (Serial.after(next, this.confirmedTo) && Serial.atOrBefore(next, this.buffer.firstSeq)) this.confirmedTo = next
    if (this.acknowledged === ack) return true
    const beyond = Serial.distance(this.buffer.firstSeq, next)
    if (beyond === 0 || beyond >= Serial.halfSpace) return true
    if (beyond > this.buffer.frames || !this.everSent(ack)) {
      return this.fail({
        _tag: "AckFromFuture",
        ack,
        highestSent: this.sentOnce === 0 ? undefined : Serial.previous(this.sentOnce)
      })
    }
    this.buffer.trim(ack)
    this.acknowledged = ack
    this.confirmedTo = next
    return true
  }

  private everSent(seq: number): boolean {
    return Serial.atOrBefore(Serial.next(seq), this.sentOnce) ||
      Serial.atOrBefore(Serial.next(seq), this.buffer.cursorSeq)
  }

  /** Restored frames count as sent: the peer may have them. */
  restored(): void {
    this.sentOnce = this.buffer.nextSeq
  }

  private control(control: Control.Control | "UnknownControl"): boolean {
    if (control === "UnknownControl") return this.fail({ _tag: "UnexpectedControl" })
    switch (control.kind) {
      case "ack":
        return this.acknowledge(control.value)
      case "ping":
        this.pongOwed = control.value
        return true
      case "pong":
        this.pongReceived = control.value
        return true
      case "bye":
        this.byeAt = control.value
        this.settleBye()
        return true
      case "abort":
        this.peerAborted = true
        return true
    }
  }

  private settleBye(): void {
    const expected = this.received === undefined ? 0 : Serial.next(this.received)
    if (this.byeAt === expected) this.peerDone = true
  }

  private fail(violation: Violation): false {
    this.violation = violation
    return false
  }
}
