/**
 * What `perigee start` says on a terminal.
 */
import { relative } from "node:path"
import type { BridgeSpec } from "../bridge/BridgeSpec.ts"
import { version } from "../Version.ts"

const short = (dir: string): string => {
  const path = relative(process.cwd(), dir)
  return path === "" || path.startsWith("..") ? dir : `./${path}`
}

/** What runs, and where. */
export const banner = (url: string, dir: string, bridges: ReadonlyArray<BridgeSpec> = []): string =>
  [
    `perigee ${version} · node ${process.versions.node} · store sqlite (fsync) · state ${short(dir)}`,
    `  api      ${url}/v1         token in ${short(dir)}/token`,
    `  openapi  ${url}/openapi.json`,
    `  metrics  ${url}/metrics`,
    ...bridges.map(({ channel, direction, topic }) =>
      `  bridge   ${direction === "out" ? `${channel} → ${topic}` : `${topic} → ${channel}`}`
    )
  ].join("\n")

/** What to do with it. */
export const ready = (url: string, dir: string): string => {
  const state = short(dir) === "./.perigee" ? "" : ` --state ${short(dir)}`
  return [
    "",
    "Query it:",
    `  npx perigee query --filter 'magnitude>=6' --limit 3${state}`,
    `  curl -G -H "Authorization: Bearer $(cat ${
      short(dir)
    }/token)" --data-urlencode 'filter=magnitude>=6' '${url}/v1/events?limit=3'`,
    "Follow it:",
    `  npx perigee tail --from beginning${state}`,
    `  curl -N -H "Authorization: Bearer $(cat ${short(dir)}/token)" ${url}/v1/tail`,
    "",
    "Serving. Ctrl-C stops it; everything answered for is on the disk."
  ].join("\n")
}
