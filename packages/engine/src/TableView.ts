/**
 * The newest value of every key of a topic, kept up to date.
 *
 * @since 0.1.0
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import type { PulsarClient } from "./PulsarClient.ts"
import type { PulsarError } from "./PulsarError.ts"
import type { PulsarSchema } from "./PulsarSchema.ts"
import * as Reader from "./Reader.ts"

/** A key got a value, or lost it. @category models @since 0.1.0 */
export interface Change<A> {
  readonly key: string
  /** `undefined` when the key was deleted. */
  readonly value: A | undefined
}

/** @category models @since 0.1.0 */
export interface TableView<A> {
  readonly get: (key: string) => Effect.Effect<A | undefined>
  readonly entries: Effect.Effect<ReadonlyMap<string, A>>
  /** The newest change at first, then every change as it comes. */
  readonly changes: Stream.Stream<Change<A>>
  /** Ends when the view cannot go on; never otherwise. */
  readonly failure: Effect.Effect<never, PulsarError>
}

/**
 * Reads the topic to its end, then follows it. Messages without a key are skipped; those without a value delete.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <A = Uint8Array>(
  options: { readonly topic: string; readonly schema?: PulsarSchema<A> | undefined }
): Effect.Effect<TableView<A>, PulsarError, PulsarClient | Scope.Scope> =>
  Effect.gen(function*() {
    const reader = yield* Reader.make<A>({ ...options, readCompacted: !options.topic.startsWith("non-persistent") })
    const table = new Map<string, A>()
    const latest = yield* SubscriptionRef.make<Change<A> | undefined>(undefined)
    const failed = yield* Deferred.make<never, PulsarError>()
    const apply = Effect.fnUntraced(
      function*(
        message: {
          readonly key: string | undefined
          readonly isNull: boolean
          readonly value: A
          readonly received: { readonly payload: Uint8Array }
        }
      ) {
        const { key } = message
        if (key === undefined) return
        const value = message.isNull || message.received.payload.length === 0 ? undefined : message.value
        if (value === undefined) table.delete(key)
        else table.set(key, value)
        yield* SubscriptionRef.set(latest, { key, value })
      }
    )
    yield* Stream.runForEach(reader.untilNow, apply)
    yield* Stream.runForEach(reader.stream, apply).pipe(
      Effect.catch((error) => Deferred.fail(failed, error)),
      Effect.forkScoped
    )
    return {
      get: (key) => Effect.sync(() => table.get(key)),
      entries: Effect.sync(() => new Map(table)),
      changes: Stream.filter(SubscriptionRef.changes(latest), (change) => change !== undefined),
      failure: Deferred.await(failed)
    }
  })
