/**
 * Trouble on request: what a test wants to happen to commands of a kind, in or out.
 */
import { Commands } from "@perigee/proto/wire"
import type { ErrorCode } from "./Failure.ts"

/** A command by its name in the protocol: `SEND`, `SEND_RECEIPT`, `LOOKUP` … */
export type CommandName = keyof typeof Commands.Type & string

/** What happens to a command that a rule catches. */
export type FaultAction =
  /** It is lost. An inbound one is never seen by the broker; an outbound one never leaves, though the broker did what it says. */
  | { readonly _tag: "Drop" }
  /** The connection breaks: before an inbound command is handled, instead of an outbound one. */
  | { readonly _tag: "Disconnect" }
  /** It happens twice in a row. */
  | { readonly _tag: "Duplicate" }
  /** It happens that many milliseconds later, while others pass. */
  | { readonly _tag: "Delay"; readonly millis: number }
  /** An inbound command is answered with an error of the protocol. */
  | { readonly _tag: "Reject"; readonly code: ErrorCode; readonly message?: string | undefined }
  /** One bit of the frame's last byte is flipped. */
  | { readonly _tag: "Corrupt" }

export interface FaultRule {
  /** `"*"` catches every command of the direction. */
  readonly command: CommandName | "*"
  /** Default: the direction in which the command usually goes; outbound for those that go both ways. */
  readonly direction?: "inbound" | "outbound" | undefined
  /** Only commands of this topic, by full name. Default: all. */
  readonly topic?: string | undefined
  /** How many pass before the first is caught. Default 0. */
  readonly skip?: number | undefined
  /** How many are caught; `Infinity` for all. Default 1. */
  readonly times?: number | undefined
  readonly action: FaultAction
}

const INBOUND: ReadonlySet<string> = new Set<CommandName>([
  "CONNECT",
  "SUBSCRIBE",
  "PRODUCER",
  "SEND",
  "ACK",
  "FLOW",
  "UNSUBSCRIBE",
  "REDELIVER_UNACKNOWLEDGED_MESSAGES",
  "PARTITIONED_METADATA",
  "LOOKUP",
  "CONSUMER_STATS",
  "SEEK",
  "GET_LAST_MESSAGE_ID",
  "GET_TOPICS_OF_NAMESPACE",
  "GET_SCHEMA",
  "GET_OR_CREATE_SCHEMA",
  "AUTH_RESPONSE",
  "WATCH_TOPIC_LIST",
  "WATCH_TOPIC_LIST_CLOSE"
])

const names = new Map<number, string>(
  Object.entries(Commands.Type).flatMap(([name, number]) => typeof number === "number" ? [[number, name] as const] : [])
)

interface Armed {
  readonly rule: FaultRule
  readonly direction: "inbound" | "outbound"
  skip: number
  left: number
}

export class Faults {
  #armed: Array<Armed> = []
  /** How many commands were caught so far. */
  caught = 0

  /** Adds a rule; of several that catch a command the oldest acts. The result takes the rule back. */
  add(rule: FaultRule): () => void {
    const armed: Armed = {
      rule,
      direction: rule.direction ?? (INBOUND.has(rule.command) ? "inbound" : "outbound"),
      skip: rule.skip ?? 0,
      left: rule.times ?? 1
    }
    this.#armed.push(armed)
    return () => {
      this.#armed = this.#armed.filter((other) => other !== armed)
    }
  }

  clear(): void {
    this.#armed = []
  }

  intercept(direction: "inbound" | "outbound", type: number, topic: string | undefined): FaultAction | undefined {
    if (this.#armed.length === 0) return undefined
    const name = names.get(type)
    for (const armed of this.#armed) {
      const { command, topic: wanted } = armed.rule
      if (armed.direction !== direction || (command !== "*" && command !== name)) continue
      if (wanted !== undefined && wanted !== topic) continue
      if (armed.skip > 0) {
        armed.skip--
        continue
      }
      armed.left--
      if (armed.left <= 0) this.#armed = this.#armed.filter((other) => other !== armed)
      this.caught++
      return armed.rule.action
    }
    return undefined
  }
}
