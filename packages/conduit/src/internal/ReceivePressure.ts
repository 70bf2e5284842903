import type { Link } from "../Link.ts"
import type { ReceiveLimits } from "./EngineOptions.ts"
import type { Inbox } from "./Inbox.ts"

/** A queue over this multiple of its limit, on a transport that cannot pause, costs the link. */
const hardLimitFactor = 4

/** Keeps the queue of what has arrived within its limits by holding up the link. */
export class ReceivePressure {
  /** Whether the current link was asked to stop delivering. */
  paused = false
  private readonly limits: ReceiveLimits
  private readonly inbox: Inbox
  private roomWaiter: (() => void) | undefined

  constructor(limits: ReceiveLimits, inbox: Inbox) {
    this.limits = limits
    this.inbox = inbox
  }

  /** Whether the queue has room for what a new link would bring. */
  get hasRoom(): boolean {
    return this.inbox.bytes <= this.limits.bytes && this.inbox.items <= this.limits.items
  }

  /** Calls back once when the queue has room again, or will never be read; idempotent, so there is nothing to cancel. */
  whenRoom(done: () => void): void {
    this.roomWaiter = done
    if (this.hasRoom) this.tellRoom()
  }

  tellRoom(): void {
    const done = this.roomWaiter
    this.roomWaiter = undefined
    done?.()
  }

  /** The queue has changed: pauses or resumes the link. Says what came of it. */
  apply(link: Link | undefined): "resumed" | "overflow" | undefined {
    const { inbox, limits: { bytes, items } } = this
    if (this.roomWaiter !== undefined && this.hasRoom) this.tellRoom()
    if (link === undefined) return undefined
    if (this.paused) {
      if (inbox.bytes > bytes / 2 || inbox.items > items / 2) return undefined
      this.paused = false
      link.resume()
      return "resumed"
    }
    if (this.hasRoom) return undefined
    if (link.canPause) {
      this.paused = true
      link.pause()
      return undefined
    }
    return inbox.bytes > bytes * hardLimitFactor || inbox.items > items * hardLimitFactor ? "overflow" : undefined
  }
}
