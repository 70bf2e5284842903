/**
 * How a bridge is doing, for those who look.
 */
import type * as Api from "../api/Api.ts"
import type { BridgeSpec } from "./BridgeSpec.ts"

type Report = (typeof Api.Stats.Type)["bridges"][number]

export class Status {
  forwarded = 0
  duplicates = 0
  deduplicated: boolean | null = null
  state: Report["state"] = "starting"
  lastError: string | null = null
  readonly spec: BridgeSpec

  constructor(spec: BridgeSpec) {
    this.spec = spec
  }

  get report(): Report {
    const { channel, direction, topic } = this.spec
    return {
      direction,
      channel,
      topic,
      state: this.state,
      forwarded: this.forwarded,
      duplicates: this.duplicates,
      deduplicated: this.deduplicated,
      last_error: this.lastError
    }
  }
}
