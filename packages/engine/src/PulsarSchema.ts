/**
 * How values become payloads, and what the broker is told about them.
 *
 * @since 0.1.0
 */
export { avro, type AvroOptions } from "./schemas/Avro.ts"
export { type Definition, type Origin, type PulsarSchema, type SchemaFailure, toWire } from "./schemas/Definition.ts"
export { json } from "./schemas/Json.ts"
export { type KeyValue, keyValue } from "./schemas/KeyValue.ts"
export * from "./schemas/Primitive.ts"
