/** Rows of the table: printed as they come, and written to `bench/results/conduit.json`, lost ones included. */
import { execFileSync } from "node:child_process"
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import * as Os from "node:os"
import { runs } from "./contest.ts"

export interface Row {
  readonly work: string
  readonly unit: string
  readonly ours: number
  readonly spread: number
  readonly peer?: string
  readonly peerVersion?: string
  readonly peerValue?: number
  readonly ratio?: number
  readonly goal?: string
  readonly met?: boolean
}
const rows: Array<Row> = []
export const median = (values: ReadonlyArray<number>) =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!
export const percentile = (values: ReadonlyArray<number>, p: number) =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor((values.length * p) / 100))]!
/** Half of the range, as a share of the median. */
export const spreadOf = (values: ReadonlyArray<number>) =>
  (Math.max(...values) - Math.min(...values)) / 2 / median(values)
const round = (n: number) => n >= 1000 ? Math.round(n) : Number(n.toPrecision(4))
export const version = (name: string): string =>
  JSON.parse(readFileSync(new URL(`../../../node_modules/${name}/package.json`, import.meta.url), "utf8")).version

const root = new URL("../../../", import.meta.url)
const commit = (() => {
  try {
    return execFileSync("git", ["rev-parse", "--short", "HEAD"], { cwd: root }).toString().trim()
  } catch {
    return "unknown"
  }
})()
/** Written after every row, so that an interrupted run leaves what it measured. */
const save = () => {
  mkdirSync(new URL("bench/results/", root), { recursive: true })
  writeFileSync(
    new URL("bench/results/conduit.json", root),
    `${
      JSON.stringify(
        {
          machine: `${Os.cpus().length} x ${Os.cpus()[0]?.model.trim()}, ${Math.round(Os.totalmem() / 2 ** 30)} GiB, ` +
            `${Os.type()} ${Os.release()}, Node ${process.versions.node}, ${runs} runs`,
          commit,
          rows: rows.map((row) => ({ ...row, ours: round(row.ours), spread: round(row.spread) }))
        },
        null,
        2
      )
    }\n`
  )
}

export const report = (row: Row) => {
  rows.push(row)
  save()
  const peer = row.peer === undefined ? "" : `  ${row.peer} ${round(row.peerValue!)} (x ${row.ratio!.toFixed(2)})`
  const goal = row.goal === undefined ? "" : `  goal ${row.goal}: ${row.met === true ? "met" : "missed"}`
  console.log(`${row.work}: ${round(row.ours)} ${row.unit} ±${(row.spread * 100).toFixed(0)} %${peer}${goal}`)
}
/**
 * One row against one peer that ran by turns with ours. The ratio, ours over the peer's, is the median of the turns', so
 * that a machine which is busy for a while does not decide it.
 */
export const compare = (
  work: string,
  unit: string,
  ours: ReadonlyArray<number>,
  peer: { readonly name: string; readonly version: string; readonly values: ReadonlyArray<number> },
  goal?: { readonly text: string; readonly met: (ratio: number) => boolean }
): void => {
  const ratio = median(ours.map((value, turn) => value / peer.values[turn]!))
  report({
    work,
    unit,
    ours: median(ours),
    spread: spreadOf(ours),
    peer: peer.name,
    peerVersion: peer.version,
    peerValue: median(peer.values),
    ratio,
    ...goal === undefined ? {} : { goal: goal.text, met: goal.met(ratio) }
  })
}

export const atLeast = (x: number) => ({ text: `>= ${x} x`, met: (ratio: number) => ratio >= x })
export const atMost = (x: number) => ({ text: `<= ${x} x`, met: (ratio: number) => ratio <= x })
