// `npm run bench -- bus [options]`: runs one area's benchmark, `bench/` of the package of that name.
import { spawnSync } from "node:child_process"
import { existsSync, readdirSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("..", import.meta.url))
const entry = (area) => join(root, "packages", area, "bench", "main.ts")
const areas = readdirSync(join(root, "packages")).filter((area) => existsSync(entry(area)))
const [area, ...options] = process.argv.slice(2)
if (area === undefined || !areas.includes(area)) {
  console.error(`usage: npm run bench -- <${areas.join(" | ")}> [options]`)
  process.exit(2)
}
const run = spawnSync(process.execPath, ["--expose-gc", "--conditions=@perigee/source", entry(area), ...options], {
  cwd: root,
  stdio: "inherit"
})
process.exit(run.status ?? 1)
