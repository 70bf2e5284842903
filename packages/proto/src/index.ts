/**
 * The Apache Pulsar protocol without I/O.
 *
 * @since 0.1.0
 */
export * as AntiThrash from "./AntiThrash.ts"
export * as Backoff from "./Backoff.ts"
export * from "./Connection.ts"
export * from "./connection/ConsumerSlot.ts"
export type { ConsumerSpec, SubscriptionType } from "./connection/ConsumerSpec.ts"
export type { BrokerFailure, ConnectionEvent } from "./connection/Events.ts"
export { NO_ANSWER, truncate } from "./connection/Events.ts"
export { type ConnectionState, type Credentials, errorName, PROTOCOL_VERSION } from "./connection/Handshake.ts"
export { type LookupAnswer, readLookup, readPartitions } from "./connection/Lookup.ts"
export * from "./connection/ProducerSlot.ts"
export type { EnqueueRefusal, ProducerSpec } from "./connection/ProducerSpec.ts"
export type { PendingRequest, RequestOutcome } from "./connection/Requests.ts"
export {
  type NotStoredReason,
  type OutgoingMessage,
  type SendCompletion,
  SendEntry,
  type SendOutcome,
  type UnknownReason
} from "./connection/SendEntry.ts"
export * as ReadMemory from "./ReadMemory.ts"
export { MemoryReused, type ReceivedEntry, ReceivedMessage } from "./ReceivedMessage.ts"
export * as Routing from "./Routing.ts"
export * as ServiceUrl from "./ServiceUrl.ts"
export * as TopicName from "./TopicName.ts"
export * from "./wire/index.ts"
