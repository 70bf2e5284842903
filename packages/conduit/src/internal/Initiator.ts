import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as ConduitErrors from "../ConduitError.ts"
import type { ConduitError } from "../ConduitError.ts"
import { type Link, writePayload } from "../Link.ts"
import * as LinkErrors from "../LinkError.ts"
import type { LinkError } from "../LinkError.ts"
import type { LinkSource } from "../LinkSource.ts"
import * as Reconnect from "../Reconnect.ts"
import * as Handshake from "../session/Handshake.ts"
import { InitiatorOpening, type Phase } from "../session/Opening.ts"
import type { DialOptions } from "../StableConduit.ts"
import type { Engine } from "./Engine.ts"
import { Relay } from "./Relay.ts"

/** How often keepalive and stalls are looked at. */
const tickMillis = 1000

/** What a durable initiator remembers and must write before the peer may learn of it. */
export interface InitiatorKeys {
  readonly initial: Uint8Array | undefined
  /** Called with each new key, before anything is sent under it. */
  readonly save: (key: Uint8Array) => Effect.Effect<void, ConduitError>
}

/** Links in a row whose peer may greet us with nonsense before we believe that it speaks something else. */
const maxMalformed = 5

/** The end of one link, and whether the next may be dialled at once. */
interface Outage {
  readonly error: LinkError
  readonly atOnce: boolean
}

/**
 * Keeps an engine supplied with links until it ends: the supervisor of an initiator. Returns when the first link is up,
 * or at once with `background`.
 */
export const run = Effect.fnUntraced(function*(
  engine: Engine,
  source: LinkSource,
  options: DialOptions & { readonly farewell?: boolean | undefined },
  keys?: InitiatorKeys
): Effect.fn.Return<
  { readonly peerSession: () => Handshake.SessionSettings | undefined },
  ConduitError,
  Scope.Scope
> {
  const style = options.style ?? "naked"
  let key = keys?.initial
  let fresh = key === undefined
  let peerSession: Handshake.SessionSettings | undefined
  let onDown: ((error: LinkError) => void) | undefined
  const ended = yield* Deferred.make<void>()
  const first = yield* Deferred.make<void, ConduitError>()
  engine.connect({
    down: (error) => onDown?.(error),
    proven: () => {},
    ended: () => {
      Deferred.doneUnsafe(ended, Effect.void)
      Deferred.doneUnsafe(first, Effect.fail(engine.terminal!))
    }
  })

  /** Runs the opening on a link; afterwards the engine has it. */
  const open = (link: Link): Effect.Effect<void, LinkError> => {
    let phase: () => Phase = () => "hello"
    return Effect.callback<void, LinkError>((resume) => {
      const opening = new InitiatorOpening({
        style,
        session: style === "session" && fresh ? Handshake.settings(options.session) : undefined,
        hello: {
          key,
          lastReceived: fresh ? undefined : engine.state.helloReceived,
          extensions: options.extensions ?? true
        }
      })
      phase = () => opening.phase
      const relay = new Relay({
        payload: (bytes, offset, length) => {
          const step = opening.payload(bytes.slice(offset, offset + length))
          for (const payload of step.send) writePayload(link, payload)
          if (step._tag === "More") return true
          if (step._tag === "Failed") {
            const reason = step.rejected
              ? { _tag: "Rejected", why: step.detail } as const
              : { _tag: "Protocol", detail: step.detail } as const
            resume(Effect.fail(LinkErrors.make(link.description, reason)))
            return false
          }
          const hello = step.value
          if (hello.rejected) {
            engine.lose("rejected")
            return false
          }
          const replayed = engine.peerHello(hello, fresh)
          if (typeof replayed === "string") return false
          peerSession = opening.peer ?? peerSession
          fresh = false
          key = hello.key
          const agreed = hello.extensions && (options.extensions ?? true)
          if (keys === undefined) {
            relay.become(engine.attach(link, agreed, replayed), link)
            resume(Effect.void)
          } else {
            // What arrives may be taken at once, but nothing may be sent under a key that a crash would forget.
            engine.holdWrites(true)
            relay.become(engine.attach(link, agreed, replayed), link)
            resume(Effect.matchEffect(keys.save(key), {
              onSuccess: () => Effect.sync(() => engine.holdWrites(false)),
              onFailure: (error) => Effect.sync(() => engine.end(error))
            }))
          }
          return true
        },
        flush: () => {},
        writable: () => {},
        closed: (error) => resume(Effect.fail(error))
      })
      link.open(relay)
      for (const payload of opening.start()) writePayload(link, payload)
    }).pipe(
      Effect.timeoutOrElse({
        duration: options.helloTimeout ?? "5 seconds",
        orElse: () => Effect.fail(LinkErrors.make(link.description, { _tag: "Timeout", step: phase() }))
      })
    )
  }

  let flapping = false
  let malformed = 0
  const session: Effect.Effect<never, Outage> = Effect.suspend(() => {
    let up = false
    return Effect.gen(function*() {
      // A transport that cannot pause brings everything at once: let the consumer make room first.
      if (!engine.pressure.hasRoom) {
        yield* Effect.callback<void>((resume) => engine.pressure.whenRoom(() => resume(Effect.void)))
      }
      const { clientHello, link } = yield* source.next.pipe(
        Effect.timeoutOrElse({
          duration: options.openTimeout ?? "10 seconds",
          orElse: () => Effect.fail(LinkErrors.make(source.description, { _tag: "Timeout", step: "open" }))
        })
      )
      if (clientHello !== undefined) {
        engine.end(ConduitErrors.make({ _tag: "ProtocolViolation", violation: { _tag: "RoleFlip" } }))
        return yield* Effect.never
      }
      const down = yield* Deferred.make<never, LinkError>()
      onDown = (error) => {
        Deferred.doneUnsafe(down, Effect.fail(error))
      }
      // Whatever ends this attempt, the engine must not go on using the link.
      yield* Effect.addFinalizer(() =>
        Effect.sync(() => {
          onDown = undefined
          if (engine.terminal === undefined) {
            engine.linkFailed(link, LinkErrors.make(link.description, { _tag: "Ended" }))
          }
        })
      )
      yield* open(link)
      up = true
      malformed = 0
      Deferred.doneUnsafe(first, Effect.void)
      return yield* Deferred.await(down)
    }).pipe(
      Effect.scoped,
      Effect.mapError((error): Outage => {
        // A lost link is redialled at once, but not again and again when links come up and die without a word.
        const heard = up && engine.state.heard
        const atOnce = heard || (up && !flapping)
        flapping = !heard
        return { error, atOnce }
      })
    )
  })

  const schedule = options.retry ?? Reconnect.forever
  const retryFirst = options.retryFirst ?? true
  let attempt = 1
  const tell = (error: LinkError) =>
    Effect.sync(() => {
      if (engine.terminal !== undefined || engine.linkUp) return
      engine.setStatus({ _tag: "Reconnecting", attempt: attempt++, cause: error })
    })
  const outage = session.pipe(
    Effect.tapError(({ atOnce, error }) => atOnce ? Effect.void : tell(error)),
    Effect.catchIf(({ atOnce }) => atOnce, ({ error }) => Effect.succeed(error)),
    Effect.mapError(({ error }) => error),
    Effect.retry({
      schedule,
      while: ({ reason }) =>
        reason._tag !== "Exhausted" && reason._tag !== "Rejected" && (!fresh || retryFirst) &&
        (reason._tag !== "Protocol" || ++malformed < maxMalformed)
    })
  )
  const supervisor = Effect.gen(function*() {
    while (true) {
      yield* outage
      attempt = 2
    }
  }).pipe(
    Effect.catch((error) => Effect.sync(() => engine.end(ConduitErrors.make({ _tag: "Exhausted", cause: error })))),
    Effect.raceFirst(Deferred.await(ended))
  )
  const ticker = Effect.forever(
    Effect.andThen(Effect.sleep(tickMillis), Effect.sync(() => engine.tick(engine.now)))
  )
  yield* Effect.forkScoped(supervisor, { startImmediately: true })
  yield* Effect.forkScoped(Effect.raceFirst(ticker, Deferred.await(ended)), { startImmediately: true })
  // Finalizers run last in, first out: the goodbye goes over the link that the supervisor still holds.
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      if (options.farewell === false) return engine.abandon()
      engine.farewell()
    })
  )
  if (options.background !== true) yield* Deferred.await(first)
  return { peerSession: () => peerSession }
})
