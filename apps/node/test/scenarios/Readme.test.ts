import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { spawn } from "node:child_process"
import { readFileSync, symlinkSync } from "node:fs"
import { join } from "node:path"
import { startBroker } from "../support/Broker.ts"
import { perigeeCommand, startChild } from "../support/ChildNode.ts"
import { scratch } from "../support/TestNode.ts"

const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8")

/** What stands between two marks. */
const part = (mark: string): string =>
  readme.slice(readme.indexOf(`<!-- ${mark} -->`), readme.indexOf(`<!-- /${mark} -->`))

interface Step {
  readonly command: string
  readonly output: string
}

const stepsOf = (story: string): ReadonlyArray<Step> =>
  [...story.matchAll(/```console\n([\s\S]*?)```/g)].flatMap(([, block]) =>
    block!.split(/^\$ /m).slice(1).map((step) => {
      const end = step.indexOf("\n")
      return { command: step.slice(0, end), output: step.slice(end + 1) }
    })
  )

/** What differs from one run to the next: times, identities, cursors. */
const normalise = (text: string): string =>
  text
    .replace(/"insertion_ts":"\d{19}"/g, "\"insertion_ts\":\"…\"")
    .replace(/"dedup_id":"[0-9a-f]+:/g, "\"dedup_id\":\"…:")
    .replace(/"eyI[A-Za-z0-9+/=]+"/g, "\"cursor\"")
    .replace(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z/g, "…")
    .replace(/\b\d+:\d+(:-1:-?\d+)\b/g, "…$1")
    .replace(/"millis":\d+/g, "\"millis\":…")
    .trimEnd()

/** Runs the commands one after the other in one shell, and gives what each of them printed. */
const inOneShell = (cwd: string, commands: ReadonlyArray<string>): Effect.Effect<ReadonlyArray<string>> =>
  Effect.promise(() =>
    new Promise((resolve) => {
      const mark = "--- next ---"
      const shell = spawn("bash", ["-s"], { cwd, stdio: ["pipe", "pipe", "inherit"] })
      let text = ""
      shell.stdout.on("data", (chunk: Buffer) => {
        text += chunk.toString()
      })
      shell.once("close", () => resolve(text.split(`${mark}\n`).slice(0, -1)))
      shell.stdin.end(commands.map((command) => `${command}\necho '${mark}'\n`).join(""))
    })
  )

describe("README", () => {
  it.live("its curl commands do what it says they do", () =>
    Effect.gen(function*() {
      const steps = stepsOf(part("curl"))
      assert.isAbove(steps.length, 10)
      const cwd = yield* scratch
      const node = yield* startChild(join(cwd, "state"))
      symlinkSync(node.dir, join(cwd, ".perigee"))
      const commands = steps.map(({ command }) => command.replace("http://127.0.0.1:7700", node.url))
      const printed = yield* inOneShell(cwd, commands)
      for (const [index, { command, output }] of steps.entries()) {
        assert.strictEqual(normalise(printed[index]!), normalise(output), command)
      }
    }))

  it.live("its commands for Pulsar do what it says they do", () =>
    Effect.gen(function*() {
      const steps = stepsOf(part("pulsar"))
      assert.isAbove(steps.length, 5)
      const broker = yield* startBroker({ deduplication: true })
      const commands = steps.map(({ command }) => command.replace(/^perigee /, `${perigeeCommand} `))
      const printed = yield* inOneShell(yield* scratch, [`export PULSAR_URL=${broker.url}`, ...commands])
      for (const [index, { command, output }] of steps.entries()) {
        assert.strictEqual(normalise(printed[index + 1]!), normalise(output), command)
      }
    }))

  it("names every limit and every exit code that there is", () => {
    const config = readFileSync(new URL("../../src/Config.ts", import.meta.url), "utf8")
    for (const [, name] of config.matchAll(/Config\.(?:Int|Duration)\("([A-Z_]+)"\)/g)) {
      assert.include(readme, `PERIGEE_${name}`)
    }
    const failure = readFileSync(new URL("../../src/Failure.ts", import.meta.url), "utf8")
    for (const [, code] of failure.matchAll(/^ {2}\w+: (\d+),?$/gm)) {
      assert.match(readme, new RegExp(`^\\| (\\d+, )?${code}\\b`, "m"), code)
    }
  })
})
