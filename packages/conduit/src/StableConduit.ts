/**
 * A stable conduit: items go in at one end and come out at the other exactly once and in order, over any number of links
 * that die. This module holds the conduit itself and the initiator; `ConduitHub` is the acceptor.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Queue from "effect/Queue"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as ConduitErrors from "./ConduitError.ts"
import { ConduitError } from "./ConduitError.ts"
import * as Frame from "./core/Frame.ts"
import type { ItemBatch } from "./core/ItemBatch.ts"
import { Engine } from "./internal/Engine.ts"
import * as Host from "./internal/Host.ts"
import * as Initiator from "./internal/Initiator.ts"
import type { LinkSource } from "./LinkSource.ts"
import * as Options from "./Options.ts"
import type * as Reconnect from "./Reconnect.ts"
import type { SessionSettings } from "./session/Handshake.ts"
import type { Style } from "./session/Opening.ts"
import type { Metrics, Status } from "./Status.ts"

export type { ConduitOptions } from "./Options.ts"
export { ConduitError }

/**
 * The two ends of a conversation are alike: either may send and receive at any time.
 *
 * Terminal errors are sticky. A failed or interrupted send is *unknown* only for items that already had a number; see
 * each operation.
 *
 * @category models
 * @since 0.1.0
 */
export interface StableConduit {
  /**
   * Accepts an item for delivery: when it succeeds the item is numbered and kept until the peer confirms it. Waits while
   * the window is full. Interrupted or failed, the item was not accepted, and the peer will never see it.
   */
  readonly send: (item: Uint8Array) => Effect.Effect<void, ConduitError>
  /** Accepts items in order, with one completion. Interrupted, the first few may have been accepted and will arrive. */
  readonly sendAll: (items: ReadonlyArray<Uint8Array>) => Effect.Effect<void, ConduitError>
  /**
   * Like `send`, and waits until the peer's consumer has taken the item, or handled it when it uses `consume`. A peer of
   * another make may confirm as soon as it has received it. Interrupted while waiting, the item still arrives.
   */
  readonly sendConfirmed: (item: Uint8Array) => Effect.Effect<void, ConduitError>
  /** Like `sendAll`, and waits until the peer has them all. */
  readonly sendAllConfirmed: (items: ReadonlyArray<Uint8Array>) => Effect.Effect<void, ConduitError>
  /**
   * Accepts an item now, or returns false: the window is full, the item is too large, or the conduit is ending. The
   * bytes are copied. For producers that cannot afford an effect per item.
   */
  readonly sendUnsafe: (item: Uint8Array) => boolean
  /** Takes one item; waits for it. Interrupting it loses nothing. Fails with the conduit's end once nothing is left. */
  readonly take: Effect.Effect<Uint8Array, ConduitError>
  /** Like `take`, with the item's number. */
  readonly takeNumbered: Effect.Effect<{ readonly seq: number; readonly item: Uint8Array }, ConduitError>
  /** Takes everything that has arrived, at least one item. */
  readonly takeBatch: Effect.Effect<ItemBatch, ConduitError>
  /** Every item; ends when either side closes on purpose, fails when the conduit is lost. */
  readonly receive: Stream.Stream<Uint8Array, ConduitError>
  /** Like `receive`, a batch at a time. */
  readonly receiveBatches: Stream.Stream<ItemBatch, ConduitError>
  /**
   * Runs `handler` on every batch, one after the other; only when it has succeeded are the batch's items acknowledged.
   * Ends when either side closes on purpose, fails when the conduit is lost or the handler fails.
   */
  readonly consume: <E, R>(
    handler: (batch: ItemBatch) => Effect.Effect<unknown, E, R>
  ) => Effect.Effect<void, E | ConduitError, R>
  /**
   * Hands every batch to a synchronous handler as it arrives, without a queue between. The batch's bytes are valid only
   * during the call. A handler that throws ends the conduit with `HandlerFailed`.
   */
  readonly subscribeUnsafe: (handler: (batch: ItemBatch) => void) => void
  /** The current status and every change; ends after a terminal one. */
  readonly status: Stream.Stream<Status>
  /** The status now. */
  readonly currentStatus: Effect.Effect<Status>
  readonly metrics: Effect.Effect<Metrics>
  /** Waits until everything accepted so far is confirmed. */
  readonly drained: Effect.Effect<void, ConduitError>
  /** Items that the peer is not known to have received, oldest first: after a loss, those of unknown fate. */
  readonly unconfirmed: Effect.Effect<ReadonlyArray<Uint8Array>>
  /** Declares the current link dead; the next one resumes. */
  readonly kick: Effect.Effect<void>
  /**
   * Ends the conduit and tells the peer. With `drain`, first waits this long for the peer to confirm everything, and
   * fails with `DrainTimeout` if it does not; the conduit is closed either way.
   */
  readonly close: (options?: { readonly drain?: Duration.Input | undefined }) => Effect.Effect<void, ConduitError>
  /** Waits for the end and says why: `Closed`, `PeerClosed`, or how it was lost. */
  readonly ended: Effect.Effect<ConduitError>
  /** The other end's session settings, when the link opened with a session handshake. */
  readonly peerSession: Effect.Effect<SessionSettings | undefined>
}

/**
 * What an initiator may choose.
 *
 * @category models
 * @since 0.1.0
 */
export interface DialOptions extends Options.ConduitOptions {
  /** When to dial again; `Reconnect.forever` unless given. */
  readonly retry?: Reconnect.Reconnect | undefined
  /** Whether `retry` covers the first link too (the default), or its first failure fails `dial`. */
  readonly retryFirst?: boolean | undefined
  /** Whether `dial` waits for the first link (the default), or returns at once. */
  readonly background?: boolean | undefined
  /** Longest time for a source to yield a link: 10 s unless given. */
  readonly openTimeout?: Duration.Input | undefined
  /** Longest time for prologue, handshake and hello together: 5 s unless given. */
  readonly helloTimeout?: Duration.Input | undefined
  /** How links open: with the conduit's hello at once ("naked", the default), or as a vox session does. */
  readonly style?: Style | undefined
  /** What to announce in the session handshake; only with `style: "session"`. */
  readonly session?: Partial<SessionSettings> | undefined
}

/** Wraps an engine; `close` is what its owner does to end it. */
export const fromEngine = (
  engine: Engine,
  owner: {
    readonly close: Effect.Effect<void>
    readonly peerSession: () => SessionSettings | undefined
    /** Waits until an accepted item would survive a crash; only with a journal. */
    readonly durable?: ((seq: number) => Effect.Effect<void>) | undefined
  }
): StableConduit => {
  const accept = (items: ReadonlyArray<Uint8Array>): Effect.Effect<number, ConduitError> => {
    const { durable } = owner
    if (durable === undefined) return number(items)
    return Effect.tap(number(items), (seq) => {
      const failed = Effect.suspend(() =>
        engine.terminal?.reason._tag === "StoreFailed" ? Effect.fail(engine.terminal) : Effect.void
      )
      return seq < 0 ? Effect.void : Effect.andThen(durable(seq), failed)
    })
  }
  const number = (items: ReadonlyArray<Uint8Array>): Effect.Effect<number, ConduitError> =>
    Effect.suspend(() => {
      let seq = -1
      for (let index = 0; index < items.length; index++) {
        const refused = engine.sends.refuse(items[index]!.length)
        if (refused !== undefined) return Effect.fail(refused)
        seq = engine.sends.trySend(items[index]!)
        if (seq < 0) return admit(items.slice(index))
      }
      return Effect.succeed(seq)
    })
  const admit = (items: ReadonlyArray<Uint8Array>): Effect.Effect<number, ConduitError> => {
    for (const item of items) {
      const refused = engine.sends.refuse(item.length)
      if (refused !== undefined) return Effect.fail(refused)
    }
    const { buffer } = engine.state
    if (engine.options.whenFull === "fail") {
      return Effect.fail(ConduitErrors.make({ _tag: "WindowFull", frames: buffer.frames, bytes: buffer.bytes }))
    }
    return Effect.callback<number, ConduitError>((resume) => {
      const cancel = engine.sends.push(items, (result) => {
        resume(typeof result === "number" ? Effect.succeed(result) : Effect.fail(result))
      })
      return Effect.sync(cancel)
    })
  }
  const confirmed = (seq: number): Effect.Effect<void, ConduitError> =>
    Effect.suspend(() =>
      seq < 0 || engine.isConfirmed(seq)
        ? Effect.void
        : Effect.callback<void, ConduitError>((resume) => {
          const cancel = engine.onConfirmed(seq, (error) => {
            resume(error === undefined ? Effect.void : Effect.fail(error))
          })
          return Effect.sync(cancel)
        })
    )
  const readable = Effect.callback<void>((resume) => {
    if (!engine.inbox.isEmpty || engine.terminal !== undefined) return resume(Effect.void)
    const cancel = engine.inbox.onReadable(() => resume(Effect.void))
    return Effect.sync(cancel)
  })
  const taking = <A>(take: () => A | undefined): Effect.Effect<A, ConduitError> => {
    const loop: Effect.Effect<A, ConduitError> = Effect.suspend(() => {
      const taken = take()
      if (taken !== undefined) return Effect.succeed(taken)
      return engine.terminal === undefined
        ? Effect.andThen(readable, loop)
        : Effect.fail(engine.terminal as ConduitError)
    })
    return loop
  }
  const isEnd = (error: ConduitError) => error.reason._tag === "Closed" || error.reason._tag === "PeerClosed"
  const takeNumbered = taking(() => engine.takeItem())
  const take = Effect.map(takeNumbered, ({ item }) => item)
  const takeBatch = taking(() => engine.takeBatch())
  const endsAtClose = <A>(stream: Stream.Stream<A, ConduitError>): Stream.Stream<A, ConduitError> =>
    Stream.catchIf(stream, isEnd, () => Stream.empty)
  const receiveBatches = endsAtClose(Stream.fromEffectRepeat(takeBatch))
  const drained = Effect.suspend(() => {
    const { buffer, confirmedTo } = engine.state
    return confirmedTo === buffer.nextSeq ? Effect.void : confirmed((buffer.nextSeq - 1) >>> 0)
  })
  const ended = Effect.callback<ConduitError>((resume) => {
    if (engine.terminal !== undefined) return resume(Effect.succeed(engine.terminal))
    const stop = engine.listen(() => {
      if (engine.terminal === undefined) return
      stop()
      resume(Effect.succeed(engine.terminal))
    })
    return Effect.sync(stop)
  })
  return {
    send: (item) => Effect.asVoid(accept([item])),
    sendAll: (items) => Effect.asVoid(accept(items)),
    sendConfirmed: (item) => Effect.flatMap(accept([item]), confirmed),
    sendAllConfirmed: (items) => Effect.flatMap(accept(items), confirmed),
    sendUnsafe: (item) => engine.sends.offer(item),
    take,
    takeNumbered,
    takeBatch,
    receive: Stream.flattenIterable(receiveBatches),
    receiveBatches,
    consume: (handler) =>
      Effect.gen(function*() {
        while (true) {
          const batch = yield* taking(() => engine.takeBatch(false))
          yield* handler(batch)
          engine.consumed(batch.lastSeq, batch.itemBytes)
        }
      }).pipe(
        Effect.catchIf(
          (error): error is ConduitError => engine.terminal === error && isEnd(error as ConduitError),
          () => Effect.void
        )
      ),
    subscribeUnsafe: (handler) => engine.subscribe(handler),
    status: Stream.callback<Status>((queue) =>
      Effect.acquireRelease(
        Effect.sync(() => {
          const offer = (status: Status) => {
            Queue.offerUnsafe(queue, status)
            if (status._tag === "Lost" || status._tag === "Closed") Queue.endUnsafe(queue)
          }
          offer(engine.status)
          return engine.listen(offer)
        }),
        (stop) => Effect.sync(stop)
      ), { bufferSize: 64, strategy: "sliding" }),
    currentStatus: Effect.sync(() => engine.status),
    metrics: Effect.sync(() => engine.metrics),
    drained,
    unconfirmed: Effect.sync(() =>
      Array.from(engine.state.buffer.entries(), ({ frame }) => {
        const decoded = Frame.decode(frame)
        return typeof decoded === "string" ? frame : decoded.item.slice()
      })
    ),
    kick: Effect.sync(() => engine.kick("asked to")),
    close: (options) =>
      Effect.gen(function*() {
        if (engine.terminal !== undefined) return
        engine.stopSending()
        const late = options?.drain === undefined
          ? false
          : yield* Effect.timeoutOrElse(Effect.as(drained, false), {
            duration: options.drain,
            orElse: () => Effect.succeed(true)
          }).pipe(Effect.orElseSucceed(() => false))
        const unconfirmed = engine.state.unconfirmed
        yield* owner.close
        if (late) return yield* ConduitErrors.make({ _tag: "DrainTimeout", unconfirmed })
      }),
    ended,
    peerSession: Effect.sync(owner.peerSession)
  }
}

/**
 * Makes a conduit to whoever accepts at the other end of the source's links. It dials, resumes and replays by itself;
 * closing the scope ends it and tells the peer.
 *
 * Fails when the first link cannot be had under the options, or when the acceptor refuses.
 *
 * @category constructors
 * @since 0.1.0
 */
export const dial: (
  source: LinkSource,
  options?: DialOptions
) => Effect.Effect<StableConduit, ConduitError, Scope.Scope> = Effect.fnUntraced(function*(
  source: LinkSource,
  options: DialOptions = {}
) {
  const scope = yield* Effect.scope
  // The conduit's own scope can end before the caller's, when it is closed or lost.
  const own = yield* Scope.fork(scope)
  return yield* Effect.gen(function*() {
    const host = yield* Host.make
    const engine = new Engine(host, Options.resolve(options))
    const initiator = yield* Initiator.run(engine, source, options)
    return fromEngine(engine, {
      close: Effect.suspend(() => Scope.close(own, Exit.void)),
      peerSession: initiator.peerSession
    })
  }).pipe(
    Scope.provide(own),
    Effect.onError((cause) => Scope.close(own, Exit.failCause(cause)))
  )
})
