// `npm start`: build what changed, then hand over to the node with its sample data.
import { spawn, spawnSync } from "node:child_process"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("..", import.meta.url))
const build = spawnSync(
  process.execPath,
  [
    join(root, "node_modules/turbo/bin/turbo"),
    "run",
    "build",
    "--filter=perigee...",
    "--output-logs=errors-only",
    "--ui=stream",
    "--log-prefix=none"
  ],
  { cwd: root, stdio: ["ignore", "ignore", "inherit"], env: { ...process.env, TURBO_TELEMETRY_DISABLED: "1" } }
)
if (build.status !== 0) {
  console.error("perigee: the build failed. `npm run check` prints every type error.")
  process.exit(build.status ?? 1)
}
const node = spawn(process.execPath, [
  join(root, "apps/node/bin/perigee.mjs"),
  "start",
  "--sample",
  ...process.argv.slice(2)
], {
  cwd: process.env.INIT_CWD ?? root,
  stdio: "inherit"
})
// The terminal sends Ctrl-C to the whole group; a supervisor may signal only this process.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => node.kill(signal))
node.on("exit", (code, signal) => process.exit(code ?? (signal === "SIGINT" ? 130 : 143)))
