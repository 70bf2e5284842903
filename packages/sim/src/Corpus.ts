/**
 * Failures that were found once, kept as plans: replayed on every change, first.
 */
import * as Data from "effect/Data"
import { createHash } from "node:crypto"
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import type { Fault } from "./Nemesis.ts"
import type { Config, VerdictKind } from "./Simulation.ts"
import type { Branch, Decision } from "./world/World.ts"

/** Format of entries; an entry of another format is refused, never guessed at. */
export const version = 1

/** A stored failure. */
export interface Entry {
  readonly version: typeof version
  readonly test: string
  readonly seed: string
  readonly config: Config
  readonly plan: ReadonlyArray<Fault>
  readonly tape?: ReadonlyArray<Decision> | undefined
  /** Where streams were reseeded, for failures found by exploration. */
  readonly branches?: ReadonlyArray<Branch> | undefined
  readonly verdict: { readonly kind: VerdictKind; readonly name: string }
  readonly hash: string
  readonly node: string
  readonly commit: string
  readonly date: string
  readonly status: "open" | "fixed" | "wontfix"
  readonly note: string
}

/** An entry that cannot be replayed: not JSON, from another version, or incomplete. */
export class CorpusError extends Data.TaggedError("CorpusError")<{ readonly file: string; readonly problem: string }> {
  override get message(): string {
    return `corpus entry ${this.file}: ${this.problem}`
  }
}

/** A test name as part of a file name. */
export const slug = (test: string): string =>
  test.toLowerCase().replaceAll(/[^\da-z]+/g, "-").replaceAll(/^-+|-+$/g, "").slice(0, 60)

/** Parses an entry. Throws {@link CorpusError}. */
export const parse = (text: string, file: string): Entry => {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw new CorpusError({ file, problem: "is not JSON" })
  }
  const entry = value as Partial<Entry> | null
  if (typeof entry !== "object" || entry === null || entry.version !== version) {
    throw new CorpusError({ file, problem: `has version ${String(entry?.version)}, this simulator reads ${version}` })
  }
  const complete = typeof entry.test === "string" && typeof entry.seed === "string" && Array.isArray(entry.plan) &&
    typeof entry.config === "object" && entry.config !== null && typeof entry.config.schedule === "object" &&
    typeof entry.verdict === "object" && ["open", "fixed", "wontfix"].includes(String(entry.status))
  if (!complete) throw new CorpusError({ file, problem: "is incomplete" })
  if (entry.status === "wontfix" && !entry.note) throw new CorpusError({ file, problem: "is wontfix without a note" })
  return entry as Entry
}

/** An entry and its file. */
export interface Stored {
  readonly file: string
  readonly entry: Entry
}

const loadStarting = (folder: string, prefix: string): ReadonlyArray<Stored> =>
  !existsSync(folder)
    ? []
    : readdirSync(folder)
      .filter((name) => name.startsWith(prefix) && name.endsWith(".json"))
      .sort()
      .map((name) => ({ file: join(folder, name), entry: parse(readFileSync(join(folder, name), "utf8"), name) }))

/** Entries of one test in a folder, by file name. Throws {@link CorpusError}. */
export const load = (folder: string, test: string): ReadonlyArray<Stored> =>
  loadStarting(folder, `${slug(test)}-`).filter(({ entry }) => entry.test === test)

/** Every entry of a folder. Throws {@link CorpusError}. */
export const loadAll = (folder: string): ReadonlyArray<Stored> => loadStarting(folder, "")

/** Stores an entry and returns its file. The same plan is stored once. */
export const save = (folder: string, entry: Entry): string => {
  const identity = JSON.stringify([entry.seed, entry.config, entry.plan, entry.tape, entry.branches, entry.verdict])
  const hash = createHash("sha256").update(identity).digest("hex").slice(0, 8)
  const file = join(folder, `${slug(entry.test)}-${hash}.json`)
  if (existsSync(file)) return file
  mkdirSync(folder, { recursive: true })
  writeFileSync(file, `${JSON.stringify(entry, undefined, 2)}\n`)
  return file
}
