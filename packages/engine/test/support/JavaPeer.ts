/**
 * The Java client as a foreign peer: one call runs one program of `test/peer/java` to its end and gives the JSON lines it printed.
 */
import { Context, Effect, Layer } from "effect"
import { spawn } from "node:child_process"
import { java, javaPeerClassPath, PeerError } from "./PeerCache.ts"

export interface JavaId {
  readonly ledger: string
  readonly entry: string
  readonly partition: number
  readonly batchIndex: number
  readonly batchSize: number
}

/** One message for the Java producer; see `Produce.java`. Bytes are hex. */
export interface JavaOutgoing {
  readonly payload?: string
  readonly value?: unknown
  /** Length of a payload of {@link pattern}, which the Java side makes itself. */
  readonly repeat?: number
  readonly key?: string
  readonly keyBytes?: string
  readonly orderingKey?: string
  readonly properties?: Readonly<Record<string, string>>
  readonly eventTime?: number
  readonly sequenceId?: number
  readonly deliverAt?: number
}

export interface JavaProduced {
  readonly ids: ReadonlyArray<{ readonly id: JavaId; readonly idBytes: string }>
  readonly producer: string
  readonly lastSequenceId: string
}

export interface JavaMessage {
  readonly id: JavaId
  readonly idBytes: string
  readonly topic: string
  readonly size: number
  /** Hex; left out above 4 KiB. */
  readonly payload?: string
  readonly sha256: string
  readonly key?: string
  readonly keyBytes?: string
  readonly keyIsBase64?: boolean
  readonly orderingKey?: string
  readonly properties: Readonly<Record<string, string>>
  readonly eventTime: number
  readonly publishTime: number
  readonly sequenceId: string
  readonly producer: string
  readonly redelivery: number
  readonly schemaVersion?: string
  readonly index?: number
  readonly value?: unknown
  readonly valueError?: string
}

export type JavaOptions = Readonly<Record<string, string | number | boolean | undefined>>

/** The bytes that `Produce` sends for `repeat`. */
export const pattern = (length: number): Uint8Array => Uint8Array.from({ length }, (_, i) => (i * 31 + (i >>> 8)) & 0xff)

export class JavaPeer extends Context.Service<JavaPeer, {
  /** Options are the arguments of `Produce.java` without dashes; `url` and `topic` are required. */
  readonly produce: (options: JavaOptions, messages: ReadonlyArray<JavaOutgoing>) => Effect.Effect<JavaProduced, PeerError>
  /** Options are the arguments of `Consume.java`; `url`, `topic` and `subscription` are required. */
  readonly consume: (options: JavaOptions) => Effect.Effect<ReadonlyArray<JavaMessage>, PeerError>
}>()("@perigee/engine/test/JavaPeer") {
  static readonly layer: Layer.Layer<JavaPeer, PeerError> = Layer.effect(
    JavaPeer,
    Effect.map(javaPeerClassPath, (classPath) =>
      JavaPeer.of({
        produce: Effect.fn("JavaPeer.produce")(function*(options, messages) {
          const input = messages.map((message) => `${JSON.stringify(message)}\n`).join("")
          const lines = yield* program(classPath, "dev.perigee.peer.Produce", options, input)
          const end = lines.at(-1) as { readonly producer: string; readonly lastSequenceId: string }
          return { ids: lines.slice(0, -1) as JavaProduced["ids"], producer: end.producer, lastSequenceId: end.lastSequenceId }
        }),
        consume: (options) =>
          Effect.map(
            program(classPath, "dev.perigee.peer.Consume", options, ""),
            (lines) => lines.slice(1) as ReadonlyArray<JavaMessage>
          )
      }))
  )
}

const program = (
  classPath: string,
  main: string,
  options: JavaOptions,
  input: string
): Effect.Effect<ReadonlyArray<unknown>, PeerError> =>
  Effect.callback((resume) => {
    const args = Object.entries(options).flatMap(([name, value]) => value === undefined ? [] : [`--${name}`, String(value)])
    const child = spawn(java, [
      "-XX:+UseSerialGC",
      "-XX:TieredStopAtLevel=1",
      "-Xshare:auto",
      "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
      "--add-opens",
      "java.base/sun.net=ALL-UNNAMED",
      "-cp",
      classPath,
      main,
      ...args
    ], { stdio: ["pipe", "pipe", "pipe"] })
    let output = ""
    let diagnostics = ""
    child.stdout.on("data", (chunk: Buffer) => {
      output += chunk.toString()
    })
    child.stderr.on("data", (chunk: Buffer) => {
      diagnostics = (diagnostics + chunk.toString()).slice(-8192)
    })
    child.on("error", (cause) => resume(new PeerError({ message: `cannot start ${java}`, cause })))
    child.on("close", (code) => {
      const lines = output.split("\n").filter((line) => line.startsWith("{")).map((line) => JSON.parse(line) as unknown)
      const error = lines.find((line) => typeof line === "object" && line !== null && "error" in line) as
        | { readonly error: string; readonly message: string }
        | undefined
      resume(
        code === 0 && error === undefined
          ? Effect.succeed(lines)
          : new PeerError({ message: error === undefined ? `${main} ended with ${code}: ${diagnostics}` : `${error.error}: ${error.message}` })
      )
    })
    child.stdin.on("error", () => {})
    child.stdin.end(input)
    return Effect.sync(() => {
      child.kill("SIGKILL")
    })
  })
