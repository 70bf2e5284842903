// Packs every public package as npm would publish it and holds the tarball against publint and Are the Types Wrong.
import { spawnSync } from "node:child_process"
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("..", import.meta.url))
const bin = (name) => join(root, "node_modules", ".bin", name)
const scratch = mkdtempSync(join(tmpdir(), "perigee-pack-"))
let failed = false

const run = (command, args, cwd) => {
  const result = spawnSync(command, args, { cwd, encoding: "utf8" })
  if (result.status !== 0) {
    failed = true
    console.error(`${command} ${args.join(" ")}\n${result.stdout}${result.stderr}`)
  }
  return result
}

for (const room of ["packages", "apps"]) {
  for (const name of readdirSync(join(root, room))) {
    const folder = join(root, room, name)
    if (!existsSync(join(folder, "package.json"))) continue
    const manifest = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"))
    if (manifest.private === true) continue
    const scripts = Object.keys(manifest.scripts ?? {}).filter((script) =>
      /^(pre|post)?install$|^prepare$/.test(script)
    )
    if (scripts.length > 0) {
      failed = true
      console.error(`${manifest.name} has install scripts: ${scripts.join(", ")}`)
    }
    const packed = run("npm", ["pack", "--json", "--pack-destination", scratch], folder)
    if (packed.status !== 0) continue
    const report = JSON.parse(packed.stdout)
    const { filename, entryCount, size } = Array.isArray(report) ? report[0] : Object.values(report)[0]
    const tarball = join(scratch, filename)
    run(bin("publint"), ["run", tarball, "--strict"], folder)
    if (manifest.exports !== undefined) {
      run(bin("attw"), [tarball, "--profile", "esm-only", "--format", "ascii"], folder)
    }
    console.log(`${manifest.name}: ${entryCount} files, ${(size / 1024).toFixed(0)} kB packed`)
  }
}
rmSync(scratch, { recursive: true, force: true })
process.exit(failed ? 1 : 0)
