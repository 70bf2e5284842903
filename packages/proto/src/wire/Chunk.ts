/**
 * Chunks (PIP-37): a message larger than the broker takes, cut into entries and put together again within bounds.
 *
 * @since 0.1.0
 */
import type { MessageId } from "./MessageId.ts"
import type { MessageMetadata } from "./Metadata.ts"

/** Payload bytes of a chunk: 1 KiB is left for headers when the limit allows. @category codecs @since 0.1.0 */
export const chunkSize = (maxMessageSize: number): number =>
  maxMessageSize > 4096 ? maxMessageSize - 1024 : maxMessageSize

/** Chunks of a payload: at least one, and no empty one at the end. @category codecs @since 0.1.0 */
export const chunkCount = (bytes: number, size: number): number => Math.max(1, Math.ceil(bytes / size))

/** Limits of a reassembly. @category models @since 0.1.0 */
export interface ChunkLimits {
  /** Incomplete messages at a time, 0 for no limit. Default 10. */
  readonly maxPending: number
  /** Milliseconds after which an incomplete message is given up. Default 60,000. */
  readonly expireAfter: number
  /** Bytes of one message. Default 128 MiB. */
  readonly maxBytes: number
}

/** @category constants @since 0.1.0 */
export const defaultLimits: ChunkLimits = { maxPending: 10, expireAfter: 60_000, maxBytes: 128 * 1024 * 1024 }

const MAX_CHUNKS = 10_000

interface Pending {
  readonly metadata: MessageMetadata
  readonly parts: Array<Uint8Array | undefined>
  readonly ids: Array<MessageId | undefined>
  readonly since: number
  missing: number
  bytes: number
}

/** What became of a chunk. @category models @since 0.1.0 */
export type ChunkResult =
  | { readonly _tag: "Buffered" }
  | { readonly _tag: "Dropped"; readonly why: "invalid" | "straggler" | "duplicate" | "tooLarge" }
  | {
    readonly _tag: "Complete"
    readonly metadata: MessageMetadata
    readonly payload: Uint8Array
    /** Positions of all chunks, in order: acknowledging the message acknowledges each. */
    readonly ids: ReadonlyArray<MessageId>
  }

const dropped = {
  invalid: { _tag: "Dropped", why: "invalid" },
  straggler: { _tag: "Dropped", why: "straggler" },
  duplicate: { _tag: "Dropped", why: "duplicate" },
  tooLarge: { _tag: "Dropped", why: "tooLarge" }
} as const

/**
 * Puts chunked messages together. Nothing is allocated by the numbers that a chunk claims.
 *
 * @category codecs
 * @since 0.1.0
 */
export class ChunkAssembler {
  readonly limits: ChunkLimits
  /** Messages given up: evicted by newer ones, expired, or too large. */
  abandoned = 0
  readonly #pending = new Map<string, Pending>()

  constructor(limits: ChunkLimits = defaultLimits) {
    this.limits = limits
  }

  /** Incomplete messages. */
  get size(): number {
    return this.#pending.size
  }

  /**
   * Takes a chunk; `onAbandoned` gets the position of the first chunk of a message that had to make room.
   * Chunks may come in any order once the first has come.
   */
  add(
    now: number,
    metadata: MessageMetadata,
    id: MessageId,
    payload: Uint8Array,
    onAbandoned: (ids: ReadonlyArray<MessageId>) => void
  ): ChunkResult {
    const total = metadata.chunkCount!
    const chunkId = metadata.chunkId!
    const uuid = metadata.uuid
    if (uuid === undefined || total > MAX_CHUNKS || chunkId < 0 || chunkId >= total) return dropped.invalid
    let pending = this.#pending.get(uuid)
    if (pending === undefined) {
      if (chunkId !== 0) return dropped.straggler
      pending = { metadata, parts: [], ids: [], since: now, missing: total, bytes: 0 }
      this.#pending.set(uuid, pending)
      if (this.limits.maxPending > 0 && this.#pending.size > this.limits.maxPending) {
        const [oldest] = this.#pending.keys()
        this.#abandon(oldest!, onAbandoned)
      }
    }
    if (pending.parts[chunkId] !== undefined) return dropped.duplicate
    if (pending.bytes + payload.length > this.limits.maxBytes) {
      this.#abandon(uuid, onAbandoned)
      return dropped.tooLarge
    }
    pending.parts[chunkId] = payload
    pending.ids[chunkId] = id
    pending.bytes += payload.length
    pending.missing--
    if (pending.missing > 0) return { _tag: "Buffered" }
    this.#pending.delete(uuid)
    const whole = new Uint8Array(pending.bytes)
    let at = 0
    for (const part of pending.parts) {
      whole.set(part!, at)
      at += part!.length
    }
    return {
      _tag: "Complete",
      metadata: {
        ...pending.metadata,
        uuid: undefined,
        chunkId: undefined,
        chunkCount: undefined,
        chunkTotalSize: undefined
      },
      payload: whole,
      ids: pending.ids as Array<MessageId>
    }
  }

  /** When the oldest incomplete message expires, `undefined` without any. */
  nextDeadline(): number | undefined {
    if (this.limits.expireAfter <= 0) return undefined
    for (const pending of this.#pending.values()) return pending.since + this.limits.expireAfter
    return undefined
  }

  /** Gives up what has expired. */
  expire(now: number, onAbandoned: (ids: ReadonlyArray<MessageId>) => void): void {
    if (this.limits.expireAfter <= 0) return
    for (const [uuid, pending] of this.#pending) {
      if (pending.since + this.limits.expireAfter > now) return
      this.#abandon(uuid, onAbandoned)
    }
  }

  clear(): void {
    this.#pending.clear()
  }

  #abandon(uuid: string, onAbandoned: (ids: ReadonlyArray<MessageId>) => void): void {
    const pending = this.#pending.get(uuid)!
    this.#pending.delete(uuid)
    this.abandoned++
    onAbandoned(pending.ids.filter((id) => id !== undefined))
  }
}
