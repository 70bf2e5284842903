/**
 * The engine of a run: virtual time, the ready queue, timers, random streams, limits. Nothing in here knows Effect.
 */
import { type Timer, TimerHeap } from "../internal/Heap.ts"
import { Rng } from "../internal/Rng.ts"
import * as Seed from "../Seed.ts"
import { Trace } from "../Trace.ts"

/** How the next ready task is chosen. `production` is the order of Effect's own scheduler. */
export type Policy = "production" | "random" | "pct"

/** The schedule part of a configuration. */
export interface ScheduleConfig {
  readonly policy: Policy
  /** Probability that a direct resume becomes a scheduled task: 0, 0.5 or 1 in drawn configurations. */
  readonly hop: number
  /** Probability of a forced yield before an operation. */
  readonly preempt: number
  /** PCT: number of priority change points plus one. */
  readonly depth: number
}

/** Bounds of one run; reaching one is a verdict of its own. */
export interface Limits {
  /** Scheduler tasks and timers. */
  readonly steps: number
  /** Fiber operations while virtual time stands still: the busy-loop bound. */
  readonly opsPerInstant: number
  /** Virtual milliseconds. */
  readonly simulatedMs: number
  /** Trace events. */
  readonly events: number
  /** Real milliseconds. */
  readonly realMs: number
}

/** The limits of a run that sets none. */
export const defaultLimits: Limits = {
  steps: 5_000_000,
  opsPerInstant: 2_000_000,
  simulatedMs: 366 * 24 * 3_600_000,
  events: 1_000_000,
  realMs: 60_000
}

/** Name of the halt that another run of the same seed need not meet at the same step. */
export const realTime = "real time"

/** Why the engine stopped before the program did. */
export interface Halt {
  readonly kind: "livelock" | "budget"
  readonly name: string
  readonly message: string
}

/** A decision of the scheduler that was not the default one: the unit of a schedule tape. */
export type Decision =
  | { readonly _tag: "pick"; readonly pick: number; readonly index: number }
  | { readonly _tag: "yield"; readonly host: string; readonly fiber: number; readonly op: number }

/** Decisions to replay; everything else takes the default. */
export class Tape {
  readonly #picks = new Map<number, number>()
  readonly #yields = new Set<string>()

  constructor(decisions: ReadonlyArray<Decision>) {
    for (const decision of decisions) {
      if (decision._tag === "pick") this.#picks.set(decision.pick, decision.index)
      else this.#yields.add(`${decision.host}/${decision.fiber}/${decision.op}`)
    }
  }

  pick(pick: number): number {
    return this.#picks.get(pick) ?? 0
  }

  yields(host: string, fiber: number, op: number): boolean {
    return this.#yields.size > 0 && this.#yields.has(`${host}/${fiber}/${op}`)
  }
}

/** A place where tasks wait: one per dispatcher, so roughly one per fiber. PCT gives priorities to lanes. */
export interface Lane {
  priority: number
}

/** What owns tasks and timers: one incarnation of a simulated process. */
export interface Owner {
  readonly name: string
  readonly alive: boolean
  readonly paused: boolean
  /** Its timers that have neither fired nor been cancelled; kept by {@link World.afterFor}. */
  timers: number
}

interface Task {
  readonly owner: Owner
  readonly lane: Lane
  readonly run: () => void
}

/** From this step on every stream is drawn from another seed: how exploration branches off a known prefix. */
export interface Branch {
  readonly step: number
  readonly seed: string
}

/** What a world is made from. */
export interface WorldOptions {
  readonly seed: Seed.Seed
  readonly schedule: ScheduleConfig
  readonly limits?: Partial<Limits> | undefined
  readonly fullTrace?: boolean | undefined
  readonly tail?: number | undefined
  readonly tape?: ReadonlyArray<Decision> | undefined
  readonly record?: boolean | undefined
  readonly branches?: ReadonlyArray<Branch> | undefined
  /** Real milliseconds since an arbitrary moment; only ever compared with a limit. */
  readonly realNow?: (() => number) | undefined
}

/** The record of a tape is dropped beyond this many decisions: such a schedule is not worth reducing. */
const maxDecisions = 200_000

/** Virtual time, ready tasks, timers and random streams of one run. */
export class World {
  /** Virtual microseconds since the start of the run. */
  now = 0
  steps = 0
  ops = 0
  halted: Halt | undefined
  readonly seed: Seed.Seed
  readonly schedule: ScheduleConfig
  readonly limits: Limits
  readonly trace: Trace
  readonly sched: Rng
  /** The engine is about to run a task that resumes a fiber, as opposed to a fiber resuming another one directly. */
  scheduledResume = false
  readonly decisions: Array<Decision> = []
  readonly tape: Tape | undefined
  readonly recording: boolean
  readonly #streams = new Map<string, Rng>()
  readonly #tie: Rng
  readonly #timers = new TimerHeap()
  readonly #branches: Array<Branch>
  readonly #realNow: (() => number) | undefined
  readonly #deadline: number
  #ready: Array<Task> = []
  #head = 0
  #held: Array<Task> = []
  #sequence = 0
  #picks = 0
  #instantOps = 0
  readonly #changePoints: Array<number>
  #lowest = 0

  constructor(options: WorldOptions) {
    this.seed = options.seed
    this.schedule = options.schedule
    this.limits = { ...defaultLimits, ...options.limits }
    this.tape = options.tape === undefined ? undefined : new Tape(options.tape)
    this.recording = options.record === true
    this.trace = new Trace({
      now: () => this.now,
      full: options.fullTrace === true,
      tail: options.tail ?? 100
    })
    this.sched = this.stream("schedule")
    this.#tie = this.stream("tie")
    this.#branches = (options.branches ?? []).toSorted((a, b) => a.step - b.step)
    this.#realNow = options.realNow
    this.#deadline = options.realNow === undefined ? Infinity : options.realNow() + this.limits.realMs
    this.#changePoints = []
    if (this.schedule.policy === "pct") {
      const points = this.stream("pct")
      // Change points spread over powers of two, because the length of the run is not known beforehand.
      for (let i = 1; i < this.schedule.depth; i++) {
        this.#changePoints.push(points.int(2 ** points.between(3, 12)))
      }
      this.#changePoints.sort((a, b) => a - b)
    }
  }

  /** The random stream of one purpose. A purpose that never asks never draws. */
  stream(label: string): Rng {
    const known = this.#streams.get(label)
    if (known !== undefined) return known
    const made = new Rng(this.seed.hi, this.seed.lo, label)
    this.#streams.set(label, made)
    return made
  }

  get readyCount(): number {
    return this.#ready.length - this.#head
  }

  get timerCount(): number {
    return this.#timers.size
  }

  makeLane(): Lane {
    return { priority: this.schedule.policy === "pct" ? this.sched.u32() + 1 : 0 }
  }

  enqueue(owner: Owner, lane: Lane, run: () => void): void {
    if (!owner.alive || this.halted !== undefined) return
    const task = { owner, lane, run }
    if (owner.paused) this.#held.push(task)
    else this.#ready.push(task)
  }

  /** Runs `fire` after `delay` microseconds of virtual time and returns its cancellation. */
  after(delay: number, fire: () => void): () => void {
    if (delay === Infinity) return () => {}
    const timer: Timer = {
      at: this.now + Math.max(0, Math.round(delay)),
      tie: this.schedule.policy === "production" ? 0 : this.#tie.u32(),
      sequence: this.#sequence++,
      fire
    }
    this.#timers.push(timer)
    return () => this.#timers.cancel(timer)
  }

  /** {@link after} for a process: dropped when it is dead, late when it is paused. */
  afterFor(owner: Owner, delay: number, fire: () => void): () => void {
    owner.timers++
    let pending = true
    const settle = () => {
      if (pending) owner.timers--
      pending = false
    }
    const cancel = this.after(delay, () => {
      settle()
      if (!owner.alive) return
      if (owner.paused) this.#held.push({ owner, lane: { priority: 0 }, run: fire })
      else fire()
    })
    return () => {
      settle()
      cancel()
    }
  }

  /** Puts back what waited for a paused process. */
  release(owner: Owner): void {
    const held = this.#held
    this.#held = []
    for (const task of held) {
      if (task.owner !== owner) this.#held.push(task)
      else if (owner.alive) this.#ready.push(task)
    }
  }

  /** Counts an operation against the busy-loop bound; true when the run must stop. */
  countOp(describe: () => string): boolean {
    this.ops++
    if (++this.#instantOps > this.limits.opsPerInstant && this.halted === undefined) {
      this.halt("livelock", `${this.limits.opsPerInstant} operations without time moving on, last in ${describe()}`)
    }
    return this.halted !== undefined
  }

  halt(kind: Halt["kind"], message: string, name: string = kind): void {
    this.halted ??= { kind, name, message }
  }

  /** PCT: true when the running lane must be demoted now. */
  reachesChangePoint(): boolean {
    const next = this.#changePoints[0]
    if (next === undefined || this.ops < next) return false
    this.#changePoints.shift()
    return true
  }

  demote(lane: Lane): void {
    lane.priority = --this.#lowest
  }

  /** PCT: some ready lane has a higher priority. */
  outranked(lane: Lane): boolean {
    for (let i = this.#head; i < this.#ready.length; i++) {
      if (this.#ready[i]!.lane.priority > lane.priority) return true
    }
    return false
  }

  /** When the next thing can happen: now, at the earliest timer, or never. */
  get next(): number {
    return this.readyCount > 0 ? this.now : this.#timers.peek()?.at ?? Infinity
  }

  /** Runs one task, or the earliest timer when no task is ready. False when the world is idle or halted. */
  step(): boolean {
    if (this.halted !== undefined) return false
    if (this.readyCount > 0) return this.runReady()
    return this.advance()
  }

  /** Runs one ready task; false when there is none. */
  runReady(): boolean {
    if (this.halted !== undefined || this.readyCount === 0) return false
    const task = this.#take()
    if (task.owner.paused) {
      this.#held.push(task)
      return true
    }
    if (!task.owner.alive || !this.#account()) return true
    this.scheduledResume = true
    task.run()
    this.scheduledResume = false
    return true
  }

  /** Moves time to the earliest timer and fires it; false when there is none. */
  advance(): boolean {
    if (this.halted !== undefined) return false
    const timer = this.#timers.pop()
    if (timer === undefined) return false
    if (timer.at > this.now) {
      this.now = timer.at
      this.#instantOps = 0
      if (this.now / 1000 > this.limits.simulatedMs) {
        this.halt("budget", `${this.limits.simulatedMs} simulated milliseconds passed`)
        return false
      }
    }
    if (!this.#account()) return true
    this.trace.mix(timer.at | 0)
    const fire = timer.fire!
    timer.fire = undefined
    fire()
    return true
  }

  #account(): boolean {
    this.steps++
    if (this.steps > this.limits.steps) this.halt("budget", `${this.limits.steps} steps taken`)
    if (this.trace.count > this.limits.events) this.halt("budget", `${this.limits.events} trace events recorded`)
    if ((this.steps & 1023) === 0 && this.#realNow !== undefined && this.#realNow() > this.#deadline) {
      this.halt("budget", `${this.limits.realMs} real milliseconds passed`, realTime)
    }
    const branch = this.#branches[0]
    if (branch !== undefined && this.steps >= branch.step) {
      this.#branches.shift()
      const seed = Seed.make(branch.seed)
      for (const [label, stream] of this.#streams) stream.reseed(seed.hi, seed.lo, label)
    }
    return this.halted === undefined
  }

  #take(): Task {
    const ready = this.#ready
    const count = ready.length - this.#head
    const chosen = this.#head + this.#choose(count)
    const task = ready[chosen]!
    ready[chosen] = ready[this.#head]!
    this.#head++
    if (this.#head > 1024 && this.#head * 2 > ready.length) {
      ready.splice(0, this.#head)
      this.#head = 0
    } else if (this.#head === ready.length) {
      ready.length = 0
      this.#head = 0
    }
    return task
  }

  #choose(count: number): number {
    const pick = this.#picks++
    if (this.tape !== undefined) {
      const index = this.tape.pick(pick)
      this.trace.mix(index)
      return index < count ? index : 0
    }
    if (this.schedule.policy === "production" || count === 1) return 0
    let index = 0
    if (this.schedule.policy === "random") index = this.sched.int(count)
    else {
      let best = -Infinity
      let equals = 0
      for (let i = 0; i < count; i++) {
        const priority = this.#ready[this.#head + i]!.lane.priority
        if (priority < best) continue
        equals = priority > best ? 1 : equals + 1
        best = priority
        // Children start on the lane of their parent: between equals a coin decides.
        if (equals === 1 || this.sched.int(equals) === 0) index = i
      }
    }
    this.trace.mix(index)
    if (this.recording && index !== 0 && this.decisions.length < maxDecisions) {
      this.decisions.push({ _tag: "pick", pick, index })
    }
    return index
  }
}
