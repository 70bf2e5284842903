/** Builds and runs the Rust peer under `interop/`, where cargo is there. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process"
import { existsSync } from "node:fs"
import { fileURLToPath } from "node:url"

const folder = fileURLToPath(new URL("../interop/", import.meta.url))
const target = process.env["CARGO_TARGET_DIR"] ?? `${folder}target`
export const binary = `${target}/release/conduit-interop`

/** Why the peer cannot be had, or undefined when it was built. */
export const unavailable = ((): string | undefined => {
  if (process.env["CONDUIT_RUST"] === "off") return "CONDUIT_RUST=off"
  if (spawnSync("cargo", ["--version"]).status !== 0) return "cargo is not installed"
  try {
    // The first build fetches and compiles about a hundred crates.
    execFileSync("cargo", ["build", "--release", "--quiet"], { cwd: folder, stdio: ["ignore", "ignore", "pipe"] })
  } catch (error) {
    return `cargo build failed: ${String((error as { stderr?: unknown }).stderr).slice(0, 500)}`
  }
  return existsSync(binary) ? undefined : "cargo built nothing"
})()

export interface RustPeer {
  readonly child: ChildProcess
  /** Lines so far. */
  readonly lines: Array<string>
  /** Resolves with the first line that starts like this. */
  readonly line: (start: string) => Promise<string>
}

export const run = (...args: Array<string>): RustPeer => {
  const child = spawn(binary, args, { stdio: ["ignore", "pipe", "pipe"] })
  const lines: Array<string> = []
  const waiting = new Set<() => void>()
  let rest = ""
  child.stdout.on("data", (chunk) => {
    const parts = (rest + String(chunk)).split("\n")
    rest = parts.pop()!
    lines.push(...parts)
    for (const look of waiting) look()
  })
  let errors = ""
  child.stderr.on("data", (chunk) => {
    errors += String(chunk)
  })
  return {
    child,
    lines,
    line: (start) =>
      new Promise((resolve, reject) => {
        const look = () => {
          const found = lines.find((line) => line.startsWith(start))
          if (found === undefined) return
          waiting.delete(look)
          resolve(found)
        }
        waiting.add(look)
        child.once("exit", (code) => reject(new Error(`the Rust peer ended with ${code}: ${errors.slice(0, 300)}`)))
        look()
      })
  }
}
