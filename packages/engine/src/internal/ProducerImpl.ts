/** A producer over its partitions. */
import * as Effect from "effect/Effect"
import { type EnqueueRefusal, type OutgoingMessage, Routing, type SendCompletion } from "@perigee/proto"
import type { Metadata } from "@perigee/proto/wire"
import type {
  Outgoing,
  Producer,
  ProducerOptions,
  ProducerStats,
  Receipt,
  SendOptions,
  Submitted
} from "../Producer.ts"
import type { Internals } from "../PulsarClient.ts"
import { SendError } from "../PulsarError.ts"
import * as PulsarSchema from "../PulsarSchema.ts"
import { LatencyHistogram } from "./LatencyHistogram.ts"
import { toMillis } from "./options.ts"
import type { ProducerPart } from "./ProducerPart.ts"
import * as RateMeter from "./RateMeter.ts"
import { fromRefusal, Many, notDone, Pending, Single } from "./SendOutcomes.ts"

const none: SendOptions = {}
const noProperties: Metadata.Properties = []

const unfit = (error: { readonly message: string }): SendError =>
  new SendError({ reason: notDone(`the value does not fit the schema: ${error.message}`) })

/** Milliseconds of the wire are whole, and never before the epoch. */
const whole = (millis: number | undefined): number | undefined =>
  millis === undefined ? undefined : Math.min(Math.max(0, Math.trunc(millis) || 0), Number.MAX_SAFE_INTEGER)

/** Whether nothing but a value is asked for: most messages of a hot path. */
const isPlain = (options: SendOptions): boolean =>
  options.key === undefined && options.keyBytes === undefined && options.properties === undefined &&
  options.eventTime === undefined && options.orderingKey === undefined && options.sequenceId === undefined &&
  options.deliverAt === undefined && options.deliverAfter === undefined && options.replicateTo === undefined

export class ProducerImpl<A> implements Producer<A> {
  readonly topic: string
  readonly #core: Internals["core"]
  readonly #parts: Array<ProducerPart>
  readonly #router: Routing.Router
  readonly #schema: PulsarSchema.PulsarSchema<A>
  /** Values are payloads as they are. */
  readonly #isRaw: boolean
  readonly #wait: boolean

  constructor(internals: Internals, topic: string, parts: Array<ProducerPart>, options: ProducerOptions<A>) {
    this.#core = internals.core
    this.topic = topic
    this.#parts = parts
    this.#router = new Routing.Router(options.routing ?? { _tag: "keyOrRoundRobin", hash: "java" })
    this.#schema = options.schema ?? (PulsarSchema.bytes as unknown as PulsarSchema.PulsarSchema<A>)
    this.#isRaw = this.#schema === (PulsarSchema.bytes as unknown)
    this.#wait = (options.whenFull ?? "wait") === "wait"
  }

  readonly name: Effect.Effect<string> = Effect.sync(() => this.#parts[0]!.slot.name ?? "")
  readonly partitions: Effect.Effect<number> = Effect.sync(() => this.#parts.length)
  readonly isConnected: Effect.Effect<boolean> = Effect.sync(() =>
    this.#parts.every(({ attachment, slot }) => attachment.isAttached && slot.state === "ready")
  )
  readonly lastSequenceId: Effect.Effect<number> = Effect.sync(() =>
    this.#parts.reduce((last, { slot }) => Math.max(last, slot.lastPublished), -1)
  )
  readonly flush: Effect.Effect<void> = Effect.suspend(() =>
    Effect.forEach(this.#parts, (part) => part.flush, { concurrency: "unbounded", discard: true })
  )
  readonly close: Effect.Effect<void> = Effect.suspend(() =>
    Effect.forEach(this.#parts, (part) => part.close(this.#core.settings.operationTimeout), {
      concurrency: "unbounded",
      discard: true
    })
  )
  readonly stats: Effect.Effect<ProducerStats> = Effect.sync(() => {
    const histogram = new LatencyHistogram()
    const sum = { messages: 0, bytes: 0, stored: 0, notDone: 0, unknown: 0, pending: 0, pendingBytes: 0 }
    for (const { metrics, slot } of this.#parts) {
      histogram.merge(metrics.histogram)
      sum.messages += slot.totals.messages
      sum.bytes += slot.totals.bytes
      sum.stored += slot.totals.stored
      sum.notDone += slot.totals.failed
      sum.unknown += slot.totals.unknown
      sum.pending += slot.pendingMessages
      sum.pendingBytes += slot.pendingBytes
    }
    return { ...sum, latency: histogram.latency, rate: RateMeter.sum(this.#parts.map(({ metrics }) => metrics.rate)) }
  })

  send(value: A, options: SendOptions = none): Effect.Effect<Receipt, SendError> {
    return this.#prepared(value, options, (message) => this.#send(this.#part(message), message))
  }

  submit(value: A, options: SendOptions = none): Effect.Effect<Submitted, SendError> {
    return this.#prepared(value, options, (message) => this.#submit(this.#part(message), message))
  }

  sendNull(key: string, options: Omit<SendOptions, "key"> = {}): Effect.Effect<Receipt, SendError> {
    return Effect.suspend(() => {
      const message = this.#outgoing(new Uint8Array(0), { ...options, key }, true)
      return this.#send(this.#part(message), message)
    })
  }

  sendAll(messages: ReadonlyArray<Outgoing<A>>): Effect.Effect<ReadonlyArray<Receipt>, SendError> {
    if (messages.length === 0) return Effect.succeed([])
    if (this.#schema.keyOf === undefined) return this.#encodeAll(messages)
    return Effect.flatMap(
      Effect.forEach(messages, (message) => this.#keyed(message)),
      (keyed) => this.#encodeAll(keyed)
    )
  }

  /** Runs `go` with the message that a value becomes. */
  #prepared<B>(
    value: A,
    options: SendOptions,
    go: (message: OutgoingMessage) => Effect.Effect<B, SendError>
  ): Effect.Effect<B, SendError> {
    if (this.#isRaw) {
      return Effect.suspend(() => go(this.#outgoing(value as unknown as Uint8Array, options, false)))
    }
    const keyed = this.#schema.keyOf === undefined ? Effect.succeed(options) : this.#keyed({ ...options, value })
    return Effect.flatMap(
      keyed,
      (options) => Effect.flatMap(this.#encode(value), (payload) => go(this.#outgoing(payload, options, false)))
    )
  }

  /** A message with the key that is part of its value. */
  #keyed(message: Outgoing<A>): Effect.Effect<Outgoing<A>, SendError> {
    return Effect.map(
      Effect.mapError(this.#schema.keyOf!(message.value), unfit),
      (keyBytes) => ({ ...message, keyBytes })
    )
  }

  #encodeAll(messages: ReadonlyArray<Outgoing<A>>): Effect.Effect<ReadonlyArray<Receipt>, SendError> {
    const payloads = this.#isRaw
      ? Effect.succeed(messages.map(({ value }) => value as unknown as Uint8Array))
      : Effect.forEach(messages, ({ value }) => this.#encode(value))
    return Effect.flatMap(payloads, (payloads) => this.#sendAll(messages, payloads))
  }

  #encode(value: A): Effect.Effect<Uint8Array, SendError> {
    return Effect.mapError(this.#schema.encode(value), unfit)
  }

  #outgoing(payload: Uint8Array, options: SendOptions, isNull: boolean): OutgoingMessage {
    if (!isNull && isPlain(options)) return { payload }
    return {
      payload,
      key: options.keyBytes === undefined ? options.key : Buffer.from(options.keyBytes).toString("base64"),
      keyIsBase64: options.keyBytes !== undefined,
      orderingKey: options.orderingKey,
      eventTime: whole(options.eventTime),
      properties: options.properties === undefined ? noProperties : Object.entries(options.properties),
      sequenceId: options.sequenceId,
      deliverAt: options.deliverAfter === undefined
        ? whole(options.deliverAt)
        : whole(this.#core.wall() + toMillis(options.deliverAfter)),
      isNull,
      replicateTo: options.replicateTo === undefined
        ? undefined
        : options.replicateTo.length === 0
        ? ["__local__"]
        : options.replicateTo
    }
  }

  #part(message: OutgoingMessage): ProducerPart {
    const { length } = this.#parts
    return length === 1 ? this.#parts[0]! : this.#parts[this.#router.route(message.key, length)]!
  }

  #send(part: ProducerPart, message: OutgoingMessage): Effect.Effect<Receipt, SendError> {
    return Effect.callback<Receipt, SendError>((resume) => {
      const refusal = this.#enqueue(part, message, new Single(part, message.payload.length, resume))
      if (refusal !== undefined) resume(this.#refused(part, message, refusal, () => this.#send(part, message)))
    })
  }

  #submit(part: ProducerPart, message: OutgoingMessage): Effect.Effect<Submitted, SendError> {
    const pending = new Pending(part, message.payload.length)
    const refusal = this.#enqueue(part, message, pending)
    return refusal === undefined
      ? Effect.succeed(pending)
      : this.#refused(part, message, refusal, () => this.#submit(part, message))
  }

  #enqueue(part: ProducerPart, message: OutgoingMessage, completion: SendCompletion): EnqueueRefusal | undefined {
    const { now, wall } = this.#core
    const joins = part.slot.joins(message)
    const refusal = part.enqueue(joins ? 0 : now(), joins ? 0 : wall(), message, completion, 0)
    if (refusal === undefined) part.notify()
    return refusal
  }

  /** Waits for room and tries again, or fails. */
  #refused<B>(
    part: ProducerPart,
    message: OutgoingMessage,
    refusal: EnqueueRefusal,
    again: () => Effect.Effect<B, SendError>
  ): Effect.Effect<B, SendError> {
    if (refusal._tag !== "Full" || !this.#wait) return Effect.fail(new SendError({ reason: fromRefusal(refusal) }))
    // Stop-and-wait would follow if what is open did not go out now.
    part.slot.flush()
    part.notify()
    return Effect.flatMap(part.room(message.payload.length), again)
  }

  #sendAll(
    messages: ReadonlyArray<Outgoing<A>>,
    payloads: ReadonlyArray<Uint8Array>
  ): Effect.Effect<ReadonlyArray<Receipt>, SendError> {
    const many = new Many(messages.length)
    const { now, wall } = this.#core
    let index = 0
    let waiting: { readonly part: ProducerPart; readonly message: OutgoingMessage } | undefined
    /** Submits as many as there is room for; gives the part that is full. */
    const advance = (): ProducerPart | undefined => {
      const at = now()
      const published = wall()
      let full: ProducerPart | undefined
      while (index < messages.length) {
        const message = waiting?.message ?? this.#outgoing(payloads[index]!, messages[index]!, false)
        const part = waiting?.part ?? this.#part(message)
        waiting = undefined
        many.sizes[index] = message.payload.length
        const refusal = part.enqueue(at, published, message, many.on(part), index)
        if (refusal?._tag === "Full" && this.#wait) {
          waiting = { part, message }
          full = part
          // Stop-and-wait would follow if what is open did not go out now.
          part.slot.flush()
          break
        } else if (refusal !== undefined) {
          many.failure ??= fromRefusal(refusal)
          many.settle(1)
        }
        index++
      }
      for (const part of many.parts) part.notify()
      return full
    }
    const submit: Effect.Effect<void> = Effect.suspend(() => {
      const full = advance()
      return full === undefined ? Effect.void : Effect.flatMap(full.room(waiting!.message.payload.length), () => submit)
    })
    return submit.pipe(
      Effect.andThen(many.ended),
      Effect.flatMap(() =>
        many.failure === undefined
          ? Effect.succeed<ReadonlyArray<Receipt>>(many.receipts)
          : Effect.fail(new SendError({ reason: many.failure, results: many.results }))
      )
    )
  }
}
