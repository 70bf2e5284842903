/**
 * Keeps one producer or consumer attached to the broker of its topic: looks the topic up, opens, and does so again whenever it is lost.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import { Backoff, type Connection, type ConnectionEvent, ServiceUrl } from "@perigee/proto"
import { isPassing, PulsarError, refused } from "../PulsarError.ts"
import type { ClientCore } from "./ClientCore.ts"
import * as Lookup from "./Lookup.ts"
import type { Pool } from "./Pool.ts"
import type { Resident, Supervisor } from "./Supervisor.ts"

/** What is particular to producers or to consumers. */
export interface Attachable {
  readonly kind: "producer" | "consumer"
  readonly id: number
  readonly topic: string
  readonly open: (connection: Connection, now: number) => void
  readonly release: (connection: Connection, now: number) => void
  /** Nothing will come of it any more. */
  readonly fail: (error: PulsarError) => void
  /** Events other than those of attaching. */
  readonly onEvent: (event: ConnectionEvent) => void
  /** An attached one whose place others may take with force must not come back by itself. */
  readonly staysOut: (error: PulsarError) => boolean
}

export class Attachment implements Resident {
  /** The connection it lives on, `undefined` while there is none. */
  supervisor: Supervisor | undefined = undefined
  /** How often it was attached. */
  attached = 0
  readonly #core: ClientCore
  readonly #pool: Pool
  readonly #what: Attachable
  readonly #lost = Latch.makeUnsafe(false)
  readonly #first = Deferred.makeUnsafe<void, PulsarError>()
  #opened: Deferred.Deferred<void, PulsarError> | undefined = undefined
  #last: PulsarError | undefined = undefined
  #stopped = false
  #isAttached = false
  #home: ServiceUrl.BrokerAddress | undefined = undefined
  readonly #index: number

  constructor(core: ClientCore, pool: Pool, what: Attachable) {
    this.#core = core
    this.#pool = pool
    this.#what = what
    this.#index = pool.nextIndex()
  }

  get isAttached(): boolean {
    return this.#isAttached
  }

  /** The first attach, within the time an operation has. */
  get ready(): Effect.Effect<void, PulsarError> {
    const { operationTimeout } = this.#core.settings
    return Deferred.await(this.#first).pipe(
      Effect.timeoutOrElse({
        duration: operationTimeout,
        orElse: () =>
          Effect.fail(
            new PulsarError({
              reason: { _tag: "Timeout", operation: `attaching to ${this.#what.topic}`, last: this.#last }
            })
          )
      })
    )
  }

  /** For those that may have to wait for their turn as long as it takes. */
  get readyEventually(): Effect.Effect<void, PulsarError> {
    return Deferred.await(this.#first)
  }

  /** No more attaching. */
  stop(): void {
    this.#stopped = true
    this.#lost.openUnsafe()
    if (this.supervisor !== undefined) this.supervisor.leave(this.#what.kind, this.#what.id)
  }

  /** Looks for the topic's place again; until then it stays where it was, so that its timers go on. */
  readonly restart = (): void => {
    if (this.#stopped) return
    this.#isAttached = false
    this.#lost.openUnsafe()
  }

  readonly onLost = (): void => {
    this.#settle(Effect.fail(new PulsarError({ reason: { _tag: "SessionLost" } })))
    const over = this.supervisor?.over
    // A connection that was given up took everything on it along.
    if (over === undefined) this.restart()
    else this.#fail(over)
  }

  readonly onEvent = (event: ConnectionEvent): void => {
    switch (event._tag) {
      case "ProducerReady":
      case "ConsumerReady":
        // A seek attaches again without being asked to.
        this.#settle(Effect.void)
        break
      case "ProducerFailed":
      case "ConsumerFailed":
        this.#isAttached = false
        if (this.#opened === undefined) {
          const error = refused(event.failure)
          if (isPassing(error)) this.restart()
          else this.#fail(error)
        } else this.#settle(Effect.fail(refused(event.failure)))
        return
      case "ProducerClosed":
      case "ConsumerClosed":
      case "TopicMigrated": {
        if (event._tag === "TopicMigrated") {
          const parsed = ServiceUrl.parse(event.url)
          if (parsed._tag === "Ok") this.#home = parsed.url.addresses[0]
        }
        this.#settle(Effect.fail(new PulsarError({ reason: { _tag: "SessionLost" } })))
        this.restart()
        break
      }
    }
    this.#what.onEvent(event)
  }

  #settle(result: Effect.Effect<void, PulsarError>): void {
    const opened = this.#opened
    this.#opened = undefined
    if (opened !== undefined) Deferred.doneUnsafe(opened, result)
  }

  #fail(error: PulsarError): void {
    if (this.#stopped) return
    this.stop()
    this.#what.fail(error)
    Deferred.doneUnsafe(this.#first, Effect.fail(error))
  }

  readonly #attach = Effect.suspend(() =>
    Lookup.owner(this.#core, this.#pool, this.#what.topic, this.#index, this.#home)
  ).pipe(
    Effect.flatMap((supervisor) =>
      Effect.suspend(() => {
        if (this.#stopped) return Effect.void
        const opened = Deferred.makeUnsafe<void, PulsarError>()
        this.#opened = opened
        const previous = this.supervisor
        if (previous !== undefined && previous !== supervisor) {
          this.#what.release(previous.connection, previous.driver.now())
          previous.leave(this.#what.kind, this.#what.id)
          previous.driver.notify()
        }
        this.supervisor = supervisor
        // What was lost before now was the place it is leaving; only a loss from here on asks for another attach. Taken for one of this place, an
        // older loss would open a second time what is open.
        this.#lost.closeUnsafe()
        supervisor.settle(this.#what.kind, this.#what.id, this)
        this.#what.open(supervisor.connection, supervisor.driver.now())
        supervisor.driver.notify()
        return Deferred.await(opened)
      })
    )
  )

  /** Attaches, and attaches again, until stopped. */
  readonly run: Effect.Effect<void> = Effect.suspend(() =>
    Effect.gen({ self: this }, function*() {
      const { backoff: settings } = this.#core.settings
      const backoff = new Backoff.Backoff({ ...settings, seed: this.#core.seed() })
      while (!this.#stopped) {
        const result = yield* Effect.result(this.#attach)
        if (this.#stopped) return
        if (result._tag === "Success") {
          this.attached++
          this.#isAttached = true
          backoff.reset()
          Deferred.doneUnsafe(this.#first, Effect.void)
          yield* this.#lost.await
          continue
        }
        const error = result.failure
        this.#last = error
        if (!isPassing(error) && error.reason._tag !== "Timeout") return this.#fail(error)
        if (this.attached > 0 && this.#what.staysOut(error)) return this.#fail(error)
        yield* Effect.sleep(Math.ceil(backoff.next()))
      }
    })
  )
}
