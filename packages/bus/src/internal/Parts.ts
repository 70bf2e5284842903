/** What the parts of one bus share: its lanes, its store, and how far its life has come. */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { Adapter } from "../Adapter.ts"
import type { Settings } from "../BusConfig.ts"
import type { Channels } from "../core/Channels.ts"
import type { Intake } from "../core/Intake.ts"
import type { Lane } from "../core/Lane.ts"
import type { Producers } from "../core/Producers.ts"
import type { Pulse } from "../core/Signal.ts"
import type { Staging } from "../core/Staging.ts"
import type { ProducerIdentity } from "../ProducerIdentity.ts"

export interface Parts {
  readonly settings: Settings
  readonly adapter: Adapter["Service"]
  readonly identity: ProducerIdentity
  readonly clock: Clock.Clock
  readonly lanes: ReadonlyArray<Lane>
  readonly intake: Intake
  readonly staging: Staging
  readonly channels: Channels
  readonly producers: Producers
  /** Beats with every batch stored, and once more when the bus is closed. */
  readonly stored: Pulse
  /** `closing`: takes no events any more, but has some to store. `closed`: everything is settled. */
  phase: "open" | "closing" | "closed"
}

/** Waits for everything accepted into a lane so far to be settled, and sees to it that it is sent at once. */
export const settled = (lane: Lane): Effect.Effect<void> =>
  Effect.callback<void>((resume) => {
    if (lane.settlement.settled >= lane.settlement.accepted) return resume(Effect.void)
    const run = lane.settlement.open(lane.settlement.settled + 1)
    lane.settlement.close(run, () => resume(Effect.yieldNow))
    lane.wake()
    return Effect.sync(() => lane.settlement.drop(run))
  })

/** {@link settled} for all of them. */
export const allSettled = (lanes: ReadonlyArray<Lane>): Effect.Effect<void> =>
  Effect.forEach(lanes, settled, { concurrency: "unbounded", discard: true })
