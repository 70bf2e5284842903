import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Queue, Random, Ref, Schedule, Semaphore, Stream } from "effect"
import { found, policies } from "../bench/races.ts"
import { races } from "./fixtures/Races.ts"
import { names, production, random, run } from "./fixtures/run.ts"

/** Queue, stream, race, timeout, retry with jitter, semaphore: what programs are made of. */
const kitchenSink = Effect.gen(function*() {
  const log: Array<string> = []
  const queue = yield* Queue.bounded<number>(3)
  const gate = yield* Semaphore.make(2)
  const producers = yield* Effect.forkChild(Effect.forEach(
    [1, 2, 3],
    (p) =>
      Effect.forEach([1, 2, 3, 4], (n) =>
        Effect.gen(function*() {
          yield* Effect.sleep(yield* Random.nextIntBetween(0, 20))
          yield* Queue.offer(queue, p * 10 + n)
        })),
    { concurrency: "unbounded" }
  ))
  yield* Stream.fromQueue(queue).pipe(
    Stream.take(12),
    Stream.mapEffect(
      (n) => gate.withPermit(Effect.andThen(Effect.sleep(n % 5), Effect.sync(() => log.push(`item ${n}`)))),
      {
        concurrency: 4,
        unordered: true
      }
    ),
    Stream.runDrain
  )
  yield* Fiber.join(producers)
  const tries = yield* Ref.make(0)
  yield* Ref.updateAndGet(tries, (n) => n + 1).pipe(
    Effect.flatMap((n) => n < 4 ? Effect.fail("again") : Effect.succeed(n)),
    Effect.retry(Schedule.jittered(Schedule.exponential("10 millis")))
  )
  const winner = yield* Effect.raceFirst(Effect.as(Effect.sleep(5), "a"), Effect.as(Effect.sleep(5), "b"))
  log.push(winner)
  return log
})

const sink = (seed: number, schedule: ReturnType<typeof random> | typeof production) =>
  run((sim) =>
    Effect.map(kitchenSink, (log) => {
      for (const line of log) sim.event(line)
    }), { seed, config: { schedule } })

describe("SimScheduler", () => {
  const schedules = [
    ["production order", production],
    ["random pick", random(0, 0)],
    ["random pick and hops", random(0.5, 0)],
    ["1 % preemption", random(0.5, 0.01)],
    ["10 % preemption", random(0.5, 0.1)]
  ] as const

  it.each(schedules)("one seed gives one hash in 100 runs: %s", (_name, schedule) => {
    const hashes = new Set(Array.from({ length: 100 }, () => sink(7, schedule).hash))
    assert.strictEqual(hashes.size, 1)
  })
  it.each(schedules)("100 seeds give 100 hashes, again in any order: %s", (_name, schedule) => {
    const first = Array.from({ length: 100 }, (_, seed) => sink(seed, schedule).hash)
    assert.strictEqual(new Set(first).size, 100)
    for (let i = 0; i < 100; i++) {
      const seed = (i * 73 + 11) % 100
      assert.strictEqual(sink(seed, schedule).hash, first[seed])
    }
  })
  it("production order is the order of Effect's own scheduler", async () => {
    for (let variant = 0; variant < 60; variant++) {
      const program = (log: Array<number>) =>
        Effect.gen(function*() {
          let state = variant * 2_654_435_761
          const draw = (n: number) => {
            state = (Math.imul(state, 1_103_515_245) + 12_345) | 0
            return (state >>> 8) % n
          }
          const gate = yield* Deferred.make<void>()
          const fibers = []
          for (let i = 0; i < 8; i++) {
            const steps = Array.from({ length: 1 + draw(4) }, () => draw(3))
            fibers.push(
              yield* Effect.forkChild(Effect.gen(function*() {
                for (const step of steps) {
                  if (step === 0) yield* Effect.yieldNow
                  else if (step === 1) yield* Deferred.await(gate)
                  else yield* Effect.forkChild(Effect.sync(() => log.push(i + 100)))
                  yield* Effect.sync(() => log.push(i))
                }
              }))
            )
          }
          yield* Effect.yieldNow
          yield* Deferred.succeed(gate, undefined)
          yield* Fiber.joinAll(fibers)
        })
      const real: Array<number> = []
      await Effect.runPromise(program(real))
      const simulated: Array<number> = []
      const result = run(() => program(simulated))
      assert.strictEqual(result.verdict.kind, "pass", result.verdict.message)
      assert.deepStrictEqual(simulated, real)
    }
  })

  // Names and expected finders: production order shows two of eleven, preemption between operations all of them.
  it.each(races)("finds: $name", (race) => {
    assert.isAbove(found(race, policies["20%"], 200) + found(race, policies["50%"], 200), 0)
  })
  it("production order shows only what production shows", () => {
    const shown = races.filter((race) => found(race, policies.production, 20) > 0).map((race) => race.name)
    assert.include(shown, "completer finishes set-up after completing")
    assert.notInclude(shown, "lost update, Ref.get … Ref.set")
  })

  it("a killed process is parked for ever: no finalizer, no timer, no task of it runs", () => {
    const seen: Array<string> = []
    const result = run((sim) =>
      Effect.gen(function*() {
        const host = sim.host("victim")
        const note = (line: string) => Effect.sync(() => void seen.push(line))
        const work = Effect.gen(function*() {
          yield* Effect.addFinalizer(() => note("finalizer"))
          yield* Effect.forkScoped(Effect.andThen(Effect.sleep("50 millis"), note("timer")))
          yield* note("started")
          yield* Effect.sleep("100 millis")
          yield* note("went on")
        }).pipe(Effect.scoped, Effect.onInterrupt(() => note("interrupted")))
        const fiber = yield* Effect.forkChild(Effect.flip(host.run(work)))
        yield* Effect.sleep("20 millis")
        host.kill()
        const error = yield* Fiber.join(fiber)
        sim.always(error._tag === "HostDown", "the caller is told")
        yield* Effect.sleep("1 second")
      })
    )
    assert.strictEqual(result.verdict.kind, "pass", result.verdict.message)
    assert.deepStrictEqual(seen, ["started"])
  })
  it("a killed process stays dead when a living one completes what it waits for", () => {
    const seen: Array<string> = []
    run((sim) =>
      Effect.gen(function*() {
        const host = sim.host("victim")
        const gate = yield* Deferred.make<void>()
        yield* Effect.forkChild(Effect.ignore(host.run(Effect.andThen(
          Deferred.await(gate),
          Effect.sync(() => seen.push("woke"))
        ))))
        yield* Effect.sleep(1)
        host.kill()
        yield* Deferred.succeed(gate, undefined)
        yield* Effect.sleep(1000)
      })
    )
    assert.deepStrictEqual(seen, [])
  })
  it("interrupting a fiber before its first step still interrupts it under hops", () => {
    for (let seed = 0; seed < 50; seed++) {
      const result = run(() =>
        Effect.gen(function*() {
          const fiber = yield* Effect.forkChild(Effect.never)
          yield* Fiber.interrupt(fiber)
        }), { seed, config: { schedule: random(1, 0.2) } })
      assert.strictEqual(result.verdict.kind, "pass", result.verdict.message)
    }
  })
  it("a paused process fires its timers late and together", () => {
    const ticks: Array<number> = []
    const result = run((sim) =>
      Effect.gen(function*() {
        const host = sim.host("sleepy")
        const tick = Effect.sync(() => void ticks.push(Math.floor(sim.now)))
        yield* Effect.forkChild(host.run(Effect.forEach([10, 20, 30], (ms) => Effect.andThen(Effect.sleep(ms), tick), {
          concurrency: "unbounded"
        })))
        yield* Effect.sleep(5)
        host.pause()
        yield* Effect.sleep(95)
        host.resume()
        yield* Effect.sleep(100)
      })
    )
    assert.strictEqual(result.verdict.kind, "pass", result.verdict.message)
    assert.deepStrictEqual(ticks, [100, 100, 100])
    assert.includeMembers(names(result) as Array<string>, ["paused", "resumed"])
  })
  it("a tape replays the decisions of a run and nothing else", () => {
    const scenario = (sim: Parameters<Parameters<typeof run>[0]>[0]) =>
      Effect.map(kitchenSink, (log) => {
        for (const line of log) sim.event(line)
      })
    const config = { schedule: random(0.5, 0.1) }
    const recorded = run(scenario, { seed: 3, config, recordSchedule: true })
    const replayed = run(scenario, { seed: 3, config, tape: recorded.decisions })
    assert.isAbove(recorded.decisions.length, 10)
    assert.deepStrictEqual(names(replayed), names(recorded))
  })
})
