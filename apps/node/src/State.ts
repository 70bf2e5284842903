/**
 * The directory that holds everything a node keeps.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { randomBytes } from "node:crypto"
import { existsSync } from "node:fs"
import * as Fs from "node:fs/promises"
import { dirname, join, resolve } from "node:path"
import { NodeConfig } from "./Config.ts"
import { describe, type Failure, failure } from "./Failure.ts"
import { replaceFile } from "./internal/replaceFile.ts"

const files = { store: "events.db", identity: "producer", token: "token", node: "node.json" } as const

/** What a running node leaves for the commands to find it by. */
export const NodeFile = Schema.Struct({
  pid: Schema.Int,
  url: Schema.String,
  started_at: Schema.String,
  version: Schema.String,
  /** PEM file of the certificate to trust, when the node speaks TLS. */
  certificate: Schema.NullOr(Schema.String)
})
export type NodeFile = typeof NodeFile.Type

const decodeNodeFile = Schema.decodeSync(Schema.fromJsonString(NodeFile))

const errno = (cause: unknown): string | undefined =>
  typeof cause === "object" && cause !== null && "code" in cause ? String(cause.code) : undefined

const cannot = (dir: string, cause: unknown): Failure => {
  switch (errno(cause)) {
    case "EROFS":
    case "EACCES":
    case "EPERM":
      return failure(
        "E_STATE_READ_ONLY",
        "start",
        `The state directory ${dir} cannot be written (${
          errno(cause)
        }). Change its owner or mode, or choose another with --state DIR.`
      )
    case "ENOSPC":
    case "EDQUOT":
      return failure(
        "E_STATE_FULL",
        "start",
        `No room is left for the state directory ${dir}. Make room, or choose another with --state DIR.`
      )
    case "ENOTDIR":
    case "EEXIST":
      return failure("E_STATE_NOT_A_DIRECTORY", "start", `${dir} is not a directory. Choose another with --state DIR.`)
    default:
      return failure(
        "E_STATE",
        "start",
        `The state directory ${dir} cannot be used: ${describe(cause)}. Choose another with --state DIR.`
      )
  }
}

const attempt = <A>(dir: string, run: () => Promise<A>): Effect.Effect<A, Failure> =>
  Effect.tryPromise({ try: run, catch: (cause) => cannot(dir, cause) })

/** On a read-only file system, Node's recursive `mkdir` complains that the directory is missing; its nearest parent knows better. */
const makeDirectory = async (dir: string): Promise<void> => {
  try {
    await Fs.mkdir(dir, { recursive: true, mode: 0o700 })
  } catch (cause) {
    let parent = dirname(dir)
    while (parent !== dirname(parent) && !existsSync(parent)) parent = dirname(parent)
    await Fs.access(parent, Fs.constants.W_OK)
    throw cause
  }
}

const readToken = async (path: string): Promise<string | undefined> => {
  try {
    const token = (await Fs.readFile(path, "utf8")).trim()
    return token === "" ? undefined : token
  } catch (cause) {
    if (errno(cause) === "ENOENT") return undefined
    throw cause
  }
}

/** The state directory of the node of this process. */
export class State extends Context.Service<State, {
  /** Absolute. */
  readonly dir: string
  readonly storePath: string
  readonly identityPath: string
  readonly token: Redacted.Redacted
  /** Tells the commands where the node is; taken back by `retract`. */
  readonly announce: (node: NodeFile) => Effect.Effect<void, Failure>
  readonly retract: Effect.Effect<void>
}>()("perigee/State") {
  /** Makes the directory (0700) and the token (0600) when they are missing. */
  static readonly layer: Layer.Layer<State, Failure, NodeConfig> = Layer.effect(
    State,
    Effect.gen(function*() {
      const dir = resolve((yield* NodeConfig).stateDir)
      const tokenPath = join(dir, files.token)
      const nodePath = join(dir, files.node)
      const token = yield* attempt(dir, async () => {
        await makeDirectory(dir)
        const known = await readToken(tokenPath)
        if (known !== undefined) return known
        const made = randomBytes(32).toString("base64url")
        await replaceFile(tokenPath, `${made}\n`)
        return made
      })
      return State.of({
        dir,
        storePath: join(dir, files.store),
        identityPath: join(dir, files.identity),
        token: Redacted.make(token),
        announce: (node) => attempt(dir, () => replaceFile(nodePath, `${JSON.stringify(node, null, 2)}\n`)),
        retract: Effect.ignore(Effect.tryPromise(() => Fs.rm(nodePath, { force: true })))
      })
    })
  )
}

/** What the commands read from a state directory: undefined when no node has announced itself in it. */
export const findNode = (
  stateDir: string
): Effect.Effect<{ readonly node: NodeFile; readonly token: Redacted.Redacted } | undefined, Failure> => {
  const dir = resolve(stateDir)
  return Effect.tryPromise({
    try: async () => {
      let text
      try {
        text = await Fs.readFile(join(dir, files.node), "utf8")
      } catch (cause) {
        if (errno(cause) === "ENOENT" || errno(cause) === "ENOTDIR") return undefined
        throw cause
      }
      const node = decodeNodeFile(text)
      const token = await readToken(join(dir, files.token))
      return token === undefined ? undefined : { node, token: Redacted.make(token) }
    },
    catch: (cause) =>
      failure("E_STATE", "unreachable", `The state directory ${dir} cannot be read: ${describe(cause)}. Is it yours?`)
  })
}
