/**
 * How a producer is to be, and why it may not take a message.
 *
 * @since 0.1.0
 */
import type * as Compression from "../wire/Compression.ts"
import type { Schema } from "../wire/gen/PulsarApi_pb.ts"
import type * as Metadata from "../wire/Metadata.ts"

/** All times in milliseconds. @category models @since 0.1.0 */
export interface ProducerSpec {
  readonly topic: string
  /** Default: the broker gives one. */
  readonly name: string | undefined
  /** `Shared` 0, `Exclusive` 1, `WaitForExclusive` 2, `ExclusiveWithFencing` 3. */
  readonly accessMode: number
  readonly properties: Metadata.Properties
  readonly schema: Schema | undefined
  readonly initialSequenceId: number | undefined
  readonly initialSubscription: string | undefined
  readonly batching: {
    readonly maxMessages: number
    readonly maxBytes: number
    readonly maxDelay: number
    /** A batch for every key (ordering key, else key), so that Key_Shared consumers get what is theirs. Default: one batch for all. */
    readonly byKey?: boolean | undefined
  } | undefined
  readonly chunking: boolean
  readonly compression: Compression.Compression
  /** 0 for none. */
  readonly sendTimeout: number
  /** Messages that may wait for their receipt. */
  readonly maxPending: number
  /** Random text that tells chunked messages of this producer from those of others. */
  readonly chunkSeed: string
}

/** Why a message was not taken. @category models @since 0.1.0 */
export type EnqueueRefusal =
  | { readonly _tag: "Full" }
  | { readonly _tag: "Closed"; readonly why: string }
  | { readonly _tag: "TooLarge"; readonly bytes: number; readonly limit: number }
  | { readonly _tag: "SequenceNotIncreasing"; readonly last: number; readonly received: number }
