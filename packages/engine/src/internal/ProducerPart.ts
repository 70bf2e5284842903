/** One producer at the broker: a topic without partitions, or one partition. */
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import {
  type EnqueueRefusal,
  type OutgoingMessage,
  ProducerSlot,
  type ProducerSpec,
  type SendCompletion
} from "@perigee/proto"
import { Frame } from "@perigee/proto/wire"
import { Attachment } from "../driver/Attachment.ts"
import type { Internals } from "../PulsarClient.ts"
import type { PulsarError } from "../PulsarError.ts"
import { TopicMetrics } from "./Metrics.ts"

export class ProducerPart {
  readonly slot: ProducerSlot
  readonly attachment: Attachment
  readonly metrics: TopicMetrics
  readonly #client: Internals
  /** Opened whenever something was settled. */
  readonly #settled = Latch.makeUnsafe(false)
  /** Why it ended, if not by a close. */
  failure: PulsarError | undefined = undefined

  #storedBytes = 0

  constructor(client: Internals, spec: ProducerSpec) {
    this.#client = client
    this.slot = new ProducerSlot(client.nextId(), spec, Frame.DEFAULT_MAX_MESSAGE_SIZE)
    const { totals } = this.slot
    this.metrics = new TopicMetrics("producer", spec.topic, client, {
      totals: () => totals,
      rated: () => [totals.stored, this.#storedBytes]
    })
    this.slot.onSettled = (entry) => {
      const now = client.core.now()
      // A send that was given up says nothing of how long a broker takes.
      if (entry.outcome?._tag === "Stored") {
        this.#storedBytes += entry.bytes
        this.metrics.took(now - entry.since)
      }
      this.metrics.count(now, entry.count, this.slot.isIdle)
    }
    this.attachment = new Attachment(client.core, client.pool, {
      kind: "producer",
      id: this.slot.id,
      topic: spec.topic,
      open: (connection, now) => connection.producers.open(now, this.slot),
      release: (connection, now) => connection.producers.release(this.slot.id, now),
      fail: (error) => this.#fail(error),
      onEvent: () => undefined,
      // Whoever was fenced out must not fence in turn.
      staysOut: ({ reason }) =>
        spec.accessMode !== 0 && reason._tag === "Refused" && (reason.code === 25 || reason.code === 16)
    })
  }

  #fail(error: PulsarError): void {
    this.failure = error
    const { supervisor } = this.attachment
    if (supervisor === undefined) this.slot.state = "closed"
    else {
      supervisor.connection.producers.abort(this.slot, error.message)
      supervisor.driver.notify()
    }
    this.slot.closedWhy = error.message
    this.#settled.openUnsafe()
  }

  /** Submits a message; a refusal says why it was not taken. */
  enqueue(
    now: number,
    wall: number,
    message: OutgoingMessage,
    completion: SendCompletion,
    index: number
  ): EnqueueRefusal | undefined {
    const { memory } = this.#client
    if (!memory.reserve(message.payload.length)) return { _tag: "Full" }
    const refusal = this.slot.enqueue(now, wall, message, completion, index)
    if (refusal !== undefined) memory.release(message.payload.length)
    return refusal
  }

  /** Gives back what a message held, when its outcome is known. */
  released(bytes: number): void {
    this.#client.memory.release(bytes)
    this.#settled.openUnsafe()
  }

  notify(): void {
    this.attachment.supervisor?.driver.notify()
  }

  /** Until there may be room for so many bytes. */
  room(bytes: number): Effect.Effect<void> {
    return Effect.suspend(() => {
      const { memory } = this.#client
      if (this.slot.pendingMessages >= this.slot.spec.maxPending && this.slot.state !== "closed") {
        this.#settled.closeUnsafe()
        return this.#settled.await
      }
      return memory.hasRoom(bytes) ? Effect.void : memory.wait
    })
  }

  /** Sends the open batch and waits until nothing is pending. */
  readonly flush: Effect.Effect<void> = Effect.suspend(() => {
    this.slot.flush()
    this.notify()
    return this.#idle
  })

  readonly #idle: Effect.Effect<void> = Effect.suspend(() => {
    if (this.slot.isIdle) return Effect.void
    this.#settled.closeUnsafe()
    return Effect.flatMap(this.#settled.await, () => this.#idle)
  })

  /** Lets what is pending end, within `patience` milliseconds, and tells the broker. */
  close(patience: number): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (this.slot.state === "closed") {
        this.attachment.stop()
        return Effect.void
      }
      return this.flush.pipe(
        Effect.timeoutOption(patience),
        Effect.andThen(
          Effect.callback<void>((resume) => {
            const { supervisor } = this.attachment
            this.attachment.stop()
            if (supervisor === undefined) {
              this.slot.state = "closed"
              return resume(Effect.void)
            }
            const { connection, driver } = supervisor
            const request = connection.producers.close(driver.now(), this.slot, () => resume(Effect.void))
            connection.producers.abort(this.slot, "the producer is closed")
            if (request === undefined) resume(Effect.void)
            driver.notify()
          }).pipe(Effect.timeoutOption(patience), Effect.asVoid)
        ),
        Effect.ensuring(Effect.sync(() => this.metrics.tell()))
      )
    })
  }
}
