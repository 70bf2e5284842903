/**
 * Makes a failure small: fewer faults, fewer buggify points, a smaller workload, a plain schedule, shorter faults. A
 * step is kept only when the same failure remains.
 */
import type { Fault } from "./Nemesis.ts"
import type { Config, RunResult } from "./Simulation.ts"
import type { Decision } from "./world/World.ts"

/** What a replay is given and what a shrunk failure consists of. */
export interface Recipe {
  readonly config: Config
  readonly plan: ReadonlyArray<Fault>
  readonly tape?: ReadonlyArray<Decision> | undefined
}

/** Runs a recipe; `record` asks for the schedule decisions. */
export type Replay = (recipe: Recipe, record?: boolean) => Promise<RunResult>

/** Bounds of one shrinking. */
export interface ShrinkOptions {
  /** Most replays; 500 by default. */
  readonly replays?: number | undefined
  /** Real milliseconds; 60,000 by default. */
  readonly realMs?: number | undefined
  readonly realNow: () => number
}

/** The smallest recipe that was found, its run, and what it took. */
export interface Shrunk {
  readonly recipe: Recipe
  readonly result: RunResult
  readonly replays: number
  readonly before: { readonly faults: number; readonly decisions: number | undefined }
}

/** The same failure: equal kind and, where it has one, equal name. */
export const sameFailure = (a: RunResult, b: RunResult): boolean =>
  a.verdict.kind === b.verdict.kind &&
  (a.verdict.kind !== "violation" || b.violations.some((violation) => violation.name === a.verdict.name))

/** Longest tape that is reduced decision by decision; a longer one is reduced in halves only. */
const maxTape = 50_000

/** Sizes tried one by one below the smallest half that failed. */
const maxSteps = 8

/** Shrinks a failing run. */
export const shrink = async (failed: RunResult, replay: Replay, options: ShrinkOptions): Promise<Shrunk> => {
  const limit = options.replays ?? 500
  const deadline = options.realNow() + (options.realMs ?? 60_000)
  let replays = 0
  let best: Recipe = { config: failed.config, plan: failed.plan }
  let result = failed
  const spent = () => replays >= limit || options.realNow() > deadline

  const attempt = async (recipe: Recipe): Promise<boolean> => {
    if (spent()) return false
    replays++
    const run = await replay(recipe)
    if (!sameFailure(failed, run)) return false
    best = recipe
    result = run
    return true
  }

  /** Delta debugging: the smallest list that it can find for which `keep` holds, trying ever smaller pieces. */
  const reduce = async <A>(items: ReadonlyArray<A>, keep: (items: ReadonlyArray<A>) => Promise<boolean>) => {
    let current = items
    if (current.length > 0 && await keep([])) return []
    let pieces = 2
    while (current.length > 0 && !spent()) {
      const size = Math.ceil(current.length / pieces)
      let smaller = false
      for (let start = 0; start < current.length; start += size) {
        const candidate = [...current.slice(0, start), ...current.slice(start + size)]
        if (candidate.length > 0 && await keep(candidate)) {
          current = candidate
          pieces = Math.max(2, pieces - 1)
          smaller = true
          break
        }
      }
      if (smaller) continue
      if (size <= 1) break
      pieces = Math.min(current.length, pieces * 2)
    }
    return current
  }

  // Faults that never hit anything go first, all at once.
  const early = failed.plan.filter((fault) => fault.on !== undefined || fault.at <= failed.simulatedMs)
  if (early.length < best.plan.length) await attempt({ ...best, plan: early })
  await reduce(best.plan, (plan) => attempt({ ...best, plan }))

  if (best.config.buggify) {
    if (!await attempt({ ...best, config: { ...best.config, buggify: false } })) {
      for (const label of Object.keys(result.buggified)) {
        await attempt({ ...best, config: { ...best.config, disarmed: [...best.config.disarmed, label] } })
      }
    }
  }

  for (const [name, size] of Object.entries(result.sizes)) {
    for (let smaller = Math.floor(size / 2); smaller >= 1; smaller = Math.floor(smaller / 2)) {
      if (!await attempt({ ...best, config: { ...best.config, sizes: { ...best.config.sizes, [name]: smaller } } })) {
        break
      }
    }
    // Between the last half that failed and the one that passed.
    for (let step = 0; step < maxSteps && (result.sizes[name] ?? 1) > 1 && !spent(); step++) {
      const sizes = { ...best.config.sizes, [name]: result.sizes[name]! - 1 }
      if (!await attempt({ ...best, config: { ...best.config, sizes } })) break
    }
  }

  let decisions: number | undefined
  const plain = { policy: "production", hop: 0, preempt: 0, depth: 0 } as const
  if (best.config.schedule.policy !== "production") {
    if (!await attempt({ ...best, config: { ...best.config, schedule: plain } }) && !spent()) {
      replays++
      const recorded = await replay(best, true)
      decisions = recorded.decisions.length
      // A tape replaces the drawn decisions, so it is only used when it shows the same failure by itself.
      if (decisions <= maxTape && await attempt({ ...best, tape: recorded.decisions })) {
        await reduce(recorded.decisions, (tape) => attempt({ ...best, tape }))
      }
    }
  }

  // A different schedule may need fewer faults.
  await reduce(best.plan, (plan) => attempt({ ...best, plan }))
  for (let i = 0; i < best.plan.length; i++) {
    while (best.plan[i]!.for > 1 && !spent()) {
      const plan = best.plan.with(i, { ...best.plan[i]!, for: Math.floor(best.plan[i]!.for / 2) })
      if (!await attempt({ ...best, plan })) break
    }
  }
  return { recipe: best, result, replays, before: { faults: failed.plan.length, decisions } }
}
