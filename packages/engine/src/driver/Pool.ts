/**
 * The connections of a client: one dial a broker, however many ask.
 */
import * as Effect from "effect/Effect"
import { ServiceUrl } from "@perigee/proto"
import { PulsarError } from "../PulsarError.ts"
import type { ClientCore } from "./ClientCore.ts"
import { Supervisor } from "./Supervisor.ts"

const LIMIT = 10_000

export class Pool {
  readonly #core: ClientCore
  readonly #supervisors = new Map<string, Supervisor>()
  #bootstrap = 0
  #turn = 0
  #closed = false

  constructor(core: ClientCore) {
    this.#core = core
  }

  get all(): Iterable<Supervisor> {
    return this.#supervisors.values()
  }

  /** The connection to a broker, begun if there is none; `index` tells several to one broker apart. */
  get(address: ServiceUrl.BrokerAddress, proxyTarget?: string, index = 0): Effect.Effect<Supervisor, PulsarError> {
    return Effect.suspend(() => {
      const key = `${ServiceUrl.formatAddress(address)}|${proxyTarget ?? ""}|${index}`
      const known = this.#supervisors.get(key)
      if (known !== undefined && known.over === undefined) return Effect.succeed(known)
      if (this.#closed) return Effect.fail(new PulsarError({ reason: { _tag: "Closed", why: "the client is closed" } }))
      if (this.#supervisors.size >= LIMIT) {
        return Effect.fail(
          new PulsarError({ reason: { _tag: "Connect", address: key, why: `${LIMIT} connections are open` } })
        )
      }
      const supervisor = new Supervisor(this.#core, address, proxyTarget)
      this.#supervisors.set(key, supervisor)
      this.#core.fork(supervisor.run.pipe(
        Effect.ensuring(Effect.sync(() => {
          if (this.#supervisors.get(key) === supervisor) this.#supervisors.delete(key)
        }))
      ))
      return Effect.succeed(supervisor)
    })
  }

  /** A place among the connections to one broker, in turn. */
  nextIndex(): number {
    const { connectionsPerBroker } = this.#core.settings
    return connectionsPerBroker <= 1 ? 0 : this.#turn++ % connectionsPerBroker
  }

  /** A connected connection to one of the addresses of the service; tries each of them once. */
  get bootstrap(): Effect.Effect<Supervisor, PulsarError> {
    const { addresses } = this.#core.settings.url
    return Effect.gen({ self: this }, function*() {
      let last: PulsarError | undefined
      for (let tried = 0; tried < addresses.length; tried++) {
        const supervisor = yield* this.get(addresses[this.#bootstrap % addresses.length]!)
        const result = yield* Effect.result(supervisor.ready)
        if (result._tag === "Success") return supervisor
        last = result.failure
        this.#bootstrap++
      }
      return yield* Effect.fail(last!)
    })
  }

  /** Starts the round of addresses somewhere else. */
  rotate(by: number): void {
    this.#bootstrap += by
  }

  get close(): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.#closed = true
      return Effect.forEach([...this.#supervisors.values()], (supervisor) => supervisor.close, {
        concurrency: "unbounded",
        discard: true
      })
    })
  }
}
