import type { ConduitState } from "../core/ConduitState.ts"
import type { AckLimits, EngineHost } from "./EngineOptions.ts"

/** Decides when the peer must be told what the consumer has taken, because no item has told it. */
export class AckDuty {
  /** Whether an acknowledgement must go out with the next flush. */
  now = false
  private bytes = 0
  private cancel: (() => void) | undefined
  private readonly limits: AckLimits
  private readonly host: EngineHost
  private readonly state: ConduitState
  private readonly flushSoon: () => void

  constructor(limits: AckLimits, host: EngineHost, state: ConduitState, flushSoon: () => void) {
    this.limits = limits
    this.host = host
    this.state = state
    this.flushSoon = flushSoon
  }

  /** The consumer has taken this many bytes more. */
  taken(bytes: number): void {
    this.bytes += bytes
    if (this.bytes >= this.limits.bytes || this.state.ackBehind >= this.limits.items) {
      this.now = true
      this.flushSoon()
    } else if (this.cancel === undefined) {
      this.cancel = this.host.after(this.limits.delayMillis, () => {
        this.cancel = undefined
        if (!this.state.ackDue) return
        this.now = true
        this.flushSoon()
      })
    }
  }

  /** An item or a control has just carried the acknowledgement. */
  carried(): void {
    this.now = false
    this.bytes = 0
  }

  /** The link is gone: the next hello says it all. */
  rest(): void {
    this.carried()
    this.cancel?.()
    this.cancel = undefined
  }
}
