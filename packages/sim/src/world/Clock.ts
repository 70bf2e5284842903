/**
 * Virtual time as one host sees it: a wall clock that may be skewed, drift and jump, and a monotonic one that may
 * only drift.
 */
import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { Owner, World } from "./World.ts"

/** Wall time at the start of every run: 2026-01-01T00:00:00Z in milliseconds. */
export const epoch = 1_767_225_600_000

/** What makes one host's clock differ from true virtual time. */
export class ClockState {
  /** Microseconds added to the wall clock. */
  skew = 0
  /** Parts per million by which this host's clocks run fast (negative: slow). */
  drift = 0
  /** Real drift is applied from here on, so that changing it never makes the monotonic clock jump. */
  #since = 0
  #base = 0

  /** Changes the drift at virtual time `now` (microseconds). */
  setDrift(now: number, drift: number): void {
    this.#base = this.elapsed(now)
    this.#since = now
    this.drift = drift
  }

  /** Monotonic microseconds as this host counts them. */
  elapsed(now: number): number {
    return this.#base + Math.floor((now - this.#since) * (1 + this.drift / 1_000_000))
  }

  /** Wall-clock microseconds since 1970 as this host sees them. */
  wall(now: number): number {
    return epoch * 1000 + this.elapsed(now) + this.skew
  }

  /** True microseconds until this host's clock has counted `local` microseconds. */
  delay(local: number): number {
    return local / (1 + this.drift / 1_000_000)
  }
}

/** Extra microseconds for one timer; zero when timers are punctual. */
export type Lateness = () => number

/** The clock service of one host. */
export const make = (world: World, owner: Owner, state: ClockState, lateness: Lateness): Clock.Clock => {
  const millis = () => Math.floor(state.wall(world.now) / 1000)
  const nanos = () => BigInt(state.wall(world.now)) * 1000n
  const monotonic = () => BigInt(state.elapsed(world.now)) * 1000n
  return {
    currentTimeMillisUnsafe: millis,
    currentTimeMillis: Effect.sync(millis),
    currentTimeNanosUnsafe: nanos,
    currentTimeNanos: Effect.sync(nanos),
    monotonicTimeNanosUnsafe: monotonic,
    monotonicTimeNanos: Effect.sync(monotonic),
    sleep: (duration) => {
      const ms = Duration.toMillis(duration)
      if (ms <= 0) return Effect.yieldNow
      if (!Number.isFinite(ms)) return Effect.never
      return Effect.callback<void>((resume) => {
        const cancel = world.afterFor(owner, state.delay(ms * 1000) + lateness(), () => resume(Effect.void))
        return Effect.sync(cancel)
      })
    }
  }
}
