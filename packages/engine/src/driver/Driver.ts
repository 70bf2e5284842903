/**
 * One socket's life: reads, writes and timers around a connection, until the first of them ends.
 */
import { isReadonlyArrayNonEmpty } from "effect/Array"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Socket from "effect/socket/Socket"
import { type Connection, type ConnectionEvent, truncate } from "@perigee/proto"
import type * as Scope from "effect/Scope"
import type { PulsarError } from "../PulsarError.ts"
import { Bell } from "./Bell.ts"

/** Bytes of one write: what is written at once delays what is read by so much. */
const WRITE_TURN = 256 * 1024

/** Drives a connection over the sockets it is given, one after another. */
export class Driver {
  readonly connection: Connection
  readonly now: () => number
  readonly #onEvent: (event: ConnectionEvent) => void
  readonly #work = new Bell()
  readonly #timer = Latch.makeUnsafe(false)
  /** The session is over whatever the socket does: nobody waits for a write that a dead peer does not take. */
  readonly #failed = Latch.makeUnsafe(false)
  /** When something was last read or fell due: near enough to now for what may as well happen a little early. */
  recent = 0
  #armed = Infinity
  /** When the write that is under way has to be over, and how long that is from its beginning. */
  #writeBy = Infinity
  #writeDeadline = 0
  /** Why a write was given up. */
  #overdue: string | undefined = undefined
  #pumping = false

  constructor(connection: Connection, now: () => number, onEvent: (event: ConnectionEvent) => void) {
    this.connection = connection
    this.now = now
    this.#onEvent = onEvent
  }

  /** Something was asked of the connection: hand out its events, wake the writer. To be called after every use of it. */
  notify(): void {
    this.#pump()
    this.#work.ring()
  }

  /** Wakes the timers when something is due earlier than they expect: at `due` if that is known, else whatever there is. */
  rearm(due = this.#due): void {
    if (due < this.#armed) this.#timer.openUnsafe()
  }

  get #due(): number {
    return Math.min(this.connection.pollTimeout(), this.#writeBy)
  }

  /** Something is due now. */
  notifyTimers(): void {
    this.#tick(this.now())
  }

  #pump(): void {
    // An event may make its listener use the connection again: the loop that is running takes what comes of it.
    if (this.#pumping) return
    this.#pumping = true
    try {
      for (let event = this.connection.pollEvent(); event !== undefined; event = this.connection.pollEvent()) {
        if (event._tag === "SendDone" || event._tag === "RequestDone") event.complete()
        else this.#onEvent(event)
      }
    } finally {
      this.#pumping = false
    }
    if (this.connection.state === "failed") this.#failed.openUnsafe()
  }

  get #isOver(): boolean {
    return this.connection.state === "failed" || this.connection.state === "closing"
  }

  /** Runs a session over a socket; ends with why it is over, never otherwise. */
  run(
    socket: Socket.Socket,
    begin: () => void,
    writeDeadline: number
  ): Effect.Effect<string, PulsarError, Scope.Scope> {
    return Effect.gen({ self: this }, function*() {
      const pull = yield* Socket.readerBytes(socket)
      const writer = yield* socket.writer
      this.#failed.closeUnsafe()
      this.#writeDeadline = writeDeadline
      this.#overdue = undefined
      begin()
      this.notify()
      return yield* Effect.raceAllFirst([
        this.#read(pull),
        this.#write(writer),
        Effect.map(this.#failed.await, () => this.#why())
      ])
    }).pipe(
      Effect.catchTag("SocketError", (error) => Effect.succeed(describe(error))),
      Effect.ensuring(Effect.sync(() => this.#writeBy = Infinity))
    )
  }

  #read(pull: Effect.Effect<ReadonlyArray<Uint8Array>, Socket.SocketError>): Effect.Effect<string, Socket.SocketError> {
    return Effect.gen({ self: this }, function*() {
      while (true) {
        const chunks = yield* pull
        const now = this.now()
        this.recent = now
        for (const chunk of chunks) this.connection.handleBytes(now, chunk)
        this.notify()
      }
    })
  }

  /** Writes as long as there is something; what is staged before a close still goes out. */
  #write(writer: Socket.Writer): Effect.Effect<string, Socket.SocketError> {
    return Effect.gen({ self: this }, function*() {
      while (true) {
        this.#work.reset()
        if (this.connection.state === "failed") return this.#why()
        const segments = this.connection.pollTransmit(WRITE_TURN)
        if (!isReadonlyArrayNonEmpty(segments)) {
          if (this.#isOver) return this.#why()
          this.rearm()
          yield* this.#work.wait
          continue
        }
        // The timers watch it: most writes are over at once, and a fiber to wait for each would cost more than they do.
        this.#writeBy = this.now() + this.#writeDeadline
        this.rearm(this.#writeBy)
        yield* writer.writeAll(segments)
        this.#writeBy = Infinity
      }
    })
  }

  /** Does what is due, for as long as the connection exists: a send that waits for a session times out without one. */
  readonly timers: Effect.Effect<never> = Effect.suspend(() =>
    Effect.gen({ self: this }, function*() {
      while (true) {
        this.#timer.closeUnsafe()
        this.#armed = this.#due
        if (this.#armed === Infinity) yield* this.#timer.await
        else {
          yield* Effect.raceFirst(Effect.sleep(Math.max(0, Math.round(this.#armed - this.now()))), this.#timer.await)
          // Timers of the platform know whole milliseconds, its clock knows parts of them: to sleep again for a rest would double a short time.
          if (this.now() > this.#armed - 1) this.#tick(Math.max(this.now(), this.#armed))
        }
      }
    })
  )

  #tick(now: number): void {
    this.recent = now
    if (now >= this.#writeBy) {
      this.#writeBy = Infinity
      this.#overdue = `the broker did not read for ${this.#writeDeadline} ms`
      this.#failed.openUnsafe()
    }
    this.connection.handleTimeout(now)
    this.notify()
  }

  #why(): string {
    if (this.#overdue !== undefined) return this.#overdue
    const { failure, refusal } = this.connection
    if (refusal !== undefined) return refusal.message
    if (failure === undefined) return "closed"
    if (failure._tag === "Protocol") return `protocol: ${failure.error.message}`
    return failure._tag === "Silent" ? "the broker did not answer a ping" : failure.why
  }
}

const describe = (error: Socket.SocketError): string => {
  const { reason } = error
  if (reason._tag === "SocketCloseError") return `the broker closed the connection (${reason.code})`
  const cause: unknown = "cause" in reason ? reason.cause : undefined
  return truncate(cause instanceof Error ? cause.message : reason._tag)
}
