/**
 * One topic: its producers and who may be one, its log, its subscriptions.
 */
import type { Metadata } from "@perigee/proto/wire"
import { compact } from "./Compaction.ts"
import type { CursorState } from "./Cursor.ts"
import { Deduplication } from "./Deduplication.ts"
import { fail, type Failure } from "./Failure.ts"
import { type Entry, Log, type LogLimits, type Position } from "./Log.ts"
import type { Outlet, Redirect } from "./Outlet.ts"
import { SchemaRegistry } from "./SchemaRegistry.ts"
import { Subscription } from "./Subscription.ts"
import * as TopicName from "./TopicName.ts"

export type AccessMode = "Shared" | "Exclusive" | "WaitForExclusive" | "ExclusiveWithFencing"

export interface Producer {
  readonly id: number
  readonly name: string
  readonly outlet: Outlet
  readonly mode: AccessMode
  readonly userProvidedName: boolean
  readonly epoch: bigint
  topicEpoch: bigint | undefined
  /** Called when a producer that waited has the topic for itself. */
  readonly onReady: () => void
  /** Called when a producer that waited will never get it. */
  readonly onRefused: (failure: Failure) => void
}

export interface TopicLimits extends LogLimits {
  /** Producers, consumers and subscriptions a topic. */
  readonly maxAttached: number
  readonly maxSchemaVersions: number
}

export interface Published {
  /** `undefined` for a message that was stored before: a duplicate. */
  readonly entry: Entry | undefined
}

export interface SubscribeOptions {
  readonly name: string
  readonly durable: boolean
  readonly initial: "Earliest" | "Latest"
  /** Where a reader starts, inclusive: clients skip what they have read. Only for a subscription that is not durable. */
  readonly start: Position | undefined
  /** Start this many milliseconds in the past, for a new subscription. */
  readonly rollback: number
  readonly readCompacted: boolean
  readonly properties: ReadonlyArray<readonly [string, string]>
  readonly maxUnacked: number
}

const encoder = new TextEncoder()

const fromBase64 = (text: string): Uint8Array => Uint8Array.from(atob(text), (char) => char.charCodeAt(0))

const routingKey = (metadata: Metadata.MessageMetadata): Uint8Array | undefined => {
  if (metadata.orderingKey !== undefined) return metadata.orderingKey
  if (metadata.partitionKey === undefined) return undefined
  return metadata.partitionKeyB64 ? fromBase64(metadata.partitionKey) : encoder.encode(metadata.partitionKey)
}

export class Topic {
  readonly name: string
  readonly partition: number
  readonly log: Log
  readonly schemas: SchemaRegistry
  readonly subscriptions = new Map<string, Subscription>()
  readonly producers = new Map<string, Producer>()
  readonly deduplication: Deduplication
  deduplicates: boolean
  terminated = false
  readonly #limits: TopicLimits
  readonly #onDelayed: () => void
  #waiting: Array<Producer> = []
  #exclusive: Producer | undefined
  #epoch: bigint | undefined
  #compactedTo = 0
  #compacted: ReadonlyMap<number, Entry> = new Map()

  constructor(name: string, limits: TopicLimits, ledger: number, deduplicates: boolean, onDelayed: () => void) {
    this.name = name
    this.#onDelayed = onDelayed
    this.partition = TopicName.partitionOf(name)
    this.log = new Log(limits, ledger)
    this.schemas = new SchemaRegistry(limits.maxSchemaVersions)
    this.deduplication = new Deduplication(limits.maxAttached)
    this.deduplicates = deduplicates
    this.#limits = limits
  }

  get hasAttached(): boolean {
    return this.producers.size > 0 || this.#waiting.length > 0 ||
      [...this.subscriptions.values()].some(({ consumers }) => consumers.length > 0)
  }

  /** Admits a producer: `true` at once, `false` when it has to wait for its turn. */
  attach(producer: Producer): boolean | Failure {
    if (this.terminated) return fail("TopicTerminatedError", "Topic was already terminated")
    if (this.producers.size + this.#waiting.length >= this.#limits.maxAttached) {
      return fail("ProducerBusy", "Topic reached max producers limit")
    }
    const refusal = this.#admit(producer)
    if (refusal !== undefined) return refusal === "wait" ? false : refusal
    const previous = this.producers.get(producer.name)
    if (previous !== undefined) {
      const successor = previous.id === producer.id && previous.outlet === producer.outlet &&
        previous.epoch < producer.epoch
      if (!successor) return fail("ProducerBusy", `Producer with name '${producer.name}' is already connected to topic`)
    }
    this.producers.set(producer.name, producer)
    if (producer.mode !== "Shared") this.#own(producer)
    return true
  }

  #own(producer: Producer): void {
    this.#exclusive = producer
    this.#epoch = producer.topicEpoch ?? (this.#epoch === undefined ? 0n : this.#epoch + 1n)
    producer.topicEpoch = this.#epoch
  }

  #admit(producer: Producer): Failure | "wait" | undefined {
    const owned = this.#exclusive !== undefined || this.#waiting.length > 0
    if (producer.mode === "Shared") {
      return owned
        ? fail("ProducerBusy", `Topic has an existing exclusive producer: ${this.#exclusive?.name ?? ""}`)
        : undefined
    }
    if (producer.topicEpoch !== undefined && this.#epoch !== undefined && producer.topicEpoch < this.#epoch) {
      return fail("ProducerFenced", "Topic epoch has already moved")
    }
    if (producer.mode === "ExclusiveWithFencing") {
      const refusal = fail("ProducerFenced", "Fenced by another producer")
      for (const waiting of this.#waiting) waiting.onRefused(refusal)
      this.#waiting = []
      // Brokers do not tell them: the next message of a fenced producer ends its connection.
      for (const { id, outlet } of this.producers.values()) outlet.fenceProducer(id)
      this.producers.clear()
      this.#exclusive = undefined
      return undefined
    }
    if (!owned && this.producers.size === 0) return undefined
    if (producer.mode === "WaitForExclusive") {
      this.#waiting.push(producer)
      return "wait"
    }
    return fail(
      "ProducerFenced",
      owned ? "Topic has an existing exclusive producer" : "Topic has existing shared producers"
    )
  }

  detachProducer(producer: Producer): void {
    this.#waiting = this.#waiting.filter((waiting) => waiting !== producer)
    if (this.producers.get(producer.name) === producer) this.producers.delete(producer.name)
    if (this.#exclusive === producer) this.#exclusive = undefined
    if (this.#exclusive !== undefined || this.producers.size > 0) return
    const heir = this.#waiting.shift()
    if (heir === undefined) return
    this.producers.set(heir.name, heir)
    this.#own(heir)
    heir.onReady()
  }

  /** Stores one SEND. */
  publish(
    producer: Producer,
    sequenceId: bigint,
    highestSequenceId: bigint,
    section: Uint8Array,
    metadata: Metadata.MessageMetadata,
    now: number
  ): Published | Failure {
    if (this.terminated) return fail("TopicTerminatedError", "Topic was already terminated")
    const lastChunk = metadata.chunkCount === undefined || metadata.chunkCount <= 1 ||
      metadata.chunkId === metadata.chunkCount - 1
    if (this.deduplicates && lastChunk && this.deduplication.isDuplicate(producer.name, sequenceId)) {
      return { entry: undefined }
    }
    if (!this.log.reserve(section.length, this.#settled)) {
      return fail("ProducerBlockedQuotaExceededException", "the topic holds as much as this broker keeps of one")
    }
    const entry = this.log.append({
      section,
      metadata,
      messages: metadata.batchSize ?? 1,
      key: routingKey(metadata),
      storedAt: now
    })
    if (this.deduplicates && lastChunk) this.deduplication.stored(producer.name, highestSequenceId)
    this.dispatch(now)
    return { entry }
  }

  /** Index below which every durable subscription has acknowledged; without one nothing has to be kept. */
  get #settled(): number {
    let settled = this.log.end
    for (const { cursor, durable } of this.subscriptions.values()) if (durable) settled = Math.min(settled, cursor.head)
    return settled
  }

  dispatch(now: number): void {
    for (const subscription of this.subscriptions.values()) {
      subscription.dispatch(now)
      if (this.terminated) this.#tellEnd(subscription)
    }
  }

  subscribe(options: SubscribeOptions, now: number): Subscription | Failure {
    const existing = this.subscriptions.get(options.name)
    if (existing !== undefined) {
      if (existing.durable !== options.durable) {
        return fail("NotAllowedError", "Durable subscription with the same name already exists.")
      }
      return existing
    }
    if (this.subscriptions.size >= this.#limits.maxAttached) {
      return fail("NotAllowedError", "Topic reached max subscriptions limit")
    }
    const subscription = new Subscription({
      name: options.name,
      log: this.log,
      topic: this.name,
      partition: this.partition,
      durable: options.durable,
      from: this.#startOf(options, now),
      maxUnacked: options.maxUnacked,
      properties: options.properties,
      onDelayed: this.#onDelayed
    })
    if (options.readCompacted) {
      subscription.view = (entry) => entry.index < this.#compactedTo ? this.#compacted.get(entry.index) : entry
    }
    this.subscriptions.set(options.name, subscription)
    return subscription
  }

  #startOf(options: SubscribeOptions, now: number): number {
    const { start } = options
    if (options.rollback > 0) return this.log.findTime(now - options.rollback)
    const index = options.durable || start === undefined ? this.log.end : this.log.find(start)
    // A place behind everything leaves the choice to the initial position.
    return index < this.log.end ? index : options.initial === "Earliest" ? this.log.start : this.log.end
  }

  unsubscribe(subscription: Subscription): void {
    subscription.closeConsumers(undefined)
    this.subscriptions.delete(subscription.name)
  }

  /** Forgets a subscription that lived only as long as its consumers. */
  release(subscription: Subscription): void {
    if (!subscription.durable && subscription.consumers.length === 0) this.subscriptions.delete(subscription.name)
  }

  terminate(now: number): Position {
    this.terminated = true
    this.#closeProducers(undefined)
    this.dispatch(now)
    return this.log.last
  }

  #tellEnd(subscription: Subscription): void {
    if (!subscription.hasReachedEnd) return
    for (const consumer of subscription.consumers) {
      if (consumer.endSent) continue
      consumer.endSent = true
      consumer.outlet.endOfTopic(consumer.id)
    }
  }

  /**
   * Keeps only the newest message of each key in what is stored now, for consumers that read the compacted topic. Messages without a key, and
   * keys whose newest message has no payload, are gone.
   */
  compact(): void {
    this.#compacted = compact(this.log)
    this.#compactedTo = this.log.end
  }

  /** Makes everyone attached look the topic up again. */
  disconnect(redirect: Redirect | undefined): void {
    this.#closeProducers(redirect)
    for (const subscription of this.subscriptions.values()) {
      subscription.closeConsumers(redirect)
      this.release(subscription)
    }
  }

  #closeProducers(redirect: Redirect | undefined): void {
    const refusal = fail("ServiceNotReady", "the topic is closed")
    for (const waiting of this.#waiting) waiting.onRefused(refusal)
    this.#waiting = []
    for (const producer of this.producers.values()) producer.outlet.closeProducer(producer.id, redirect)
    this.producers.clear()
    this.#exclusive = undefined
  }

  migrate(redirect: Redirect): void {
    for (const producer of this.producers.values()) producer.outlet.migrated("producer", producer.id, redirect)
    for (const { consumers } of this.subscriptions.values()) {
      for (const consumer of consumers) consumer.outlet.migrated("consumer", consumer.id, redirect)
    }
  }

  /** What is left after the broker's process died: the log, durable cursors, deduplication and schemas. */
  recover(ledger: number, cursors: ReadonlyMap<string, CursorState> | undefined): void {
    this.#waiting = []
    this.producers.clear()
    this.#exclusive = undefined
    for (const [name, subscription] of this.subscriptions) {
      if (subscription.durable) subscription.recover(cursors?.get(name) ?? subscription.cursor.state)
      else this.subscriptions.delete(name)
    }
    this.log.roll(ledger)
  }
}
