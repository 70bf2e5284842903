/**
 * When an initiator dials again. A link that was up is replaced at once; the schedule paces the attempts that fail, and
 * starts afresh with every link over which anything arrived. A link that comes up and dies without a word, twice in a
 * row, counts as a failed attempt.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Schedule from "effect/Schedule"
import type { LinkError } from "./LinkError.ts"

/**
 * A reconnect policy: any schedule over the last failure.
 *
 * @category models
 * @since 0.1.0
 */
export type Reconnect = Schedule.Schedule<unknown, LinkError>

/**
 * Doubles from 100 ms up to 5 s with ±20 % of jitter, for ever.
 *
 * @category policies
 * @since 0.1.0
 */
export const forever: Reconnect = Schedule.min([Schedule.exponential(100), Schedule.spaced(5000)]).pipe(
  Schedule.jittered
)

/**
 * Like `forever`, but gives up after this many failed attempts in a row.
 *
 * @category policies
 * @since 0.1.0
 */
export const times = (attempts: number): Reconnect => Schedule.upTo(forever, { times: attempts })

/**
 * Like `forever`, but gives up when an outage has lasted this long.
 *
 * @category policies
 * @since 0.1.0
 */
export const within = (duration: Duration.Input): Reconnect => Schedule.upTo(forever, { duration })

/**
 * Never dials again: the first lost link is the end.
 *
 * @category policies
 * @since 0.1.0
 */
export const never: Reconnect = Schedule.recurs(0)
