// `npm run sim -- [package] [--seeds N] [--minutes M] [--seed S]`: runs simulations on their sources, in workers.
import { spawnSync } from "node:child_process"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("..", import.meta.url))
const command = join(root, "packages/sim/bin/perigee-sim.mjs")
const run = spawnSync(process.execPath, ["--conditions=@perigee/source", command, ...process.argv.slice(2)], {
  cwd: root,
  stdio: "inherit"
})
process.exit(run.status ?? 1)
