/**
 * Conduits that survive their process: an initiator and an acceptor whose keys, cursors and unconfirmed items are in a
 * store before the peer may learn of them.
 *
 * What is exactly-once here is the hand-over between the two stores. A consumer that crashes after it has taken an item,
 * and before that was written, is given the item again, with the same number: use `consume`, and either make handling
 * idempotent, or keep the number with the result and pass it as `resumeAfter`.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberSet from "effect/FiberSet"
import * as Scope from "effect/Scope"
import type { ConduitError } from "./ConduitError.ts"
import { ConduitHub, type HubOptions, retention } from "./ConduitHub.ts"
import type { ConduitStore, StoreError } from "./ConduitStore.ts"
import { Acceptor } from "./internal/Acceptor.ts"
import { Engine } from "./internal/Engine.ts"
import * as Host from "./internal/Host.ts"
import * as Initiator from "./internal/Initiator.ts"
import * as Journal from "./internal/Journal.ts"
import type { LinkError } from "./LinkError.ts"
import type { Listener } from "./Listener.ts"
import type { LinkSource } from "./LinkSource.ts"
import * as Options from "./Options.ts"
import { type DialOptions, fromEngine, type StableConduit } from "./StableConduit.ts"

/** How many conduits a hub restores at a time: a store may wait for the disk for each. */
const loadsAtOnce = 16

/**
 * @category models
 * @since 0.1.0
 */
export interface DurableDialOptions extends DialOptions {
  readonly store: ConduitStore
  /** Names the conduit in the store; one process at a time may have it. */
  readonly id: string
  /** The number of the last item that the application itself knows to have handled; it is not given again. */
  readonly resumeAfter?: number | undefined
}

/**
 * Like `StableConduit.dial`, and goes on where an earlier process left off. `send` succeeds when the item is durable.
 *
 * Closing the scope does not end the conversation: it drops the link, and the next process resumes. Only `close` ends it
 * and forgets the conduit. A conduit that is lost stays in the store, for its unconfirmed items, until it is removed.
 *
 * @category constructors
 * @since 0.1.0
 */
export const dial: (
  source: LinkSource,
  options: DurableDialOptions
) => Effect.Effect<StableConduit, ConduitError | StoreError, Scope.Scope> = Effect.fnUntraced(function*(
  source: LinkSource,
  options: DurableDialOptions
) {
  const remembered = yield* options.store.load(options.id)
  const own = yield* Scope.fork(yield* Effect.scope)
  return yield* Effect.gen(function*() {
    const host = yield* Host.make
    // Interrupted last: a write that is under way is finished first.
    const fork = yield* FiberSet.makeRuntime()
    const journal: Journal.Journal = new Journal.Journal(options.store, options.id, () => engine, fork)
    const engine: Engine = new Engine(host, {
      ...Options.resolve(options),
      ...remembered === undefined
        ? { received: options.resumeAfter }
        : Journal.numbers(remembered, options.resumeAfter),
      journal
    })
    if (remembered !== undefined) Journal.restore(engine, remembered)
    const initiator = yield* Initiator.run(engine, source, { ...options, farewell: false }, {
      initial: remembered?.keys[0],
      save: (key) => journal.keys([key])
    })
    return fromEngine(engine, {
      close: Effect.suspend(() => {
        engine.farewell()
        journal.remove()
        return Scope.close(own, Exit.void)
      }),
      peerSession: initiator.peerSession,
      durable: (seq) => journal.durable(seq)
    })
  }).pipe(
    Scope.provide(own),
    Effect.onError((cause) => Scope.close(own, Exit.failCause(cause)))
  )
})

/**
 * @category models
 * @since 0.1.0
 */
export interface DurableHubOptions<E, R> extends HubOptions<E, R> {
  readonly store: ConduitStore
  /** Per conduit, the number of the last item that the application itself knows to have handled. */
  readonly resumeAfter?: ((id: number) => Effect.Effect<number | undefined>) | undefined
}

/**
 * Like `ConduitHub.make`, and brings back the conduits of an earlier process: `onConduit` runs for each of them again,
 * with `restored: true` and the same id. Closing the scope drops the links and keeps the conduits.
 *
 * @category constructors
 * @since 0.1.0
 */
export const hub: <E, R>(
  options: DurableHubOptions<E, R>
) => Effect.Effect<ConduitHub["Service"], LinkError | StoreError, R | Scope.Scope> = Effect.fnUntraced(function*<E, R>(
  options: DurableHubOptions<E, R>
) {
  const host = yield* Host.make
  const newKey = yield* Host.KeySource
  const context = yield* Effect.context<R>()
  const fork = yield* FiberSet.makeRuntime()
  const journals = new Map<number, Journal.Journal>()
  const open = (id: number, engine: () => Engine) => {
    const journal = new Journal.Journal(options.store, `${id}`, engine, fork)
    journals.set(id, journal)
    return journal
  }
  const engineOptions = Options.resolve(options)
  const acceptor = new Acceptor({
    host,
    newKey,
    engine: engineOptions,
    extensions: options.extensions ?? true,
    retention: retention(options.keep),
    helloTimeoutMillis: Duration.toMillis(options.helloTimeout ?? "5 seconds"),
    maxOpening: options.maxOpening ?? 1024,
    drain: options.drain ?? "5 seconds",
    opening: { styles: options.styles, session: options.session, admit: options.admit },
    onConduit: (conduit, peer) => Effect.provideContext(options.onConduit(conduit, peer), context),
    farewell: false,
    journal: {
      keys: (id, keys) => journals.get(id)?.keys(keys) ?? Effect.void,
      engine: open,
      durable: (id, seq) => journals.get(id)?.durable(seq) ?? Effect.void,
      removed: (id) => {
        journals.get(id)?.remove()
        journals.delete(id)
      }
    }
  })
  yield* acceptor.run
  const ids = (yield* options.store.list).map(Number).filter((id) => Number.isSafeInteger(id))
  const loaded = yield* Effect.forEach(
    ids,
    (id) => Effect.map(options.store.load(`${id}`), (remembered) => ({ id, remembered })),
    { concurrency: loadsAtOnce }
  )
  for (const { id, remembered } of loaded) {
    if (remembered === undefined) continue
    const resumeAfter = options.resumeAfter === undefined ? undefined : yield* options.resumeAfter(id)
    const journal = open(id, () => engine)
    const engine: Engine = new Engine(host, {
      ...engineOptions,
      ...Journal.numbers(remembered, resumeAfter),
      journal
    })
    Journal.restore(engine, remembered)
    acceptor.restore(id, engine, remembered.keys)
  }
  const serve = (listener: Listener) => Effect.sync(() => listener.onLink((link) => acceptor.accept(link)))
  const listeners = options.listen === undefined
    ? []
    : Array.isArray(options.listen)
    ? options.listen
    : [options.listen]
  for (const listen of listeners as ReadonlyArray<Effect.Effect<Listener, LinkError, Scope.Scope>>) {
    yield* serve(yield* listen)
  }
  return ConduitHub.of({
    serve,
    accept: (link) => Effect.sync(() => acceptor.accept(link)),
    conduits: Effect.sync(() => acceptor.conduits),
    metrics: Effect.sync(() => acceptor.metrics)
  })
})
