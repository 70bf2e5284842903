/**
 * A message as a consumer hands it out.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type { ReceivedMessage } from "@perigee/proto"
import type { MessageId } from "@perigee/proto/wire"
import type { PulsarError } from "./PulsarError.ts"
import type { ConsumerPart } from "./internal/ConsumerPart.ts"

/**
 * In place of a value: the value is the payload, whose view is made when somebody looks.
 *
 * @internal
 */
export const Raw: unique symbol = Symbol("Raw")

/**
 * A message of type `A`; `ack` or `nack` it when the work on it is done.
 *
 * @category models
 * @since 0.1.0
 */
export class Message<A> {
  readonly #value: A | typeof Raw
  /** What came over the wire. */
  readonly received: ReceivedMessage
  /** @internal */
  readonly part: ConsumerPart

  /** @internal */
  constructor(value: A | typeof Raw, received: ReceivedMessage, part: ConsumerPart) {
    this.#value = value
    this.received = received
    this.part = part
  }

  get value(): A {
    return this.#value === Raw ? this.received.payload as unknown as A : this.#value
  }

  /** Where it is. */
  get id(): MessageId.MessageId {
    return this.received.id
  }

  /** The topic it is from, with its partition. */
  get topic(): string {
    return this.part.topic
  }

  get key(): string | undefined {
    return this.received.key
  }

  /** The bytes of a key that was sent as bytes, or the UTF-8 of one that was not. */
  get keyBytes(): Uint8Array | undefined {
    const { key, keyIsBase64 } = this.received
    return key === undefined ? undefined : Uint8Array.from(Buffer.from(key, keyIsBase64 ? "base64" : "utf8"))
  }

  get orderingKey(): Uint8Array | undefined {
    return this.received.orderingKey
  }

  get properties(): Readonly<Record<string, string>> {
    return Object.fromEntries(this.received.properties)
  }

  /** Milliseconds since the epoch. */
  get publishTime(): number {
    return this.received.publishTime
  }

  /** Milliseconds since the epoch, 0 when unset. */
  get eventTime(): number {
    return this.received.eventTime
  }

  get producerName(): string {
    return this.received.producerName
  }

  get sequenceId(): bigint {
    return this.received.sequenceId
  }

  /** How often the broker delivered it before. */
  get redeliveryCount(): number {
    return this.received.redeliveryCount
  }

  get schemaVersion(): Uint8Array | undefined {
    return this.received.schemaVersion
  }

  /** It has no value and deletes its key; `value` is then that of no bytes. */
  get isNull(): boolean {
    return this.received.isNull
  }

  /** When the broker stored it, milliseconds since the epoch, if it says so. */
  get brokerTimestamp(): number | undefined {
    return this.received.brokerEntry?.brokerTimestamp
  }

  /** Its number on the topic, if the broker says so. */
  get index(): bigint | undefined {
    const last = this.received.brokerEntry?.index
    const { batchIndex, metadata } = this.received
    return last === undefined
      ? undefined
      : batchIndex < 0
      ? last
      : last - BigInt((metadata.batchSize ?? 1) - 1 - batchIndex)
  }

  /** The work is done. The word goes out with others; a lost one means a redelivery, never a loss. */
  get ack(): Effect.Effect<void> {
    return Effect.sync(() => this.ackUnsafe())
  }

  /** {@link Message.ack} without an effect, for loops over many messages. */
  ackUnsafe(): void {
    const { part } = this
    part.slot.ack(part.recent(), this.received)
    part.acked()
  }

  /** Acknowledges and waits until the broker has it. */
  get ackConfirmed(): Effect.Effect<void, PulsarError> {
    return Effect.suspend(() => {
      this.part.slot.ack(this.part.now(), this.received)
      return this.part.confirm
    })
  }

  /** The work failed: the broker delivers it again after the consumer's `nackDelay`. */
  get nack(): Effect.Effect<void> {
    return Effect.sync(() => this.part.nack(this.id))
  }
}
