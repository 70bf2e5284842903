/**
 * A Pulsar client for Effect.
 *
 * @since 0.1.0
 */
export { MessageId } from "@perigee/proto/wire"
export { type BrokerFailure, MemoryReused, Routing, type SubscriptionType } from "@perigee/proto"
export * as Auth from "./Auth.ts"
export * as Consumer from "./Consumer.ts"
export { type DialRequest, Transport } from "./driver/Transport.ts"
export * as NodeTransport from "./driver/NodeTransport.ts"
export type { Versioned } from "./driver/SchemaCache.ts"
export type { Latency } from "./internal/LatencyHistogram.ts"
export type { Rate } from "./internal/RateMeter.ts"
export { Message } from "./Message.ts"
export * as OAuth2 from "./OAuth2.ts"
export * as Producer from "./Producer.ts"
export * from "./PulsarClient.ts"
export { PulsarError, type PulsarErrorReason, SendError, type SendErrorReason } from "./PulsarError.ts"
export * as PulsarSchema from "./PulsarSchema.ts"
export * as Reader from "./Reader.ts"
export * as TableView from "./TableView.ts"
