/**
 * The lever of the simulation: Effect asks its scheduler before every operation whether the fiber should yield, and
 * hands it every task. One instance is one incarnation of a simulated process, so that killing it is dropping its
 * tasks: no finalizer of a killed process ever runs.
 */
import type * as Fiber from "effect/Fiber"
import * as References from "effect/References"
import * as Scheduler from "effect/Scheduler"
import type { Lane, Owner, World } from "./World.ts"

interface FiberState {
  readonly fiber: Fiber.Fiber<unknown, unknown>
  readonly ordinal: number
  op: number
  /** The yield that was just forced has been served: the next question is about the same operation. */
  served: boolean
}

const State = Symbol("@perigee/sim/FiberState")

type Tracked = Fiber.Fiber<unknown, unknown> & { [State]?: FiberState }

interface SimDispatcher extends Scheduler.SchedulerDispatcher {
  readonly lane: Lane
}

/** The scheduler of one incarnation of a host. */
export class SimScheduler implements Scheduler.Scheduler, Owner {
  readonly executionMode = "async"
  readonly world: World
  readonly name: string
  alive = true
  paused = false
  timers = 0
  #fibers: Array<FiberState> = []
  #ordinals = 0
  #compactAt = 256
  readonly #production: Scheduler.MixedScheduler | undefined
  readonly #lane: Lane

  constructor(world: World, name: string) {
    this.world = world
    this.name = name
    this.#lane = world.makeLane()
    // Effect's own dispatchers over our queue of macrotasks: the order that production shows.
    this.#production = world.schedule.policy === "production"
      ? new Scheduler.MixedScheduler("async", (run) => {
        let cancelled = false
        world.enqueue(this, this.#lane, () => {
          if (!cancelled) run()
        })
        return () => {
          cancelled = true
        }
      })
      : undefined
  }

  makeDispatcher(): Scheduler.SchedulerDispatcher {
    if (this.#production !== undefined) return this.#production.makeDispatcher()
    const lane = this.world.makeLane()
    const dispatcher: SimDispatcher = {
      lane,
      scheduleTask: (task) => this.world.enqueue(this, lane, task),
      flush: () => {}
    }
    return dispatcher
  }

  shouldYield(fiber: Fiber.Fiber<unknown, unknown>): boolean {
    const world = this.world
    if (!this.alive) return true
    const state = (fiber as Tracked)[State] ?? this.#track(fiber)
    if (world.countOp(() => describeFiber(fiber, this.name, state.ordinal))) return true
    if (state.served) {
      state.served = false
      world.scheduledResume = false
      return false
    }
    const op = state.op++
    if (op === 0) {
      // A fiber may have been interrupted before its start task ran: parked here, that task would start it after all.
      world.scheduledResume = false
      return false
    }
    const yields = this.#decide(fiber, state, op)
    if (yields) state.served = true
    return yields
  }

  #decide(fiber: Fiber.Fiber<unknown, unknown>, state: FiberState, op: number): boolean {
    const world = this.world
    const { schedule } = world
    const scheduled = world.scheduledResume
    world.scheduledResume = false
    if (this.paused) return true
    if (world.tape !== undefined) {
      return world.tape.yields(this.name, state.ordinal, op) || fiber.currentOpCount >= maxOps(fiber)
    }
    if (schedule.policy === "production") return fiber.currentOpCount >= maxOps(fiber)
    let yields: boolean
    if (fiber.currentOpCount === 1) {
      yields = !scheduled && schedule.hop > 0 && (schedule.hop >= 1 || world.sched.chance(schedule.hop))
    } else {
      yields = schedule.preempt > 0 && world.sched.chance(schedule.preempt)
    }
    if (schedule.policy === "pct" && !yields) {
      const lane = (fiber as unknown as { currentDispatcher: SimDispatcher }).currentDispatcher.lane
      if (lane !== undefined) {
        if (world.reachesChangePoint()) {
          // Yields even when nothing is ready: whoever resumed this fiber directly waits below it on the stack.
          world.demote(lane)
          yields = true
        } else yields = fiber.currentOpCount > 1 && world.outranked(lane)
      }
    }
    if (yields) {
      world.trace.mix(state.ordinal)
      world.trace.mix(op)
      if (world.recording && world.decisions.length < 200_000) {
        world.decisions.push({ _tag: "yield", host: this.name, fiber: state.ordinal, op })
      }
      return true
    }
    return fiber.currentOpCount >= maxOps(fiber)
  }

  #track(fiber: Fiber.Fiber<unknown, unknown>): FiberState {
    const state: FiberState = { fiber, ordinal: this.#ordinals++, op: 0, served: false }
    ;(fiber as Tracked)[State] = state
    this.#fibers.push(state)
    if (this.#fibers.length >= this.#compactAt) {
      this.#fibers = this.#fibers.filter(({ fiber }) => fiber.pollUnsafe() === undefined)
      this.#compactAt = Math.max(256, this.#fibers.length * 2)
    }
    return state
  }

  /** Fibers that have run at least one operation and have not ended, oldest first. */
  unfinished(): ReadonlyArray<Fiber.Fiber<unknown, unknown>> {
    return this.#fibers.filter(({ fiber }) => fiber.pollUnsafe() === undefined).map(({ fiber }) => fiber)
  }

  /** The same, described by the `Effect.fn` names they are in. */
  parked(): ReadonlyArray<string> {
    return this.#fibers
      .filter(({ fiber }) => fiber.pollUnsafe() === undefined)
      .map(({ fiber, ordinal }) => describeFiber(fiber, this.name, ordinal))
  }

  /** Ends this incarnation the way SIGKILL does: what was scheduled is dropped and nothing runs again. */
  kill(): void {
    this.alive = false
    this.#fibers = []
  }

  pause(): void {
    this.paused = true
  }

  resume(): void {
    this.paused = false
    this.world.release(this)
  }
}

const maxOps = (fiber: Fiber.Fiber<unknown, unknown>): number =>
  (fiber as unknown as { cache: { maxOpsBeforeYield: number } }).cache.maxOpsBeforeYield

/** `Producer.waitForAck < Producer.send (host tx, fiber 3)`: the named steps a fiber is in, innermost first. */
export const describeFiber = (fiber: Fiber.Fiber<unknown, unknown>, host: string, ordinal: number): string => {
  const names: Array<string> = []
  let frame = (fiber as unknown as { getRef: <A>(ref: { readonly key: string }) => A }).getRef<
    References.StackFrame | undefined
  >(References.CurrentStackFrame)
  while (frame !== undefined && names.length < 8) {
    // Effect.fn leaves two frames: where it was called and where it was defined.
    if (!frame.name.endsWith(" (definition)")) names.push(frame.name)
    frame = frame.parent
  }
  return `${names.length === 0 ? "(unnamed)" : names.join(" < ")} (host ${host}, fiber ${ordinal})`
}
