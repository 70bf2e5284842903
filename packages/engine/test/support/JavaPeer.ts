/**
 * The Java client as a foreign peer: one call runs one program of `test/peer/java` to its end and gives what it printed.
 */
import { Context, Effect, Layer } from "effect"
import { spawn } from "node:child_process"
import { createInterface } from "node:readline"
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
export const pattern = (length: number): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => (i * 31 + (i >>> 8)) & 0xff)

export class JavaPeer extends Context.Service<JavaPeer, {
  /** Options are the arguments of `Produce.java` without dashes; `url` and `topic` are required. */
  readonly produce: (
    options: JavaOptions,
    messages: ReadonlyArray<JavaOutgoing>
  ) => Effect.Effect<JavaProduced, PeerError>
  /** Options are the arguments of `Consume.java`; `url`, `topic` and `subscription` are required. */
  readonly consume: (options: JavaOptions) => Effect.Effect<ReadonlyArray<JavaMessage>, PeerError>
}>()("@perigee/engine/test/JavaPeer") {
  /** One process for the whole layer: a new one takes seconds to start. */
  static readonly layer: Layer.Layer<JavaPeer, PeerError> = Layer.effect(
    JavaPeer,
    Effect.gen(function*() {
      const run = yield* process(yield* javaPeerClassPath)
      return JavaPeer.of({
        produce: Effect.fn("JavaPeer.produce")(function*(options, messages) {
          const lines = yield* run("produce", options, messages.map((message) => JSON.stringify(message)).join("\n"))
          const end = lines.at(-1) as { readonly producer: string; readonly lastSequenceId: string }
          return {
            ids: lines.slice(0, -1) as JavaProduced["ids"],
            producer: end.producer,
            lastSequenceId: end.lastSequenceId
          }
        }),
        consume: (options) =>
          Effect.map(run("consume", options, ""), (lines) => lines.slice(1) as ReadonlyArray<JavaMessage>)
      })
    })
  )
}

type Answer =
  | { readonly id: number; readonly line: unknown }
  | { readonly id: number; readonly done: true; readonly error?: string; readonly message?: string }

interface Request {
  readonly lines: Array<unknown>
  readonly resume: (effect: Effect.Effect<ReadonlyArray<unknown>, PeerError>) => void
}

const process = Effect.fnUntraced(function*(classPath: string) {
  const requests = new Map<number, Request>()
  let ids = 0
  let diagnostics = ""
  const failAll = (error: PeerError) => {
    for (const { resume } of requests.values()) resume(error)
    requests.clear()
  }
  const child = yield* Effect.acquireRelease(
    Effect.sync(() =>
      spawn(java, [
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-cp",
        classPath,
        "dev.perigee.peer.Peer"
      ], { stdio: ["pipe", "pipe", "pipe"] })
    ),
    (child) =>
      Effect.sync(() => {
        child.kill("SIGKILL")
      })
  )
  child.on("error", (cause) => failAll(new PeerError({ message: `cannot start ${java}`, cause })))
  child.on("close", (code) => failAll(new PeerError({ message: `the Java peer ended with ${code}: ${diagnostics}` })))
  child.stdin.on("error", () => {})
  child.stderr.on("data", (chunk: Buffer) => {
    diagnostics = (diagnostics + chunk.toString()).slice(-8192)
  })
  createInterface({ input: child.stdout }).on("line", (text) => {
    if (!text.startsWith("{")) return
    const answer = JSON.parse(text) as Answer
    const request = requests.get(answer.id)
    if (request === undefined) return
    if ("line" in answer) {
      request.lines.push(answer.line)
      return
    }
    requests.delete(answer.id)
    request.resume(
      answer.error === undefined
        ? Effect.succeed(request.lines)
        : new PeerError({ message: `${answer.error}: ${answer.message ?? ""}` })
    )
  })
  return (program: string, options: JavaOptions, input: string): Effect.Effect<ReadonlyArray<unknown>, PeerError> =>
    Effect.callback((resume) => {
      if (child.exitCode !== null) return resume(new PeerError({ message: `the Java peer has ended: ${diagnostics}` }))
      const id = ids++
      requests.set(id, { lines: [], resume })
      const args = Object.entries(options).flatMap(([name, value]) =>
        value === undefined ? [] : [`--${name}`, String(value)]
      )
      child.stdin.write(`${JSON.stringify({ id, program, args, input })}\n`)
      return Effect.sync(() => {
        requests.delete(id)
      })
    })
})
