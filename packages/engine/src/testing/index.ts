/**
 * A Pulsar broker for tests, inside the process.
 *
 * @since 0.1.0
 */
export type { LookupAnswer } from "./core/Cluster.ts"
export { type ErrorCode, fail, type Failure } from "./core/Failure.ts"
export type { CommandName, FaultAction, FaultRule } from "./core/Faults.ts"
export type { SchemaCompatibility } from "./core/SchemaRegistry.ts"
export * from "./TestBroker.ts"
