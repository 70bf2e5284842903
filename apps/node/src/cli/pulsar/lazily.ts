import * as Effect from "effect/Effect"

/** Loads what a command runs when it runs: the client for Pulsar is not read by commands that have no use for it. */
export const lazily = <Program, A, E, R>(
  load: () => Promise<Program>,
  run: (program: Program) => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> => Effect.flatMap(Effect.promise(load), run)
