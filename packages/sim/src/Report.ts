/**
 * What people read: the report of a failure and the table of a campaign.
 */
import type { Definition, Failure } from "./Campaign.ts"
import * as Config from "./Config.ts"
import { formatFault } from "./Nemesis.ts"
import type { Place } from "./Place.ts"
import * as Replay from "./Replay.ts"
import type { Tally } from "./Tally.ts"
import { formatEvent } from "./Trace.ts"

const lines = 12

/** `1 fault`, `3 faults`. */
const counted = (count: number, what: string): string => `${count} ${what}${count === 1 ? "" : "s"}`

/** The full report of a failure. `saved` is the corpus file, `replay` the command that runs the seed again. */
export const formatFailure = (
  definition: Pick<Definition, "name" | "options">,
  failure: Failure,
  details: { readonly place: Place; readonly saved?: string | undefined; readonly replay: string }
): string => {
  const { result, shrunk } = failure
  const { config, verdict } = result
  const hits = Object.values(result.faults).reduce((sum, count) => sum + count, 0)
  const starved = definition.options.sometimes.filter((name) => (result.sometimes[name] ?? 0) === 0)
  const out = [
    `${definition.name}: t=${
      (result.violations[0]?.at ?? result.simulatedMs).toFixed(3)
    } ${verdict.kind}: ${verdict.message}`,
    `  seed    ${Replay.format(failure.replay)}   replay: ${details.replay}`,
    `  config  node ${details.place.node} · commit ${details.place.commit} · ${Config.format(config)} · starved: ${
      starved.join(", ") || "–"
    }`,
    `  trace   ${result.hash} (${
      failure.reproduced ? "reproduced" : `NOT reproduced, nondeterminism, ${failure.difference}`
    })`,
    `  after   ${result.steps} steps, ${result.simulatedMs.toFixed(0)} simulated ms, ${counted(hits, "fault")}${
      formatCounts(result.faults)
    }`
  ]
  for (const { seed, step } of failure.replay.branches) {
    out.push(`  branch  drawn from seed ${seed} from step ${step} on`)
  }
  const buggified = Object.keys(shrunk?.result.buggified ?? result.buggified)
  if (buggified.length > 0) out.push(`  buggify ${buggified.join(", ")}`)
  if (shrunk !== undefined) {
    const { plan, tape } = shrunk.recipe
    const faults = plan.map(formatFault).join("; ")
    const schedule = tape === undefined
      ? shrunk.recipe.config.schedule.policy === "production"
        ? "default schedule"
        : "schedule of the seed"
      : `${tape.filter((decision) => decision._tag === "yield").length} preemptions, ${
        tape.filter((decision) => decision._tag === "pick").length
      } picks`
    const sizes = Object.entries(shrunk.recipe.config.sizes).map(([name, size]) => `; ${name}=${size}`).join("")
    out.push(
      `  shrunk  ${counted(shrunk.before.faults, "fault")} to ${plan.length}${
        faults === "" ? "" : `: ${faults}`
      }; ${schedule}${sizes}` +
        ` (${shrunk.replays} replays)${details.saved === undefined ? "" : `; plan saved to ${details.saved}`}`
    )
  } else if (details.saved !== undefined) out.push(`  saved   ${details.saved}`)
  const shown = shrunk?.result ?? result
  const stop = shown.violations[0]?.event
  const events = shown.events.filter((event) => stop === undefined || event.index <= stop)
  for (const event of events.slice(-lines)) out.push(`  ${formatEvent(event)}`)
  for (const violation of result.violations.slice(1, 4)) out.push(`  also    ${violation.name}`)
  for (const fiber of shown.parked.slice(0, 5)) out.push(`  parked  ${fiber}`)
  return out.join("\n")
}

const formatCounts = (counts: Readonly<Record<string, number>>): string => {
  const entries = Object.entries(counts).toSorted((a, b) => b[1] - a[1])
  return entries.length === 0 ? "" : ` (${entries.map(([kind, count]) => `${kind} ${count}`).join(", ")})`
}

/** One line while a campaign runs. */
export const formatProgress = (name: string, tally: Tally, realMs: number): string =>
  `${name}: ${tally.runs} seeds, ${(tally.simulatedMs / 3_600_000).toFixed(2)} simulated h, ${
    Math.round(tally.steps / Math.max(1, realMs / 1000))
  } steps/s, ${((tally.runs * 60_000) / Math.max(1, realMs)).toFixed(0)} seeds/min`

/** The table at the end of a campaign. */
export const formatTally = (definition: Pick<Definition, "name" | "options">, tally: Tally, wallMs: number): string => {
  const total = Object.values(tally.faults).reduce((sum, count) => sum + count, 0)
  const row = (label: string, value: string) => `  ${label.padEnd(16)} ${value}`
  const out = [
    definition.name,
    row(
      "seeds",
      `${tally.runs} (${tally.explored} explored, ${tally.doubled} run twice, ${tally.fresh} again in a fresh thread) in ${
        (wallMs / 1000).toFixed(1)
      } s, ${((tally.runs * 60_000) / Math.max(1, wallMs)).toFixed(0)} a minute`
    ),
    row(
      "simulated",
      `${(tally.simulatedMs / 3_600_000).toFixed(2)} h, ${
        (tally.simulatedMs / Math.max(1, tally.realMs)).toFixed(0)
      } times real time, ${Math.round(tally.steps / Math.max(0.001, tally.realMs / 1000))} steps/s`
    ),
    row("faults", `${total}${formatCounts(tally.faults)}`),
    row("connections", String(tally.connections)),
    row("slowest", `seed ${tally.slowest.seed}, ${tally.slowest.realMs.toFixed(0)} ms`)
  ]
  if (Object.keys(tally.buggified).length > 0) out.push(row("buggify", formatCounts(tally.buggified).trim()))
  const names = new Set([...definition.options.sometimes, ...Object.keys(tally.sometimes)])
  for (const name of names) {
    const fired = tally.sometimes[name] ?? 0
    const rare = fired > 0 && fired * 200 < tally.runs ? "  rare: below 1 in 200" : ""
    out.push(row("sometimes", `${name}: ${fired} of ${tally.runs} seeds${fired === 0 ? "  NEVER" : rare}`))
  }
  for (const [name, times] of Object.entries(tally.evaluated)) {
    out.push(row("always", `${name}: checked ${times} times`))
  }
  for (const [name, saw] of Object.entries(tally.oracles)) out.push(row("oracle", `${name}: judged ${saw} events`))
  return out.join("\n")
}
