/**
 * What became of the accepted events of one shard, and who is waiting to hear it.
 *
 * Every accepted event has an ordinal, from 1. Ordinals settle from the front: by being stored, by failing, or by being given up.
 */

/** How accepted events can end other than stored. */
export type Loss = "evicted" | "failed" | "stranded" | "unknown"

/** The end of a run of ordinals: all stored when `lost` is 0. */
export interface Outcome {
  readonly lost: number
  readonly loss: Loss | null
  readonly cause: unknown
}

/** A run of consecutive ordinals that somebody waits for. */
export interface Run {
  readonly from: number
  to: number
  done: ((outcome: Outcome) => void) | undefined
  lost: number
  loss: Loss | null
  cause: unknown
}

const nothingLost: Outcome = { lost: 0, loss: null, cause: undefined }

/** The ledger of one shard. */
export class Settlement {
  /** Ordinal of the event accepted last. */
  accepted = 0
  /** Every ordinal up to this one is settled. */
  settled = 0
  /** In the order of `to`; open runs last. */
  readonly #runs: Array<Run> = []

  /** Whether somebody waits: then a batch is not held back for company. */
  get isAwaited(): boolean {
    return this.#runs.length > 0
  }

  /**
   * Starts a run, by default at the next ordinal. It hears of every loss from now on; {@link close} it, or {@link drop} it, in the same
   * synchronous step, before anybody else's events are accepted.
   */
  open(from: number = this.accepted + 1): Run {
    const run: Run = { from, to: Number.POSITIVE_INFINITY, done: undefined, lost: 0, loss: null, cause: undefined }
    this.#runs.push(run)
    return run
  }

  /** Ends a run at the ordinal accepted last, and calls `done` once all of it is settled. */
  close(run: Run, done: (outcome: Outcome) => void): void {
    run.to = this.accepted
    run.done = done
    if (run.to <= this.settled) {
      this.drop(run)
      finish(run)
    }
  }

  /** Forgets a run: nobody waits for it any more. */
  drop(run: Run): void {
    const index = this.#runs.indexOf(run)
    if (index !== -1) this.#runs.splice(index, 1)
  }

  /** Notes that ordinals `from` … `to` were lost; their runs hear of it when they are settled as a whole. */
  lose(from: number, to: number, loss: Loss, cause: unknown): void {
    for (const run of this.#runs) {
      const overlap = Math.min(to, run.to) - Math.max(from, run.from) + 1
      if (overlap <= 0) continue
      run.lost += overlap
      run.loss ??= loss
      run.cause ??= cause
    }
  }

  /** Everything up to `ordinal` is settled: finishes the runs that end there or before. */
  settle(ordinal: number): void {
    if (ordinal <= this.settled) return
    this.settled = ordinal
    let ready = 0
    while (ready < this.#runs.length && this.#runs[ready]!.to <= ordinal) ready++
    if (ready > 0) { for (const run of this.#runs.splice(0, ready)) finish(run) }
  }
}

const finish = (run: Run): void => {
  run.done?.(run.lost === 0 ? nothingLost : { lost: run.lost, loss: run.loss, cause: run.cause })
}
