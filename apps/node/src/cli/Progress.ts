/**
 * How far an ingest has come: a bar that is redrawn on a terminal, a line every other second elsewhere.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { IngestProgress } from "../Ingest.ts"
import { count, rate } from "./Output.ts"

export interface Meter {
  readonly update: (progress: IngestProgress) => Effect.Effect<void>
  readonly end: (progress: IngestProgress) => Effect.Effect<void>
  /** Says something between two updates. */
  readonly interrupt: (text: string) => Effect.Effect<void>
}

const width = 20
const everyMillis = { terminal: 100, plain: 2000 }

/** `fraction` of the input that was read, undefined when nobody knows; `total` events, when somebody does. */
export const make = (fraction: () => number | undefined, total?: number): Meter => {
  const terminal = process.stderr.isTTY === true
  // Elsewhere than on a terminal, an ingest that is soon done says one thing: that it is.
  let last = terminal ? Number.NEGATIVE_INFINITY : undefined
  let drawn = false

  const line = (progress: IngestProgress, ended: boolean): string => {
    const known = ended ? 1 : total === undefined ? fraction() : progress.read / total
    const events = total === undefined && !ended
      ? count(progress.read)
      : `${count(progress.read)} / ${count(total ?? progress.read)}`
    const filled = Math.round((known ?? 0) * width)
    const bar = known === undefined
      ? ""
      : `${"█".repeat(filled)}${"░".repeat(width - filled)} ${Math.floor(known * 100)} %  `
    const resumed = progress.resumedAt > 0 ? `  resumed behind ${count(progress.resumedAt)}` : ""
    return ` ${events} ${bar}accepted ${count(progress.accepted)}  rejected ${count(progress.rejected)}  ${
      rate(progress.accepted, progress.millis)
    }  durable${resumed}`
  }

  const draw = (text: string): void => {
    if (terminal) process.stderr.write(`\r\u001b[2K${text}`)
    else process.stderr.write(`${text}\n`)
    drawn = terminal
  }

  return {
    update: (progress) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        last ??= now
        if (now - last < (terminal ? everyMillis.terminal : everyMillis.plain)) return
        last = now
        draw(line(progress, false))
      }),
    end: (progress) =>
      Effect.sync(() => {
        draw(line(progress, true))
        if (terminal) process.stderr.write("\n")
        drawn = false
      }),
    interrupt: (text) =>
      Effect.sync(() => {
        process.stderr.write(`${drawn ? "\r\u001b[2K" : ""}${text}\n`)
        drawn = false
      })
  }
}
