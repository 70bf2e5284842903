// The command and the runners, as a user meets them: in processes of their own.
import { assert, describe, it } from "@effect/vitest"
import { execFile } from "node:child_process"
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { parse } from "../src/cli/Arguments.ts"

const root = fileURLToPath(new URL("../../..", import.meta.url))
const bin = fileURLToPath(new URL("../bin/perigee-sim.mjs", import.meta.url))
const planted = fileURLToPath(new URL("fixtures/planted/line.ts", import.meta.url))
const leaky = fileURLToPath(new URL("fixtures/planted/leaky.ts", import.meta.url))
const exits = fileURLToPath(new URL("fixtures/planted/exits.ts", import.meta.url))
const hoards = fileURLToPath(new URL("fixtures/planted/hoards.ts", import.meta.url))

interface Outcome {
  readonly code: number
  readonly text: string
}

const node = (args: ReadonlyArray<string>, env: Readonly<Record<string, string>> = {}) =>
  new Promise<Outcome>((resolve) => {
    // Runs as a user's shell would: without the marks of the test runner around it.
    const { NODE_TEST_CONTEXT: _context, VITEST: _vitest, ...clean } = process.env
    execFile(
      process.execPath,
      ["--conditions=@perigee/source", ...args],
      { cwd: root, env: { ...clean, ...env } },
      (error, stdout, stderr) => resolve({ code: error === null ? 0 : Number(error.code ?? 1), text: stdout + stderr })
    )
  })
const sim = (args: ReadonlyArray<string>, env?: Readonly<Record<string, string>>) => node([bin, ...args], env)

const withFolder = async (use: (folder: string) => Promise<void>) => {
  const folder = mkdtempSync(join(tmpdir(), "sim-command-"))
  try {
    await use(folder)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
const cursorFirst = { PLANTED_DEFECT: "cursor stored before delivery" }

describe("perigee-sim", () => {
  it(
    "finds a planted bug, shrinks it, stores it, and replays it in a fresh process with the command it printed",
    () =>
      withFolder(async (folder) => {
        const env = { ...cursorFirst, PLANTED_CORPUS: folder }
        const found = await sim([planted, "--seeds", "100", "--workers", "2", "--base", "1"], env)
        assert.strictEqual(found.code, 1, found.text)
        assert.match(found.text, /shrunk {2}\d+ faults? to [0-6]\b/)
        const [file] = readdirSync(folder)
        assert.match(file!, /^planted-line-[\da-f]{8}\.json$/)
        const replay = /replay: npm run sim -- (\S+) --test "planted line" --seed (\S+)/.exec(found.text)!
        const trace = / trace {3}([\da-f]{16}) \(reproduced\)/.exec(found.text)![1]!
        const again = await sim([replay[1]!, "--test", "planted line", "--seed", replay[2]!], env)
        assert.strictEqual(again.code, 1, again.text)
        assert.include(again.text, `trace ${trace} violation`)
        // So does the stored plan, by itself.
        const stored = await sim([planted, "--entry", join(folder, file!), "--trace", join(folder, "trace.jsonl")], env)
        assert.strictEqual(stored.code, 1, stored.text)
        assert.match(stored.text, /planted line: entry open, found with seed \d+ on \S+ trace [\da-f]{16} violation/)
        const events = readFileSync(join(folder, "trace.jsonl"), "utf8").trim().split("\n")
        assert.include(events.map((event) => (JSON.parse(event) as { name: string }).name), "VIOLATION")
        rmSync(join(folder, "trace.jsonl"))
        // The stored entry is replayed first and listed.
        const corpus = await sim([planted, "--seeds", "1", "--base", "1", "--workers", "1"], env)
        assert.include(corpus.text, "OPEN ")
        const entry = JSON.parse(readFileSync(join(folder, file!), "utf8")) as { status: string }
        writeFileSync(join(folder, file!), JSON.stringify({ ...entry, status: "fixed", note: "cursor after delivery" }))
        const fixed = await sim([planted, "--seeds", "40", "--base", "1"], { PLANTED_CORPUS: folder })
        assert.strictEqual(fixed.code, 0, fixed.text)
        assert.include(fixed.text, "1 corpus entries replayed")
      }),
    120_000
  )
  it("prints a table: seeds, simulated time, faults by kind, sometimes, slowest seed", async () => {
    const { code, text } = await sim([planted, "--seeds", "40", "--workers", "2", "--base", "1"])
    assert.strictEqual(code, 0, text)
    for (const part of ["seeds ", "simulated ", "faults ", "sometimes        resumed: ", "slowest          seed "]) {
      assert.include(text, part)
    }
  }, 60_000)
  it.each([
    [["--seed", "abc"], "not a seed: \"abc\""],
    [["--seed", "4+170"], "not a seed: \"4+170\""],
    [["--seeds", "none"], "--seeds wants a whole number above zero"],
    [["--seeds", "1.5"], "--seeds wants a whole number above zero"],
    [["--minutes", "0"], "--minutes wants a number above zero"],
    [["--workers", "0"], "--workers wants a whole number above zero"],
    [["--base", "yesterday"], "not a seed: \"yesterday\""],
    [["sim", "bus"], "one package or file at a time"],
    [["--frobnicate"], "--frobnicate"]
  ])("does not understand %j", (args, message) => {
    assert.throws(() => parse(args), message)
  })
  it.each([
    [["--seed", "abc"], "usage: npm run sim -- [package or file] [options]"],
    [["--entry", "no-such-file.json"], "no-such-file.json does not exist"],
    [["no-such-package"], "no scenario found for no-such-package"],
    [["--test", "no such test", "sim"], "no scenario found for sim"]
  ])("refuses %j with exit code 2", async (args, message) => {
    const { code, text } = await sim(args)
    assert.strictEqual(code, 2, text)
    assert.include(text, message)
  }, 30_000)
  it("stops after the minutes it was given, and follows the day", async () => {
    const { code, text } = await sim([planted, "--minutes", "0.05", "--workers", "1", "--base", "date"])
    assert.strictEqual(code, 0, text)
    const [, seeds, seconds] = / seeds +(\d+) .* in ([\d.]+) s/.exec(text)!
    assert.isAbove(Number(seeds), 1)
    assert.isBelow(Number(seconds), 30)
  }, 60_000)
  it("repeats some runs in a fresh thread, where nothing can be left of earlier ones", async () => {
    const clean = await sim([planted, "--seeds", "60", "--workers", "1", "--base", "1"])
    assert.strictEqual(clean.code, 0, clean.text)
    assert.include(clean.text, "1 run twice, 1 again in a fresh thread")
    const remembering = await sim([leaky, "--seeds", "60", "--workers", "1", "--base", "1"])
    assert.strictEqual(remembering.code, 1, remembering.text)
    assert.match(
      remembering.text,
      /nondeterminism: 49 gave trace \S+ among other seeds and gives \S+ in a fresh thread/
    )
  }, 60_000)
  it("tells of a worker that runs out of memory, with its seed", async () => {
    const { code, text } = await sim([
      hoards,
      "--seeds",
      "5",
      "--workers",
      "1",
      "--base",
      "1",
      "--heap",
      "64"
    ])
    assert.strictEqual(code, 1, text)
    assert.match(text, /hoards: a worker ran out of memory on seed 1; replay: npm run sim -- /)
  }, 60_000)
  it("tells of a worker that ends, and of a corpus that it cannot read", () =>
    withFolder(async (folder) => {
      const gone = await sim([exits, "--seeds", "3", "--workers", "1", "--base", "1"])
      assert.strictEqual(gone.code, 1, gone.text)
      assert.include(gone.text, "a worker ended before its seeds did on seed 1; replay: npm run sim -- ")
      writeFileSync(join(folder, "planted-line-00000000.json"), JSON.stringify({ version: 2 }))
      const other = await sim([planted, "--seeds", "3", "--workers", "1"], { PLANTED_CORPUS: folder })
      assert.strictEqual(other.code, 2, other.text)
      assert.include(other.text, "planted-line-00000000.json: has version 2, this simulator reads 1")
    }), 60_000)
  it("lists scenarios", async () => {
    const { code, text } = await sim(["sim", "--list"])
    assert.strictEqual(code, 0, text)
    assert.include(text, "sim: a line delivers what was sent")
  }, 30_000)
})

describe("runners", () => {
  it("plain `node --test`: passes and fails with the report", async () => {
    const passed = await node(["--test", planted])
    assert.strictEqual(passed.code, 0, passed.text)
    const failed = await node(["--test", planted], cursorFirst)
    assert.strictEqual(failed.code, 1)
    assert.include(failed.text, "no gap, no duplicate, in order")
    assert.match(failed.text, /replay: SIM_SEED=\d+ /)
  }, 60_000)
  it(
    "the example of the README passes, and its careless version fails in one short way",
    () =>
      withFolder(async (folder) => {
        const example = fileURLToPath(new URL("../examples/inbox/Inbox.test.ts", import.meta.url))
        const good = await node(["--test", example], { SIM_CORPUS: "off" })
        assert.strictEqual(good.code, 0, good.text)
        const careless = await node(["--test", example], { INBOX: "careless", SIM_CORPUS: folder })
        assert.strictEqual(careless.code, 1)
        assert.match(careless.text, /violation: nothing acknowledged is lost/)
        assert.match(careless.text, /shrunk {2}\d+ faults? to 1: crash at/)
        assert.strictEqual(readdirSync(folder).length, 1)
      }),
    60_000
  )
  const wrong = [
    ["SIM_SEED", "three", "not a seed: \"three\""],
    ["SIM_BASE", "tomorrow", "not a seed: \"tomorrow\""],
    ["SIM_SEEDS", "many", "not a whole number above zero: \"many\""]
  ] as const
  it("SIM_SEED runs one seed, SIM_TRACE prints it, a wrong one is refused", async () => {
    const one = await node(["--test", planted], { SIM_SEED: "3", SIM_TRACE: "1" })
    assert.strictEqual(one.code, 0, one.text)
    assert.match(one.text, /planted line: seed 3 trace [\da-f]{16} pass/)
    assert.match(one.text, /rx +boot number=1/)
    for (const [name, value, problem] of wrong) {
      const refused = await node(["--test", planted], { [name]: value })
      assert.strictEqual(refused.code, 1)
      assert.include(refused.text, `${name}: ${problem}`)
    }
  }, 60_000)
})
