/**
 * Limits and policies that both roles share. Every buffer has a limit here.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import type { EngineOptions } from "./internal/EngineOptions.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface ConduitOptions {
  /**
   * What is kept for replay until the peer confirms it: 8 MiB and 65,536 frames unless given. Room is taken by the frame
   * with its header.
   */
  readonly window?: { readonly bytes?: number | undefined; readonly frames?: number | undefined } | undefined
  /** What a send does when the window is full: wait for room (the default), or fail with `WindowFull`. */
  readonly whenFull?: "wait" | "fail" | undefined
  /**
   * What may wait to be taken by the consumer: 4 MiB and 65,536 items unless given. Over it the link is paused; on a
   * transport that cannot pause, four times over it the link is dropped until there is room.
   */
  readonly receive?: { readonly bytes?: number | undefined; readonly items?: number | undefined } | undefined
  /** Longest item in bytes, in either direction: 4 MiB unless given, and never more than the window. */
  readonly maxItemBytes?: number | undefined
  /**
   * What a jump in the peer's numbers does: end the conduit with `Discontinuity` ("fail"), or be counted and tolerated
   * ("count"). "auto", the default, fails with a peer of this package, and counts with others, some of which lose items.
   */
  readonly gaps?: "auto" | "fail" | "count" | undefined
  /**
   * When a peer of this package is told what the consumer has taken, if no item goes its way: after this many items
   * (1024), bytes (128 KiB), or this long (5 ms).
   */
  readonly ack?: {
    readonly items?: number | undefined
    readonly bytes?: number | undefined
    readonly delay?: Duration.Input | undefined
  } | undefined
  /**
   * How a silent link is noticed, with a peer of this package: a ping after this much silence (15 s), and the link is
   * replaced when nothing answers in time (10 s). `false` turns it off.
   */
  readonly keepalive?:
    | { readonly interval?: Duration.Input | undefined; readonly timeout?: Duration.Input | undefined }
    | false
    | undefined
  /**
   * How long a full window may stay unconfirmed by a peer that can only acknowledge with items, before the link is
   * replaced so that its hello acknowledges: 10 s unless given.
   */
  readonly stall?: Duration.Input | undefined
  /**
   * Whether to offer the control payloads (acknowledgements without items, keepalive, goodbye): true unless given. A peer
   * that does not know them never agrees, and none are sent.
   */
  readonly extensions?: boolean | undefined
  /**
   * Where the numbers start: for tests of the wrap, which would otherwise need four billion frames. Both ends must agree.
   */
  readonly start?: { readonly nextSeq: number; readonly received: number | undefined } | undefined
}

/** The options with every default filled in. */
export const resolve = (options: ConduitOptions): EngineOptions => {
  const windowBytes = options.window?.bytes ?? 8_388_608
  const ack = options.ack ?? {}
  return {
    window: { bytes: windowBytes, frames: options.window?.frames ?? 65_536 },
    whenFull: options.whenFull ?? "wait",
    receive: { bytes: options.receive?.bytes ?? 4_194_304, items: options.receive?.items ?? 65_536 },
    maxItemBytes: options.maxItemBytes ?? 4_194_304,
    gaps: options.gaps ?? "auto",
    ack: {
      items: ack.items ?? 1024,
      bytes: ack.bytes ?? 131_072,
      delayMillis: Duration.toMillis(ack.delay ?? 5)
    },
    keepalive: options.keepalive === false ? undefined : {
      intervalMillis: Duration.toMillis(options.keepalive?.interval ?? 15_000),
      timeoutMillis: Duration.toMillis(options.keepalive?.timeout ?? 10_000)
    },
    stallMillis: Duration.toMillis(options.stall ?? 10_000),
    nextSeq: options.start?.nextSeq,
    received: options.start?.received
  }
}
