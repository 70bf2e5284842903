/**
 * The bytes of the protocol, for those who speak it without the connection: brokers in tests, proxies, tools.
 *
 * @since 0.1.0
 */
export * as Batch from "./Batch.ts"
export * as Chunk from "./Chunk.ts"
export * as Commands from "./Commands.ts"
export * as Compression from "./Compression.ts"
export * as Crc32c from "./Crc32c.ts"
export * as Frame from "./Frame.ts"
export * as Api from "./gen/PulsarApi_pb.ts"
export * as MessageId from "./MessageId.ts"
export * as Metadata from "./Metadata.ts"
export * from "./WireFormatError.ts"
export { ProtoReader } from "../internal/ProtoReader.ts"
export { ProtoWriter } from "../internal/ProtoWriter.ts"
