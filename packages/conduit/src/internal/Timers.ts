import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"

/** Timers on the clock of the context they are made in; each returns how to cancel it. */
export const timers: Effect.Effect<(millis: number, task: () => void) => () => void> = Effect.map(
  Effect.context<never>(),
  (context) => {
    const run = Effect.runForkWith(context)
    return (millis, task) => {
      const fiber = run(Effect.andThen(Effect.sleep(millis), Effect.sync(task)))
      return () => {
        run(Fiber.interrupt(fiber))
      }
    }
  }
)
