/**
 * Sends batches one after the other with a bounded number of messages on their way, and counts how each of them ended.
 */
import type { Producer, SendError } from "@perigee/engine"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import type * as Scope from "effect/Scope"

export interface SenderOptions {
  /** Messages on their way; the producer has to take as many. */
  readonly messages: number
  /** Bytes of payload on their way; a larger message goes alone. */
  readonly bytes: number
}

/** For one caller at a time. */
export class Sender {
  /** The broker has them, duplicates included. */
  stored = 0
  /** The broker had had them before. */
  duplicates = 0
  /** They are not on the topic and will not be. */
  notStored = 0
  /** They may be on the topic. */
  unknown = 0
  /** The first send that did not end well. */
  failure: { readonly error: SendError; readonly at: number } | undefined
  readonly #producer: Producer.Producer<Uint8Array>
  readonly #options: SenderOptions
  readonly #scope: Scope.Scope
  readonly #changed = Latch.makeUnsafe(false)
  #messages = 0
  #bytes = 0

  private constructor(producer: Producer.Producer<Uint8Array>, options: SenderOptions, scope: Scope.Scope) {
    this.#producer = producer
    this.#options = options
    this.#scope = scope
  }

  static make(
    producer: Producer.Producer<Uint8Array>,
    options: SenderOptions
  ): Effect.Effect<Sender, never, Scope.Scope> {
    return Effect.map(Effect.scope, (scope) => new Sender(producer, options, scope))
  }

  /** Messages without an outcome. */
  get pending(): number {
    return this.#messages
  }

  #settle(
    batch: ReadonlyArray<Producer.Outgoing<Uint8Array>>,
    at: number,
    bytes: number,
    exit: Exit.Exit<ReadonlyArray<Producer.Receipt>, SendError>
  ): void {
    this.#messages -= batch.length
    this.#bytes -= bytes
    if (Exit.isSuccess(exit)) {
      this.stored += batch.length
      for (const { duplicate } of exit.value) if (duplicate) this.duplicates++
    } else {
      const error = exit.cause.reasons.find((reason) => reason._tag === "Fail")?.error
      const results = error?.results ?? batch.map(() => "unknown" as const)
      for (const result of results) {
        if (result === "done") this.stored++
        else if (result === "notDone") this.notStored++
        else this.unknown++
      }
      if (error !== undefined) {
        const first = results.findIndex((result) => result !== "done")
        this.failure ??= { error, at: at + Math.max(0, first) }
      }
    }
    this.#changed.openUnsafe()
  }

  #wait(until: () => boolean): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (until()) return Effect.void
      this.#changed.closeUnsafe()
      return Effect.andThen(this.#changed.await, this.#wait(until))
    })
  }

  /**
   * Submits a batch behind the ones before it once there is room; ends when it is submitted. `at` is what the caller calls its first message.
   * False when a send before it has failed: then nothing was submitted.
   */
  send(batch: ReadonlyArray<Producer.Outgoing<Uint8Array>>, at: number): Effect.Effect<boolean> {
    const bytes = batch.reduce((sum, { value }) => sum + value.length, 0)
    const hasRoom = (): boolean =>
      this.#messages === 0 ||
      (this.#messages + batch.length <= this.#options.messages && this.#bytes + bytes <= this.#options.bytes)
    return Effect.andThen(
      this.#wait(() => this.failure !== undefined || hasRoom()),
      Effect.suspend(() => {
        if (this.failure !== undefined) return Effect.succeed(false)
        this.#messages += batch.length
        this.#bytes += bytes
        // Started at once: batches are submitted in the order of the calls.
        return this.#producer.sendAll(batch).pipe(
          Effect.onExit((exit) => Effect.sync(() => this.#settle(batch, at, bytes, exit))),
          Effect.ignoreCause,
          Effect.forkIn(this.#scope, { startImmediately: true }),
          Effect.as(true)
        )
      })
    )
  }

  /** Ends when every message has its outcome. */
  readonly settled: Effect.Effect<void> = Effect.suspend(() => this.#wait(() => this.#messages === 0))
}
