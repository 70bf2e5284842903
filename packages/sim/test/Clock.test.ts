import { assert, describe, it } from "@effect/vitest"
import { Clock, DateTime, Duration, Effect, Fiber } from "effect"
import { epoch } from "../src/world/Clock.ts"
import { fault, run } from "./fixtures/run.ts"

describe("SimClock", () => {
  it("time moves only when nothing is ready, and then to the next timer", () => {
    const result = run((sim) =>
      Effect.gen(function*() {
        sim.always((yield* Clock.currentTimeMillis) === epoch, "starts at the epoch")
        yield* Effect.sleep("40 days")
        sim.always(DateTime.toEpochMillis(yield* DateTime.now) === epoch + 40 * 86_400_000, "40 days later")
        const spent = yield* Effect.timed(Effect.sleep(1.5))
        sim.always(Duration.toMillis(spent[0]) === 1.5, "microseconds count")
      })
    )
    assert.strictEqual(result.verdict.kind, "pass", result.verdict.message)
    assert.strictEqual(result.simulatedMs, 40 * 86_400_000 + 1.5)
  })
  it("sleep(0) yields, an infinite sleep never ends", () => {
    const result = run((sim) =>
      Effect.gen(function*() {
        let other = false
        yield* Effect.forkChild(Effect.sync(() => {
          other = true
        }))
        yield* Effect.sleep(0)
        sim.always(other, "the other fiber ran")
        const fiber = yield* Effect.forkChild(Effect.sleep(Duration.infinity))
        yield* Effect.sleep("1 second")
        sim.always(fiber.pollUnsafe() === undefined, "still asleep")
        yield* Fiber.interrupt(fiber)
      })
    )
    assert.strictEqual(result.verdict.kind, "pass", result.verdict.message)
  })
  it("a jump moves the wall clock of one host and no timer", () => {
    const result = run((sim) =>
      Effect.gen(function*() {
        const host = sim.host("jumpy")
        const read = Effect.all([Clock.currentTimeMillis, Clock.monotonicTimeNanos])
        const [before, ticksBefore] = yield* host.run(read)
        yield* Effect.sleep("1 second")
        const [after, ticksAfter] = yield* host.run(read)
        sim.always(after - before === 1000 - 3_600_000, "an hour back", { moved: after - before })
        sim.always(ticksAfter - ticksBefore === 1_000_000_000n, "monotonic time does not jump")
        sim.always((yield* Clock.currentTimeMillis) === epoch + 1000, "other hosts keep theirs")
      }), { plan: [fault("clockJump", 500, { level: -3600 })] })
    assert.strictEqual(result.verdict.kind, "pass", result.verdict.message)
  })
  it("drift stretches sleeps and never makes the clock jump", () => {
    const result = run((sim) =>
      Effect.gen(function*() {
        const host = sim.host("fast")
        yield* Effect.sleep("10 seconds")
        const before = yield* host.run(Clock.monotonicTimeNanos)
        host.clock.setDrift(sim.world.now, 100_000)
        const after = yield* host.run(Clock.monotonicTimeNanos)
        sim.always(before === after, "no jump")
        yield* host.run(Effect.sleep("11 seconds"))
        sim.always(Math.round(sim.now) === 20_000, "eleven fast seconds are ten", { now: sim.now })
      })
    )
    assert.strictEqual(result.verdict.kind, "pass", result.verdict.message)
  })
  it("late timers are late and never early", () => {
    let late = 0
    const result = run((sim) =>
      Effect.gen(function*() {
        for (let i = 0; i < 100; i++) {
          const before = sim.now
          yield* Effect.sleep(10)
          sim.always(sim.now - before >= 10, "never early")
          if (sim.now - before > 10) late++
        }
      }), { plan: [fault("lateTimers", 0, { for: 60_000, level: 100 })] })
    assert.strictEqual(result.verdict.kind, "pass", result.verdict.message)
    assert.isAbove(late, 5)
  })
})
