import { Effect, type Scope } from "effect"
import { type ChildProcess, spawn } from "node:child_process"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { makeTestNode, type TestNode } from "./TestNode.ts"

const bin = fileURLToPath(new URL("../../bin/perigee.mjs", import.meta.url))
const nodeArguments = ["--conditions=@perigee/source", "--disable-warning=ExperimentalWarning", bin]

/** `perigee` for a shell. */
export const perigeeCommand = [process.execPath, ...nodeArguments].map((word) => `'${word}'`).join(" ")

export interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

export interface Running {
  readonly process: ChildProcess
  readonly stdout: () => string
  readonly stderr: () => string
  readonly ended: Effect.Effect<Ended>
}

export interface RunOptions {
  readonly cwd?: string
  readonly env?: Record<string, string>
  readonly input?: string | Uint8Array
  /** Leave standard input open, for more to come. */
  readonly open?: boolean
}

/** Runs `perigee …` as a user would, from the sources. It is killed when the scope ends, if it still runs. */
export const spawnPerigee = (
  args: ReadonlyArray<string>,
  options: RunOptions = {}
): Effect.Effect<Running, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const child = spawn(process.execPath, [...nodeArguments, ...args], {
        cwd: options.cwd,
        env: { ...process.env, NO_COLOR: "1", ...options.env },
        stdio: ["pipe", "pipe", "pipe"]
      })
      let stdout = ""
      let stderr = ""
      child.stdout.on("data", (chunk: Buffer) => {
        stdout += chunk.toString()
      })
      child.stderr.on("data", (chunk: Buffer) => {
        stderr += chunk.toString()
      })
      child.stdin.on("error", () => {})
      if (options.open !== true) child.stdin.end(options.input)
      const ended = new Promise<Ended>((resolve) =>
        child.once("close", (code, signal) => resolve({ code, signal, stdout, stderr }))
      )
      return { process: child, stdout: () => stdout, stderr: () => stderr, ended: Effect.promise(() => ended) }
    }),
    ({ ended, process: child }) =>
      Effect.suspend(() => {
        if (child.exitCode !== null || child.signalCode !== null) return Effect.void
        child.kill("SIGKILL")
        return Effect.asVoid(ended)
      })
  )

/** Runs a command to its end. */
export const perigee = (args: ReadonlyArray<string>, options: RunOptions = {}): Effect.Effect<Ended> =>
  Effect.scoped(Effect.flatMap(spawnPerigee(args, options), ({ ended }) => ended))

export interface ChildNode extends TestNode {
  readonly child: Running
}

/** Starts a real node and waits until it serves; fails with what it said when it ends instead. */
export const startChild = Effect.fnUntraced(
  function*(dir: string, args: ReadonlyArray<string> = [], options: RunOptions = {}) {
    const child = yield* spawnPerigee([
      "start",
      "--json",
      ...args.includes("--port") ? [] : ["--port", "0"],
      "--state",
      dir,
      ...args
    ], options)
    const line = yield* Effect.promise(() =>
      new Promise<string>((resolve, reject) => {
        let text = ""
        child.process.stdout!.on("data", (chunk: Buffer) => {
          text += chunk.toString()
          const end = text.indexOf("\n")
          if (end !== -1) resolve(text.slice(0, end))
        })
        child.process.once("close", (code) => reject(new Error(`the node ended with ${code}: ${child.stderr()}`)))
      })
    )
    const { url } = JSON.parse(line) as { readonly url: string }
    const token = readFileSync(join(dir, "token"), "utf8").trim()
    return { ...makeTestNode(url, dir, token), child } satisfies ChildNode
  }
)
