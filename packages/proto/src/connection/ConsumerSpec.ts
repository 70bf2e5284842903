/**
 * How a consumer is to be.
 *
 * @since 0.1.0
 */
import type { ChunkLimits } from "../wire/Chunk.ts"
import type { Schema } from "../wire/gen/PulsarApi_pb.ts"
import type * as MessageId from "../wire/MessageId.ts"
import type { Properties } from "../wire/Metadata.ts"

/** @category models @since 0.1.0 */
export type SubscriptionType = "exclusive" | "shared" | "failover" | "keyShared"

/** All times in milliseconds. @category models @since 0.1.0 */
export interface ConsumerSpec {
  readonly topic: string
  readonly subscription: string
  readonly type: SubscriptionType
  readonly name: string | undefined
  readonly durable: boolean
  readonly initialPosition: "latest" | "earliest"
  readonly startMessageId: MessageId.MessageId | undefined
  /** Seconds before now to start at; 0 for none. */
  readonly startRollback: number
  readonly readCompacted: boolean
  readonly priorityLevel: number | undefined
  readonly properties: Properties
  readonly subscriptionProperties: Properties
  readonly schema: Schema | undefined
  readonly keyShared: {
    readonly sticky: ReadonlyArray<readonly [start: number, end: number]> | undefined
    readonly allowOutOfOrder: boolean
  } | undefined
  readonly forceTopicCreation: boolean
  readonly replicateSubscriptionState: boolean
  /** Messages that may be on their way or waiting here, at least 1. */
  readonly receiverQueue: number
  /** 0 for none. */
  readonly ackTimeout: number
  /** How long acknowledgements are collected; 0 sends each at once. */
  readonly ackGroupTime: number
  /** Collected acknowledgements that go out at once. Default 1,000. */
  readonly ackGroupSize?: number | undefined
  /** Acknowledge single messages of a batch; the broker must have it on. */
  readonly batchIndexAck: boolean
  readonly chunks: ChunkLimits
  readonly autoAckOldestChunk: boolean
  /** Whether the memory of a message is used again once it is acknowledged: its bytes are gone then. Default false. */
  readonly reuseMemory?: boolean | undefined
  /** How long a consumer with permits may hear nothing before that is reported; 0 for never. */
  readonly stallTimeout: number
}
