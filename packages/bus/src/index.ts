export * as Adapter from "./Adapter.ts"
export * as Batch from "./Batch.ts"
export * as BusConfig from "./BusConfig.ts"
export * as Channel from "./Channel.ts"
export * as Cursor from "./Cursor.ts"
export { Dedup } from "./Dedup.ts"
export * as Durability from "./Durability.ts"
export * as Event from "./Event.ts"
export {
  type BusStats,
  EventBus,
  type FlushReport,
  type PublishOptions,
  type PublishSummary,
  type Receipt,
  type ShardStats,
  type ShutdownReport
} from "./EventBus.ts"
export * as FileLock from "./FileLock.ts"
export * as Filter from "./Filter.ts"
export * as JsonLines from "./core/JsonLines.ts"
export * as Poll from "./Poll.ts"
export * as ProducerIdentity from "./ProducerIdentity.ts"
export * as PublishError from "./PublishError.ts"
export * as Subscription from "./Subscription.ts"
export type { EventBusOptions } from "./BusConfig.ts"
export type { BusEvent, SubscribeOptions } from "./Subscription.ts"
