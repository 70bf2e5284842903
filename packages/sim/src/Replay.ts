/**
 * The text that brings one run of a campaign back: its seed, and behind it what makes the run differ from the one that
 * the seed alone stands for. `4`; `4+quiet`, without faults; `4+170:99`, drawn from seed 99 from step 170 on.
 */
import * as Seed from "./Seed.ts"
import type { Branch } from "./world/World.ts"

/** One run of a campaign. */
export interface Replay {
  readonly seed: Seed.Seed
  /** Without drawn faults and without buggify: the first run of every campaign. */
  readonly quiet: boolean
  /** Where exploration drew the streams anew. */
  readonly branches: ReadonlyArray<Branch>
}

/** The run that a seed stands for. */
export const ofSeed = (seed: Seed.Seed): Replay => ({ seed, quiet: false, branches: [] })

/** The text of a run. */
export const format = ({ branches, quiet, seed }: Replay): string =>
  [seed.text, ...(quiet ? ["quiet"] : []), ...branches.map((branch) => `${branch.step}:${branch.seed}`)].join("+")

/** Parses what {@link format} writes. Throws `SeedError`. */
export const parse = (text: string): Replay => {
  const [first = "", ...rest] = text.trim().split("+")
  const seed = Seed.make(first)
  let quiet = false
  const branches: Array<Branch> = []
  for (const part of rest) {
    const branch = /^(\d{1,15}):(\d{1,20})$/.exec(part)
    if (part === "quiet") quiet = true
    else if (branch === null) throw new Seed.SeedError({ input: text.slice(0, 80) })
    else branches.push({ step: Number(branch[1]), seed: Seed.make(branch[2]!).text })
  }
  return { seed, quiet, branches }
}
