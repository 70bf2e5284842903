/**
 * NDJSON over HTTP to durable: one client streams the bundled earthquakes, repeated, into a real node; every line is validated.
 *
 * Part of `npm run bench -- node`.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { request } from "node:http"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { gunzipSync } from "node:zlib"
import { measure, type Measured, type Row, versus } from "../../../bench/harness.ts"

const bin = fileURLToPath(new URL("../bin/perigee.mjs", import.meta.url))
const sample = gunzipSync(readFileSync(new URL("../data/earthquakes.ndjson.gz", import.meta.url)))

interface Running {
  readonly url: string
  readonly token: string
  readonly dir: string
  readonly process: ChildProcess
}

const start = async (): Promise<Running> => {
  const dir = mkdtempSync(join(tmpdir(), "perigee-bench-"))
  const child = spawn(process.execPath, [
    "--conditions=@perigee/source",
    bin,
    "start",
    "--json",
    "--port",
    "0",
    "--state",
    dir
  ], {
    stdio: ["ignore", "pipe", "inherit"]
  })
  const line = await new Promise<string>((resolve, reject) => {
    child.stdout!.once("data", (chunk: Buffer) => resolve(chunk.toString()))
    child.once("exit", (code) => reject(new Error(`the node ended with ${code}`)))
  })
  const { url } = JSON.parse(line) as { readonly url: string }
  return { url, token: readFileSync(join(dir, "token"), "utf8").trim(), dir, process: child }
}

const stop = async (node: Running): Promise<void> => {
  const ended = new Promise((resolve) => node.process.once("exit", resolve))
  node.process.kill("SIGTERM")
  await ended
  rmSync(node.dir, { recursive: true, force: true })
}

interface Figures {
  readonly cpu_seconds: number
  readonly resident_bytes: number
  readonly event_loop_delay_p99_ms: number
}

const figures = async (node: Running): Promise<Figures> => {
  const response = await fetch(`${node.url}/v1/stats`, { headers: { authorization: `Bearer ${node.token}` } })
  return ((await response.json()) as { readonly process: Figures }).process
}

/** Streams the sample `times` times in one request; ends with the answer that all of it is stored. */
const stream = (node: Running, times: number): Promise<{ readonly accepted: number; readonly durable: number }> =>
  new Promise((resolve, reject) => {
    const call = request(`${node.url}/v1/events`, {
      method: "POST",
      headers: {
        authorization: `Bearer ${node.token}`,
        "content-type": "application/x-ndjson",
        "content-length": String(sample.length * times)
      }
    }, (response) => {
      let text = ""
      response.on("data", (chunk: Buffer) => {
        text += chunk.toString()
      })
      response.on("end", () => response.statusCode === 200 ? resolve(JSON.parse(text)) : reject(new Error(text)))
    })
    call.on("error", reject)
    let sent = 0
    const more = (): void => {
      while (sent < times) {
        sent++
        if (!call.write(sample)) {
          call.once("drain", more)
          return
        }
      }
      call.end()
    }
    more()
  })

interface Run {
  readonly megabytesPerSecond: number
  /** Processor time of the node, all threads, for a gigabyte. */
  readonly cpuPerGigabyte: number
  readonly residentPeak: number
  /** Resident memory in the second half of the run over that in the first. */
  readonly growth: number
  readonly delayP99: number
}

const once = async (bytes: number): Promise<Run> => {
  const node = await start()
  try {
    // Code that has not run yet is slower; the first megabytes are nobody's figure.
    await stream(node, 8)
    const before = await figures(node)
    const times = Math.ceil(bytes / sample.length)
    const seen: Array<Figures> = []
    const watching = new AbortController()
    const watch = (async () => {
      while (!watching.signal.aborted) {
        await new Promise((resolve) => setTimeout(resolve, 500))
        seen.push(await figures(node))
      }
    })()
    const started = performance.now()
    const answer = await stream(node, times)
    const seconds = (performance.now() - started) / 1000
    watching.abort()
    await watch
    if (answer.durable !== times * 38_094) throw new Error(`sent ${times * 38_094} events, stored ${answer.durable}`)
    const after = await figures(node)
    const half = Math.floor(seen.length / 2)
    const peak = (part: ReadonlyArray<Figures>) => Math.max(...part.map((figure) => figure.resident_bytes))
    return {
      megabytesPerSecond: times * sample.length / 1e6 / seconds,
      cpuPerGigabyte: (after.cpu_seconds - before.cpu_seconds) / (times * sample.length / 1e9),
      residentPeak: peak(seen) / 1e6,
      growth: half === 0 ? 1 : peak(seen.slice(half)) / peak(seen.slice(0, half)),
      delayP99: Math.max(...seen.map((figure) => figure.event_loop_delay_p99_ms))
    }
  } finally {
    await stop(node)
  }
}

/** The rows of this benchmark: rate, resident memory, event-loop delay. */
export const http = async (
  options: { readonly gigabytes?: number; readonly runs?: number } = {}
): Promise<ReadonlyArray<Row>> => {
  const runs: Array<Run> = []
  const rate = await measure(
    async () => {
      const run = await once((options.gigabytes ?? 2) * 1e9)
      runs.push(run)
      return run.megabytesPerSecond
    },
    options.runs ?? 5,
    0
  )
  const figure = (of: (run: Run) => number): Measured => {
    const values = runs.map(of)
    const sorted = values.toSorted((a, b) => a - b)
    const median = sorted[Math.floor(sorted.length / 2)]!
    return { median, spread: (sorted.at(-1)! - sorted[0]!) / median, runs: values }
  }
  return [
    versus("HTTP NDJSON append to durable, one client, every line validated", "MB/s", rate, {
      goal: { text: "≥ 100 MB/s", met: (ours) => ours >= 100 }
    }),
    versus("… processor time of the node, all threads", "s/GB", figure((run) => run.cpuPerGigabyte)),
    versus("… peak resident memory of the node", "MB", figure((run) => run.residentPeak)),
    versus("… resident memory, second half over first", "×", figure((run) => run.growth), {
      goal: { text: "flat: ≤ 1.15 ×", met: (ours) => ours <= 1.15 }
    }),
    versus("… event loop delay p99, worst half second", "ms", figure((run) => run.delayP99))
  ]
}
