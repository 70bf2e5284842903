/**
 * The command line of `perigee-sim`.
 */
import { availableParallelism } from "node:os"
import { parseArgs } from "node:util"
import * as Place from "../Place.ts"
import * as Replay from "../Replay.ts"
import type * as Seed from "../Seed.ts"

/** What `--help` prints. `call` is how the command is called. */
export const usage = (call: string): string =>
  `usage: ${call} [package or file] [options]

  --seeds N      seeds per scenario (default 300)
  --minutes M    real minutes in all, divided over the scenarios; without --seeds as many seeds as fit
  --seed S       run this one seed, as a report prints it (4, 4+quiet, 4+170:99), and print its trace
  --entry FILE   run a stored failure, and print its trace
  --trace FILE   with --seed or --entry: write the trace there as JSON Lines instead
  --base S       first seed, "commit" or "date" (default commit: each commit runs others, the same again for the same)
  --test TEXT    only scenarios whose name contains TEXT
  --workers W    worker threads (default: one per core, at most 4)
  --heap MB      megabytes that one worker may use (default 1024)
  --list         only list the scenarios

  exit code      0: all passed; 1: a failure, or something declared that never happened; 2: wrong use`

/** Seeds that no time limit will reach: also the distance between the first seeds of two workers. */
export const unbounded = 2 ** 31

/** What a command line asks for. */
export interface Arguments {
  readonly target: string | undefined
  readonly seeds: number
  /** Real milliseconds in all. */
  readonly realMs: number | undefined
  readonly replay: Replay.Replay | undefined
  readonly entry: string | undefined
  readonly trace: string | undefined
  readonly base: Seed.Seed
  readonly test: string
  readonly workers: number
  /** Megabytes a worker may use before it is ended and its seed reported. */
  readonly heapMb: number
  readonly list: boolean
  readonly help: boolean
}

const above = (name: string, text: string | undefined, whole: boolean): number | undefined => {
  if (text === undefined) return undefined
  const value = Number(text)
  if (!(value > 0) || !Number.isFinite(value) || (whole && !Number.isSafeInteger(value))) {
    throw new Error(`--${name} wants a ${whole ? "whole " : ""}number above zero, got ${JSON.stringify(text)}`)
  }
  return value
}

/** Reads a command line. Throws an `Error` whose message tells the user what is wrong with it. */
export const parse = (args: ReadonlyArray<string>): Arguments => {
  const { positionals, values } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      seeds: { type: "string" },
      minutes: { type: "string" },
      seed: { type: "string" },
      entry: { type: "string" },
      trace: { type: "string" },
      base: { type: "string" },
      test: { type: "string" },
      workers: { type: "string" },
      heap: { type: "string" },
      list: { type: "boolean" },
      help: { type: "boolean" }
    }
  })
  if (positionals.length > 1) throw new Error(`one package or file at a time, got ${positionals.join(" ")}`)
  const seeds = above("seeds", values.seeds, true)
  const minutes = above("minutes", values.minutes, false)
  return {
    target: positionals[0],
    seeds: seeds ?? (minutes === undefined ? 300 : unbounded),
    realMs: minutes === undefined ? undefined : minutes * 60_000,
    replay: values.seed === undefined ? undefined : Replay.parse(values.seed),
    entry: values.entry,
    trace: values.trace,
    base: Place.firstSeed(values.base ?? "commit"),
    test: values.test ?? "",
    workers: above("workers", values.workers, true) ?? Math.min(4, availableParallelism()),
    heapMb: above("heap", values.heap, true) ?? 1024,
    list: values.list === true,
    help: values.help === true
  }
}
