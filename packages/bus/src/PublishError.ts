/**
 * Why an event was not published, or not made durable.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"

/**
 * - `Backpressure`: the ring of `shard` was full (events or bytes) and the mode says so to the producer.
 * - `Unrouted`: no shard could take the event.
 * - `ShuttingDown`: the bus no longer accepts events. The first `accepted` of the call were accepted before, and are stored or counted as
 *   any other; the rest was not.
 * - `TooLarge`: the payload has `bytes` bytes, more than `limit`.
 * - `Serialization`: the value has no JSON form, or a validated payload is not JSON (`offset` is the first byte that does not fit).
 * - `SequenceGap`: a named producer skipped numbers; the bus expected `expected` at most.
 *   After a loss it expects the first number that was lost: submit again from there.
 * - `InvalidProducer`: an empty name, or a sequence that is no whole number from 1.
 * - `ProducerUnavailable`: the store did not say how far a named producer got, so that nothing of the call was published. Publish again.
 * - `InvalidKeys`: a list of keys that does not have one for each event.
 * - `InvalidChannel`: an empty or too long name, or one more than a bus can tell apart.
 * - `NotStored`: accepted, but then lost to eviction, to a failed batch or to a shutdown that ran out of time. It will not be stored.
 * - `Unknown`: accepted and handed to the adapter, whose answer never came. It may be stored; publish again under a producer name to be sure.
 *
 * @category errors
 * @since 0.1.0
 */
export type PublishErrorReason =
  | { readonly _tag: "Backpressure"; readonly shard: number }
  | { readonly _tag: "Unrouted" }
  | { readonly _tag: "ShuttingDown"; readonly accepted: number }
  | { readonly _tag: "TooLarge"; readonly bytes: number; readonly limit: number }
  | { readonly _tag: "Serialization"; readonly offset: number | null; readonly cause: unknown }
  | { readonly _tag: "SequenceGap"; readonly producer: string; readonly expected: number; readonly received: number }
  | { readonly _tag: "InvalidProducer"; readonly producer: string; readonly sequence: number }
  | { readonly _tag: "ProducerUnavailable"; readonly producer: string; readonly cause: unknown }
  | { readonly _tag: "InvalidKeys"; readonly keys: number; readonly events: number }
  | { readonly _tag: "InvalidChannel"; readonly channel: string }
  | {
    readonly _tag: "NotStored"
    readonly why: "evicted" | "failed" | "stranded"
    readonly count: number
    readonly cause: unknown
  }
  | { readonly _tag: "Unknown"; readonly count: number; readonly cause: unknown }

const describe = (reason: PublishErrorReason): string => {
  switch (reason._tag) {
    case "Backpressure":
      return `the ring buffer of shard ${reason.shard} is full`
    case "Unrouted":
      return "no routable shard"
    case "ShuttingDown":
      return "the bus is shutting down"
    case "TooLarge":
      return `the payload has ${reason.bytes} bytes, the limit is ${reason.limit}`
    case "Serialization":
      return reason.offset === null ? "the value has no JSON form" : `the payload is not JSON at byte ${reason.offset}`
    case "SequenceGap":
      return `producer ${
        JSON.stringify(reason.producer)
      } sent sequence ${reason.received}, expected at most ${reason.expected}`
    case "InvalidProducer":
      return `a producer has a name and numbers its events from 1, not ${
        JSON.stringify(reason.producer)
      } and ${reason.sequence}`
    case "ProducerUnavailable":
      return `the store did not say how far producer ${JSON.stringify(reason.producer)} got`
    case "InvalidKeys":
      return `${reason.keys} keys were given for ${reason.events} events`
    case "InvalidChannel":
      return `channel ${
        JSON.stringify(reason.channel.slice(0, 64))
      } is empty, longer than 255 bytes, or one name too many`
    case "NotStored":
      return `${reason.count} accepted event(s) were not stored: ${reason.why}`
    case "Unknown":
      return `it is unknown whether ${reason.count} event(s) were stored`
  }
}

/**
 * Failure of a publish, with its tagged `reason`.
 *
 * @category errors
 * @since 0.1.0
 */
export class PublishError extends Data.TaggedError("PublishError")<{ readonly reason: PublishErrorReason }> {
  override get message(): string {
    return describe(this.reason)
  }
}
