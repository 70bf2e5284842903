// Bugs planted in copies of the bus: the simulation must find each, shrink it, store it, and replay it in a fresh process
// with the command that it printed. A mutant that survives means that the scenarios look away.
import { assert, describe, it } from "@effect/vitest"
import { execFile } from "node:child_process"
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("../../../..", import.meta.url))
const bus = join(root, "packages/bus")
const command = join(root, "packages/sim/bin/perigee-sim.mjs")

interface Mutant {
  readonly name: string
  readonly file: string
  readonly find: string
  readonly replace: string
  readonly scenario: "crash" | "adapter"
}

const mutants: ReadonlyArray<Mutant> = [
  {
    name: "the last event of a producer is not recognised when it is submitted again",
    file: "core/Producers.ts",
    find: "return sequence <= (this.#marks[shard]?.accepted ?? 0)",
    replace: "return sequence < (this.#marks[shard]?.accepted ?? 0)",
    scenario: "crash"
  },
  {
    name: "a batch is stored with marks that lag one behind",
    file: "core/Producers.ts",
    find: "{ producer: this.name, shards: this.#shards, shard, sequence },",
    replace: "{ producer: this.name, shards: this.#shards, shard, sequence: sequence - 1 },",
    scenario: "crash"
  },
  {
    name: "a batch that was lost is not counted",
    file: "core/Lane.ts",
    find: "this[counted] += shipment.batch.count",
    replace: "this[counted] += 0",
    scenario: "adapter"
  }
]

const sim = (args: ReadonlyArray<string>, corpus: string) =>
  new Promise<{ readonly code: number; readonly text: string }>((resolve) => {
    const { VITEST: _vitest, ...env } = process.env
    execFile(
      process.execPath,
      ["--conditions=@perigee/source", command, ...args],
      { cwd: root, env: { ...env, SIM_CORPUS: corpus } },
      (error, stdout, stderr) => resolve({ code: error === null ? 0 : Number(error.code ?? 1), text: stdout + stderr })
    )
  })

describe("planted bugs", () => {
  it.each(mutants)("found: $name", async ({ file, find, name, replace, scenario }) => {
    // Below the package, so that imports resolve as they do in the original.
    const copy = join(bus, ".perigee", `mutant-${mutants.findIndex((mutant) => mutant.name === name)}`)
    const corpus = join(copy, "corpus")
    rmSync(copy, { recursive: true, force: true })
    mkdirSync(copy, { recursive: true })
    try {
      for (const part of ["src", "test/sim", "test/support"]) {
        cpSync(join(bus, part), join(copy, part), { recursive: true })
      }
      const path = join(copy, "src", file)
      const source = readFileSync(path, "utf8")
      assert.strictEqual(source.split(find).length, 2, `${file} no longer has the line that this bug replaces`)
      writeFileSync(path, source.replace(find, replace))
      const test = join(copy, "test/sim", `${scenario}.test.ts`)
      const found = await sim([test, "--seeds", "200", "--workers", "1", "--base", "1"], corpus)
      assert.strictEqual(found.code, 1, found.text)
      assert.match(found.text, /violation: /)
      assert.match(found.text, /shrunk {2}\d+ faults? to [0-6]\b/)
      assert.strictEqual(readdirSync(corpus).length, 1)
      const [, seed] = /replay: npm run sim -- \S+ --test "[^"]+" --seed (\S+)/.exec(found.text)!
      const [, trace] = /trace {3}([\da-f]{16}) \(reproduced\)/.exec(found.text)!
      const again = await sim([test, "--seed", seed!], corpus)
      assert.strictEqual(again.code, 1)
      assert.include(again.text, `trace ${trace} violation`)
    } finally {
      rmSync(copy, { recursive: true, force: true })
    }
  }, 180_000)
})
