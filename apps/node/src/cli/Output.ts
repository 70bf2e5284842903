/**
 * Standard output is data, standard error is for people.
 */
import * as Effect from "effect/Effect"
import { once } from "node:events"

// A reader that has seen enough (`| head`) ends the command, not with an error.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  process.exit(error.code === "EPIPE" ? 0 : 1)
})
process.stderr.on("error", () => {})

/** Writes data, at the pace of whoever reads it. */
export const print = (text: string | Uint8Array): Effect.Effect<void> =>
  Effect.suspend(() => process.stdout.write(text) ? Effect.void : Effect.promise(() => once(process.stdout, "drain")))

export const printLine = (text: string): Effect.Effect<void> => print(`${text}\n`)

/** Says something to the person at the terminal, or to the log. */
export const tell = (text: string): Effect.Effect<void> => Effect.sync(() => void process.stderr.write(`${text}\n`))

const number = new Intl.NumberFormat("en-US")

/** `38,094` */
export const count = (value: number): string => number.format(value)

/** `112 k/s` */
export const rate = (events: number, millis: number): string => {
  const perSecond = millis <= 0 ? 0 : events / millis * 1000
  return perSecond >= 10_000 ? `${count(Math.round(perSecond / 1000))} k/s` : `${count(Math.round(perSecond))}/s`
}

/** `2 h 5 min` */
export const ago = (seconds: number): string => {
  if (seconds < 60) return `${Math.floor(seconds)} s`
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ${Math.floor(seconds % 3600 / 60)} min`
  return `${Math.floor(seconds / 86_400)} d ${Math.floor(seconds % 86_400 / 3600)} h`
}

/** `1.5 MB` */
export const size = (bytes: number): string => {
  const units = ["B", "kB", "MB", "GB", "TB"]
  let value = bytes
  let unit = 0
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000
    unit++
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`
}

/** Two columns. */
export const table = (rows: ReadonlyArray<readonly [string, string]>): string => {
  const width = Math.max(0, ...rows.map(([name]) => name.length))
  return rows.map(([name, value]) => `  ${name.padEnd(width)}  ${value}`).join("\n")
}
