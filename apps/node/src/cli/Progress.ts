/**
 * How far a command has come: a line that is redrawn on a terminal, a line every other second elsewhere.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { IngestProgress } from "../Ingest.ts"
import { count, rate } from "./Output.ts"

export interface Meter<P> {
  readonly update: (progress: P) => Effect.Effect<void>
  readonly end: (progress: P) => Effect.Effect<void>
  /** Says something between two updates. */
  readonly interrupt: (text: string) => Effect.Effect<void>
}

const width = 20
const everyMillis = { terminal: 100, plain: 2000 }

/** `████░░░░ 50 %  `, or nothing when nobody knows how much there is. */
export const bar = (fraction: number | undefined): string => {
  if (fraction === undefined) return ""
  const filled = Math.round(fraction * width)
  return `${"█".repeat(filled)}${"░".repeat(width - filled)} ${Math.floor(fraction * 100)} %  `
}

/** Shows what `line` makes of the progress. Data that goes to the same terminal leaves no room for more than the last line. */
export const meter = <P>(
  line: (progress: P, ended: boolean) => string,
  options: { readonly sharesTerminal?: boolean } = {}
): Meter<P> => {
  const terminal = process.stderr.isTTY === true
  const quiet = options.sharesTerminal === true && process.stdout.isTTY === true
  // Elsewhere than on a terminal, what is soon done says one thing: that it is.
  let last = terminal ? Number.NEGATIVE_INFINITY : undefined
  let drawn = false

  const draw = (text: string): void => {
    if (terminal && !quiet) process.stderr.write(`\r\u001b[2K${text}`)
    else process.stderr.write(`${text}\n`)
    drawn = terminal && !quiet
  }

  return {
    update: (progress) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        last ??= now
        if (quiet || now - last < (terminal ? everyMillis.terminal : everyMillis.plain)) return
        last = now
        draw(line(progress, false))
      }),
    end: (progress) =>
      Effect.sync(() => {
        draw(line(progress, true))
        if (drawn) process.stderr.write("\n")
        drawn = false
      }),
    interrupt: (text) =>
      Effect.sync(() => {
        process.stderr.write(`${drawn ? "\r\u001b[2K" : ""}${text}\n`)
        drawn = false
      })
  }
}

/** The meter of an ingest: `fraction` of the input that was read, undefined when nobody knows; `total` events, when somebody does. */
export const make = (fraction: () => number | undefined, total?: number): Meter<IngestProgress> =>
  meter((progress, ended) => {
    const known = ended ? 1 : total === undefined ? fraction() : progress.read / total
    const events = total === undefined && !ended
      ? count(progress.read)
      : `${count(progress.read)} / ${count(total ?? progress.read)}`
    const resumed = progress.resumedAt > 0 ? `  resumed behind ${count(progress.resumedAt)}` : ""
    return ` ${events} ${bar(known)}accepted ${count(progress.accepted)}  rejected ${count(progress.rejected)}  ${
      rate(progress.accepted, progress.millis)
    }  durable${resumed}`
  })
