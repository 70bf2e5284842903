// `npm run bench -- <area> [options]`: runs one area's benchmark, `bench/main.ts` of the package or app of that name.
import { spawnSync } from "node:child_process"
import { existsSync, readdirSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("..", import.meta.url))
const entries = new Map(
  ["packages", "apps"].flatMap((room) =>
    readdirSync(join(root, room))
      .map((area) => [area, join(root, room, area, "bench", "main.ts")])
      .filter(([, entry]) => existsSync(entry))
  )
)
const [area, ...options] = process.argv.slice(2)
const entry = entries.get(area)
if (entry === undefined) {
  console.error(`usage: npm run bench -- <${[...entries.keys()].join(" | ")}> [options]`)
  process.exit(2)
}
const run = spawnSync(process.execPath, ["--expose-gc", "--conditions=@perigee/source", entry, ...options], {
  cwd: root,
  stdio: "inherit"
})
process.exit(run.status ?? 1)
