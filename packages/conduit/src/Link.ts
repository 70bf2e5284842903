/**
 * A link: one live, reliable, ordered, message-preserving attachment to a peer. It knows nothing but payloads, and it
 * dies with its transport.
 *
 * The contract is synchronous and small, so that a transport can be written, simulated or broken on purpose in a page of
 * code; lifetimes are Effect's: a `LinkSource` hands out links that belong to a scope.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import * as StreamDecoder from "./core/StreamDecoder.ts"
import * as LinkErrors from "./LinkError.ts"
import { LinkError } from "./LinkError.ts"

export { StreamDecoder }

/**
 * Whoever listens to a link. Calls come from the link, never re-entrantly from `open`.
 *
 * @category models
 * @since 0.1.0
 */
export interface LinkSink {
  /**
   * One payload, `bytes[offset, offset + length)`. Unless `owned` is true the bytes are valid only during the call.
   * Returning false means that the link is no longer wanted: it must deliver nothing more.
   */
  payload(bytes: Uint8Array, offset: number, length: number, owned: boolean): boolean | void
  /** Everything that arrived together has been delivered. */
  flush(): void
  /** The link can take more after `write` said no. */
  writable(): void
  /** The last call: the link is gone, at the peer's wish when the reason is `Ended`. */
  closed(error: LinkError): void
}

/**
 * A link, as its transport provides it and a conduit uses it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Link {
  /** Names the transport and the peer in logs and errors, for example `tcp 127.0.0.1:4000`. */
  readonly description: string
  /** Longest payload in bytes that the transport takes in either direction. */
  readonly maxPayload: number
  /**
   * Whether the bytes given to `write` are no longer read once the peer has them, so that they may then be overwritten: a
   * socket's are, those of a link that passes references are not.
   */
  readonly copies: boolean
  /** Whether `pause` stops the transport from delivering; a browser's WebSocket cannot. */
  readonly canPause: boolean
  /** Begins delivery. Called once; calling it again replaces the sink from the next payload on. */
  open(sink: LinkSink): void
  /**
   * Sends the payloads in `bytes[start, end)`, each behind its u32 little-endian length. The bytes do not change until the
   * peer has them, or ever, as `copies` says. Never throws: a failure arrives at `closed`.
   *
   * @returns false when the transport wants no more for now; `writable` says when it does. What was given is accepted.
   */
  write(bytes: Uint8Array<ArrayBuffer>, start: number, end: number): boolean
  /** Asks the transport to stop delivering. */
  pause(): void
  /** Undoes `pause`. */
  resume(): void
  /** Ends gracefully: what was written arrives, then the peer sees the end. */
  end(): void
  /** Drops the link at once. Idempotent; `closed` is not called for it. */
  destroy(): void
}

/**
 * Sends one payload over a link.
 *
 * @since 0.1.0
 */
export const writePayload = (link: Link, payload: Uint8Array): boolean => {
  const framed = StreamDecoder.encode(payload)
  return link.write(framed, 0, framed.length)
}

/**
 * Two halves that a user supplies instead of implementing `Link`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Halves {
  readonly description: string
  /** Longest payload in bytes; 16 MiB unless given. */
  readonly maxPayload?: number | undefined
  /** Sends one payload; waits while the transport is full. Calls never overlap. */
  readonly send: (payload: Uint8Array) => Effect.Effect<void, unknown>
  /** Waits for one payload; fails with `Cause.Done` at the end of the stream. Calls never overlap. */
  readonly receive: Effect.Effect<Uint8Array, unknown>
  /** Lets everything sent arrive, then ends the stream. */
  readonly close?: Effect.Effect<void> | undefined
}

/** Payloads that wait for `Halves.send` before `write` says no. */
const halvesHighWater = 64

/**
 * Makes a link of two effectful halves. Closing the scope destroys it.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromHalves = /* @__PURE__ */ Effect.fnUntraced(function*(
  halves: Halves
): Effect.fn.Return<Link, never, Scope.Scope> {
  const context = yield* Effect.context<never>()
  const run = Effect.runForkWith(context)
  const queue: Array<Uint8Array> = []
  let sink: LinkSink | undefined
  let reader: Fiber.Fiber<unknown, unknown> | undefined
  let writer: Fiber.Fiber<unknown, unknown> | undefined
  const now = { paused: false, ending: false, dead: false }

  const destroy = () => {
    now.dead = true
    queue.length = 0
    if (reader !== undefined) run(Fiber.interrupt(reader))
    if (writer !== undefined) run(Fiber.interrupt(writer))
  }
  const failed = (reason: LinkErrors.LinkErrorReason) => {
    if (now.dead) return
    destroy()
    sink?.closed(LinkErrors.make(halves.description, reason))
  }
  const read = () => {
    if (reader !== undefined || now.paused || now.dead) return
    reader = run(
      Effect.gen(function*() {
        while (!now.paused && !now.dead) {
          const payload = yield* halves.receive
          if (now.dead) return
          if (sink!.payload(payload, 0, payload.length, true) === false) return
          sink!.flush()
        }
      }).pipe(Effect.exit)
    )
    reader.addObserver((exit) => {
      reader = undefined
      const outcome = Exit.isSuccess(exit) ? exit.value as Exit.Exit<void, unknown> : exit
      if (Exit.isSuccess(outcome)) return read()
      const error = Cause.squash(outcome.cause)
      failed(Cause.isDone(error) ? { _tag: "Ended" } : { _tag: "Io", cause: error })
    })
  }
  const write = () => {
    if (writer !== undefined || now.dead) return
    writer = run(
      Effect.gen(function*() {
        while (queue.length > 0 && !now.dead) {
          yield* halves.send(queue[0]!)
          queue.shift()
          if (queue.length === halvesHighWater - 1 && !now.dead) sink?.writable()
        }
        if (now.ending && halves.close !== undefined) yield* halves.close
      }).pipe(Effect.exit)
    )
    writer.addObserver((exit) => {
      writer = undefined
      const outcome = Exit.isSuccess(exit) ? exit.value as Exit.Exit<void, unknown> : exit
      if (Exit.isFailure(outcome)) failed({ _tag: "Io", cause: Cause.squash(outcome.cause) })
      else if (queue.length > 0) write()
    })
  }
  yield* Effect.addFinalizer(() => Effect.sync(destroy))
  return {
    description: halves.description,
    maxPayload: halves.maxPayload ?? 16_777_216,
    copies: false,
    canPause: true,
    open(next) {
      sink = next
      read()
    },
    write(bytes, start, end) {
      if (now.dead || now.ending) return true
      for (const payload of StreamDecoder.payloads(bytes, start, end)) queue.push(payload)
      write()
      return queue.length < halvesHighWater
    },
    pause() {
      now.paused = true
    },
    resume() {
      now.paused = false
      read()
    },
    end() {
      if (now.dead || now.ending) return
      now.ending = true
      write()
    },
    destroy
  }
})

export {
  /**
   * @category errors
   * @since 0.1.0
   */
  LinkError
}
