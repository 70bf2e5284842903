import { execFile } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"

const folder = fileURLToPath(new URL("../../examples/", import.meta.url))
const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8")
const run = promisify(execFile)

/** The first console block of the README after the program that the example is. */
const promised = (name: string): string => {
  const at = readme.indexOf(readFileSync(join(folder, name), "utf8").trim())
  assert.notStrictEqual(at, -1, `the README does not show ${name} as it is`)
  return /```console\n\$ [^\n]*\n([^`]*)```/.exec(readme.slice(at))![1]!
}

describe("the README's programs print what it says", () => {
  let scratch = ""
  beforeAll(() => {
    scratch = mkdtempSync(join(tmpdir(), "perigee-examples-"))
  })
  afterAll(() => rmSync(scratch, { recursive: true, force: true }))

  for (const name of ["first-light.ts", "exactly-once.ts"]) {
    it(name, async () => {
      const { stderr, stdout } = await run(process.execPath, ["--conditions=@perigee/source", join(folder, name)], {
        cwd: scratch
      })
      assert.strictEqual(stdout, promised(name))
      assert.strictEqual(stderr, "")
    })
  }
})
