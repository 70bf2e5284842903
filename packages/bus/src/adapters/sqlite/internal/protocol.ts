/**
 * What the store's main thread and its two worker threads say to each other. No Effect here: workers import it.
 */
import type { AdapterErrorReason } from "../../../Adapter.ts"
import type { ProducerMark } from "../../../Batch.ts"
import type { Encoded } from "../../../internal/StoredBlock.ts"

/** Given to both workers when they start. */
export interface WorkerOptions {
  readonly path: string
  readonly synchronous: "fsync" | "os"
  readonly busyTimeoutMillis: number
  readonly retention: Retention
}

export interface Retention {
  readonly maxEvents: number | null
  readonly maxBytes: number | null
  readonly maxAgeMillis: number | null
}

/** An error on its way between threads. */
export interface Failure {
  readonly tag: AdapterErrorReason["_tag"]
  readonly message: string
}

/** Why the database could not be opened. */
export type OpenFailure =
  | { readonly _tag: "WrongVersion"; readonly found: number; readonly supported: number }
  | { readonly _tag: "NotAPerigeeStore"; readonly detail: string }
  | { readonly _tag: "Corrupt"; readonly detail: string }
  | { readonly _tag: "ReadOnly"; readonly detail: string }
  | { readonly _tag: "Full"; readonly detail: string }
  | { readonly _tag: "Busy"; readonly detail: string }
  | { readonly _tag: "Io"; readonly detail: string }

export interface Opened {
  readonly storeId: string
  readonly lastInsertionTs: bigint
  readonly tails: ReadonlyMap<number, number>
}

/** First message of a worker. */
export type Greeting<A> = { readonly opened: A } | { readonly failed: OpenFailure }

export interface AppendRequest {
  readonly _tag: "append"
  readonly shard: number
  readonly nonce: bigint
  readonly sequenceStart: number
  readonly count: number
  readonly lastTs: bigint
  readonly blocks: ReadonlyArray<Encoded>
  readonly marks: ReadonlyArray<ProducerMark>
  readonly now: number
}

export type WriteRequest =
  | AppendRequest
  | { readonly _tag: "marks"; readonly producer: string }
  | { readonly _tag: "saveMarks"; readonly marks: ReadonlyArray<ProducerMark> }
  | { readonly _tag: "checkpoint" }
  | { readonly _tag: "sweep"; readonly now: number }
  | { readonly _tag: "close" }

export interface PollRequest {
  readonly _tag: "poll"
  readonly shard: number
  /** Events after this position, up to `upTo`. */
  readonly after: number
  readonly upTo: number
  readonly limit: number
}

export type ReadRequest =
  | { readonly _tag: "open" }
  | PollRequest
  | { readonly _tag: "close" }

/** One block of a page. */
export interface StoredBytes {
  readonly first: number
  readonly bytes: Uint8Array<ArrayBuffer>
}

export interface Request<A> {
  readonly id: number
  readonly body: A
}

export type Response = { readonly id: number; readonly value: unknown } | {
  readonly id: number
  readonly failure: Failure
}
