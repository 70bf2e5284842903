import * as Serial from "../core/Serial.ts"
import type { EngineOptions } from "./EngineOptions.ts"

/** What a look at the clock can find. */
export type Finding =
  | { readonly _tag: "Ping"; readonly nonce: number }
  /** Nothing was heard, not even the answer to a ping. */
  | { readonly _tag: "Silent"; readonly millis: number }
  /** The window is full and the peer, which can only acknowledge with items, sends none. */
  | { readonly _tag: "Stalled" }

/** Notices a link that is up and good for nothing. */
export class Liveness {
  private readonly keepalive: EngineOptions["keepalive"]
  private readonly stallMillis: number
  private heardAt: number
  /** Since when senders have been waiting without a confirmation. */
  private stalledAt: number | undefined
  private pingAt: number | undefined
  private nonce = 0

  constructor(options: EngineOptions, now: number) {
    this.keepalive = options.keepalive
    this.stallMillis = options.stallMillis
    this.heardAt = now
  }

  /** Whether the time of every arrival matters. */
  get listens(): boolean {
    return this.keepalive !== undefined
  }

  /** A link has just come up. */
  linked(now: number): void {
    this.heard(now)
    this.stalledAt = undefined
  }

  /** Something arrived, or may arrive again after a pause. */
  heard(now: number): void {
    this.pingAt = undefined
    this.heardAt = now
  }

  /** The peer has confirmed something. */
  confirmed(): void {
    this.stalledAt = undefined
  }

  /** To be asked about once a second while a link is up. */
  look(
    now: number,
    link: { readonly extensions: boolean; readonly paused: boolean; readonly sendersWait: boolean }
  ): Finding | undefined {
    if (!link.extensions) {
      this.stalledAt = link.sendersWait ? this.stalledAt ?? now : undefined
      return this.stalledAt !== undefined && now - this.stalledAt >= this.stallMillis ? { _tag: "Stalled" } : undefined
    }
    // Whoever does not read cannot complain of silence.
    if (this.keepalive === undefined || link.paused) return undefined
    if (this.pingAt !== undefined) {
      return now - this.pingAt >= this.keepalive.timeoutMillis
        ? { _tag: "Silent", millis: now - this.heardAt }
        : undefined
    }
    if (now - this.heardAt < this.keepalive.intervalMillis) return undefined
    this.pingAt = now
    this.nonce = Serial.next(this.nonce)
    return { _tag: "Ping", nonce: this.nonce }
  }
}
