/**
 * Third-party clients own their sockets, so they are simulated at the operation: each call may be slow, fail before it
 * took effect, take effect and lose its answer, or take effect twice.
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type { Rng } from "../internal/Rng.ts"
import type { World } from "./World.ts"

/** Probabilities and delays of a port. Probabilities are per call and default to zero. */
export interface PortOptions {
  /** The call fails and nothing happened. */
  readonly failBefore?: number | undefined
  /** The call takes effect and its answer is lost. */
  readonly failAfter?: number | undefined
  /** The call takes effect twice, as a retry below the client does it. */
  readonly duplicate?: number | undefined
  /** The call never answers; whether it took effect is drawn. */
  readonly hang?: number | undefined
  /** Range of the delay of each call in virtual milliseconds. */
  readonly delay?: readonly [low: number, high: number] | undefined
}

/** A simulated failure of an operation: `notDone` never took effect, `unknown` may have. */
export class PortError extends Data.TaggedError("PortError")<{
  readonly port: string
  readonly operation: string
  readonly outcome: "notDone" | "unknown"
}> {
  override get message(): string {
    return `${this.port}.${this.operation} failed, outcome ${this.outcome}`
  }
}

/** A client whose operations the simulation decides about; made by `sim.port`. */
export class Port {
  readonly #world: World
  readonly #rng: Rng
  readonly #options: PortOptions
  readonly #chaotic: () => boolean
  readonly name: string

  constructor(world: World, name: string, options: PortOptions = {}, chaotic: () => boolean = () => true) {
    this.#world = world
    this.name = name
    this.#rng = world.stream(`port:${name}`)
    this.#options = options
    this.#chaotic = chaotic
  }

  /** Carries out one operation of the port, with what may go wrong around it. After the calm nothing does. */
  call<A, E, R>(operation: string, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | PortError, R> {
    return Effect.suspend(() => {
      const { delay, duplicate = 0, failAfter = 0, failBefore = 0, hang = 0 } = this.#options
      const wait = delay === undefined
        ? Effect.void
        : Effect.sleep(delay[0] + this.#rng.int(Math.round((delay[1] - delay[0]) * 1000)) / 1000)
      const late = delay === undefined ? Effect.void : Effect.sleep(this.#rng.int(Math.round(delay[1] * 500)) / 1000)
      const draw = this.#chaotic() ? this.#rng.double() : 1
      const fail = (outcome: "notDone" | "unknown") =>
        Effect.suspend(() => {
          this.#world.trace.append(this.name, "port.fail", { operation, outcome })
          return Effect.fail(new PortError({ port: this.name, operation, outcome }))
        })
      let edge = failBefore
      if (draw < edge) return Effect.andThen(wait, fail("notDone"))
      if (draw < (edge += failAfter)) {
        return Effect.andThen(wait, Effect.andThen(effect, Effect.andThen(late, fail("unknown"))))
      }
      if (draw < (edge += duplicate)) {
        return Effect.andThen(
          wait,
          Effect.suspend(() => {
            this.#world.trace.append(this.name, "port.duplicate", { operation })
            return Effect.andThen(effect, Effect.andThen(late, effect))
          })
        )
      }
      if (draw < edge + hang) {
        return Effect.andThen(this.#rng.chance(0.5) ? Effect.andThen(wait, effect) : wait, Effect.never)
      }
      return Effect.andThen(wait, Effect.tap(effect, () => late))
    })
  }
}
