/** Checks of options, shared by the constructors. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { invalid, type PulsarError } from "../PulsarError.ts"

export const toMillis = (input: Duration.Input): number => Duration.toMillis(Duration.fromInputUnsafe(input))

/** Whether an option is absent or a whole number in a range. */
export const within = (value: number | undefined, low: number, high: number): boolean =>
  value === undefined || (Number.isInteger(value) && value >= low && value <= high)

export const check = (condition: boolean, why: string): Effect.Effect<void, PulsarError> =>
  condition ? Effect.void : Effect.fail(invalid(why))
