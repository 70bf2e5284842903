/**
 * What the foreign peers need from Maven Central, resolved once into `node_modules/.cache/pulsar`: the broker's jars, the compiled Java programs.
 *
 * Everything is keyed by a digest of its sources, so a change of a `pom.xml` or a `.java` file makes a new folder and never a stale run.
 */
import { Data, Effect } from "effect"
import { spawn, spawnSync } from "node:child_process"
import { createHash } from "node:crypto"
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmdirSync, rmSync, statSync } from "node:fs"
import { join, relative } from "node:path"
import { fileURLToPath } from "node:url"

export class PeerError extends Data.TaggedError("PeerError")<{ readonly message: string; readonly cause?: unknown }> {}

export const PULSAR_VERSION = "4.2.4"

const engine = fileURLToPath(new URL("../..", import.meta.url))
export const brokerSources = join(engine, "test/peer/broker")
export const javaSources = join(engine, "test/peer/java")
export const cacheRoot = join(engine, "../../node_modules/.cache/pulsar")

export const java = process.env["JAVA_HOME"] === undefined ? "java" : join(process.env["JAVA_HOME"], "bin", "java")

const answers = (command: string, argument: string): boolean =>
  spawnSync(command, [argument], { stdio: "ignore" }).status === 0

const findReason = (): string | undefined => {
  if (process.platform === "win32") return "the Pulsar peers run on Linux and macOS only"
  if (!answers(java, "-version")) return "no Java runtime (17 or newer) on the path"
  const resolved = existsSync(cacheRoot) && readdirSync(cacheRoot).some((name) => name.startsWith("broker-"))
  if (!resolved && !answers("mvn", "-version")) {
    return "no Maven on the path, and the broker's jars are not in the cache"
  }
  return undefined
}

let known: { readonly reason: string | undefined } | undefined

/** Why the real broker and the Java client cannot run on this machine, or `undefined` when they can. */
export const unavailable = (): string | undefined => {
  known ??= { reason: findReason() }
  return known.reason
}

const filesIn = (folder: string): ReadonlyArray<string> =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort()

const digest = (files: ReadonlyArray<string>): string => {
  const hash = createHash("sha256")
  for (const file of files) hash.update(relative(engine, file)).update(readFileSync(file))
  return hash.digest("hex").slice(0, 12)
}

/** Runs a program to its end; what it printed is in the error when it fails. */
export const run = (command: string, args: ReadonlyArray<string>, cwd?: string): Effect.Effect<string, PeerError> =>
  Effect.callback((resume) => {
    const child = spawn(command, args, { cwd, stdio: ["ignore", "pipe", "pipe"] })
    let output = ""
    const read = (chunk: Buffer) => {
      output = (output + chunk.toString()).slice(-65_536)
    }
    child.stdout.on("data", read)
    child.stderr.on("data", read)
    child.on("error", (cause) => resume(new PeerError({ message: `cannot start ${command}`, cause })))
    child.on(
      "close",
      (code) =>
        resume(
          code === 0 ? Effect.succeed(output) : new PeerError({ message: `${command} ended with ${code}:\n${output}` })
        )
    )
    return Effect.sync(() => {
      child.kill("SIGKILL")
    })
  })

const maven = (pom: string, ...args: ReadonlyArray<string>) => run("mvn", ["-B", "-q", "-f", pom, ...args])

const exists = (path: string): boolean => {
  try {
    statSync(path)
    return true
  } catch {
    return false
  }
}

/**
 * One holder at a time among processes, by the atomicity of `mkdir`. A lock older than `stale` was left by a process that died.
 */
export const withLock = <A, E, R>(
  path: string,
  stale: number,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> => {
  const acquire: Effect.Effect<void> = Effect.suspend(() => {
    try {
      mkdirSync(path)
      return Effect.void
    } catch {
      try {
        // The file system counts by the machine's clock, whatever the clock of a test says. Another process may release the lock between the two calls.
        if (Date.now() - statSync(path).mtimeMs > stale) rmdirSync(path)
      } catch {
        return acquire
      }
      return Effect.delay(acquire, 50)
    }
  })
  return Effect.acquireUseRelease(
    acquire,
    () => effect,
    () => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
  )
}

/** A folder that either does not exist or is whole: `build` fills a sibling that is renamed at the end. */
const once = <E>(folder: string, build: (into: string) => Effect.Effect<unknown, E>): Effect.Effect<string, E> =>
  Effect.suspend(() => {
    if (exists(folder)) return Effect.succeed(folder)
    mkdirSync(cacheRoot, { recursive: true })
    return withLock(
      `${folder}.lock`,
      600_000,
      Effect.suspend(() => {
        if (exists(folder)) return Effect.succeed(folder)
        const into = `${folder}.part`
        rmSync(into, { recursive: true, force: true })
        mkdirSync(into, { recursive: true })
        return Effect.map(build(into), () => {
          renameSync(into, folder)
          return folder
        })
      })
    )
  })

const jars = (folder: string): ReadonlyArray<string> =>
  readdirSync(folder).filter((name) => name.endsWith(".jar")).sort().map((name) => join(folder, name))

/** The folder of the broker: `lib` with its jars (about 180 MB, fetched on first use), and later its class data archive. */
export const brokerFolder: Effect.Effect<string, PeerError> = Effect.suspend(() => {
  const pom = join(brokerSources, "pom.xml")
  const folder = join(cacheRoot, `broker-${PULSAR_VERSION}-${digest([pom])}`)
  return once(
    folder,
    (into) =>
      maven(pom, "dependency:copy-dependencies", "-DincludeScope=runtime", `-DoutputDirectory=${join(into, "lib")}`)
  )
})

export const brokerClassPath = (folder: string): string => jars(join(folder, "lib")).join(":")

/** Class path of the compiled Java programs and the Java client. */
export const javaPeerClassPath: Effect.Effect<string, PeerError> = Effect.suspend(() => {
  const folder = join(cacheRoot, `java-${PULSAR_VERSION}-${digest(filesIn(javaSources))}`)
  return Effect.map(
    once(folder, (into) =>
      maven(
        join(javaSources, "pom.xml"),
        "compile",
        "dependency:copy-dependencies",
        "-DincludeScope=runtime",
        `-DoutputDirectory=${join(into, "lib")}`,
        `-Dpeer.target=${join(into, "target")}`
      )),
    () => [join(folder, "target", "classes"), ...jars(join(folder, "lib"))].join(":")
  )
})
