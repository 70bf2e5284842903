import type { EventBus, JsonLines, PublishError } from "@perigee/bus"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"

export interface SubmitOptions {
  readonly channel: string | undefined
  readonly key: string | undefined
  readonly producer: { readonly name: string; readonly sequence: number } | undefined
}

/**
 * Publishes the chunks of one sender in order, each as soon as the one before it is accepted, with a bounded number of them waiting for the
 * store. For one caller at a time.
 */
export class Intake {
  /** Events stored. */
  accepted = 0
  /** Events that had been stored before. */
  duplicates = 0
  readonly #bus: EventBus["Service"]
  readonly #scope: Scope.Scope
  readonly #limit: number
  #inFlight = 0
  #failure: Exit.Exit<never, PublishError.PublishError> | undefined
  #resume: ((effect: Effect.Effect<void>) => void) | undefined

  private constructor(bus: EventBus["Service"], scope: Scope.Scope, limit: number) {
    this.#bus = bus
    this.#scope = scope
    this.#limit = limit
  }

  static make(bus: EventBus["Service"], chunksInFlight: number): Effect.Effect<Intake, never, Scope.Scope> {
    return Effect.map(Effect.scope, (scope) => new Intake(bus, scope, chunksInFlight))
  }

  readonly #change = Effect.callback<void>((resume) => {
    this.#resume = resume
  })

  #notify(): void {
    const resume = this.#resume
    this.#resume = undefined
    resume?.(Effect.void)
  }

  #settle(
    exit: Exit.Exit<{ readonly accepted: number; readonly duplicates: number }, PublishError.PublishError>
  ): void {
    this.#inFlight--
    if (Exit.isSuccess(exit)) {
      this.accepted += exit.value.accepted
      this.duplicates += exit.value.duplicates
    } else this.#failure ??= Exit.failCause(exit.cause)
    this.#notify()
  }

  /** Ends when `until` holds or a chunk has failed. */
  #wait(until: () => boolean): Effect.Effect<void, PublishError.PublishError> {
    return Effect.suspend(() => {
      if (this.#failure !== undefined) return this.#failure
      return until() ? Effect.void : Effect.andThen(this.#change, this.#wait(until))
    })
  }

  /** Ends once the chunk is accepted, when its memory may be used again. Fails with the failure of this chunk or of an earlier one. */
  submit(lines: JsonLines.LineBatch, options: SubmitOptions): Effect.Effect<void, PublishError.PublishError> {
    return Effect.andThen(
      this.#wait(() => this.#inFlight < this.#limit),
      Effect.suspend(() => {
        let accepted = false
        this.#inFlight++
        return this.#bus.publishLines(lines, {
          ...options,
          until: "durable",
          onAccepted: () => {
            accepted = true
            this.#notify()
          }
        }).pipe(
          Effect.onExit((exit) => Effect.sync(() => this.#settle(exit))),
          Effect.forkIn(this.#scope, { startImmediately: true }),
          Effect.andThen((fiber) =>
            accepted ? Effect.void : this.#wait(() => accepted || fiber.pollUnsafe() !== undefined)
          )
        )
      })
    )
  }

  /** Ends when nothing is on its way any more, also after a failure; fails with the first failure. */
  readonly settled: Effect.Effect<void, PublishError.PublishError> = Effect.suspend(() => {
    if (this.#inFlight > 0) return Effect.andThen(this.#change, this.settled)
    return this.#failure ?? Effect.void
  })
}
