/**
 * A real Apache Pulsar broker as a scoped resource.
 *
 * `PulsarBroker.shared` is one broker for the whole test run; tests keep apart by namespace. `PulsarBroker.layer` is a broker of its own, for tests that
 * kill it or need TLS, tokens or other settings.
 */
import { Context, type Duration, Effect, Layer, Ref } from "effect"
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as BrokerProcess from "./BrokerProcess.ts"
import { PeerError, unavailable, withLock } from "./PeerCache.ts"

export interface NamespaceOptions {
  /** Broker-side deduplication; off unless asked for. */
  readonly deduplication?: boolean | undefined
  /** `FULL` (the default of the test broker), `ALWAYS_COMPATIBLE`, … */
  readonly schemaCompatibility?: string | undefined
}

export class PulsarBroker extends Context.Service<PulsarBroker, {
  readonly info: BrokerProcess.BrokerInfo
  readonly serviceUrl: string
  readonly admin: (method: string, path: string, body?: unknown) => Effect.Effect<unknown, PeerError>
  /** A fresh namespace `public/<name>`, named after the test that asks. */
  readonly namespace: (options?: NamespaceOptions) => Effect.Effect<string, PeerError>
  /** SIGKILL; returns when the process is gone. */
  readonly kill: Effect.Effect<void>
  /** Starts it again on the same data and ports; gives the time until it served. */
  readonly restart: Effect.Effect<Duration.Duration, PeerError | BrokerProcess.BrokerNotReady>
}>()("@perigee/engine/test/PulsarBroker") {
  /** A broker of this scope's own; ended with it, its folder removed. */
  static readonly layer = (
    options: BrokerProcess.BrokerOptions = {}
  ): Layer.Layer<PulsarBroker, PeerError | BrokerProcess.BrokerNotReady> =>
    Layer.effect(
      PulsarBroker,
      Effect.gen(function*() {
        const folder = yield* scratch
        const info = yield* BrokerProcess.configure(folder, options)
        const pid = yield* Effect.acquireRelease(
          Effect.flatMap(BrokerProcess.start(info), Ref.make),
          (ref) => Effect.flatMap(Ref.get(ref), (pid) => BrokerProcess.stop(pid, "SIGKILL"))
        )
        return make(info, {
          kill: Effect.flatMap(Ref.get(pid), (id) => BrokerProcess.stop(id, "SIGKILL")),
          start: Effect.flatMap(BrokerProcess.start(info), (id) => Ref.set(pid, id))
        })
      })
    )

  /** The broker of the whole run: whoever asks first starts it, the end of the run stops it. It cannot be killed. */
  static readonly shared: Layer.Layer<PulsarBroker, PeerError | BrokerProcess.BrokerNotReady> = Layer.unwrap(
    Effect.map(
      Effect.sync(() => process.env[RUN_FOLDER]),
      (folder) =>
        folder === undefined ? PulsarBroker.layer() : Layer.effect(
          PulsarBroker,
          Effect.map(sharedInfo(folder), (info) => {
            const refuse = Effect.die(new Error("the shared broker must stay: use PulsarBroker.layer"))
            return make(info, { kill: refuse, start: refuse })
          })
        )
    )
  )
}

/** Set by the global setup of the test run: where the shared broker lives. */
export const RUN_FOLDER = "PERIGEE_PULSAR_RUN"

const scratch = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "perigee-pulsar-"))),
  (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }))
)

const sharedInfo = (folder: string) => {
  const file = join(folder, "broker.json")
  const read = Effect.try({
    try: () => JSON.parse(readFileSync(file, "utf8")) as BrokerProcess.BrokerInfo,
    catch: (cause) => new PeerError({ message: "the shared broker is not started", cause })
  })
  const start = Effect.gen(function*() {
    mkdirSync(join(folder, "broker"), { recursive: true })
    // A failed archive costs seconds at each start, nothing else.
    yield* Effect.ignore(BrokerProcess.prepareArchive(join(folder, "archive")))
    const info = yield* BrokerProcess.configure(join(folder, "broker"))
    yield* BrokerProcess.start(info)
    writeFileSync(file, JSON.stringify(info), { mode: 0o600 })
    return info
  })
  const readOrStart = Effect.catchTag(read, "PeerError", () => start)
  return Effect.catchTag(read, "PeerError", () => withLock(join(folder, "lock"), 300_000, readOrStart))
}

let namespaces = 0

const make = (
  info: BrokerProcess.BrokerInfo,
  control: {
    readonly kill: Effect.Effect<void>
    readonly start: Effect.Effect<void, PeerError | BrokerProcess.BrokerNotReady>
  }
): PulsarBroker["Service"] => {
  const admin = (method: string, path: string, body?: unknown) => BrokerProcess.admin(info, method, path, body)
  return PulsarBroker.of({
    info,
    serviceUrl: info.serviceUrl,
    admin,
    namespace: Effect.fn("PulsarBroker.namespace")(function*(options: NamespaceOptions = {}) {
      const name = `public/t${process.pid}-${++namespaces}`
      yield* admin("PUT", `namespaces/${name}`)
      if (options.deduplication === true) yield* admin("POST", `namespaces/${name}/deduplication`, true)
      if (options.schemaCompatibility !== undefined) {
        yield* admin("PUT", `namespaces/${name}/schemaCompatibilityStrategy`, options.schemaCompatibility)
      }
      return name
    }),
    kill: control.kill,
    restart: Effect.map(Effect.timed(control.start), ([duration]) => duration)
  })
}

/**
 * Why tests against the real broker are skipped here, printed once by the file that asks; under `CI=true` a missing peer is a failure, not a skip.
 */
export const skipReason = (): string | undefined => {
  const reason = unavailable()
  if (reason === undefined) return undefined
  if (process.env["CI"] === "true") throw new Error(`the real Pulsar broker is required in CI: ${reason}`)
  process.stderr.write(`skipped, needs a real Pulsar broker: ${reason}\n`)
  return reason
}
