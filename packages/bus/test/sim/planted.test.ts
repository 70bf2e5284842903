// What a wrong store does, each caught by the scenarios that are meant to catch it: found, shrunk and stored.
import { assert, describe, it } from "@effect/vitest"
import { execFile } from "node:child_process"
import { mkdtempSync, readdirSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import type { Defect } from "./support/LogAdapter.ts"

const root = fileURLToPath(new URL("../../../..", import.meta.url))
const command = join(root, "packages/sim/bin/perigee-sim.mjs")

const planted: ReadonlyArray<readonly [defect: Defect, scenario: string, said: RegExp]> = [
  ["acknowledges before the disk has it", "crash", /violation: nothing acknowledged is lost/],
  ["forgets producer marks", "crash", /violation: nothing is stored twice/],
  ["stores a retried batch again", "laws", /violation: append is idempotent/]
]

describe("a store that is wrong is found", () => {
  it.each(planted)("%s", async (defect, scenario, said) => {
    const folder = mkdtempSync(join(tmpdir(), "bus-planted-"))
    try {
      const file = fileURLToPath(new URL(`${scenario}.test.ts`, import.meta.url))
      const { VITEST: _vitest, ...env } = process.env
      const text = await new Promise<string>((resolve) => {
        execFile(
          process.execPath,
          ["--conditions=@perigee/source", command, file, "--seeds", "200", "--workers", "1", "--base", "1"],
          { cwd: root, env: { ...env, PLANTED_DEFECT: defect, SIM_CORPUS: folder } },
          (_, stdout, stderr) => resolve(stdout + stderr)
        )
      })
      assert.match(text, said)
      assert.match(text, /shrunk {2}\d+ faults? to [0-6]\b/)
      assert.strictEqual(readdirSync(folder).length, 1)
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  }, 120_000)
})
