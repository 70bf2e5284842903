import { execFile } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"

const folder = fileURLToPath(new URL("../../examples/", import.meta.url))
const pages = ["README.md", "docs/reading.md"].map((page) =>
  readFileSync(new URL(`../../${page}`, import.meta.url), "utf8")
)
const run = promisify(execFile)

/** The first console block after the program that the example is, on the page that shows it. */
const promised = (name: string): string => {
  const program = readFileSync(join(folder, name), "utf8").trim()
  const page = pages.find((page) => page.includes(program))
  if (page === undefined) return assert.fail(`no page shows ${name} as it is`)
  return /```console\n\$ [^\n]*\n([^`]*)```/.exec(page.slice(page.indexOf(program)))![1]!
}

describe("the programs of the README and of docs print what is said there", () => {
  let scratch = ""
  beforeAll(() => {
    scratch = mkdtempSync(join(tmpdir(), "perigee-examples-"))
  })
  afterAll(() => rmSync(scratch, { recursive: true, force: true }))

  for (const name of ["first-light.ts", "exactly-once.ts", "resume.ts"]) {
    it(name, async () => {
      const { stderr, stdout } = await run(process.execPath, ["--conditions=@perigee/source", join(folder, name)], {
        cwd: scratch
      })
      assert.strictEqual(stdout, promised(name))
      assert.strictEqual(stderr, "")
    })
  }
})
