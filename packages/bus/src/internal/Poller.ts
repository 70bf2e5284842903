import * as Effect from "effect/Effect"
import type { Adapter } from "../Adapter.ts"
import { PollError, type PollRequest, type PollResponse } from "../Poll.ts"
export interface Poller {
  readonly poll: (request: PollRequest) => Effect.Effect<PollResponse, PollError>
}
export const make = (_adapter: Adapter["Service"]): Poller => ({
  poll: () => Effect.fail(new PollError({ reason: { _tag: "InvalidRequest", message: "" } }))
})
