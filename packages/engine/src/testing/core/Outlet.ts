/**
 * What a topic needs of the connections of its producers and consumers.
 */
import type { AckSet } from "./Cursor.ts"
import type { Entry } from "./Log.ts"

/** Where a client should go instead. */
export interface Redirect {
  readonly serviceUrl: string
  readonly serviceUrlTls: string | undefined
}

export interface Delivery {
  readonly consumerId: number
  readonly entry: Entry
  /** Partition of the topic, -1 without. */
  readonly partition: number
  readonly redeliveryCount: number
  readonly ackSet: AckSet | undefined
  readonly consumerEpoch: bigint | undefined
}

export interface Outlet {
  /** `false` while more waits to be written than a client should be sent. */
  readonly writable: boolean
  readonly deliver: (delivery: Delivery) => void
  readonly activeChange: (consumerId: number, active: boolean) => void
  readonly endOfTopic: (consumerId: number) => void
  readonly closeConsumer: (consumerId: number, redirect: Redirect | undefined) => void
  readonly closeProducer: (producerId: number, redirect: Redirect | undefined) => void
  /** The producer is gone without a word. */
  readonly fenceProducer: (producerId: number) => void
  readonly migrated: (resource: "producer" | "consumer", id: number, redirect: Redirect) => void
}
