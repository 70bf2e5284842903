/**
 * A bare conduit: one item is one payload, no header, no numbers. It dies with its link, and is right where links do not
 * die.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { type Link, writePayload } from "./Link.ts"
import * as LinkErrors from "./LinkError.ts"
import type { LinkError } from "./LinkError.ts"
import * as Prologue from "./session/Prologue.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface BareConduit {
  /** Hands one item to the link; waits while the transport is full. Success does not mean that the peer has it. */
  readonly send: (item: Uint8Array) => Effect.Effect<void, LinkError>
  /** Takes one item; fails with reason `Ended` when the peer has closed. */
  readonly take: Effect.Effect<Uint8Array, LinkError>
  /** Every item; ends when the peer closes. */
  readonly receive: Stream.Stream<Uint8Array, LinkError>
  /** Lets everything sent arrive, then ends. */
  readonly close: Effect.Effect<void>
}

/**
 * @category models
 * @since 0.1.0
 */
export interface BareOptions {
  /** Which side of the transport prologue to play before the first item; none unless given. */
  readonly prologue?: "initiate" | "accept" | undefined
  /** Longest prologue: 5 seconds unless given. */
  readonly prologueTimeoutMillis?: number | undefined
  /** Items that wait to be taken before the link is paused: 1024 unless given. */
  readonly receive?: number | undefined
}

/**
 * Makes a bare conduit of a link. Closing the scope destroys the link.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(
  link: Link,
  options: BareOptions = {}
): Effect.fn.Return<BareConduit, LinkError, Scope.Scope> {
  const limit = options.receive ?? 1024
  const inbox: Array<Uint8Array> = []
  const readers: Array<() => void> = []
  const writers: Array<() => void> = []
  let paused = false
  let full = false
  let failure: LinkError | undefined
  let greeting: ((payload: Uint8Array) => void) | undefined

  const wake = (waiting: Array<() => void>) => {
    for (const resume of waiting.splice(0)) resume()
  }
  const waitIn = (waiting: Array<() => void>) =>
    Effect.callback<void>((resume) => {
      const done = () => resume(Effect.void)
      waiting.push(done)
      return Effect.sync(() => {
        const index = waiting.indexOf(done)
        if (index >= 0) waiting.splice(index, 1)
      })
    })
  const fail = (error: LinkError) => {
    failure ??= error
    wake(readers)
    wake(writers)
  }
  yield* Effect.addFinalizer(() => Effect.sync(() => link.destroy()))
  const open = () =>
    link.open({
      payload: (bytes, offset, length) => {
        const payload = bytes.slice(offset, offset + length)
        if (greeting !== undefined) greeting(payload)
        else inbox.push(payload)
      },
      flush: () => {
        if (inbox.length > limit && link.canPause && !paused) {
          paused = true
          link.pause()
        }
        if (inbox.length > 0) wake(readers)
      },
      writable: () => {
        full = false
        wake(writers)
      },
      closed: fail
    })
  if (options.prologue === undefined) {
    open()
  } else {
    const initiating = options.prologue === "initiate"
    yield* Effect.callback<void, LinkError>((resume) => {
      const refuse = (reason: LinkErrors.LinkErrorReason) =>
        resume(Effect.fail(LinkErrors.make(link.description, reason)))
      readers.push(() => {
        if (failure !== undefined) resume(Effect.fail(failure))
      })
      greeting = (payload) => {
        greeting = undefined
        const message = Prologue.decode(payload)
        if (typeof message === "string") return refuse({ _tag: "Protocol", detail: message })
        if (initiating) {
          if (message._tag === "Accept" && message.mode === "bare") return resume(Effect.void)
          return message._tag === "Reject" && message.reason === Prologue.unsupportedMode
            ? refuse({ _tag: "Rejected", why: "unsupported mode" })
            : refuse({ _tag: "Protocol", detail: "not the mode that was asked for" })
        }
        if (message._tag !== "Hello") return refuse({ _tag: "Protocol", detail: `${message._tag} where Hello was due` })
        if (message.mode !== "bare") {
          writePayload(link, Prologue.reject())
          link.end()
          return refuse({ _tag: "Rejected", why: "unsupported mode" })
        }
        writePayload(link, Prologue.accept("bare"))
        resume(Effect.void)
      }
      open()
      if (initiating) writePayload(link, Prologue.hello("bare"))
    }).pipe(Effect.timeoutOrElse({
      duration: options.prologueTimeoutMillis ?? 5000,
      orElse: () => Effect.fail(LinkErrors.make(link.description, { _tag: "Timeout", step: "prologue" }))
    }))
  }

  const take: Effect.Effect<Uint8Array, LinkError> = Effect.suspend(() => {
    const item = inbox.shift()
    if (item !== undefined) {
      if (paused && inbox.length <= limit / 2) {
        paused = false
        link.resume()
      }
      return Effect.succeed(item)
    }
    return failure === undefined ? Effect.andThen(waitIn(readers), take) : Effect.fail(failure)
  })
  const send = (item: Uint8Array): Effect.Effect<void, LinkError> =>
    Effect.suspend(() => {
      if (failure !== undefined) return Effect.fail(failure)
      if (item.length > link.maxPayload) {
        return Effect.fail(LinkErrors.make(link.description, { _tag: "PayloadTooLarge", limit: link.maxPayload }))
      }
      if (full) return Effect.andThen(waitIn(writers), send(item))
      full = !writePayload(link, item)
      return Effect.void
    })
  return {
    send,
    take,
    receive: Stream.fromEffectRepeat(take).pipe(
      Stream.catchIf((error) => error.reason._tag === "Ended", () => Stream.empty)
    ),
    close: Effect.sync(() => {
      failure ??= LinkErrors.make(link.description, { _tag: "Ended" })
      link.end()
      wake(readers)
      wake(writers)
    })
  }
})
