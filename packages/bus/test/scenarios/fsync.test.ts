import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { spawnSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { directory } from "../utils/places.ts"

const child = new URL("./fsync.child.ts", import.meta.url).pathname
const hasStrace = process.platform === "linux" && spawnSync("strace", ["true"], { stdio: "ignore" }).status === 0
const reason = hasStrace ? "" : " (skipped: needs strace)"

/** The system calls of a run that matter, in order: `sync` of the log, `ack`. */
const trace = (synchronous: "fsync" | "os") =>
  Effect.map(directory, (place) => {
    const log = join(place, "trace")
    const run = spawnSync("strace", [
      "-f",
      "-y",
      "-o",
      log,
      "-e",
      "trace=fsync,fdatasync,write",
      process.execPath,
      child,
      join(place, "events.db"),
      synchronous
    ])
    assert.strictEqual(run.status, 0, run.stderr.toString())
    const lines = readFileSync(log, "utf8").split("\n")
    const opened = lines.findIndex((line) => line.includes("\"opened"))
    assert.isAbove(opened, 0)
    return lines.slice(opened).flatMap((line) =>
      line.includes("\"acknowledged") ? ["ack"] : /f(data)?sync\(\d+<.*-wal>/.test(line) ? ["sync"] : []
    )
  })

describe("what an acknowledgement means, as the kernel sees it", () => {
  it.live.skipIf(!hasStrace)(
    `fsync: the log was forced to the device before each${reason}`,
    () =>
      Effect.map(trace("fsync"), (calls) => {
        let synced = 0
        for (const call of calls) {
          if (call === "sync") synced++
          else assert.isAbove(synced--, 0, "acknowledged before it was forced")
        }
        assert.strictEqual(calls.filter((call) => call === "ack").length, 10)
      })
  )

  it.live.skipIf(!hasStrace)(
    `os: nothing is forced${reason}`,
    () =>
      Effect.map(
        trace("os"),
        (calls) => assert.deepStrictEqual(calls.slice(0, 10), Array.from({ length: 10 }, () => "ack"))
      )
  )
})
