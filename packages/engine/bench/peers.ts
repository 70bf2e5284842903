/**
 * Clients as child processes that are asked for one piece of work after another: ours, its protocol on a bare socket, the Java client, the C++ library
 * through its Python wheel.
 */
import { Effect, Schedule, type Scope } from "effect"
import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { existsSync, mkdirSync, rmSync } from "node:fs"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import { cacheRoot, java, javaPeerClassPath, PULSAR_VERSION } from "../test/support/PeerCache.ts"

/** `rate` in messages a second, `cpu` in seconds of the client for a million messages, latencies in milliseconds. */
export interface Figures {
  readonly rate: number
  readonly cpu: number
  readonly p50: number
  readonly p99: number
  readonly megabytes: number
  readonly growth: number
}

export interface Peer {
  readonly name: string
  readonly version: string
  readonly run: (work: string, size: number, count: number, topic: string) => Promise<Figures>
}

const WHEEL = "3.13.0"
const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))

/** Without more to do a client ends by itself, and writes its profile if it was asked for one. */
const stop = (child: ChildProcess) => {
  const ended = Effect.sync(() => child.exitCode !== null || child.signalCode !== null).pipe(
    Effect.repeat({ schedule: Schedule.spaced(10), until: (isOver) => isOver })
  )
  return Effect.sync(() => child.stdin?.end()).pipe(
    Effect.andThen(Effect.timeoutOption(ended, "5 seconds")),
    Effect.andThen(Effect.suspend(() => {
      child.kill("SIGKILL")
      return ended
    }))
  )
}

const start = (
  name: string,
  version: string,
  command: string,
  args: ReadonlyArray<string>
): Effect.Effect<Peer, never, Scope.Scope> =>
  Effect.gen(function*() {
    const child = yield* Effect.acquireRelease(
      Effect.sync(() => spawn(command, args, { stdio: ["pipe", "pipe", "pipe"] })),
      stop
    )
    let diagnostics = ""
    child.stderr.on("data", (chunk: Buffer) => {
      diagnostics = (diagnostics + chunk.toString()).slice(-4000)
    })
    let resolve: (line: string) => void = () => undefined
    let reject: (cause: Error) => void = () => undefined
    createInterface({ input: child.stdout }).on("line", (line) => line.startsWith("{") && resolve(line))
    child.on("error", (cause) => reject(cause))
    child.on("close", (code) => reject(new Error(`${name} ended with ${code}: ${diagnostics}`)))
    return {
      name,
      version,
      run: async (work, size, count, topic) => {
        const answer = new Promise<string>((done, fail) => {
          resolve = done
          reject = fail
        })
        child.stdin.write(`${work} ${size} ${count} ${topic}\n`)
        const figures = JSON.parse(await answer) as Figures & { readonly error?: string }
        if (figures.error !== undefined) throw new Error(`${name}: ${work} failed: ${figures.error}`)
        return figures
      }
    }
  })

/** With `profile`, the folder that a processor profile goes to when the client ends. */
export const ours = (url: string, profile: string | undefined) =>
  start("perigee", "", process.execPath, [
    "--expose-gc",
    "--conditions=@perigee/source",
    ...profile === undefined ? [] : ["--cpu-prof", `--cpu-prof-dir=${profile}`],
    here("./client.ts"),
    url
  ])

/** The protocol without Effect. */
export const bareSocket = (url: string) =>
  start("bare socket", "", process.execPath, ["--conditions=@perigee/source", here("./bare.ts"), url])

export const javaClient = (url: string) =>
  Effect.flatMap(javaPeerClassPath, (classPath) =>
    start("Java", PULSAR_VERSION, java, [
      "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
      "-cp",
      classPath,
      here("./java/Bench.java"),
      url
    ]))

/** The wheel in a virtual environment of its own; undefined, and the reason printed, when it cannot be had. */
const python = Effect.sync(() => {
  const folder = join(cacheRoot, `python-${WHEEL}`)
  const command = join(folder, "bin", "python")
  if (existsSync(join(folder, "ready"))) return command
  const attempt = (program: string, ...args: ReadonlyArray<string>) =>
    spawnSync(program, args, { encoding: "utf8", timeout: 300_000 })
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(cacheRoot, { recursive: true })
  for (
    const step of [
      () => attempt("python3", "-m", "venv", folder),
      () => attempt(command, "-m", "pip", "install", "--quiet", `pulsar-client==${WHEEL}`)
    ]
  ) {
    const { error, status, stderr } = step()
    if (status === 0) continue
    console.error(`the C++ client is left out: ${error?.message ?? stderr.trim().split("\n").at(-1)}`)
    return undefined
  }
  mkdirSync(join(folder, "ready"))
  return command
})

export const cppClient = (url: string): Effect.Effect<Peer | undefined, never, Scope.Scope> =>
  Effect.flatMap(python, (command) =>
    command === undefined
      ? Effect.succeed(undefined)
      : start("C++ (Python)", WHEEL, command, [here("./python/bench.py"), url]))
