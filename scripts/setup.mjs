// Brings a fresh clone to the state the other scripts need, with nothing but what Node itself ships:
// dependencies as the lock file says, installed once and again only when the lock file changes.
import { spawnSync } from "node:child_process"
import { createHash } from "node:crypto"
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("..", import.meta.url))
const stamp = join(root, "node_modules", ".perigee-setup")
// The platform is part of the key: the `node` and `turbo` packages install a binary for one platform.
const wanted = createHash("sha256")
  .update(readFileSync(join(root, "package-lock.json")))
  .update(`${process.platform} ${process.arch}`)
  .digest("hex")

if (!existsSync(stamp) || readFileSync(stamp, "utf8") !== wanted) {
  console.log("Installing dependencies (npm ci) …")
  const started = process.hrtime.bigint()
  const install = spawnSync("npm", ["ci", "--no-audit", "--no-fund", "--loglevel=error"], {
    cwd: root,
    stdio: "inherit",
    // Windows runs npm through a command script.
    shell: process.platform === "win32"
  })
  if (install.status !== 0) {
    console.error("perigee: npm ci failed. See the messages above; then run the same command again.")
    process.exit(install.status ?? 1)
  }
  mkdirSync(join(root, "node_modules"), { recursive: true })
  writeFileSync(stamp, wanted)
  console.log(`Dependencies installed in ${(Number(process.hrtime.bigint() - started) / 1e9).toFixed(1)} s.`)
}
