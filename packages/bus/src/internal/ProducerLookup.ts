/** Finds the state of a named producer: in memory, else from what the store has of it. */
import * as Effect from "effect/Effect"
import * as RcMap from "effect/RcMap"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import { type AdapterError, adapterError } from "../Adapter.ts"
import { Producer, storedPrefix } from "../core/Producers.ts"
import { PublishError } from "../PublishError.ts"
import { allSettled, type Parts } from "./Parts.ts"

export interface ProducerLookup {
  /** `broken`: the state that a caller held, which has lost an event since. */
  readonly find: (name: string, broken: Producer | undefined) => Effect.Effect<Producer, PublishError>
  /** Number of the last event of a producer that is stored with everything before it. */
  readonly lastSequence: (name: string) => Effect.Effect<number, AdapterError>
}

export const make = (
  { adapter, lanes, producers, settings }: Parts
): Effect.Effect<ProducerLookup, never, Scope.Scope> =>
  Effect.gen(function*() {
    const read = (name: string, broken: Producer | undefined): Effect.Effect<Producer, PublishError> =>
      Effect.suspend(() => {
        const known = producers.peek(name)
        if (known !== undefined && !known.broken) return Effect.succeed(known)
        // What is still on its way has to land before the store can say how far it got.
        return allSettled(known === undefined ? [] : lanes).pipe(
          Effect.andThen(adapter.producerMarks(name)),
          Effect.timeoutOrElse({
            duration: settings.adapterTimeout,
            orElse: () => Effect.fail(adapterError(adapter.name, "Transient", "no answer about a producer's marks"))
          }),
          Effect.mapError((cause) =>
            new PublishError({ reason: { _tag: "ProducerUnavailable", producer: name, cause } })
          ),
          Effect.map((marks) => {
            const producer = new Producer(name, settings.shards, marks, known ?? broken)
            producers.add(producer)
            return producer
          })
        )
      })
    // One reader of a name at a time: two calls of one producer must end up with one state.
    const turns = yield* RcMap.make({ lookup: (_name: string) => Semaphore.make(1) })
    return {
      find: (name, broken) =>
        Effect.suspend(() => {
          const known = producers.get(name)
          return known !== undefined && !known.broken
            ? Effect.succeed(known)
            : Effect.scoped(Effect.flatMap(RcMap.get(turns, name), (turn) => turn.withPermit(read(name, broken))))
        }),
      lastSequence: (name) =>
        Effect.suspend(() => {
          const known = producers.peek(name)
          return known !== undefined && !known.broken
            ? Effect.succeed(known.prefix)
            : Effect.map(adapter.producerMarks(name), storedPrefix)
        })
    }
  })
