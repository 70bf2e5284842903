/**
 * One stored event, as the node writes it on a line, for people and for programs.
 */

/** What follows the payload: the members behind it have fixed names, and quotation marks inside texts are escaped. */
const behindRaw = ",\"insertion_ts\":\""
const beforeRaw = ",\"raw\":"

/** The payload as it was appended. */
export const payloadOf = (line: string): string =>
  line.slice(line.indexOf(beforeRaw) + beforeRaw.length, line.lastIndexOf(behindRaw))

const time = (line: string): string => {
  const from = line.lastIndexOf(behindRaw) + behindRaw.length
  const nanos = line.slice(from, line.indexOf("\"", from))
  return new Date(Number(nanos.slice(0, -6))).toISOString()
}

export type Form = "text" | "json" | "envelope"

export const form = (flags: { readonly json: boolean; readonly envelope: boolean }): Form =>
  flags.envelope ? "envelope" : flags.json ? "json" : "text"

/** For people with the time it came in; for programs the payload alone, or everything. */
export const eventText = (line: string, as: Form): string => {
  switch (as) {
    case "text":
      return `${time(line)}  ${payloadOf(line)}\n`
    case "json":
      return `${payloadOf(line)}\n`
    case "envelope":
      return `${line}\n`
  }
}
