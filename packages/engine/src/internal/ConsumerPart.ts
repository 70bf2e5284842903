/** One consumer at the broker: a topic without partitions, or one partition. */
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import { type ConnectionEvent, ConsumerSlot, type ConsumerSpec, type ReceivedMessage } from "@perigee/proto"
import type { Api, MessageId } from "@perigee/proto/wire"
import { Attachment } from "../driver/Attachment.ts"
import * as Lookup from "../driver/Lookup.ts"
import type { Internals } from "../PulsarClient.ts"
import { closed, PulsarError, refused } from "../PulsarError.ts"
import { TopicMetrics } from "./Metrics.ts"

export class ConsumerPart {
  readonly slot: ConsumerSlot
  readonly attachment: Attachment
  readonly topic: string
  /** Why it ended, if not by a close. */
  failure: PulsarError | undefined = undefined
  readonly metrics: TopicMetrics
  /** Silences that were reported. */
  stalls = 0
  readonly #client: Internals
  readonly #nackDelay: number
  /** Opened whenever the consumer is subscribed. */
  readonly #subscribed = Latch.makeUnsafe(false)
  readonly #onChange: () => void
  readonly #onEvent: (part: ConsumerPart, event: ConnectionEvent) => void

  constructor(
    client: Internals,
    spec: ConsumerSpec,
    nackDelay: number,
    onChange: () => void,
    onEvent: (part: ConsumerPart, event: ConnectionEvent) => void
  ) {
    this.#client = client
    this.#nackDelay = nackDelay
    this.#onChange = onChange
    this.#onEvent = onEvent
    this.topic = spec.topic
    this.slot = new ConsumerSlot(client.nextId(), spec)
    const { totals } = this.slot
    this.metrics = new TopicMetrics("consumer", spec.topic, client, {
      totals: () => ({ ...totals, stalls: this.stalls }),
      rated: () => [totals.received, totals.bytes]
    })
    this.slot.onTaken = (waited) => this.metrics.took(waited)
    this.attachment = new Attachment(client.core, client.pool, {
      kind: "consumer",
      id: this.slot.id,
      topic: spec.topic,
      open: (connection, now) => connection.consumers.subscribe(now, this.slot),
      release: (connection, now) => connection.consumers.release(this.slot.id, now),
      fail: (error) => this.#fail(error),
      onEvent: (event) => this.#heard(event),
      staysOut: () => false
    })
  }

  #fail(error: PulsarError): void {
    this.failure = error
    this.slot.state = "closed"
    this.#onChange()
  }

  #heard(event: ConnectionEvent): void {
    if (event._tag === "ConsumerReady") this.#subscribed.openUnsafe()
    switch (event._tag) {
      case "ConsumerStalled":
        this.stalls++
        this.metrics.tell()
        break
      case "MessagesReady":
      case "EndOfTopic":
        this.#onChange()
        break
    }
    this.#onEvent(this, event)
  }

  /** Takes what is there, `max` at most. */
  take(max: number): Array<ReceivedMessage> {
    const { supervisor } = this.attachment
    if (supervisor === undefined || !this.slot.hasMessages) return []
    const { connection, driver } = supervisor
    // For one more message of a batch nothing happens that a time is needed for.
    const now = max === 1 && this.slot.isWithinEntry ? driver.recent : driver.now()
    const messages = connection.consumers.take(now, this.slot, max)
    this.metrics.count(now, messages.length, !this.slot.hasMessages)
    // Within a batch mostly nothing comes of it: permits go back a few hundred at a time, and no deadline moves.
    if (connection.hasWork) driver.notify()
    else if (!this.slot.isWithinEntry) driver.rearm()
    return messages
  }

  /** What was acknowledged goes out with its group; the timers learn of it. */
  acked(): void {
    const { supervisor } = this.attachment
    if (supervisor === undefined) return
    const { acks, spec } = this.slot
    if (acks.isFull || (spec.ackGroupTime === 0 && acks.pending > 0)) supervisor.driver.notifyTimers()
    else if (acks.since !== undefined) supervisor.driver.rearm(acks.since + spec.ackGroupTime)
  }

  /** Asks for a message again, after the delay or the one given (milliseconds). */
  nack(id: MessageId.MessageId, delay = this.#nackDelay): void {
    const at = this.now() + delay
    this.slot.nack(id, at)
    this.attachment.supervisor?.driver.rearm(at)
  }

  /** About now: when something was last read or fell due. An acknowledgement that counts from here goes out early, never late. */
  recent(): number {
    return this.attachment.supervisor?.driver.recent ?? this.now()
  }

  now(): number {
    return this.#client.core.now()
  }

  /** Sends what was acknowledged and waits for the broker's word on it. */
  readonly confirm: Effect.Effect<void, PulsarError> = Effect.callback<void, PulsarError>((resume) => {
    const { supervisor } = this.attachment
    if (supervisor === undefined || this.slot.state === "closed") {
      return resume(Effect.fail(this.failure ?? closed("the consumer is closed")))
    }
    supervisor.connection.consumers.flushAcks(supervisor.driver.now(), this.slot, (outcome) => {
      switch (outcome._tag) {
        case "Reply":
          return resume(Effect.void)
        case "Failed":
          return resume(Effect.fail(refused(outcome.failure)))
        case "TimedOut":
          return resume(
            Effect.fail(new PulsarError({ reason: { _tag: "Timeout", operation: "acknowledging", last: undefined } }))
          )
        case "SessionLost":
          return resume(Effect.fail(new PulsarError({ reason: { _tag: "SessionLost" } })))
        case "Terminal":
          return resume(Effect.fail(closed(outcome.reason)))
      }
    })
    supervisor.driver.notify()
  })

  redeliver(ids: ReadonlyArray<MessageId.MessageId> | undefined): void {
    const { supervisor } = this.attachment
    if (supervisor === undefined) return
    supervisor.connection.consumers.redeliver(this.slot, ids)
    supervisor.driver.notify()
  }

  /** Leaves the broker and subscribes again on the same connection. */
  resubscribe(): void {
    const { supervisor } = this.attachment
    if (supervisor === undefined || this.slot.state !== "ready") return
    supervisor.connection.consumers.resubscribe(supervisor.driver.now(), this.slot)
    supervisor.driver.notify()
  }

  setPaused(paused: boolean): void {
    const { supervisor } = this.attachment
    if (supervisor === undefined) {
      this.slot.paused = paused
      return
    }
    if (paused) supervisor.connection.consumers.pause(this.slot)
    else supervisor.connection.consumers.resume(supervisor.driver.now(), this.slot)
    supervisor.driver.notify()
  }

  /** The connection, once attached. */
  #attached(): Effect.Effect<NonNullable<Attachment["supervisor"]>, PulsarError> {
    return Effect.suspend(() => {
      const { supervisor } = this.attachment
      if (this.slot.state === "closed") return Effect.fail(this.failure ?? closed("the consumer is closed"))
      return supervisor === undefined || this.slot.state !== "ready"
        ? Effect.fail(new PulsarError({ reason: { _tag: "SessionLost" } }))
        : Effect.succeed(supervisor)
    })
  }

  /** Moves the cursor; the broker detaches the consumer for it, and the seek is over when it is back. */
  seek(to: MessageId.MessageId | number): Effect.Effect<void, PulsarError> {
    return Effect.flatMap(this.#attached(), (supervisor) => {
      this.#subscribed.closeUnsafe()
      return Effect.andThen(
        Lookup.request(supervisor, (connection, now, onDone) => connection.consumers.seek(now, this.slot, to, onDone)),
        this.#subscribed.await
      )
    })
  }

  readonly lastMessageId: Effect.Effect<Api.BaseCommand, PulsarError> = Effect.suspend(() =>
    Effect.flatMap(
      this.#attached(),
      (supervisor) =>
        Lookup.request(supervisor, (connection, now, onDone) =>
          connection.consumers.lastMessageId(now, this.slot, onDone))
    )
  )

  /** What the broker knows of this consumer. */
  readonly brokerStats: Effect.Effect<Api.BaseCommand, PulsarError> = Effect.suspend(() =>
    Effect.flatMap(
      this.#attached(),
      (supervisor) =>
        Lookup.request(supervisor, (connection, now, onDone) => connection.consumers.stats(now, this.slot, onDone))
    )
  )

  unsubscribe(force: boolean): Effect.Effect<void, PulsarError> {
    return Effect.flatMap(
      this.#attached(),
      (supervisor) =>
        Lookup.request(
          supervisor,
          (connection, now, onDone) => connection.consumers.unsubscribe(now, this.slot, force, onDone)
        )
    ).pipe(
      Effect.map(() => {
        this.attachment.stop()
        this.slot.state = "closed"
        this.#onChange()
      })
    )
  }

  /** Sends the acknowledgements and tells the broker. */
  close(patience: number): Effect.Effect<void> {
    return Effect.callback<void>((resume) => {
      const { supervisor } = this.attachment
      this.attachment.stop()
      this.metrics.tell()
      if (supervisor === undefined || this.slot.state === "closed") {
        this.slot.state = "closed"
        this.#onChange()
        return resume(Effect.void)
      }
      const { connection, driver } = supervisor
      if (connection.consumers.close(driver.now(), this.slot, () => resume(Effect.void)) === undefined) {
        resume(Effect.void)
      }
      driver.notify()
      this.#onChange()
    }).pipe(Effect.timeoutOption(patience), Effect.asVoid)
  }
}
