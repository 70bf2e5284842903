/**
 * The events that come with the command: 38,094 real earthquakes of 2016. See `data/README.md`.
 */
import { fileURLToPath } from "node:url"

export const sample = {
  path: fileURLToPath(new URL("../data/earthquakes.ndjson.gz", import.meta.url)),
  producer: "sample:earthquakes-2016",
  events: 38_094
} as const
