/**
 * One operating-system process that runs Apache Pulsar standalone: configure a folder, start, wait until ready, kill, start again on the same data.
 */
import { Data, Effect, Schedule } from "effect"
import { spawn } from "node:child_process"
import { createHmac, randomBytes } from "node:crypto"
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs"
import { createServer, type Server } from "node:net"
import { networkInterfaces } from "node:os"
import { join } from "node:path"
import * as Certificates from "./Certificates.ts"
import { brokerClassPath, brokerFolder, brokerSources, java, PeerError, run } from "./PeerCache.ts"

export interface BrokerOptions {
  /** Also listen on `pulsar+ssl`, with a certificate authority of this broker's own, and accept client certificates. */
  readonly tls?: boolean | undefined
  /** Require a token; `tokens` of the result has a valid super user, a valid user without rights, and an expired one. */
  readonly auth?: boolean | undefined
  /** Further lines of `broker.conf`. */
  readonly settings?: Readonly<Record<string, string>> | undefined
  /** Options of the virtual machine in place of those for a fast start. */
  readonly jvm?: ReadonlyArray<string> | undefined
}

export interface Tokens {
  readonly admin: string
  readonly user: string
  readonly expired: string
}

/** What a client needs to know about a broker; stays the same over restarts. */
export interface BrokerInfo {
  readonly folder: string
  readonly bookiePort: number
  readonly serviceUrl: string
  readonly adminUrl: string
  readonly tlsUrl?: string | undefined
  readonly certificates?: Certificates.Certificates | undefined
  readonly tokens?: Tokens | undefined
  /** The secret behind the tokens, base64: for tests that sign their own. */
  readonly secret?: string | undefined
  readonly jvm?: ReadonlyArray<string> | undefined
}

export class BrokerNotReady extends Data.TaggedError("BrokerNotReady")<{ readonly message: string }> {}

const MEMORY = ["-Xms256m", "-Xmx768m", "-XX:MaxDirectMemorySize=768m"]
const OPENS = [
  "java.base/java.io",
  "java.base/java.util.zip",
  "java.base/java.nio",
  "java.base/jdk.internal.misc",
  "java.base/jdk.internal.platform",
  "java.base/sun.nio.ch",
  "java.management/sun.management",
  "jdk.management/com.sun.management.internal"
]

const freePorts = (count: number): Effect.Effect<ReadonlyArray<number>, PeerError> =>
  Effect.tryPromise({
    // All are open at once, or the same port could be given twice.
    try: async () => {
      const servers: Array<Server> = []
      for (let index = 0; index < count; index++) {
        const server = createServer()
        await new Promise<void>((resolve, reject) => server.once("error", reject).listen(0, "127.0.0.1", resolve))
        servers.push(server)
      }
      const ports = servers.map((server) => {
        const address = server.address()
        return address !== null && typeof address === "object" ? address.port : 0
      })
      await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
      return ports
    },
    catch: (cause) => new PeerError({ message: "no free ports on loopback", cause })
  })

const loopback = (): string =>
  Object.entries(networkInterfaces()).find(([, addresses]) => addresses?.some(({ address }) => address === "127.0.0.1"))
    ?.[0] ?? "lo"

/** A JSON Web Token signed with HMAC-SHA-256; `lifetime` in seconds, negative for one that has expired. */
export const signToken = (secret: Uint8Array, subject: string, lifetime?: number): string => {
  const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url")
  // The broker judges by the machine's clock.
  const claims = lifetime === undefined
    ? { sub: subject }
    : { sub: subject, exp: Math.floor(Date.now() / 1000) + lifetime }
  const body = `${part({ alg: "HS256" })}.${part(claims)}`
  return `${body}.${createHmac("sha256", secret).update(body).digest("base64url")}`
}

/** Writes the configuration of a new broker into `folder`, on free ports of loopback. */
export const configure = Effect.fn("BrokerProcess.configure")(function*(folder: string, options: BrokerOptions = {}) {
  mkdirSync(join(folder, "tmp"), { recursive: true })
  const [port, tlsPort, web, webTls, bookiePort] = (yield* freePorts(5)) as [number, number, number, number, number]
  let info: BrokerInfo = {
    folder,
    bookiePort,
    serviceUrl: `pulsar://127.0.0.1:${port}`,
    adminUrl: `http://127.0.0.1:${web}`,
    jvm: options.jvm
  }
  const lines = [
    readFileSync(join(brokerSources, "broker.conf"), "utf8"),
    "bindAddress=127.0.0.1",
    "advertisedAddress=127.0.0.1",
    `listeningInterface=${loopback()}`,
    `brokerServicePort=${port}`,
    `webServicePort=${web}`
  ]
  const providers: Array<string> = []
  if (options.tls === true) {
    const certificates = yield* Certificates.make(join(folder, "tls"))
    info = { ...info, tlsUrl: `pulsar+ssl://localhost:${tlsPort}`, certificates }
    lines.push(
      `brokerServicePortTls=${tlsPort}`,
      `webServicePortTls=${webTls}`,
      `tlsCertificateFilePath=${certificates.serverCert}`,
      `tlsKeyFilePath=${certificates.serverKey}`,
      `tlsTrustCertsFilePath=${certificates.ca}`,
      `brokerClientTrustCertsFilePath=${certificates.ca}`,
      "tlsRequireTrustedClientCertOnConnect=false",
      // Conscrypt is left out of the class path.
      "webServiceTlsProvider="
    )
    providers.push("org.apache.pulsar.broker.authentication.AuthenticationProviderTls")
  }
  if (options.auth === true) {
    const secret = randomBytes(32)
    const tokens = {
      admin: signToken(secret, "admin"),
      user: signToken(secret, "user"),
      expired: signToken(secret, "user", -60)
    }
    info = { ...info, secret: secret.toString("base64"), tokens }
    lines.push(
      "authenticationEnabled=true",
      `authenticationProviders=${
        ["org.apache.pulsar.broker.authentication.AuthenticationProviderToken", ...providers].join(",")
      }`,
      `tokenSecretKey=data:;base64,${secret.toString("base64")}`,
      "authorizationEnabled=true",
      "superUserRoles=admin",
      "brokerClientAuthenticationPlugin=org.apache.pulsar.client.impl.auth.AuthenticationToken",
      `brokerClientAuthenticationParameters=token:${tokens.admin}`
    )
  }
  for (const [key, value] of Object.entries(options.settings ?? {})) lines.push(`${key}=${value}`)
  writeFileSync(join(folder, "standalone.conf"), `${lines.join("\n")}\n`, { mode: 0o600 })
  return info
})

export const alive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
  } catch {
    return false
  }
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"))
  } catch {
    return process.platform !== "linux"
  }
}

const archive = (folder: string): string => join(folder, "broker.jsa")

const spawnBroker = (info: BrokerInfo, installation: string, extra: ReadonlyArray<string>): number => {
  const log = openSync(join(info.folder, "broker.log"), "a")
  const child = spawn(
    java,
    [
      ...MEMORY,
      "-XX:+UseSerialGC",
      // Tests want a fast start more than a fast steady state.
      ...info.jvm ?? ["-XX:TieredStopAtLevel=1"],
      ...extra,
      ...OPENS.flatMap((open) => ["--add-opens", `${open}=ALL-UNNAMED`]),
      "-Djava.net.preferIPv4Stack=true",
      "-Dio.netty.tryReflectionSetAccessible=true",
      "-Djute.maxbuffer=10485760",
      `-Djava.io.tmpdir=${join(info.folder, "tmp")}`,
      `-Dlog4j2.configurationFile=${join(brokerSources, "log4j2.xml")}`,
      "-Dlog4j2.is.webapp=false",
      "-Dlog4j.shutdownHookEnabled=false",
      "-cp",
      brokerClassPath(installation),
      "org.apache.pulsar.PulsarStandaloneStarter",
      "--config",
      join(info.folder, "standalone.conf"),
      "--advertised-address",
      "127.0.0.1",
      "--no-functions-worker",
      "--no-stream-storage",
      "--bookkeeper-port",
      String(info.bookiePort),
      "--bookkeeper-dir",
      join(info.folder, "data", "bookkeeper"),
      "--metadata-dir",
      join(info.folder, "data", "metadata")
    ],
    { cwd: info.folder, detached: true, stdio: ["ignore", log, log] }
  )
  closeSync(log)
  child.on("error", () => {})
  child.unref()
  if (child.pid === undefined) throw new PeerError({ message: `cannot start ${java}` })
  writeFileSync(join(info.folder, "pid"), `${child.pid}\n`)
  return child.pid
}

const lastLines = (info: BrokerInfo): string => {
  try {
    return readFileSync(join(info.folder, "broker.log"), "utf8").split("\n").slice(-15).join("\n")
  } catch {
    return "(no log)"
  }
}

/** One request of the admin interface, as the super user where the broker has one. Empty answers are `undefined`. */
export const admin = (
  info: BrokerInfo,
  method: string,
  path: string,
  body?: unknown
): Effect.Effect<unknown, PeerError> =>
  Effect.tryPromise({
    try: async (signal) => {
      const response = await fetch(`${info.adminUrl}/admin/v2/${path}`, {
        method,
        signal: AbortSignal.any([signal, AbortSignal.timeout(10_000)]),
        headers: {
          ...(info.tokens === undefined ? {} : { authorization: `Bearer ${info.tokens.admin}` }),
          ...(body === undefined ? {} : { "content-type": "application/json" })
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) })
      })
      const text = await response.text()
      if (!response.ok) throw new Error(`${method} ${path} answers ${response.status}: ${text.slice(0, 300)}`)
      return text === "" ? undefined : JSON.parse(text) as unknown
    },
    catch: (cause) => new PeerError({ message: `the admin interface failed: ${String(cause)}`, cause })
  })

const ready = (info: BrokerInfo, pid: number) =>
  // The last thing that the standalone program does is to create this topic's metadata.
  admin(info, "GET", "persistent/pulsar/system/transaction_coordinator_assign/partitions").pipe(
    Effect.filterOrFail(
      (answer) => (answer as { readonly partitions?: number } | undefined)?.partitions !== 0,
      () => new PeerError({ message: "not ready" })
    ),
    Effect.retry({
      schedule: Schedule.spaced(50),
      while: () => alive(pid)
    }),
    Effect.timeoutOrElse({
      duration: "120 seconds",
      orElse: () => Effect.fail(new PeerError({ message: "not ready in two minutes" }))
    }),
    Effect.mapError((error) =>
      new BrokerNotReady({ message: `${error.message}; the broker's log ends with:\n${lastLines(info)}` })
    )
  )

/** Starts the broker of a configured folder and waits until it serves; gives its process id. */
export const start = Effect.fn("BrokerProcess.start")(function*(info: BrokerInfo) {
  const installation = yield* brokerFolder
  const shared = archive(installation)
  const pid = yield* Effect.try({
    try: () =>
      spawnBroker(info, installation, existsSync(shared) ? [`-XX:SharedArchiveFile=${shared}`, "-Xshare:auto"] : []),
    catch: (cause) => new PeerError({ message: "cannot start the broker", cause })
  })
  yield* Effect.onError(ready(info, pid), () => stop(pid, "SIGKILL"))
  return pid
})

/** Ends a process by its id and waits until it is gone; a polite signal is followed by SIGKILL after 30 s. */
export const stop = (pid: number, signal: "SIGTERM" | "SIGKILL"): Effect.Effect<void> => {
  const send = (name: "SIGTERM" | "SIGKILL") =>
    Effect.sync(() => {
      try {
        process.kill(pid, name)
      } catch {
        // It has ended on its own.
      }
    })
  const gone = Effect.suspend(() => alive(pid) ? Effect.fail("alive") : Effect.void).pipe(
    Effect.retry(Schedule.spaced(20))
  )
  return send(signal).pipe(
    Effect.andThen(gone),
    Effect.timeoutOrElse({ duration: "30 seconds", orElse: () => Effect.andThen(send("SIGKILL"), gone) }),
    Effect.ignore
  )
}

/**
 * Writes the class data archive that halves every later start; a no-op when it is there. Needs one start and a polite stop.
 */
export const prepareArchive = Effect.fn("BrokerProcess.prepareArchive")(function*(folder: string) {
  const installation = yield* brokerFolder
  const file = archive(installation)
  if (existsSync(file)) return
  const info = yield* configure(folder)
  const pid = yield* Effect.try({
    try: () => spawnBroker(info, installation, ["-XX:+RecordDynamicDumpInfo"]),
    catch: (cause) => new PeerError({ message: "cannot start the broker", cause })
  })
  yield* ready(info, pid).pipe(
    Effect.andThen(run("jcmd", [String(pid), "VM.cds", "dynamic_dump", file])),
    Effect.ensuring(stop(pid, "SIGKILL"))
  )
})
