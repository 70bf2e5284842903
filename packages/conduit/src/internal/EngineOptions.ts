import type { ReplayLimits } from "../core/ReplayBuffer.ts"
import type { LinkError } from "../LinkError.ts"

/** What an engine needs from the runtime it lives in; the shell takes it from Effect's services. */
export interface EngineHost {
  /** Runs a task soon, in this turn of the scheduler. */
  readonly schedule: (task: () => void) => void
  /** Runs a task after a delay; returns how to cancel it. */
  readonly after: (millis: number, task: () => void) => () => void
  readonly now: () => number
}

/** `ConduitOptions` with every default filled in. */
export interface EngineOptions {
  readonly window: ReplayLimits
  readonly whenFull: "wait" | "fail"
  readonly receive: ReceiveLimits
  readonly maxItemBytes: number
  /** "auto": a gap is fatal once the peer agreed to extensions, because then it is one of ours. */
  readonly gaps: "auto" | "fail" | "count"
  readonly ack: AckLimits
  readonly keepalive: { readonly intervalMillis: number; readonly timeoutMillis: number } | undefined
  /** A window that stays full this long against a peer without extensions costs the link: its hello acknowledges. */
  readonly stallMillis: number
  readonly nextSeq?: number | undefined
  readonly received?: number | undefined
  readonly journal?: EngineJournal | undefined
}

/** What may wait for the consumer. */
export interface ReceiveLimits {
  readonly bytes: number
  readonly items: number
}

/** When an acknowledgement goes out although no item carries it. */
export interface AckLimits {
  readonly items: number
  readonly bytes: number
  readonly delayMillis: number
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
