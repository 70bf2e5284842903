// `npm start` as a newcomer meets it: a fresh clone, nothing installed. Twice: with an empty store, and with what the first run left.
import { spawn, spawnSync } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("..", import.meta.url))
const scratch = mkdtempSync(join(tmpdir(), "perigee-e2e-"))
const clone = join(scratch, "perigee")

const fail = (message) => {
  console.error(`e2e: ${message}`)
  rmSync(scratch, { recursive: true, force: true })
  process.exit(1)
}

if (spawnSync("git", ["clone", "--quiet", "--no-local", root, clone], { stdio: "inherit" }).status !== 0) {
  fail("git clone failed")
}

/** Runs `npm start` until its output matches `until`, hands the output to `then`, and stops it as Ctrl-C would. */
const start = (until, then) =>
  new Promise((resolve) => {
    const started = process.hrtime.bigint()
    // The caller's own tools are not the newcomer's: no bin folder of this checkout on the path.
    const PATH = process.env.PATH.split(":").filter((entry) => !entry.includes("node_modules")).join(":")
    const child = spawn("npm", ["start", "--", "--port", "0"], {
      cwd: clone,
      env: { ...process.env, PATH, INIT_CWD: undefined },
      detached: true
    })
    let output = ""
    let reached = false
    const limit = setTimeout(() => {
      process.kill(-child.pid, "SIGKILL")
      fail(`npm start did not get there in 5 minutes:\n${output}`)
    }, 300_000)
    const read = async (chunk) => {
      output += chunk
      if (reached || !until.test(output)) return
      reached = true
      await then(output).catch((cause) => {
        process.kill(-child.pid, "SIGKILL")
        fail(`${cause}\n${output}`)
      })
      process.kill(-child.pid, "SIGINT")
    }
    child.stdout.on("data", read)
    child.stderr.on("data", read)
    child.on("exit", (code, signal) => {
      clearTimeout(limit)
      if (!reached) fail(`npm start ended early with ${code ?? signal}:\n${output}`)
      resolve({ output, seconds: Number(process.hrtime.bigint() - started) / 1e9 })
    })
  })

const SAMPLE = 38_094
const check = (expected) => async (output) => {
  const url = /http:\/\/127\.0\.0\.1:\d+/.exec(output)?.[0]
  if (url === undefined) throw new Error("no address printed")
  const ready = await fetch(`${url}/readyz`)
  if (!ready.ok) throw new Error(`/readyz answers ${ready.status}`)
  if (!expected.test(output)) throw new Error(`the output does not say ${expected}`)
}

const grouped = SAMPLE.toLocaleString("en-US")
const first = await start(/tail/, check(new RegExp(`${SAMPLE}|${grouped}`)))
console.log(first.output.trim())
console.log(`first start: ${first.seconds.toFixed(1)} s`)
const second = await start(/tail/, check(new RegExp(`${SAMPLE}|${grouped}`)))
console.log(second.output.trim())
console.log(`second start: ${second.seconds.toFixed(1)} s`)

rmSync(scratch, { recursive: true, force: true })
