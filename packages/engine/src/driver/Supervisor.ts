/**
 * A connection that is kept alive: dialed, shaken hands with, driven, and dialed again after a pause that grows while it does not hold.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import { AntiThrash, Backoff, Connection, type ConnectionEvent, ServiceUrl, truncate } from "@perigee/proto"
import { PulsarError } from "../PulsarError.ts"
import type { ClientCore } from "./ClientCore.ts"
import { Driver } from "./Driver.ts"

/** Who lives on a connection: told about what happens to it, by producer or consumer id. */
export interface Resident {
  readonly onEvent: (event: ConnectionEvent) => void
  /** The session is gone, and the resident with it: it has to attach again, here or elsewhere. */
  readonly onLost: () => void
}

/** Milliseconds. A broker that accepts and says nothing must leave an operation time for another attempt. */
const LONGEST_HANDSHAKE = 10_000

type Readiness = Deferred.Deferred<void, PulsarError>

export class Supervisor {
  readonly address: ServiceUrl.BrokerAddress
  readonly connection: Connection
  readonly driver: Driver
  /** When the last session ended, milliseconds since the epoch. */
  lastDisconnectedAt: number | undefined = undefined
  /** Sessions that came up. */
  sessions = 0
  readonly #core: ClientCore
  readonly #residents = new Map<string, Resident>()
  readonly #watchers = new Set<(event: ConnectionEvent) => void>()
  readonly #losses = new Set<() => void>()
  readonly #antiThrash: AntiThrash.AntiThrash
  #readiness: Readiness = Deferred.makeUnsafe()
  #over: PulsarError | undefined = undefined
  #closing = false
  #hadSession = false
  readonly #closed = Latch.makeUnsafe(false)
  #onConnected: () => void = () => undefined

  constructor(core: ClientCore, address: ServiceUrl.BrokerAddress, proxyTarget: string | undefined) {
    const { settings } = core
    this.#core = core
    this.address = address
    this.connection = new Connection({
      clientVersion: settings.clientVersion,
      proxyTarget,
      keepalive: settings.keepalive,
      operationTimeout: settings.operationTimeout,
      tls: settings.url.tls,
      redirects: settings.redirects
    })
    this.driver = new Driver(this.connection, core.now, (event) => this.#dispatch(event))
    this.#antiThrash = new AntiThrash.AntiThrash(settings.antiThrash)
  }

  get isConnected(): boolean {
    return this.connection.isConnected
  }

  /** Why there will be no other session. */
  get over(): PulsarError | undefined {
    return this.#over
  }

  /** Waits for a session: at once if there is one; fails with the next attempt that fails. */
  get ready(): Effect.Effect<void, PulsarError> {
    return Effect.suspend(() => {
      if (this.#over !== undefined) return Effect.fail(this.#over)
      return this.connection.isConnected ? Effect.void : Deferred.await(this.#readiness)
    })
  }

  settle(kind: "producer" | "consumer", id: number, resident: Resident): void {
    this.#residents.set(`${kind}:${id}`, resident)
  }

  leave(kind: "producer" | "consumer", id: number): void {
    this.#residents.delete(`${kind}:${id}`)
  }

  get residents(): number {
    return this.#residents.size
  }

  /** Hears the events that belong to nobody in particular; the result ends it. */
  watch(watcher: (event: ConnectionEvent) => void): () => void {
    this.#watchers.add(watcher)
    return () => this.#watchers.delete(watcher)
  }

  /** Hears, once, that the session is gone; the result takes it back. */
  onLoss(listener: () => void): () => void {
    this.#losses.add(listener)
    return () => this.#losses.delete(listener)
  }

  #tellLoss(): void {
    for (const resident of this.#residents.values()) resident.onLost()
    const losses = [...this.#losses]
    this.#losses.clear()
    for (const listener of losses) listener()
  }

  /** Lets what is staged go out, then ends. */
  get close(): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.#closing = true
      // Without a session there is nothing to wait for: the end of the client's scope ends the attempts.
      if (!this.connection.isConnected) return Effect.sync(() => this.#end(closedError))
      this.connection.close()
      this.driver.notify()
      return this.#closed.await.pipe(Effect.timeoutOption(2000), Effect.asVoid)
    })
  }

  #dispatch(event: ConnectionEvent): void {
    switch (event._tag) {
      case "Connected":
        this.sessions++
        this.#hadSession = true
        this.#onConnected()
        Deferred.doneUnsafe(this.#readiness, Effect.void)
        return
      case "AuthChallenge":
        this.#challenged(event.data)
        return
      case "ProducerReady":
        this.#antiThrash.attached(this.#core.now())
        break
      case "MessagesReady":
        this.#antiThrash.succeeded()
        break
      case "ChecksumMismatch":
        // Nobody else hears of it: the message comes again.
        this.#core.fork(Effect.logError("pulsar: a message was dropped, its checksum is wrong", {
          address: ServiceUrl.formatAddress(this.address),
          expected: event.expected.toString(16),
          computed: event.computed.toString(16)
        }))
        break
    }
    if ("producerId" in event) this.#residents.get(`producer:${event.producerId}`)?.onEvent(event)
    else if ("consumerId" in event) this.#residents.get(`consumer:${event.consumerId}`)?.onEvent(event)
    else if (event._tag === "TopicMigrated") this.#residents.get(`${event.resource}:${event.id}`)?.onEvent(event)
    for (const watcher of this.#watchers) watcher(event)
  }

  /** The answer may take its time; it counts only for the session that asked. */
  #challenged(challenge: Uint8Array): void {
    const { auth } = this.#core.settings
    const epoch = this.connection.sessionEpoch
    const respond = auth.respond?.(challenge) ?? auth.credentials
    this.#core.fork(
      respond.pipe(
        Effect.matchCause({
          onSuccess: (credentials) => {
            if (this.connection.sessionEpoch === epoch) this.connection.respond(credentials)
          },
          // The provider's words may hold a secret: only the fact is told.
          onFailure: () => {
            if (this.connection.sessionEpoch === epoch) {
              this.connection.disconnected("credentials could not be refreshed")
            }
          }
        }),
        Effect.ensuring(Effect.sync(() => this.driver.notify()))
      )
    )
  }

  /** One session, from dial to end. */
  #session(): Effect.Effect<string, PulsarError> {
    const { connectTimeout, operationTimeout, url, auth } = this.#core.settings
    return Effect.gen({ self: this }, function*() {
      const credentials = yield* auth.credentials.pipe(
        Effect.mapError(() =>
          new PulsarError({ reason: { _tag: "Authentication", why: `no ${auth.method} credentials` } })
        )
      )
      const socket = yield* this.#core.transport.socket({
        address: this.address,
        tls: url.tls,
        timeout: connectTimeout
      })
      const shaken = Latch.makeUnsafe(false)
      this.#onConnected = () => shaken.openUnsafe()
      const handshake = shaken.await.pipe(
        Effect.timeoutOption(connectTimeout + Math.min(operationTimeout / 3, LONGEST_HANDSHAKE)),
        Effect.flatMap((done) =>
          done._tag === "Some" ? Effect.never : Effect.succeed("the handshake did not finish in time")
        )
      )
      return yield* Effect.raceFirst(
        this.driver.run(socket, () => this.connection.begin(this.driver.now(), credentials), operationTimeout),
        handshake
      )
    }).pipe(Effect.scoped)
  }

  /** Runs until closed, given up, or refused for good. */
  readonly run: Effect.Effect<void> = Effect.suspend(() => Effect.raceFirst(this.#loop(), this.driver.timers)).pipe(
    Effect.ensuring(Effect.sync(() => this.#end(closedError)))
  )

  #loop(): Effect.Effect<void> {
    const { settings } = this.#core
    return Effect.gen({ self: this }, function*() {
      const backoff = new Backoff.Backoff({ ...settings.backoff, seed: this.#core.seed() })
      let attempts = 0
      while (!this.#closing) {
        const since = this.driver.now()
        const why = yield* this.#session().pipe(
          Effect.matchEffect({
            onFailure: (error) => Effect.succeed(error),
            onSuccess: (text) => Effect.succeed(text)
          })
        )
        if (this.#closing) return
        const error = this.#ended(why)
        const lived = this.driver.now() - since
        this.#antiThrash.dropped(this.driver.now())
        if (this.#isFinal(error)) return this.#end(error)
        // Only a session that held says that the trouble is over.
        if (lived > settings.dropGrace && this.#hadSession) {
          backoff.reset()
          attempts = 0
        }
        this.#hadSession = false
        if (++attempts > settings.maxAttempts) return this.#end(error)
        const cooldown = this.#antiThrash.cooldownUntil
        if (cooldown !== undefined) {
          yield* Effect.logWarning("pulsar: keeping away from a broker that attaches and drops", {
            address: ServiceUrl.formatAddress(this.address),
            cooldown: cooldown - this.driver.now()
          })
          yield* Effect.sleep(Math.max(0, cooldown - this.driver.now()))
          this.#antiThrash.clearCooldown()
        }
        const delay = Math.ceil(backoff.next())
        yield* Effect.logDebug("pulsar: connection lost", {
          address: ServiceUrl.formatAddress(this.address),
          why: error.message,
          redialIn: delay
        })
        yield* Effect.sleep(delay)
      }
    })
  }

  /** The session is over: what waited for it learns that, and the connection is made ready for another. */
  #ended(why: string | PulsarError): PulsarError {
    const { connection } = this
    const { refusal } = connection
    const error = typeof why !== "string"
      ? why
      : refusal !== undefined && (refusal.code === 3 || refusal.code === 4)
      ? new PulsarError({ reason: { _tag: "Authentication", why: refusal.message } })
      : new PulsarError({
        reason: {
          _tag: "Connect",
          address: ServiceUrl.formatAddress(this.address),
          why: refusal?.message ?? truncate(why)
        }
      })
    if (this.#hadSession) this.lastDisconnectedAt = this.#core.wall()
    connection.disconnected(error.message)
    connection.reset()
    const waiting = this.#readiness
    this.#readiness = Deferred.makeUnsafe()
    Deferred.doneUnsafe(waiting, Effect.fail(error))
    this.driver.notify()
    this.driver.rearm()
    this.#tellLoss()
    return error
  }

  /** Credentials that were never good are not tried again and again; those that were may be renewed. */
  #isFinal(error: PulsarError): boolean {
    return error.reason._tag === "Authentication" && this.sessions === 0
  }

  #end(error: PulsarError): void {
    if (this.#over !== undefined) return
    this.#over = error
    this.connection.terminate(error.message)
    this.driver.notify()
    Deferred.doneUnsafe(this.#readiness, Effect.fail(error))
    this.#closed.openUnsafe()
    this.#tellLoss()
  }
}

const closedError = new PulsarError({ reason: { _tag: "Closed", why: "the client is closed" } })
