/**
 * Where a run takes place, and the seeds that a place and a day stand for.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { execFileSync } from "node:child_process"
import * as Seed from "./Seed.ts"

/** The Node version and the commit of a run, for reports and corpus entries. */
export interface Place {
  readonly node: string
  /** The short hash of the commit that is checked out here; `unknown` outside a repository. */
  readonly commit: string
}

let commitOnce: string | undefined

/** The place of this process. */
export const here = (): Place => {
  if (commitOnce === undefined) {
    try {
      commitOnce = execFileSync("git", ["rev-parse", "--short", "HEAD"], { stdio: ["ignore", "pipe", "ignore"] })
        .toString().trim()
    } catch {
      commitOnce = "unknown"
    }
  }
  return { node: process.version, commit: commitOnce }
}

/**
 * The first seed of a campaign: a seed, `commit` for one that follows from the commit (the same again for the same commit,
 * 1 outside a repository), or `date` for one that follows from the day. Throws `SeedError`.
 */
export const firstSeed = (text: string): Seed.Seed => {
  if (text === "commit") {
    const { commit } = here()
    return /^[\da-f]{1,12}$/.test(commit) ? Seed.make(`0x${commit}`) : Seed.make(1)
  }
  // A million seeds apart from day to day.
  if (text === "date") {
    const today = new Date(Effect.runSync(Clock.currentTimeMillis)).toISOString().slice(0, 10)
    return Seed.make(`${today.replaceAll("-", "")}000000`)
  }
  return Seed.make(text)
}
