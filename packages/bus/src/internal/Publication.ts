/**
 * One call of a publish function, from its first event to its last: synchronous as long as there is room, waiting where the mode says so.
 */
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import type { Intake } from "../core/Intake.ts"
import type { Lane } from "../core/Lane.ts"
import type { Producer } from "../core/Producers.ts"
import type { Outcome, Run } from "../core/Settlement.ts"
import type { Staging } from "../core/Staging.ts"
import { PublishError, type PublishErrorReason } from "../PublishError.ts"
import type { Source } from "./Source.ts"

/** What the calls of one bus share. */
export interface Desk {
  readonly intake: Intake
  readonly staging: Staging
  readonly now: () => number
  readonly isClosing: () => boolean
  readonly producer: (name: string, broken: Producer | undefined) => Effect.Effect<Producer, PublishError>
}

export interface Terms {
  readonly source: Source
  /** Shard of every event under a shard count; undefined: by content. */
  readonly keyed: ((shards: number) => number) | undefined
  readonly channel: number
  readonly durable: boolean
  readonly onAccepted: (() => void) | undefined
  readonly producer: { readonly name: string; readonly sequence: number } | undefined
}

/** What became of the events so far, and where the last one went. */
export interface Tally {
  accepted: number
  duplicates: number
  rejected: number
  tooLarge: number
  shard: number
  lastMillis: number
  lastNanos: number
}

const fail = (reason: PublishErrorReason) => Effect.fail(new PublishError({ reason }))

const worse: Record<string, number> = { stranded: 1, evicted: 2, failed: 3, unknown: 4 }

/** Runs one call. */
export class Publication {
  readonly tally: Tally = {
    accepted: 0,
    duplicates: 0,
    rejected: 0,
    tooLarge: 0,
    shard: 0,
    lastMillis: 0,
    lastNanos: 0
  }
  readonly #desk: Desk
  readonly #terms: Terms
  #next = 0
  /** Runs that the present synchronous step has opened, by lane. */
  #open: Map<Lane, Run> | undefined = undefined
  /** Runs not settled yet. */
  readonly #awaited = new Map<Run, Lane>()
  /** Duplicates of events that were still on their way: they share the fate of the first ones. */
  readonly #following: Array<{ readonly producer: Producer; readonly shard: number; readonly sequence: number }> = []
  /** The producer this call keeps from being forgotten. */
  #held: Producer | undefined = undefined
  #lost = 0
  #worst: Outcome | undefined = undefined
  #resume: ((effect: Effect.Effect<void>) => void) | undefined = undefined

  constructor(desk: Desk, terms: Terms) {
    this.#desk = desk
    this.#terms = terms
  }

  get run(): Effect.Effect<Tally, PublishError> {
    const named = this.#terms.producer
    const body = named === undefined ? this.#proceed(undefined) : this.#asProducer(named)
    if (!this.#terms.durable) return body
    const { onAccepted } = this.#terms
    return body.pipe(
      onAccepted === undefined
        ? identity
        : Effect.tap(({ rejected }) => rejected === 0 ? Effect.sync(onAccepted) : Effect.void),
      Effect.tap(this.#durable),
      Effect.onExit(() => Effect.sync(() => this.#forget()))
    )
  }

  #asProducer(named: { readonly name: string; readonly sequence: number }): Effect.Effect<Tally, PublishError> {
    const body = Effect.suspend(() =>
      this.#desk.isClosing() ?
        this.#refused :
        Effect.flatMap(this.#desk.producer(named.name, undefined), (producer) => {
          if (!producer.begin(named.sequence)) {
            return fail({
              _tag: "SequenceGap",
              producer: named.name,
              expected: producer.next,
              received: named.sequence
            })
          }
          return this.#proceed(producer)
        })
    )
    return Effect.onExit(body, () => Effect.sync(() => this.#hold(undefined)))
  }

  #hold(producer: Producer | undefined): void {
    if (this.#held !== undefined) this.#held.holds--
    if (producer !== undefined) producer.holds++
    this.#held = producer
  }

  /** Publishes as many events as there is room for; goes on waiting, refusing or dropping as the mode says. */
  #proceed(producer: Producer | undefined): Effect.Effect<Tally, PublishError> {
    return Effect.suspend(() => {
      const { intake, isClosing } = this.#desk
      if (isClosing()) return this.#refused
      if (producer !== undefined) {
        if (producer.broken || producer.forgotten) return this.#lookUpAgain(producer)
        this.#hold(producer)
      }
      if (intake.mode === "failProducer" && this.#next === 0) {
        const full = this.#findFull(producer)
        if (full !== undefined) {
          full.rejected += this.#terms.source.count
          this.tally.rejected = this.#terms.source.count
          return fail({ _tag: "Backpressure", shard: full.id })
        }
      }
      const refusing = this.#push(producer, undefined)
      if (refusing === undefined) return Effect.succeed(this.tally)
      if (intake.mode === "suspend") {
        return Effect.flatMap(this.#waitForRoom(refusing, producer), () => this.#proceed(producer))
      }
      // Only a named producer's call ends early: its later events may not overtake the refused one.
      const rest = this.#terms.source.count - this.#next
      this.tally.rejected += rest
      refusing.rejected += rest
      return Effect.succeed(this.tally)
    })
  }

  /** After a loss, or when the bus has forgotten the producer before it could be held. */
  #lookUpAgain(producer: Producer): Effect.Effect<Tally, PublishError> {
    return Effect.flatMap(this.#desk.producer(producer.name, producer), (fresh) => {
      const sequence = this.#terms.producer!.sequence + this.#next
      return fresh.begin(sequence)
        ? this.#proceed(fresh)
        : fail({ _tag: "SequenceGap", producer: fresh.name, expected: fresh.next, received: sequence })
    })
  }

  /**
   * The synchronous step; `turn` is the lane where this call is first in the queue. Returns the lane that has no room for the next event,
   * undefined when the call is through.
   */
  #push(producer: Producer | undefined, turn: Lane | undefined): Lane | undefined {
    try {
      return this.#fill(producer, turn)
    } finally {
      // Also when memory runs out half way: an open run would hold up everybody who waits behind it.
      if (this.#open !== undefined) this.#closeRuns()
    }
  }

  #fill(producer: Producer | undefined, turn: Lane | undefined): Lane | undefined {
    const { intake, now } = this.#desk
    const { channel, durable, keyed, source } = this.#terms
    const shards = intake.lanes.length
    const sequenceBase = this.#terms.producer?.sequence ?? 0
    const time = now()
    const key = keyed?.(shards)
    let refusing: Lane | undefined
    while (this.#next < source.count) {
      const index = this.#next
      const length = source.load(index)
      if (length > intake.maxEventBytes) {
        this.tally.tooLarge++
        intake.tooLarge++
        producer?.skip(sequenceBase + index)
        this.#next++
        continue
      }
      const shard = key ?? source.route(index, shards)
      const lane = intake.lanes[shard]!
      const route = keyed ?? ((count: number) => source.route(index, count))
      if (producer !== undefined && producer.isDuplicate(sequenceBase + index, shard, route)) {
        producer.skip(sequenceBase + index)
        this.tally.duplicates++
        intake.duplicates++
        this.tally.shard = shard
        if (durable && producer.isPending(sequenceBase + index, shard, route)) {
          this.#openRun(lane)
          this.#following.push({ producer, shard, sequence: sequenceBase + index })
        }
        this.#next++
        continue
      }
      if (durable) this.#openRun(lane)
      if (intake.admit(lane, source.bytes, source.from, source.to, channel, time, lane === turn)) {
        const sequence = sequenceBase + index
        if (producer !== undefined) lane.ring.tag(producer.accept(sequence, shard), sequence)
        this.tally.accepted++
        this.tally.shard = shard
        this.tally.lastMillis = intake.lastMillis
        this.tally.lastNanos = intake.lastNanos
        this.#next++
      } else if (intake.mode === "suspend" || producer !== undefined) {
        this.tally.shard = shard
        refusing = lane
        break
      } else {
        lane.rejected++
        this.tally.shard = shard
        this.tally.rejected++
        this.#next++
      }
    }
    return refusing
  }

  /** The first lane that could not take its share of the call. */
  #findFull(producer: Producer | undefined): Lane | undefined {
    const { intake } = this.#desk
    const { keyed, source } = this.#terms
    const shards = intake.lanes.length
    const key = keyed?.(shards)
    const events = new Uint32Array(shards)
    const bytes = new Float64Array(shards)
    for (let i = 0; i < source.count; i++) {
      const length = source.load(i)
      if (length > intake.maxEventBytes) continue
      const shard = key ?? source.route(i, shards)
      const route = keyed ?? ((count: number) => source.route(i, count))
      if (producer?.isDuplicate(this.#terms.producer!.sequence + i, shard, route) === true) continue
      events[shard]!++
      bytes[shard]! += length
    }
    return intake.lanes.find((lane) => events[lane.id]! > 0 && !lane.ring.acceptsAll(events[lane.id]!, bytes[lane.id]!))
  }

  #waitForRoom(lane: Lane, producer: Producer | undefined): Effect.Effect<void, PublishError> {
    return Effect.callback((resume) => {
      if (this.#desk.isClosing()) return resume(this.#refused)
      const leave = lane.suspend({
        // Runs when the lane has room: the next events go in at once, so that nobody slips in between.
        attempt: () => {
          if (producer?.broken === true) {
            resume(Effect.void)
            return true
          }
          const before = this.#next
          const refusing = this.#push(producer, lane)
          // Still this lane and no progress: keep the place. Otherwise the fiber goes on, and queues again where it has to.
          if (refusing === lane && this.#next === before) return false
          resume(Effect.void)
          return true
        },
        refuse: () => resume(this.#refused)
      })
      return Effect.sync(leave)
    })
  }

  get #refused(): Effect.Effect<never, PublishError> {
    return fail({ _tag: "ShuttingDown", accepted: this.tally.accepted })
  }

  /** Waits for what the lane has accepted by the end of this step, and answers for what it accepts from now on. */
  #openRun(lane: Lane): void {
    this.#open ??= new Map()
    if (!this.#open.has(lane)) this.#open.set(lane, lane.settlement.open())
  }

  #closeRuns(): void {
    const open = this.#open!
    this.#open = undefined
    for (const [lane, run] of open) {
      this.#awaited.set(run, lane)
      lane.settlement.close(run, (outcome) => {
        this.#awaited.delete(run)
        if (outcome.lost > 0) this.#lose(outcome)
        // Settling can happen inside somebody's push: the fiber goes on in a turn of its own, not in the middle of theirs.
        if (this.#awaited.size === 0) this.#resume?.(Effect.yieldNow)
      })
      if (this.#awaited.has(run)) lane.wake()
    }
  }

  #lose(outcome: Outcome): void {
    this.#lost += outcome.lost
    if (this.#worst === undefined || worse[outcome.loss!]! > worse[this.#worst.loss!]!) this.#worst = outcome
  }

  /** Waits for every run, then says what was lost. */
  get #durable(): Effect.Effect<void, PublishError> {
    const verdict = Effect.suspend(() => {
      for (const { producer, sequence, shard } of this.#following) {
        const { cause, loss } = producer.loss ?? { loss: "unknown", cause: undefined }
        if (!producer.isStored(sequence, shard)) this.#lose({ lost: 1, loss, cause })
      }
      const worst = this.#worst
      if (worst === undefined) return Effect.void
      if (worst.loss === "unknown") return fail({ _tag: "Unknown", count: this.#lost, cause: worst.cause })
      return fail({ _tag: "NotStored", why: worst.loss!, count: this.#lost, cause: worst.cause })
    })
    return Effect.suspend(() =>
      this.#awaited.size === 0 ? verdict : Effect.andThen(
        Effect.callback<void>((resume) => {
          // Not a closure of ours: one that is assigned where it is written is born in the old generation, where it keeps all it knows till a full collection.
          this.#resume = resume
        }),
        verdict
      )
    )
  }

  #forget(): void {
    for (const [run, lane] of this.#awaited) lane.settlement.drop(run)
    this.#awaited.clear()
  }
}
