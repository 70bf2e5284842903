/**
 * A judge on the wire: sits at the initiator's end of every link, reads both directions, and knows what a conduit of
 * either side may say. It also provokes: after a resume it plays frames again that the receiver has just claimed, as a
 * peer may that keeps no record of claims, so that duplicates happen at all.
 */
import { Effect } from "effect"
import { Control, Frame, Hello, type Link, type LinkSource } from "../../../src/index.ts"
import { StreamDecoder } from "../../../src/Link.ts"
import * as Serial from "../../../src/core/Serial.ts"
import { hex } from "../../support.ts"

export interface WatchOptions {
  /** Number of the first item in both directions. */
  readonly first: number
  /** Says what is wrong; called for every breach. */
  readonly breach: (what: string, details: Readonly<Record<string, string | number>>) => void
  /** How many frames are played again after a resume, drawn each time. */
  readonly duplicates: () => number
  /**
   * The highest number that each end's consumer is done with; "any" where taking an item is enough to acknowledge it.
   */
  readonly done: { readonly near: () => Done; readonly far: () => Done }
}

export type Done = number | "any" | undefined

/** One direction of the conversation. */
class Direction {
  /** Bytes of every item by its number: a number says the same thing each time. */
  readonly items = new Map<number, string>()
  /** Raw frames of this direction, the last few. */
  readonly recent: Array<{ readonly seq: number; readonly frame: Uint8Array }> = []
  /** What must come next on this link, after what the receiver's hello claimed. */
  next = 0
  /** Highest number seen on any link. */
  highest: number | undefined

  constructor(first: number) {
    this.highest = first === 0 ? undefined : Serial.previous(first)
  }
}

const keep = 64

export class Watch {
  private readonly near: Direction
  private readonly far: Direction
  /** Keys in the order they were issued. */
  readonly keys: Array<Uint8Array> = []
  /** Frames that were played again. */
  replayed = 0
  private readonly issued = new Set<string>()
  private readonly options: WatchOptions
  /** The key of the last ServerHello that reached the initiator. */
  private held: string | undefined

  constructor(options: WatchOptions) {
    this.options = options
    this.near = new Direction(options.first)
    this.far = new Direction(options.first)
  }

  /** What a thief who has read everything would claim to have received. */
  get plausibleClaim(): number | undefined {
    return this.far.highest
  }

  /** Wraps a source, so that all of its links are watched. */
  source(inner: LinkSource.LinkSource): LinkSource.LinkSource {
    return {
      description: inner.description,
      next: Effect.map(inner.next, (attachment) => ({ ...attachment, link: this.link(attachment.link) }))
    }
  }

  private link(inner: Link.Link): Link.Link {
    let sink: Link.LinkSink | undefined
    let greeted: "no" | "asked" | "yes" = "no"
    let claim: number | undefined
    let fresh = true
    let dead = false
    const said = (bytes: Uint8Array) => {
      if (greeted !== "no") return this.payload(bytes, this.near, this.options.done.near())
      const hello = Hello.decodeClient(bytes)
      if (typeof hello === "string") return this.breach("the first payload is a hello", { fault: hello })
      greeted = "asked"
      claim = hello.lastReceived
      fresh = hello.key === undefined
      this.expect(
        (hello.key === undefined ? undefined : hex(hello.key)) === this.held,
        "a hello presents the key of the last answer",
        {}
      )
      this.claimed(this.far, hello.lastReceived)
    }
    const heard = (bytes: Uint8Array) => {
      if (greeted !== "asked") return this.payload(bytes, this.far, this.options.done.far())
      const hello = Hello.decodeServer(bytes)
      if (typeof hello === "string") return this.breach("the answer is a hello", { fault: hello })
      greeted = "yes"
      if (hello.rejected) return
      this.expect(!this.issued.has(hex(hello.key)), "a key is issued once", {})
      this.issued.add(hex(hello.key))
      this.keys.push(hello.key)
      this.held = hex(hello.key)
      this.claimed(this.near, hello.lastReceived)
      if (fresh) return
      // What either end claims to have may come again and must vanish.
      for (const frame of this.again(this.near, hello.lastReceived)) {
        const framed = StreamDecoder.encode(frame)
        inner.write(framed, 0, framed.length)
      }
      return this.again(this.far, claim)
    }
    return {
      description: inner.description,
      maxPayload: inner.maxPayload,
      copies: inner.copies,
      canPause: inner.canPause,
      open: (next) => {
        sink = next
        inner.open({
          payload: (bytes, offset, length, owned) => {
            const replays = heard(bytes.slice(offset, offset + length))
            const wanted = sink!.payload(bytes, offset, length, owned)
            for (const frame of replays ?? []) if (!dead) sink!.payload(frame, 0, frame.length, true)
            return wanted
          },
          flush: () => sink!.flush(),
          writable: () => sink!.writable(),
          closed: (error) => sink!.closed(error)
        })
      },
      write: (bytes, start, end) => {
        if (!dead) { for (const payload of StreamDecoder.payloads(bytes, start, end)) said(payload.slice()) }
        return inner.write(bytes, start, end)
      },
      pause: () => inner.pause(),
      resume: () => inner.resume(),
      end: () => inner.end(),
      destroy: () => {
        dead = true
        inner.destroy()
      }
    }
  }

  private claimed(direction: Direction, claim: number | undefined): void {
    this.expect(
      claim === undefined || (direction.highest !== undefined && Serial.atOrBefore(claim, direction.highest)),
      "a hello claims only what was sent",
      { claim: claim ?? -1 }
    )
    direction.next = claim === undefined ? this.options.first : Serial.next(claim)
  }

  private again(direction: Direction, claim: number | undefined): ReadonlyArray<Uint8Array> {
    if (claim === undefined) return []
    const had = direction.recent.filter(({ seq }) => Serial.atOrBefore(seq, claim))
    const frames = had.slice(had.length - Math.min(had.length, this.options.duplicates()))
    this.replayed += frames.length
    return frames.map(({ frame }) => frame)
  }

  private payload(bytes: Uint8Array, direction: Direction, done: Done): undefined {
    const acknowledges = (ack: number) => {
      if (done !== "any") {
        this.expect(
          done !== undefined && Serial.atOrBefore(ack, done),
          "an acknowledgement waits for the consumer",
          { ack, done: done ?? -1 }
        )
      }
    }
    if (bytes.length === Control.controlBytes) {
      const control = Control.decode(bytes)
      if (control === "UnknownControl") return this.breach("a control has a known kind", {})
      if (control.kind === "ack") acknowledges(control.value)
      return
    }
    const frame = Frame.decode(bytes)
    if (typeof frame === "string") return this.breach("a payload is a frame", { fault: frame })
    const { ack, item, seq } = frame
    this.expect(seq === direction.next, "numbers go on after the claim, one by one", { seq, expected: direction.next })
    direction.next = Serial.next(seq)
    const text = hex(item)
    const before = direction.items.get(seq)
    this.expect(before === undefined || before === text, "a number says the same thing each time", { seq })
    direction.items.set(seq, text)
    if (direction.highest === undefined || Serial.after(seq, direction.highest)) {
      direction.highest = seq
      direction.recent.push({ seq, frame: bytes })
      if (direction.recent.length > keep) direction.recent.shift()
      // A frame that goes out again carries the acknowledgement of its first time, which was right then.
      if (ack !== undefined) acknowledges(ack)
    }
  }

  private expect(holds: boolean, what: string, details: Readonly<Record<string, string | number>>): void {
    if (!holds) this.breach(what, details)
  }

  private breach(what: string, details: Readonly<Record<string, string | number>>): undefined {
    this.options.breach(what, details)
  }
}
