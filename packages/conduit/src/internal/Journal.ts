import * as Effect from "effect/Effect"
import * as ConduitErrors from "../ConduitError.ts"
import type { Change, ConduitStore, Remembered } from "../ConduitStore.ts"
import * as Serial from "../core/Serial.ts"
import type { Engine } from "./Engine.ts"
import type { EngineJournal } from "./EngineOptions.ts"

/**
 * Writes one engine's changes, as many as have come together in one write, and lets the engine say to its peer what is
 * durable, never more.
 */
export class Journal implements EngineJournal {
  private pending: Array<Change> = []
  private writing = false
  private waiters: Array<{ readonly seq: number; readonly done: () => void }> = []
  /** Callbacks of `keys` that the next write settles. */
  private afterWrite: Array<() => void> = []
  private removed = false
  /** Whether a write has failed: what the store has is then kept as it is, for the next process. */
  private failed = false
  private readonly store: ConduitStore
  private readonly id: string
  private readonly engine: () => Engine
  private readonly fork: (effect: Effect.Effect<unknown>) => void

  constructor(
    store: ConduitStore,
    id: string,
    engine: () => Engine,
    fork: (effect: Effect.Effect<unknown>) => void
  ) {
    this.store = store
    this.id = id
    this.engine = engine
    this.fork = fork
  }

  readonly appended = (seq: number, item: Uint8Array): void => {
    this.push({ _tag: "Appended", seq, item: item.slice() })
  }

  readonly trimmed = (seq: number): void => {
    this.push({ _tag: "Trimmed", seq })
  }

  readonly delivered = (seq: number): void => {
    this.push({ _tag: "Delivered", seq })
  }

  /** Writes the keys; done when they, and everything before them, are durable. */
  keys(keys: ReadonlyArray<Uint8Array>): Effect.Effect<void> {
    return Effect.callback<void>((resume) => {
      this.afterWrite.push(() => resume(Effect.void))
      this.push({ _tag: "Keys", keys: [...keys] })
    })
  }

  /** Waits until the item of this number is durable. */
  durable(seq: number): Effect.Effect<void> {
    return Effect.callback<void>((resume) => {
      const { heldFrom, terminal } = this.engine()
      if (terminal !== undefined || (heldFrom !== undefined && Serial.after(heldFrom, seq))) return resume(Effect.void)
      this.waiters.push({ seq, done: () => resume(Effect.void) })
    })
  }

  /** Forgets the conduit, unless its state could not be written to the end. */
  remove(): void {
    if (this.failed) return
    this.removed = true
    this.pending = []
    this.settle()
    if (!this.writing) this.fork(Effect.ignore(this.store.remove(this.id)))
  }

  private push(change: Change): void {
    if (this.removed || this.failed) return
    this.pending.push(change)
    if (this.writing) return
    this.writing = true
    this.fork(this.write)
  }

  private readonly write: Effect.Effect<void> = Effect.gen({ self: this }, function*() {
    while (this.pending.length > 0) {
      const changes = this.pending
      const settled = this.afterWrite
      this.pending = []
      this.afterWrite = []
      yield* this.store.write(this.id, changes)
      this.written(changes)
      for (const done of settled) done()
    }
    this.writing = false
    if (this.removed) yield* this.store.remove(this.id)
  }).pipe(
    Effect.catch((cause) =>
      Effect.sync(() => {
        this.writing = false
        this.failed = true
        this.pending = []
        this.engine().end(ConduitErrors.make({ _tag: "StoreFailed", cause }))
        this.settle()
      })
    )
  )

  private written(changes: ReadonlyArray<Change>): void {
    const engine = this.engine()
    let delivered: number | undefined
    let appended: number | undefined
    for (const change of changes) {
      if (change._tag === "Appended") appended = change.seq
      else if (change._tag === "Delivered") delivered = change.seq
    }
    if (delivered !== undefined) engine.acknowledgeable(delivered, engine.options.ack.bytes)
    if (appended !== undefined) {
      engine.release(Serial.next(appended))
      const rest: typeof this.waiters = []
      for (const waiter of this.waiters) {
        if (Serial.atOrBefore(waiter.seq, appended)) waiter.done()
        else rest.push(waiter)
      }
      this.waiters = rest
    }
  }

  private settle(): void {
    for (const done of this.afterWrite.splice(0)) done()
    for (const { done } of this.waiters.splice(0)) done()
  }
}

/** Puts back what was remembered into a new engine that was made with its numbers. */
export const restore = (engine: Engine, remembered: Remembered): void => {
  for (const { item } of remembered.items) engine.state.append(item)
  engine.state.restored()
  engine.heldFrom = engine.state.buffer.nextSeq
}

/** The numbers to make that engine with. */
export const numbers = (remembered: Remembered, resumeAfter?: number) => ({
  nextSeq: remembered.items[0]?.seq ?? remembered.nextSeq,
  received: resumeAfter !== undefined &&
      (remembered.delivered === undefined || Serial.after(resumeAfter, remembered.delivered))
    ? resumeAfter
    : remembered.delivered
})
