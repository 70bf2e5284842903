/**
 * What every benchmark of the repository shares: repeated runs, a table to read, a file to compare with.
 */
import { execFileSync } from "node:child_process"
import { mkdirSync, writeFileSync } from "node:fs"
import { cpus, totalmem } from "node:os"

/** One line of a result file. Values are medians; `spread` is (largest − smallest) ÷ median over the runs. */
export interface Row {
  readonly work: string
  readonly unit: string
  readonly ours: number
  readonly spread: number
  readonly peer: string | null
  readonly peerVersion: string | null
  readonly peerValue: number | null
  /** Ours ÷ peer; above 1 is better where the unit is a rate, below 1 where it is a time. */
  readonly ratio: number | null
  readonly goal: string | null
  /** Null when no goal was set or its peer could not be run. */
  readonly met: boolean | null
}

export interface Measured {
  readonly median: number
  readonly spread: number
  readonly runs: ReadonlyArray<number>
}

/** Runs `f` `runs` times after `warmups` unreported ones. */
export const measure = async (f: () => Promise<number> | number, runs = 5, warmups = 1): Promise<Measured> => {
  for (let i = 0; i < warmups; i++) await f()
  const values: Array<number> = []
  for (let i = 0; i < runs; i++) values.push(await f())
  const sorted = values.toSorted((a, b) => a - b)
  const median = sorted[Math.floor(sorted.length / 2)]!
  return { median, spread: (sorted.at(-1)! - sorted[0]!) / median, runs: values }
}

/** Runs `f`, which collects samples, `runs` times, and gives the median and the spread of each quantile of theirs. */
export const measureQuantiles = async (
  f: () => Promise<ReadonlyArray<number>>,
  quantiles: ReadonlyArray<number>,
  runs = 5
): Promise<ReadonlyArray<Measured>> => {
  const samples: Array<ReadonlyArray<number>> = []
  for (let i = 0; i < runs; i++) samples.push(await f())
  return Promise.all(quantiles.map((q) => {
    let run = 0
    return measure(() => quantile([...samples[run++]!], q), runs, 0)
  }))
}

/** The `q` quantile of unsorted samples, 0 ≤ q ≤ 1. */
export const quantile = (samples: Float64Array | Array<number>, q: number): number => {
  const sorted = Float64Array.from(samples).sort()
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN
}

export const versus = (
  work: string,
  unit: string,
  ours: Measured,
  options: {
    readonly peer?: { readonly name: string; readonly version: string; readonly value: Measured } | undefined
    readonly goal?: { readonly text: string; readonly met: (ours: number, ratio: number) => boolean } | undefined
  } = {}
): Row => {
  const { goal, peer } = options
  const ratio = peer === undefined ? null : ours.median / peer.value.median
  return {
    work,
    unit,
    ours: ours.median,
    spread: ours.spread,
    peer: peer?.name ?? null,
    peerVersion: peer?.version ?? null,
    peerValue: peer?.value.median ?? null,
    ratio,
    goal: goal?.text ?? null,
    met: goal === undefined ? null : goal.met(ours.median, ratio ?? Number.NaN)
  }
}

const digits = (value: number): string =>
  value >= 1000 ? Math.round(value).toLocaleString("en-US") : value >= 10 ? value.toFixed(1) : value.toPrecision(3)

/** Prints the rows and writes them to `bench/results/<area>.json`. */
export const report = (area: string, rows: ReadonlyArray<Row>): void => {
  const cells = rows.map((row) => [
    row.work,
    `${digits(row.ours)} ${row.unit}`,
    `±${(row.spread * 50).toFixed(0)} %`,
    row.peer === null ? "" : `${row.peer} ${row.peerVersion}: ${digits(row.peerValue!)}`,
    row.ratio === null ? "" : `${row.ratio.toPrecision(3)} ×`,
    row.goal ?? "",
    row.met === null ? "" : row.met ? "met" : "NOT MET"
  ])
  const table = [["work", "ours", "spread", "peer", "ratio", "goal", ""], ...cells]
  const widths = table[0]!.map((_, column) => Math.max(...table.map((line) => line[column]!.length)))
  for (const line of table) console.log(line.map((cell, column) => cell.padEnd(widths[column]!)).join("  ").trimEnd())
  const git = (...args: ReadonlyArray<string>) => execFileSync("git", args, { encoding: "utf8" }).trim()
  const machine = `${cpus().length} × ${cpus()[0]!.model.trim()}, ${
    Math.round(totalmem() / 2 ** 30)
  } GiB, Node ${process.versions.node}, ${process.platform}`
  const folder = new URL("./results/", import.meta.url)
  mkdirSync(folder, { recursive: true })
  writeFileSync(
    new URL(`${area}.json`, folder),
    `${JSON.stringify({ machine, commit: git("rev-parse", "--short", "HEAD"), rows }, null, 2)}\n`
  )
  console.log(`\n${machine}\nwritten to bench/results/${area}.json`)
}
