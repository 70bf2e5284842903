import { Effect, Layer, Logger, Redacted, type Scope } from "effect"
import { HttpServer } from "effect/http"
import { mkdtempSync, rmSync } from "node:fs"
import * as Net from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { type LimitValues, NodeConfig, type NodeOptions } from "../../src/Config.ts"
import { urlOf } from "../../src/Http.ts"
import { Lifecycle } from "../../src/Lifecycle.ts"
import { layerWith } from "../../src/Node.ts"
import { State } from "../../src/State.ts"
import { type Script, scriptedStore } from "./ScriptedStore.ts"

export interface TestNode {
  readonly url: string
  readonly port: number
  readonly dir: string
  readonly token: string
  /** `fetch` with the token. */
  readonly call: (path: string, init?: RequestInit) => Effect.Effect<Response>
  readonly json: (path: string, init?: RequestInit) => Effect.Effect<{ readonly status: number; readonly body: any }>
  readonly append: (lines: string, query?: string) => Effect.Effect<{ readonly status: number; readonly body: any }>
}

export const scratch: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "perigee-node-"))),
  (dir) => Effect.sync(() => rmSync(dir, { recursive: true, force: true }))
)

const silent = Logger.layer([])

/** A node in this process, over a scripted store, behind its real listener. */
export const startNode = Effect.fnUntraced(function*(options: {
  readonly script?: Script
  readonly bus?: Parameters<typeof scriptedStore>[1]
  readonly limits?: Partial<LimitValues>
  readonly node?: Partial<NodeOptions>
} = {}) {
  const dir = options.node?.stateDir ?? (yield* scratch)
  const context = yield* Layer.build(
    layerWith(
      {
        host: "127.0.0.1",
        port: 0,
        portMayMove: false,
        stateDir: dir,
        shards: 2,
        tls: undefined,
        allowedHosts: [],
        bridges: [],
        pulsar: undefined,
        ...options.node
      },
      scriptedStore(options.script, options.bus),
      options.limits
    ).pipe(Layer.provideMerge([silent, Lifecycle.layer]))
  )
  return yield* Effect.gen(function*() {
    const url = urlOf(yield* HttpServer.HttpServer, yield* NodeConfig)
    const token = Redacted.value((yield* State).token)
    return makeTestNode(url, dir, token)
  }).pipe(Effect.provideContext(context))
})

export const makeTestNode = (url: string, dir: string, token: string): TestNode => {
  const call: TestNode["call"] = (path, init = {}) =>
    Effect.promise((signal) =>
      fetch(url + path, {
        signal,
        ...init,
        headers: { authorization: `Bearer ${token}`, ...init.headers as Record<string, string> }
      })
    )
  const json: TestNode["json"] = (path, init) =>
    Effect.flatMap(call(path, init), (response) =>
      Effect.promise(async () => {
        const text = await response.text()
        return { status: response.status, body: text === "" ? undefined : JSON.parse(text) }
      }))
  return {
    url,
    port: Number(new URL(url).port),
    dir,
    token,
    call,
    json,
    append: (lines, query = "") =>
      json(`/v1/events${query}`, { method: "POST", headers: { "content-type": "application/x-ndjson" }, body: lines })
  }
}

/** A connection of bare bytes, for what no client would send. */
export const rawConnection = (port: number) =>
  Effect.acquireRelease(
    Effect.callback<
      { readonly socket: Net.Socket; readonly received: () => string; readonly closed: Effect.Effect<void> }
    >((resume) => {
      const socket = Net.connect(port, "127.0.0.1")
      let text = ""
      const closed = new Promise<void>((done) => socket.once("close", () => done()))
      socket.on("error", () => {})
      socket.on("data", (chunk) => {
        text += chunk.toString("latin1")
      })
      socket.once("connect", () =>
        resume(Effect.succeed({ socket, received: () => text, closed: Effect.promise(() => closed) })))
    }),
    ({ socket }) =>
      Effect.sync(() => socket.destroy())
  )

/** Waits until something on the other side of a socket has happened. */
export const until = (
  condition: () => boolean | Promise<boolean>,
  what: string,
  millis = 60_000
): Effect.Effect<void> =>
  Effect.promise(async () => {
    const deadline = Date.now() + millis
    while (!(await condition())) {
      if (Date.now() > deadline) throw new Error(`did not happen within ${millis} ms: ${what}`)
      await new Promise((done) => setTimeout(done, 10))
    }
  })
