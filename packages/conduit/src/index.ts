/**
 * Exactly-once, in-order messages between two programs, over links that die. Nothing here needs Node.
 *
 * @since 0.1.0
 */
export * as Codec from "./Codec.ts"
export * as ConduitError from "./ConduitError.ts"
export { ConduitHub, type HubMetrics, type HubOptions, type KeepOptions, type PeerInfo } from "./ConduitHub.ts"
export * as Control from "./core/Control.ts"
export * as Frame from "./core/Frame.ts"
export * as Hello from "./core/Hello.ts"
export { ItemBatch } from "./core/ItemBatch.ts"
export { KeySource } from "./internal/Host.ts"
export * as Link from "./Link.ts"
export * as LinkError from "./LinkError.ts"
export * as LinkSource from "./LinkSource.ts"
export type { Listener } from "./Listener.ts"
export * as MemoryLink from "./links/MemoryLink.ts"
export type { ConduitOptions } from "./Options.ts"
export * as Reconnect from "./Reconnect.ts"
export * as Cbor from "./session/Cbor.ts"
export * as Handshake from "./session/Handshake.ts"
export * as Opening from "./session/Opening.ts"
export * as Prologue from "./session/Prologue.ts"
export * as StableConduit from "./StableConduit.ts"
export type { Metrics, Status } from "./Status.ts"
